//! Half-close, close and reset.

use crate::world::{INTEREST, Ours, events, fill, read, read_all, same, wait_for, write};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::time::{Duration, Instant};

#[test]
fn a_fresh_connection_is_writable() {
    same(|it| events(&it.near));
}

#[test]
fn end_of_stream_is_read_after_all_bytes() {
    same(|it| {
        write(&it.peer, b"all").expect("a connection");
        shutdown(&it.peer, Shutdown::Write).expect("a connection");

        let seen = wait_for(&it.near, PollFlags::RDHUP);
        (seen, read_all(&it.near), events(&it.near))
    });
}

#[test]
fn a_half_closed_connection_still_receives() {
    same(|it| {
        write(&it.near, b"question").expect("a connection");
        shutdown(&it.near, Shutdown::Write).expect("a connection");
        let question = read_all(&it.peer);
        write(&it.peer, b"answer").expect("the other half is open");
        wait_for(&it.near, PollFlags::IN);
        let seen = events(&it.near);
        drop(it.peer);

        (question, seen, read_all(&it.near), wait_for(&it.near, PollFlags::HUP))
    });
}

#[test]
fn closing_is_the_end_of_the_stream_for_the_peer() {
    same(|it| {
        write(&it.near, b"last").expect("a connection");
        drop(it.near);

        let seen = wait_for(&it.peer, PollFlags::RDHUP);
        (seen, read_all(&it.peer))
    });
}

#[test]
fn one_of_two_copies_closed_closes_nothing() {
    same(|it| {
        let copy = it.near.try_clone().expect("a descriptor");
        drop(it.near);
        write(&copy, b"still here").expect("a connection");
        let first = read(&it.peer);
        let seen = events(&it.peer);
        drop(copy);

        (first, seen, read_all(&it.peer))
    });
}

#[test]
fn closing_with_bytes_unread_resets_the_peer() {
    same(|it| {
        write(&it.peer, b"unread").expect("a connection");
        wait_for(&it.near, PollFlags::IN);
        drop(it.near);

        let seen = wait_for(&it.peer, PollFlags::ERR | PollFlags::HUP);
        (seen, read(&it.peer), read(&it.peer), write(&it.peer, b"x"))
    });
}

#[test]
fn a_reset_is_read_after_all_bytes() {
    same(|it| {
        write(&it.near, b"unread").expect("a connection");
        wait_for(&it.peer, PollFlags::IN);
        write(&it.peer, b"before").expect("a connection");
        wait_for(&it.near, PollFlags::IN);
        drop(it.peer);

        wait_for(&it.near, PollFlags::ERR);
        (read(&it.near), read(&it.near), read(&it.near))
    });
}

#[test]
fn a_reset_is_the_socket_error_once() {
    same(|it| {
        write(&it.near, b"unread").expect("a connection");
        wait_for(&it.peer, PollFlags::IN);
        drop(it.peer);

        wait_for(&it.near, PollFlags::ERR);
        let error = || rustix::net::sockopt::socket_error(&it.near).expect("a socket");
        (error(), error(), read(&it.near))
    });
}

#[test]
fn writing_after_shutdown_is_a_broken_pipe() {
    same(|it| {
        shutdown(&it.near, Shutdown::Write).expect("a connection");
        write(&it.near, b"x")
    });
}

#[test]
fn reading_after_shutdown_is_the_end_of_the_stream() {
    same(|it| {
        shutdown(&it.near, Shutdown::Read).expect("a connection");
        let answers = (read(&it.near), events(&it.near), write(&it.peer, b"into the void"));
        // The other half is open.
        (answers, write(&it.near, b"x"), read(&it.peer))
    });
}

#[test]
fn both_halves_shut_down_hang_up() {
    same(|it| {
        shutdown(&it.near, Shutdown::Write).expect("a connection");
        shutdown(&it.peer, Shutdown::Write).expect("a connection");

        let near = wait_for(&it.near, PollFlags::HUP);
        (near, wait_for(&it.peer, PollFlags::HUP), read(&it.near))
    });
}

#[test]
fn writing_to_a_closed_peer_fails_in_the_end() {
    same(|it| {
        drop(it.peer);
        wait_for(&it.near, PollFlags::RDHUP);
        // The peer answers the first bytes with a reset.
        let first = write(&it.near, b"x");
        wait_for(&it.near, PollFlags::HUP);
        (first, write(&it.near, b"x"), events(&it.near).intersection(INTEREST))
    });
}

#[test]
fn a_writer_that_never_reads_sees_the_reset() {
    same(|it| {
        rustix::io::ioctl_fionbio(&it.near, true).expect("a descriptor");
        // The peer sends more than fits between the two, and gives up.
        rustix::io::ioctl_fionbio(&it.peer, true).expect("a descriptor");
        let block = [7; 1 << 16];
        while events(&it.peer).contains(PollFlags::OUT) {
            let _ = write(&it.peer, &block);
        }
        write(&it.near, b"unread").expect("a connection");
        wait_for(&it.peer, PollFlags::IN);
        drop(it.peer);

        // Kernel and ours differ in how the first write after it fails, not in that they fail.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match write(&it.near, b"x") {
                Err(Errno::PIPE | Errno::CONNRESET) => return true,
                _ if Instant::now() > deadline => return false,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    });
}

#[test]
fn a_reset_shows_at_a_copy_with_another_number() {
    same(|it| {
        let copy = it.near.try_clone().expect("a descriptor");
        drop(it.near);
        write(&copy, b"unread").expect("a connection");
        wait_for(&it.peer, PollFlags::IN);
        drop(it.peer);

        wait_for(&copy, PollFlags::ERR);
        read(&copy)
    });
}

#[test]
fn a_half_closed_writer_is_reset_by_close() {
    same(|it| {
        shutdown(&it.near, Shutdown::Write).expect("a connection");
        wait_for(&it.peer, PollFlags::RDHUP);
        write(&it.peer, b"unread").expect("the other half is open");
        wait_for(&it.near, PollFlags::IN);
        drop(it.near);

        // The kernel has POLLERR, too: a reset after the end is EPIPE, which no pair can have.
        let seen = wait_for(&it.peer, PollFlags::HUP).difference(PollFlags::ERR);
        (seen, read(&it.peer), write(&it.peer, b"x"))
    });
}

#[test]
fn both_halves_shut_down_at_once_end_the_stream() {
    same(|it| {
        write(&it.near, b"last").expect("a connection");
        shutdown(&it.near, Shutdown::Both).expect("a connection");
        let near = (wait_for(&it.near, PollFlags::HUP), read(&it.near), write(&it.near, b"x"));
        (near, read_all(&it.peer))
    });
}

#[test]
fn a_closed_descriptor_is_given_up_with_its_peer() {
    let world = Ours::new();
    let listening = world.far.net().tcp_listen("10.0.0.2:80");
    let listener = world.runtime.block_on(listening).expect("a free port");
    let near = world.client();
    let (peer, _) = world.runtime.block_on(listener.accept()).expect("a client");
    let stream = netfd::tcp_stream(&near).expect("it is open");
    stream.set_user_timeout(Some(Duration::from_secs(1))).expect("it is open");
    drop(stream);
    // More than the peer, which never reads, has room for.
    fill(&near);
    drop(near);

    // While the peer is still there.
    world.wait_for_sockets(&world.near, 0);
    drop((peer, listener));
    world.finish();
}
