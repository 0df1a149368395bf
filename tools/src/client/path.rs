//! Where control sockets are.

use anyhow::{Result, bail};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The environment variable with the path of the control socket.
const VARIABLE: &str = "NETSTACK_CONTROL";
/// The folder of a machine's control sockets.
const OF_MACHINE: &str = "/run/netstack";

/// The path that is given, that of the environment, or that of the only control socket in the
/// folders for them.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given.map(PathBuf::from).or_else(of_environment) {
        return Ok(path);
    }
    let of_user =
        std::env::var_os("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join("netstack"));
    let folders: Vec<_> = of_user.into_iter().chain([PathBuf::from(OF_MACHINE)]).collect();
    only(&folders)
}

/// The path that the environment gives.
pub(super) fn of_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The only socket in the first folder that has any.
fn only(folders: &[PathBuf]) -> Result<PathBuf> {
    for folder in folders {
        let mut sockets = sockets(folder);
        match sockets.len() {
            0 => {}
            1 => return Ok(sockets.swap_remove(0)),
            _ => {
                let names: Vec<_> = sockets.iter().map(|path| path.display().to_string()).collect();
                bail!(
                    "several stacks have a control socket: choose with --control\n{}",
                    names.join("\n")
                );
            }
        }
    }
    let places: Vec<_> = folders.iter().map(|path| path.display().to_string()).collect();
    bail!(
        "no stack found: --control PATH or ${VARIABLE} names its control socket, or it is in {}",
        places.join(" or ")
    )
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sockets = entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_socket()));
    let mut sockets: Vec<_> = sockets.map(|it| it.path()).collect();
    sockets.sort();
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_only_socket_of_the_first_folder_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        for folder in [&first, &second] {
            fs::create_dir(folder).expect("a new folder");
        }
        let folders = [first.clone(), second.clone()];
        fs::write(first.join("file"), "").expect("a new file");
        let message = |found: Result<PathBuf>| found.expect_err("none").to_string();
        assert!(message(only(&folders)).starts_with("no stack found: --control PATH or "));

        let _web = UnixListener::bind(second.join("web")).expect("a free path");
        assert_eq!(only(&folders).expect("one"), second.join("web"));

        let _dns = UnixListener::bind(second.join("dns")).expect("a free path");
        let text = message(only(&folders));
        assert!(text.starts_with("several stacks have a control socket") && text.ends_with("web"));

        let _mine = UnixListener::bind(first.join("mine")).expect("a free path");
        assert_eq!(only(&folders).expect("one"), first.join("mine"));
    }
}
