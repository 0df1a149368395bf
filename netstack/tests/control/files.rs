//! The file of the control socket.

use super::{World, connect, stack};
use netstack::{Builder, Stack, device};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

#[test]
fn the_file_is_private_and_gone_at_the_end() {
    let world = World::new();

    let mode = fs::symlink_metadata(&world.path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    stack(&mut world.client());

    let World { near, path, _folder, .. } = world;
    drop(near);
    assert!(!path.exists());
}

#[test]
fn the_file_of_an_ended_program_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control");
    drop(UnixListener::bind(&path).expect("a free path"));
    assert!(path.exists());

    let (stack_on_it, _far) = start(&path).expect("a stale file");

    stack(&mut connect(&path));
    drop(stack_on_it);
    assert!(!path.exists());
}

#[test]
fn each_path_that_cannot_be_has_one_clear_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let (live, file) = (folder.path().join("live"), folder.path().join("file"));
    let (_stack, _far) = start(&live).expect("a free path");
    fs::write(&file, "text").expect("a new file");

    for (path, kind, expected) in [
        (live.clone(), ErrorKind::AddrInUse, "Address already in use"),
        (file.clone(), ErrorKind::AddrInUse, "Address already in use"),
        (folder.path().join("none/control"), ErrorKind::NotFound, "No such file or directory"),
    ] {
        let error = start(&path).map(|_| ()).expect_err("it cannot be");
        let text = error.to_string();
        let start = format!("the control socket: binding {}: {expected}", path.display());
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.starts_with(&start), "{text}");
    }
    // Both are as they were.
    stack(&mut connect(&live));
    assert_eq!(fs::read(&file).expect("a file"), b"text");
    let long = folder.path().join("x".repeat(200));
    let error = start(&long).map(|_| ()).expect_err("longer than a socket's address");
    assert_eq!(error.kind(), ErrorKind::InvalidFilename, "{error}");
}

/// The path that the attempt of another user is to open.
const ATTEMPT: &str = "NETSTACK_TEST_CONTROL_SOCKET";

#[test]
fn another_user_cannot_open_it() {
    if let Some(path) = std::env::var_os(ATTEMPT) {
        let error = UnixStream::connect(path).expect_err("it is another user's");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        return;
    }
    let world = World::new();
    let metadata = fs::symlink_metadata(&world.path).expect("a file");
    let own = rustix::process::geteuid().as_raw();
    assert_eq!((metadata.uid(), metadata.mode() & 0o077), (own, 0));
    // Only root can become another user.
    if own == 0 {
        let folder = world.path.parent().expect("a folder");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its own folder");
        let program = std::env::current_exe().expect("a path");
        let mut attempt = Command::new(program);
        attempt.args(["--exact", "files::another_user_cannot_open_it"]).env(ATTEMPT, &world.path);
        let output = attempt.uid(NOBODY).gid(NOBODY).output().expect("a program");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}

/// The number of a user without rights.
const NOBODY: u32 = 65_534;

fn start(path: &Path) -> io::Result<(Stack, device::PipeEnd)> {
    let (device, far) = device::pipe(16, 1500);
    Ok((Builder::new().control(path).spawn_thread(device)?, far))
}
