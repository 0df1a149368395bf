//! Output of a failing run: the command that repeats it, and the capture of its packets.

use std::env;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::thread;

/// The command that runs this thread's test again, with environment variables set: for randomized
/// tests that print it on failure. A line for a POSIX shell.
///
/// Under `cargo test` it names the package, target, profile and test, ignored or not; otherwise the
/// executable itself. The thread must have the name of the test, as the test harness gives it.
/// Features passed to `cargo test` are not included.
///
/// ```
/// let command = netstack::sim::repeat_command(&[("MY_SEED", &7)]);
/// assert!(command.starts_with("MY_SEED=7 "));
/// ```
pub fn repeat_command(variables: &[(&str, &dyn Display)]) -> String {
    let mut words: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    words.push(Test::current().command());
    words.join(" ")
}

/// Where the packets of a failing run are written, if the user names no file.
pub(super) fn capture_path(seed: u64) -> PathBuf {
    Test::current().capture(seed)
}

/// A running test, with its executable and package.
struct Test {
    executable: PathBuf,
    /// The package and the folder of its manifest, from cargo.
    package: Option<(String, PathBuf)>,
    name: Option<String>,
}

impl Test {
    fn current() -> Self {
        let package = env::var("CARGO_PKG_NAME").ok();
        let folder = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        Self {
            executable: env::current_exe().unwrap_or_default(),
            package: package.zip(folder),
            name: thread::current().name().filter(|name| *name != "main").map(str::to_owned),
        }
    }

    /// The folder of the profile, for a test that cargo has built: `target/debug`.
    fn profile(&self) -> Option<&Path> {
        let folder = self.executable.parent()?;
        folder.parent().filter(|_| folder.ends_with("deps"))
    }

    /// The name of the program, without the hash that cargo adds.
    fn stem(&self) -> &str {
        let stem = self.executable.file_stem().and_then(|stem| stem.to_str()).unwrap_or("test");
        match stem.rsplit_once('-') {
            Some((name, hash)) if hash.len() == 16 => name,
            _ => stem,
        }
    }

    fn command(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" --exact {}", quoted(name)));
        let Some((package, folder)) = &self.package else {
            return self.program(name);
        };
        if self.executable.components().any(|part| is_of_doctest(part.as_os_str().to_str())) {
            return format!("cargo test -p {} --doc", quoted(package));
        }
        let Some(profile) = self.profile().and_then(Path::file_name) else {
            return self.program(name);
        };
        let mut command = match profile.to_string_lossy().as_ref() {
            "debug" => "cargo test".to_owned(),
            "release" => "cargo test --release".to_owned(),
            other => format!("cargo test --profile {}", quoted(&other)),
        };
        command += &format!(" -p {}", quoted(package));
        if package == env!("CARGO_PKG_NAME") {
            // The package of this module.
            command += " --features sim";
        }
        command
            + &self.target(package, folder)
            + " --"
            + &name.unwrap_or_default()
            + INCLUDE_IGNORED
    }

    /// The executable itself.
    fn program(&self, name: Option<String>) -> String {
        let program = quoted(&self.executable.display());
        // Without a name it may be something else than a test.
        name.map_or(program.clone(), |name| program + &name + INCLUDE_IGNORED)
    }

    fn target(&self, package: &str, folder: &Path) -> String {
        let stem = self.stem();
        if stem == package.replace('-', "_") {
            let is_library = folder.join("src/lib.rs").is_file();
            return if is_library { " --lib" } else { " --bins" }.to_owned();
        }
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let is_name = manifest.contains(&format!("\"{stem}\""))
            || folder.join("tests").join(stem).is_dir()
            || folder.join("tests").join(format!("{stem}.rs")).is_file();
        match is_name || !stem.contains('_') {
            true => format!(" --test {}", quoted(&stem)),
            // An underscore stands for a hyphen, too; cargo takes patterns.
            false => format!(" --test {}", quoted(&stem.replace('_', "?"))),
        }
    }

    fn capture(&self, seed: u64) -> PathBuf {
        let test = self.name.as_deref().unwrap_or("run");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = format!("{}-{}-seed-{seed}", self.stem(), test.replace("::", "."));
        let name = name.replace(|c| !is_plain(c), "-");
        match self.profile().and_then(Path::parent) {
            // Where cargo has tests keep their files.
            Some(target) => target.join("tmp").join(name + ".pcap"),
            None => env::temp_dir().join(format!("{name}-{}.pcap", std::process::id())),
        }
    }
}

const INCLUDE_IGNORED: &str = " --include-ignored";

fn is_of_doctest(part: Option<&str>) -> bool {
    part.is_some_and(|part| part.starts_with("rustdoctest"))
}

/// As one word for a POSIX shell.
fn quoted(text: &dyn Display) -> String {
    let text = text.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(executable: &str, package: Option<&str>, name: Option<&str>) -> Test {
        Test {
            executable: executable.into(),
            package: package.map(|package| (package.into(), env!("CARGO_MANIFEST_DIR").into())),
            name: name.map(str::to_owned),
        }
    }

    #[test]
    fn a_command_names_package_target_profile_and_test() {
        for (executable, package, name, command) in [
            (
                "/t/debug/deps/net-0123456789abcdef",
                Some("app"),
                Some("close::is_heard"),
                "cargo test -p app --test net -- --exact close::is_heard --include-ignored",
            ),
            (
                "/t/release/deps/netstack-0123456789abcdef",
                Some("netstack"),
                Some("sim::tests::a"),
                "cargo test --release -p netstack --features sim --lib -- --exact sim::tests::a \
                 --include-ignored",
            ),
            (
                "/t/ci/deps/two_words-0123456789abcdef",
                Some("my-app"),
                None,
                "cargo test --profile ci -p my-app --test 'two?words' -- --include-ignored",
            ),
            ("/tmp/rustdoctestAbC/rust_out", Some("app"), None, "cargo test -p app --doc"),
            ("/usr/bin/app", None, None, "/usr/bin/app"),
            ("/my dir/t", None, Some("a"), "'/my dir/t' --exact a --include-ignored"),
        ] {
            assert_eq!(test(executable, package, name).command(), command);
        }
    }

    #[test]
    fn capture_is_written_into_cargos_target_directory() {
        let path = test("/t/debug/deps/net-0123456789abcdef", None, Some("a::b")).capture(7);

        assert_eq!(path, Path::new("/t/tmp/net-a.b-seed-7.pcap"));
    }
}
