//! Non-blocking connection attempts.

use crate::world::{Ours, events, read, wait_for, write};
use netfd::{Mode, StreamEnd};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A socket of the kernel that connects to a port of loopback.
fn kernel_attempt(to: SocketAddr) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let near = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let near = near.expect("descriptors");
    assert_eq!(connect(&near, &to), Err(Errno::INPROGRESS));
    near
}

/// A pair on which an attempt has begun.
fn attempt(world: &Ours) -> (OwnedFd, netfd::Connecting) {
    let _guard = world.runtime.enter();
    let (near, end) = netfd::stream_pair(Mode::Nonblocking).expect("descriptors");
    let connecting = end.connecting(&near).expect("a near end");
    (near, connecting)
}

fn carry(world: &Ours, end: StreamEnd) {
    let stream = world.runtime.block_on(world.near.net().tcp_connect("10.0.0.2:80"));
    drop(world.runtime.spawn(end.carry(Arc::new(stream.expect("a listener")), |_| None)));
}

#[test]
fn an_attempt_is_writable_once_it_has_succeeded() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let kernel = kernel_attempt(listener.local_addr().expect("it is bound"));
    let expected = (wait_for(&kernel, PollFlags::OUT), socket_error(&kernel).expect("a socket"));

    let world = Ours::new();
    let listener = world.listener();
    let (near, connecting) = attempt(&world);
    assert_eq!(events(&near), PollFlags::empty());
    carry(&world, connecting.finish().expect("the filler"));
    let seen = (wait_for(&near, PollFlags::OUT), socket_error(&near).expect("a socket"));
    assert_eq!(seen, expected);

    // Nothing of the filler is sent.
    let (accepted, _) = netfd::accept(&listener).expect("a client");
    write(&near, b"first").expect("a connection");
    assert_eq!(read(&accepted), Ok(b"first".to_vec()));
    drop((listener, near, accepted));
    world.finish();
}

#[test]
fn a_refused_attempt_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let kernel = kernel_attempt(free.expect("loopback"));
    let expected = wait_for(&kernel, PollFlags::ERR);

    let world = Ours::new();
    let (near, connecting) = attempt(&world);
    let refused = world.runtime.block_on(world.near.net().tcp_connect("10.0.0.2:81"));
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
    connecting.fail();
    assert_eq!(wait_for(&near, PollFlags::ERR), expected);

    // Once, as on the kernel, where it is ECONNREFUSED.
    assert_eq!(socket_error(&kernel), Ok(Err(Errno::CONNREFUSED)));
    assert_eq!(socket_error(&near), Ok(Err(Errno::CONNRESET)));
    assert_eq!(socket_error(&near), socket_error(&kernel));
    assert_eq!(read(&near), read(&kernel));
    world.finish();
}

#[test]
fn a_closed_descriptor_ends_the_attempt() {
    let world = Ours::new();
    let (near, connecting) = attempt(&world);
    drop(near);
    // Else this waits for ever.
    world.runtime.block_on(connecting.closed());
    world.finish();
}

#[test]
fn bytes_written_meanwhile_are_sent_afterwards() {
    let world = Ours::new();
    let listener = world.listener();
    let (near, connecting) = attempt(&world);
    write(&near, b"early").expect("room");
    carry(&world, connecting.finish().expect("the filler"));
    let (accepted, _) = netfd::accept(&listener).expect("a client");
    assert_eq!(read(&accepted), Ok(b"early".to_vec()));
    drop((listener, near, accepted));
    world.finish();
}

#[test]
fn copies_made_before_it_are_of_the_connection() {
    let world = Ours::new();
    let listener = world.listener();
    let (near, connecting) = attempt(&world);
    let copy = near.try_clone().expect("a descriptor");
    let set = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC);
    let set = set.expect("descriptors");
    let flags = rustix::event::epoll::EventFlags::OUT | rustix::event::epoll::EventFlags::ET;
    let data = rustix::event::epoll::EventData::new_u64(1);
    rustix::event::epoll::add(&set, &copy, data, flags).expect("a descriptor");
    carry(&world, connecting.finish().expect("the filler"));

    let mut seen = Vec::with_capacity(1);
    let timeout = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    let spare = rustix::buffer::spare_capacity(&mut seen);
    rustix::event::epoll::wait(&set, spare, Some(&timeout)).expect("a set");
    assert_eq!(
        seen.iter().map(|event| { event.flags }).collect::<Vec<_>>(),
        [rustix::event::epoll::EventFlags::OUT]
    );

    drop(near);
    let (accepted, _) = netfd::accept(&listener).expect("a client");
    write(&copy, b"x").expect("a connection");
    assert_eq!(read(&accepted), Ok(b"x".to_vec()));
    drop((listener, copy, accepted));
    world.finish();
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_the_stream() {
    let world = Ours::new();
    let listener = world.listener();
    let near = world.client();
    drop(world);
    assert_eq!(read(&near), Ok(Vec::new()));
    assert_eq!(write(&near, b"x"), Err(Errno::PIPE));
    drop(listener);
}
