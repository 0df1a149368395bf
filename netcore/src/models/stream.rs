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
fn stack_sees_the_room_or_the_reader_rings() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(4);
        queue.push_received(Received::Copy(b"abcd"), &mut Vec::new());
        let reading = spawn(&queue, |queue| {
            let mut buffer = [0; 3];
            assert_eq!(queue.try_recv(&mut buffer), Ok(3));
            assert_eq!(queue.try_recv(&mut buffer), Ok(1));
        });

        let room = 4 - queue.recv_unread(4, 2).held;

        reading.join().expect("no panic");
        let rung = core.take_events(queue.bell());
        let is_rung = rung.is_some_and(|events| events.contains(Events::RECV_ROOM));
        assert!(is_rung == (room < 2), "{room} bytes of room, rung for {rung:?}");
    });
}

/// More bytes than the queue holds, from a stack that stops at a full queue and continues only
/// after a ring.
#[test]
fn stalled_stream_continues_until_all_is_read() {
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
            let room = (2 - queue.recv_unread(2, 1).held).min(left.len());
            if room > 0 {
                queue.push_received(Received::Copy(&left[..room]), &mut wakes);
                left = &left[room..];
                wakes.drain(..).for_each(Waker::wake);
            }
            if left.is_empty() {
                break;
            }
            while room == 0 && core.take_events(queue.bell()).is_none() {
                thread::yield_now();
            }
        }

        assert_eq!(reading.join().expect("no panic"), b"abcd");
    });
}

#[test]
fn written_bytes_are_sent_before_the_fin() {
    closed_against_written(1);
}

/// Likewise for a write that copies without holding the lock.
#[test]
fn large_write_is_sent_before_the_fin() {
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
            if core.take_events(queue.bell()).is_none() {
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
fn writer_is_woken_when_the_connection_ends() {
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
fn failure_is_reported_once_to_reader_or_writer() {
    loom::model(|| {
        let core = Core::new();
        let queue = core.stream(1);
        assert_eq!(queue.try_send(b"a"), Ok(1));
        let reading = spawn(&queue, |queue| block_on(read(queue)));
        let writing = spawn(&queue, |queue| block_on(write(queue)));

        let mut wakes = Vec::new();
        queue.finish(Err(Error::Reset), End::Failed(Error::Reset), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        let results = (reading.join().expect("no panic"), writing.join().expect("no panic"));
        let reported_to_reader = (Err(Error::Reset), Err(Error::Ended));
        let reported_to_writer = (Ok(Vec::new()), Err(Error::Reset));
        assert!(results == reported_to_reader || results == reported_to_writer, "{results:?}");
        assert_eq!(queue.take_error(), None);
    });
}

/// As `try_io`: checks, finds too little, and clears the readiness.
#[test]
fn reader_that_needs_more_is_woken_by_each_arrival() {
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
fn writer_that_needs_more_room_is_woken_by_each_increase() {
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
fn reader_gets_the_end_after_the_bytes() {
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
fn shutdown_by_another_handle_wakes_both_sides() {
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
fn reader_and_writer_are_woken_separately() {
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
fn cancelled_reader_takes_no_wake_up_from_another() {
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
