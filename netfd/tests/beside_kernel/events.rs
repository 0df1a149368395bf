//! epoll by level, by edge and once, and select.

use crate::world::{Connection, read, same, write};
use nix::sys::select::{FdSet, select};
use nix::sys::time::TimeVal;
use rustix::event::Timespec;
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, modify, wait};
use rustix::net::{Shutdown, shutdown};
use std::os::fd::{AsFd, OwnedFd};

/// A set with one descriptor in it.
struct Set(OwnedFd);

impl Set {
    fn new(fd: impl AsFd, flags: EventFlags) -> Self {
        let set = create(CreateFlags::CLOEXEC).expect("descriptors");
        add(&set, fd, EventData::new_u64(1), flags).expect("a descriptor");
        Self(set)
    }

    /// The events, after at most so many seconds.
    fn wait(&self, seconds: i64) -> Vec<EventFlags> {
        let mut events: Vec<Event> = Vec::with_capacity(8);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut events);
        wait(&self.0, spare, Some(&timeout)).expect("a set");
        // A packed field is copied.
        events.iter().map(|event| event.flags).collect()
    }
}

#[test]
fn epoll_by_level_repeats_itself() {
    same(|it| {
        let set = Set::new(&it.near, EventFlags::IN);
        let before = set.wait(0);
        write(&it.peer, b"ab").expect("a connection");
        let seen = [set.wait(30), set.wait(0)];
        (before, seen, read(&it.near), set.wait(0))
    });
}

#[test]
fn epoll_by_edge_comes_once_for_each_arrival() {
    same(|it| {
        let set = Set::new(&it.near, EventFlags::IN | EventFlags::ET);
        let mut seen = vec![set.wait(0)];
        for part in [b"a", b"b"] {
            write(&it.peer, part).expect("a connection");
            seen.extend([set.wait(30), set.wait(0)]);
        }
        shutdown(&it.peer, Shutdown::Write).expect("a connection");
        seen.push(set.wait(30));
        (seen, read(&it.near), read(&it.near))
    });
}

#[test]
fn epoll_once_has_to_be_armed_again() {
    same(|it| {
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        let set = Set::new(&it.near, flags);
        write(&it.peer, b"a").expect("a connection");
        let seen = [set.wait(30), set.wait(0)];
        modify(&set.0, &it.near, EventData::new_u64(1), flags).expect("it is in the set");
        (seen, set.wait(30))
    });
}

#[test]
fn epoll_says_that_the_peer_has_half_closed() {
    same(|it| {
        let set = Set::new(&it.near, EventFlags::IN | EventFlags::RDHUP | EventFlags::ET);
        shutdown(&it.peer, Shutdown::Write).expect("a connection");
        set.wait(30)
    });
}

#[test]
fn epoll_says_that_the_peer_has_reset() {
    same(|it| {
        let set = Set::new(&it.near, EventFlags::IN | EventFlags::OUT);
        write(&it.near, b"unread").expect("a connection");
        crate::world::wait_for(&it.peer, rustix::event::PollFlags::IN);
        drop(it.peer);
        crate::world::wait_for(&it.near, rustix::event::PollFlags::ERR);
        set.wait(30)
    });
}

#[test]
fn select_sees_what_poll_does() {
    let ready = |it: &Connection, seconds| {
        let (mut reads, mut writes) = (FdSet::new(), FdSet::new());
        reads.insert(it.near.as_fd());
        writes.insert(it.near.as_fd());
        let mut timeout = TimeVal::new(seconds, 0);
        let n = select(None, &mut reads, &mut writes, None, &mut timeout).expect("descriptors");
        (n, reads.contains(it.near.as_fd()), writes.contains(it.near.as_fd()))
    };
    same(|it| {
        let before = ready(&it, 30);
        write(&it.peer, b"a").expect("a connection");
        crate::world::wait_for(&it.near, rustix::event::PollFlags::IN);
        (before, ready(&it, 30))
    });
}
