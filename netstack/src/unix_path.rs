//! The file of a UNIX socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file of a bound socket, removed when this is dropped, unless another has replaced it.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl BoundPath {
    /// Binds a socket to a path. A socket file that `is_alive` finds nobody behind is replaced.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody is behind it, or the file is no socket; the kernel's.
    pub(crate) fn bind<S>(
        path: &Path,
        bind: impl Fn(&Path) -> io::Result<S>,
        is_alive: impl FnOnce(&Path) -> bool,
    ) -> io::Result<(S, Self)> {
        let bound = match bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let is_socket =
                    fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
                if !is_socket || is_alive(path) {
                    return Err(failed(path, &error));
                }
                fs::remove_file(path).and_then(|()| bind(path))
            }
            bound => bound,
        };
        let socket = bound.map_err(|error| failed(path, &error))?;
        Ok((socket, Self { path: path.to_owned(), identity: identity(path) }))
    }

    #[cfg(feature = "tun")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The number of a group that is given as such, or by its name in /etc/group.
///
/// # Errors
///
/// `NotFound` if there is no such group.
#[cfg(feature = "tun")]
pub(crate) fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group")?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no group \"{group}\" in /etc/group"))
    })
}

fn failed(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("binding {}: {error}", path.display()))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}
