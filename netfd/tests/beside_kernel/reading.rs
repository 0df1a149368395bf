//! Reads and writes with flags, and back-pressure.

use crate::world::{events, fill, read_all, same, wait_for, write};
use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio, ioctl_fionread};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::os::fd::AsFd;

fn recv_with(fd: impl AsFd, len: usize, flags: RecvFlags) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; len];
    let (n, _) = recv(fd, &mut buf[..], flags)?;
    Ok(buf[..n].to_vec())
}

#[test]
fn peeked_bytes_stay() {
    same(|it| {
        write(&it.peer, b"abc").expect("a connection");
        let peeked = recv_with(&it.near, 2, RecvFlags::PEEK);
        (peeked, recv_with(&it.near, 10, RecvFlags::empty()))
    });
}

#[test]
fn waitall_waits_for_all() {
    same(|it| {
        let writer = std::thread::spawn({
            let peer = it.peer.try_clone().expect("a descriptor");
            move || [&b"ab"[..], b"cd"].map(|part| write(&peer, part))
        });
        let all = recv_with(&it.near, 4, RecvFlags::WAITALL);
        (all, writer.join().expect("no panic"))
    });
}

#[test]
fn nothing_to_read_would_block() {
    same(|it| {
        let once = recv_with(&it.near, 1, RecvFlags::DONTWAIT);
        ioctl_fionbio(&it.near, true).expect("a descriptor");
        (once, recv_with(&it.near, 1, RecvFlags::empty()))
    });
}

#[test]
fn waiting_bytes_are_counted() {
    same(|it| {
        write(&it.peer, b"abc").expect("a connection");
        wait_for(&it.near, PollFlags::IN);
        ioctl_fionread(&it.near).expect("a socket")
    });
}

#[test]
fn a_full_connection_is_not_writable_until_it_is_read() {
    same(|it| {
        let sent = fill(&it.near);
        assert!(sent < 64 << 20, "{sent} bytes without a reader");
        let is_writable = events(&it.near).contains(PollFlags::OUT);
        let reader = std::thread::spawn(move || read_all(&it.peer).map(|data| data.len()));
        wait_for(&it.near, PollFlags::OUT);
        shutdown(&it.near, Shutdown::Write).expect("a connection");
        (is_writable, reader.join().expect("no panic") == Ok(sent))
    });
}

#[test]
fn bytes_arrive_in_order_and_once() {
    same(|it| {
        let data: Vec<u8> = (0..3_000_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let expected = data.clone();
        let writer = std::thread::spawn(move || {
            let mut left = &data[..];
            while !left.is_empty() {
                let n = write(&it.near, &left[..left.len().min(12_345)]).expect("a reader");
                left = &left[n..];
            }
        });
        let received = read_all(&it.peer);
        writer.join().expect("no panic");
        received == Ok(expected)
    });
}
