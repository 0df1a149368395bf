//! Listeners and accept.

use crate::world::{Ours, events, read, read_all, same_listening, wait_for, write};
use rustix::event::PollFlags;
use rustix::io::ioctl_fionbio;
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
