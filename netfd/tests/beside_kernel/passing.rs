//! Descriptors in other hands: copies, children, files and pipes.

use crate::world::{read, read_all, same, write};
use rustix::fs::sendfile;
use rustix::pipe::{SpliceFlags, pipe, splice};
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

#[test]
fn a_copy_is_the_same_connection() {
    same(|it| {
        let copy = it.near.try_clone().expect("a descriptor");
        write(&copy, b"one ").expect("a connection");
        write(&it.near, b"two").expect("a connection");
        drop((copy, it.near));
        read_all(&it.peer)
    });
}

#[test]
fn a_child_has_it_after_its_parent_has_closed_it() {
    same(|it| {
        let out = it.near.try_clone().expect("a descriptor");
        let mut command = Command::new("cat");
        let mut child = command.stdin(it.near).stdout(out).spawn().expect("cat");
        // The parent's copies.
        drop(command);
        write(&it.peer, b"through a child").expect("a connection");
        let echo = read(&it.peer);
        rustix::net::shutdown(&it.peer, rustix::net::Shutdown::Write).expect("a connection");
        let is_done = child.wait().expect("a child").success();
        (echo, is_done, read_all(&it.peer))
    });
}

#[test]
fn killing_the_child_closes_the_connection() {
    same(|it| {
        let mut command = Command::new("sleep");
        let mut child = command.arg("1000").stdin(it.near).spawn().expect("sleep");
        drop(command);
        child.kill().expect("a child");
        child.wait().expect("a child");
        read(&it.peer)
    });
}

#[test]
fn a_shell_writes_to_it() {
    same(|it| {
        let mut command = Command::new("sh");
        command.args(["-c", "printf hello; printf ' there'"]).stdin(Stdio::null());
        let mut child = command.stdout(it.near).spawn().expect("a shell");
        drop(command);
        child.wait().expect("a child");
        read_all(&it.peer)
    });
}

#[test]
fn sendfile_sends_a_file() {
    let mut file = tempfile::tempfile().expect("a folder for temporary files");
    let content: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    file.write_all(&content).expect("space");
    file.rewind().expect("a file");
    same(|it| {
        let mut offset = 0;
        let (file, len) = (file.try_clone().expect("a descriptor"), content.len());
        let sender = std::thread::spawn(move || {
            while (offset as usize) < len {
                sendfile(&it.near, &file, Some(&mut offset), len).expect("a connection");
            }
        });
        let received = read_all(&it.peer);
        sender.join().expect("no panic");
        received == Ok(content.clone())
    });
}

#[test]
fn splice_moves_to_a_pipe_and_back() {
    same(|it| {
        write(&it.peer, b"spliced").expect("a connection");
        let (from, to) = pipe().expect("descriptors");
        let flags = SpliceFlags::empty();
        let n = splice(&it.near, None, &to, None, 100, flags).expect("a connection");
        splice(&from, None, &it.near, None, n, flags).expect("a connection");
        drop(it.near);
        (n, read_all(&it.peer))
    });
}

#[test]
fn std_streams_work_on_it() {
    same(|it| {
        // The family is another, which std does not look at.
        let mut near = std::net::TcpStream::from(it.near);
        let mut peer = std::net::TcpStream::from(it.peer);
        near.write_all(b"hello").expect("a connection");
        near.shutdown(std::net::Shutdown::Write).expect("a connection");
        let mut text = String::new();
        peer.read_to_string(&mut text).expect("a connection");
        text
    });
}
