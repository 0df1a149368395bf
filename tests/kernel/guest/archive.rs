//! An archive that Linux unpacks into its first file system: cpio in the format "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

/// The files so far.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

/// Kinds of files, with their permissions.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTERS: u32 = 0o020_600;

impl Archive {
    pub(super) fn folder(&mut self, name: &str) {
        self.add(name, FOLDER, (0, 0), &[]);
    }

    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.add(name, PROGRAM, (0, 0), content);
    }

    /// The device of the kernel's console (null(4), console(4)).
    pub(super) fn console(&mut self, name: &str) {
        self.add(name, CHARACTERS, (5, 1), &[]);
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn add(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.files += 1;
        let (links, time, owner, group) = (1, 0, 0, 0);
        let size = content.len() as u32;
        let fields = [self.files, mode, owner, group, links, time, size, 0, 0, major, minor];
        self.bytes.extend(b"070701");
        for field in fields.into_iter().chain([name.len() as u32 + 1, 0]) {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
