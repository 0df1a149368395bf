//! Listeners and accept.

use crate::world::{Ours, events, read, read_all, same_listening, wait_for, write};
use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio};
use std::os::fd::OwnedFd;

#[test]
fn a_listener_is_readable_while_a_connection_waits() {
    same_listening(|it| {
        let before = events(&it.listener);
        let first = (it.connect)();
        let waiting = wait_for(&it.listener, PollFlags::IN);
        let accepted = (it.accept)(&it.listener).expect("a client");
        let after = events(&it.listener);
        drop((first, accepted));
        (before, waiting, after)
    });
}

#[test]
fn each_waiting_connection_is_accepted_once() {
    same_listening(|it| {
        ioctl_fionbio(&it.listener, true).expect("a descriptor");
        let clients: Vec<OwnedFd> = (0..100).map(|_| (it.connect)()).collect();
        let mut accepted = Vec::new();
        while accepted.len() < clients.len() {
            wait_for(&it.listener, PollFlags::IN);
            accepted.push((it.accept)(&it.listener).expect("it is readable"));
        }
        let none = (it.accept)(&it.listener).map(drop).map_err(|error| error.kind());
        // The oldest first.
        let texts: Vec<_> = clients
            .iter()
            .zip(&accepted)
            .map(|(client, accepted)| {
                write(client, b"hi").expect("a connection");
                read(accepted)
            })
            .collect();
        (none, events(&it.listener), texts)
    });
}

#[test]
fn a_blocking_accept_waits() {
    same_listening(|it| {
        let client = (it.connect)();
        let accepted = (it.accept)(&it.listener).expect("a client");
        write(&accepted, b"welcome").expect("a connection");
        drop(accepted);
        read_all(&client)
    });
}

#[test]
fn copies_of_a_listener_accept_from_one_queue() {
    same_listening(|it| {
        let copy = it.listener.try_clone().expect("a descriptor");
        drop(it.listener);
        let client = (it.connect)();
        wait_for(&copy, PollFlags::IN);
        let accepted = (it.accept)(&copy).expect("a client");
        write(&client, b"x").expect("a connection");
        read(&accepted)
    });
}

#[test]
fn closing_a_listener_resets_waiting_connections() {
    same_listening(|it| {
        let client = (it.connect)();
        wait_for(&it.listener, PollFlags::IN);
        drop(it.listener);
        wait_for(&client, PollFlags::ERR | PollFlags::HUP);
        read(&client)
    });
}

#[test]
fn accepted_connections_outlive_their_listener() {
    same_listening(|it| {
        let client = (it.connect)();
        let accepted = (it.accept)(&it.listener).expect("a client");
        drop(it.listener);
        write(&client, b"still").expect("a connection");
        read(&accepted)
    });
}

#[test]
fn names_are_those_of_the_connection() {
    let world = Ours::new();
    let listener = world.listener();
    let client = world.client();
    let (accepted, peer) = netfd::accept(&listener).expect("a client");

    assert_eq!(netfd::local_addr(&listener).ok(), "10.0.0.2:80".parse().ok());
    assert_eq!(netfd::peer_addr(&client).ok(), "10.0.0.2:80".parse().ok());
    assert_eq!(netfd::local_addr(&client).expect("it is open"), peer);
    assert_eq!(netfd::peer_addr(&accepted).expect("it is open"), peer);

    drop((listener, client, accepted));
    world.finish();
}

#[test]
fn a_connection_given_back_is_the_next() {
    let world = Ours::new();
    let listening = world.far.net().tcp_listen("10.0.0.2:80");
    let (near, backlog) = world.runtime.block_on(async {
        let listener = listening.await.expect("a free port");
        let (near, end) = netfd::stream_pair(netfd::Mode::Nonblocking).expect("descriptors");
        let backlog = end.listen(listener, &near).expect("a near end");
        (near, backlog)
    });
    let serving = backlog.clone();
    let task = world.runtime.spawn(async move { serving.serve().await });
    let clients = [world.client(), world.client()];
    wait_for(&near, PollFlags::IN);
    let (stream, peer) = backlog.try_accept(&near).expect("it is readable");
    backlog.put_back(stream, peer);

    let mut accepted = Vec::new();
    while accepted.len() < clients.len() {
        wait_for(&near, PollFlags::IN);
        accepted.push(backlog.try_accept(&near).expect("it is readable"));
    }
    assert_eq!(accepted[0].1, peer);
    assert_eq!(events(&near), PollFlags::empty());

    drop((near, accepted, clients));
    world.runtime.block_on(task).expect("no panic").expect("a running stack");
    drop(backlog);
    world.finish();
}

#[test]
fn options_are_those_of_the_connection() {
    let world = Ours::new();
    let listener = world.listener();
    let client = world.client();
    let stream = netfd::tcp_stream(&client).expect("it is open");
    stream.set_nodelay(true).expect("it is open");
    assert_eq!(netfd::tcp_stream(&client).and_then(|stream| stream.nodelay()).ok(), Some(true));
    assert!(netfd::tcp_stream(&listener).is_err());

    drop((listener, client, stream));
    world.finish();
}

#[test]
fn a_connection_reset_before_accept_reads_the_reset() {
    let world = Ours::new();
    let listener = world.listener();
    let client = world.client();
    wait_for(&listener, PollFlags::IN);
    let stream = netfd::tcp_stream(&client).expect("it is open");
    stream.set_zero_linger().expect("it is open");
    drop((stream, client));

    let (accepted, _) = netfd::accept(&listener).expect("a client");
    assert_eq!(read(&accepted), Err(Errno::CONNRESET));
    drop((listener, accepted));
    world.finish();
}
