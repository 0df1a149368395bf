//! UDP, connected and not.

use crate::world::{Calls, Ours, events, read, same_datagrams, wait_for, write};
use rustix::event::PollFlags;
use rustix::io::ioctl_fionbio;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

#[test]
fn connected_sockets_keep_datagrams_apart() {
    same_datagrams(|it| {
        it.calls.connect(&it.near, it.calls.local(&it.peer));
        it.calls.connect(&it.peer, it.calls.local(&it.near));
        let sent = [&b"one"[..], b"", b"three"].map(|part| write(&it.near, part));
        (sent, [read(&it.peer), read(&it.peer), read(&it.peer)], events(&it.peer))
    });
}

#[test]
fn bytes_beyond_the_buffer_are_discarded() {
    same_datagrams(|it| {
        it.calls.connect(&it.peer, it.calls.local(&it.near));
        write(&it.peer, &[7; 2000]).expect("a peer");
        write(&it.peer, b"next").expect("a peer");
        it.calls.connect(&it.near, it.calls.local(&it.peer));
        (read(&it.near).map(|data| data.len()), read(&it.near))
    });
}

#[test]
fn the_longest_datagram_arrives_and_longer_ones_fail() {
    same_datagrams(|it| {
        it.calls.connect(&it.near, it.calls.local(&it.peer));
        let sent = write(&it.near, &vec![7; 65_507]);
        let mut buf = vec![0; 65_536];
        let received = it.calls.recv_from(&it.peer, &mut buf).expect("a datagram");
        let is_from_near = received.1 == it.calls.local(&it.near);
        (sent, received.0, is_from_near, write(&it.near, &vec![7; 66_000]))
    });
}

#[test]
fn each_datagram_has_its_sender() {
    same_datagrams(|it| {
        let (to, peers) = (it.calls.local(&it.near), [&it.peer, &it.third]);
        for i in 0..100_usize {
            it.calls.send_to(peers[i % 2], &i.to_le_bytes(), to).expect("a receiver");
        }
        let mut seen = Vec::new();
        for _ in 0..100 {
            let mut buf = [0; 8];
            let (n, from) = it.calls.recv_from(&it.near, &mut buf).expect("a datagram");
            let i = usize::from_le_bytes(buf);
            seen.push((n, i, from == it.calls.local(peers[i % 2])));
        }
        seen.sort_unstable();
        seen
    });
}

#[test]
fn a_reader_without_addresses_gets_them_in_turn() {
    same_datagrams(|it| {
        let to = it.calls.local(&it.near);
        for part in [b"a", b"b", b"c"] {
            it.calls.send_to(&it.peer, part, to).expect("a receiver");
        }
        // Two past the address, and the third with it.
        let first = (read(&it.near), read(&it.near));
        let mut buf = [0; 8];
        let (n, from) = it.calls.recv_from(&it.near, &mut buf).expect("a datagram");
        (first, buf[..n].to_vec(), from == it.calls.local(&it.peer))
    });
}

#[test]
fn a_peeked_datagram_stays() {
    same_datagrams(|it| {
        it.calls.send_to(&it.peer, b"peek", it.calls.local(&it.near)).expect("a receiver");
        let mut buf = [0; 8];
        let peeked = it.calls.peek_from(&it.near, &mut buf).expect("a datagram");
        let received = it.calls.recv_from(&it.near, &mut buf).expect("a datagram");
        (peeked.0, received.0, peeked.1 == received.1)
    });
}

#[test]
fn a_socket_is_readable_while_a_datagram_waits() {
    same_datagrams(|it| {
        ioctl_fionbio(&it.near, true).expect("a descriptor");
        let mut buf = [0; 8];
        let none = it.calls.recv_from(&it.near, &mut buf).map(drop).map_err(|error| error.kind());
        let before = events(&it.near);
        it.calls.send_to(&it.peer, b"x", it.calls.local(&it.near)).expect("a receiver");
        let waiting = wait_for(&it.near, PollFlags::IN);
        it.calls.recv_from(&it.near, &mut buf).expect("a datagram");
        (none == Err(ErrorKind::WouldBlock), before, waiting, events(&it.near))
    });
}

#[test]
fn a_copy_keeps_the_socket_open() {
    same_datagrams(|it| {
        let copy = it.near.try_clone().expect("a descriptor");
        let to = it.calls.local(&copy);
        drop(it.near);
        it.calls.send_to(&it.peer, b"x", to).expect("a receiver");
        read(&copy)
    });
}

#[test]
fn closing_with_datagrams_unread_loses_none_that_were_sent() {
    same_datagrams(|it| {
        it.calls.connect(&it.near, it.calls.local(&it.peer));
        it.calls.send_to(&it.peer, b"unread", it.calls.local(&it.near)).expect("a receiver");
        wait_for(&it.near, PollFlags::IN);
        let sent = [write(&it.near, b"a"), write(&it.near, b"b")];
        drop(it.near);
        (sent, read(&it.peer), read(&it.peer))
    });
}

#[test]
fn a_port_unreachable_is_the_socket_error() {
    let world = Ours::new();
    let near = world.udp(&world.near, "10.0.0.1:0");
    world.connect(&near, "10.0.0.2:9".parse().expect("an address"));
    write(&near, b"anybody there?").expect("a peer");

    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        match netfd::take_error(&near).expect("it is open") {
            Some(error) => break error,
            None => assert!(Instant::now() < deadline, "no error"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(netfd::take_error(&near).expect("it is open").is_none());
    drop(near);
    world.finish();
}
