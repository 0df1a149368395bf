//! The bytes between a TCP connection and its handle.

use super::Core;
use crate::doorbell::Events;
use crate::error::Error;
use crate::queue::End;
use crate::queue::{Received, StreamQueue, WaitKey};
use crate::sync::Arc;
use loom::future::block_on;
use loom::thread;
use std::future::poll_fn;
use std::task::Waker;

#[test]
fn either_the_stack_sees_the_room_or_the_reader_rings() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(4);
        queue.push_received(Received::Copy(b"abcd"), &mut Vec::new());
        let reading = spawn(&queue, |queue| {
            let mut buffer = [0; 3];
            assert_eq!(queue.try_recv(&mut buffer), Ok(3));
            assert_eq!(queue.try_recv(&mut buffer), Ok(1));
        });

        let room = queue.recv_room();

        reading.join().expect("no panic");
        let rung = core.attend(queue.bell());
        let is_told = rung.is_some_and(|events| events.contains(Events::RECV_ROOM));
        assert!(is_told == (room == 0), "{room} bytes of room, rung for {rung:?}");
    });
}

/// The whole way: more bytes than the queue holds, from a stack that stops at a full queue and goes
/// on only when it is told to.
#[test]
fn a_stalled_stream_goes_on_until_all_is_read() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(2);
        let reading = spawn(&queue, |queue| {
            let mut received = Vec::new();
            while received.len() < 4 {
                received.extend(block_on(read(queue)).expect("open"));
            }
            received
        });

        let mut left: &[u8] = b"abcd";
        let mut wakes = Vec::new();
        loop {
            let room = queue.recv_room().min(left.len());
            if room > 0 {
                queue.push_received(Received::Copy(&left[..room]), &mut wakes);
                left = &left[room..];
                wakes.drain(..).for_each(Waker::wake);
            }
            if left.is_empty() {
                break;
            }
            while room == 0 && core.attend(queue.bell()).is_none() {
                thread::yield_now();
            }
        }

        assert_eq!(reading.join().expect("no panic"), b"abcd");
    });
}

#[test]
fn what_a_write_took_leaves_before_the_end_of_the_stream() {
    closed_against_written(1);
}

/// The same for a write that copies without holding the lock.
#[test]
fn what_a_large_write_took_leaves_before_the_end_of_the_stream() {
    closed_against_written(20_000);
}

fn closed_against_written(len: usize) {
    loom::model(move || {
        let core = Core::new();
        let queue = core.stream(30_000);
        let writing = spawn(&queue, move |queue| queue.try_send(&vec![7; len]));
        let closing = spawn(&queue, |queue| queue.shutdown_send());
        let mut taken = 0;
        let mut is_finished = false;
        let mut serve = || {
            if core.attend(queue.bell()).is_none() {
                return false;
            }
            while let Some(chunk) = queue.take_to_send(usize::MAX, &mut Vec::new()) {
                assert!(!is_finished, "bytes after the end of the stream");
                taken += chunk.len();
            }
            is_finished |= queue.is_send_finished();
            true
        };

        serve();

        let written = writing.join().expect("no panic");
        assert_eq!(closing.join().expect("no panic"), Ok(()));
        while serve() {}
        assert!(is_finished, "the end of the stream was lost");
        assert!(matches!(written, Ok(_) | Err(Error::Shutdown)), "{written:?}");
        assert_eq!(taken, written.unwrap_or(0));
    });
}

#[test]
fn a_writer_learns_that_the_connection_ended() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(1);
        assert_eq!(queue.try_send(b"a"), Ok(1));
        let writing = spawn(&queue, |queue| block_on(write(queue)));

        let mut wakes = Vec::new();
        queue.finish(Err(Error::Reset), End::Failed(Error::Reset), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        assert_eq!(writing.join().expect("no panic"), Err(Error::Reset));
    });
}

#[test]
fn a_failure_is_told_once_to_reader_or_writer() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(1);
        assert_eq!(queue.try_send(b"a"), Ok(1));
        let reading = spawn(&queue, |queue| block_on(read(queue)));
        let writing = spawn(&queue, |queue| block_on(write(queue)));

        let mut wakes = Vec::new();
        queue.finish(Err(Error::Reset), End::Failed(Error::Reset), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        let ends = (reading.join().expect("no panic"), writing.join().expect("no panic"));
        let told_to_reader = (Err(Error::Reset), Err(Error::Ended));
        let told_to_writer = (Ok(Vec::new()), Err(Error::Reset));
        assert!(ends == told_to_reader || ends == told_to_writer, "{ends:?}");
        assert_eq!(queue.take_error(), None);
    });
}

/// What `try_io` does: looks, finds less than it wants, and says so.
#[test]
fn a_reader_that_wants_more_hears_of_each_arrival() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(4);
        let reading = spawn(&queue, |queue| {
            let mut key = WaitKey::default();
            block_on(async {
                loop {
                    poll_fn(|cx| queue.poll_read_ready(&mut key, cx.waker())).await;
                    let seen = queue.recv_state();
                    if queue.try_peek(&mut [0; 2]) == Ok(2) {
                        break;
                    }
                    queue.clear_readable(seen.tick);
                }
            });
        });

        for byte in [b"a", b"b"] {
            let mut wakes = Vec::new();
            queue.push_received(Received::Copy(byte), &mut wakes);
            wakes.into_iter().for_each(Waker::wake);
        }

        reading.join().expect("no panic");
    });
}

#[test]
fn a_writer_that_wants_more_room_hears_of_all_that_is_made() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(2);
        assert_eq!(queue.try_send(b"ab"), Ok(2));
        let writing = spawn(&queue, |queue| {
            let mut key = WaitKey::default();
            block_on(async {
                loop {
                    poll_fn(|cx| queue.poll_write_ready(&mut key, cx.waker())).await;
                    let seen = queue.send_state();
                    if queue.queued().1 == 0 {
                        break;
                    }
                    queue.clear_writable(seen.tick);
                }
            });
        });

        for _ in 0..2 {
            let mut wakes = Vec::new();
            assert!(queue.take_to_send(1, &mut wakes).is_some());
            wakes.into_iter().for_each(Waker::wake);
        }

        writing.join().expect("no panic");
    });
}

#[test]
fn a_reader_learns_of_the_end_after_the_bytes() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(4);
        let reading = spawn(&queue, |queue| {
            let first = block_on(read(queue));
            (first, block_on(read(queue)))
        });

        let mut wakes = Vec::new();
        queue.push_received(Received::Copy(b"a"), &mut wakes);
        queue.finish(Err(Error::Reset), End::Failed(Error::Reset), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        let read = reading.join().expect("no panic");
        assert_eq!(read, (Ok(b"a".to_vec()), Err(Error::Reset)));
    });
}

#[test]
fn another_handle_that_shuts_down_wakes_both_sides() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(1);
        assert_eq!(queue.try_send(b"a"), Ok(1));
        let reading = spawn(&queue, |queue| block_on(read(queue)));
        let writing = spawn(&queue, |queue| block_on(write(queue)));

        queue.shutdown_recv();
        assert_eq!(queue.shutdown_send(), Ok(()));

        assert_eq!(reading.join().expect("no panic"), Ok(Vec::new()));
        assert_eq!(writing.join().expect("no panic"), Err(Error::Shutdown));
    });
}

#[test]
fn a_reader_and_a_writer_are_each_woken_for_their_own() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(1);
        assert_eq!(queue.try_send(b"a"), Ok(1));
        let reading = spawn(&queue, |queue| block_on(read(queue)));
        let writing = spawn(&queue, |queue| block_on(write(queue)));

        let mut wakes = Vec::new();
        let taken = queue.take_to_send(usize::MAX, &mut wakes);
        assert_eq!(taken.as_deref(), Some(&b"a"[..]));
        queue.push_received(Received::Copy(b"b"), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        assert_eq!(writing.join().expect("no panic"), Ok(1));
        assert_eq!(reading.join().expect("no panic"), Ok(b"b".to_vec()));
    });
}

#[test]
fn a_reader_that_gives_up_takes_no_wake_up_from_another() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(4);
        let giving_up = spawn(&queue, |queue| {
            let mut key = WaitKey::default();
            let _ = queue.poll_readable(&mut key, Waker::noop());
            queue.forget_reader(&key);
        });
        let reading = spawn(&queue, |queue| block_on(read(queue)));

        let mut wakes = Vec::new();
        queue.push_received(Received::Copy(b"a"), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        giving_up.join().expect("no panic");
        assert_eq!(reading.join().expect("no panic"), Ok(b"a".to_vec()));
    });
}

fn spawn<T: 'static>(
    queue: &Arc<StreamQueue>,
    part: impl FnOnce(&StreamQueue) -> T + 'static,
) -> thread::JoinHandle<T> {
    let queue = queue.clone();
    thread::spawn(move || part(&queue))
}

/// Reads as netsocket does: try, wait, try again.
async fn read(queue: &StreamQueue) -> Result<Vec<u8>, Error> {
    let mut key = WaitKey::default();
    let mut buffer = [0; 4];
    loop {
        match queue.try_recv(&mut buffer) {
            Ok(n) => return Ok(buffer[..n].to_vec()),
            Err(Error::WouldBlock) => {
                poll_fn(|cx| queue.poll_readable(&mut key, cx.waker())).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn write(queue: &StreamQueue) -> Result<usize, Error> {
    let mut key = WaitKey::default();
    loop {
        match queue.try_send(b"z") {
            Err(Error::WouldBlock) => {
                poll_fn(|cx| queue.poll_writable(&mut key, cx.waker())).await;
            }
            result => return result,
        }
    }
}
