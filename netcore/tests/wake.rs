//! Wakers: which of them are called, and how often.

mod harness;

use harness::{Pair, Side, addr, read};
use netcore::queue::{DatagramQueue, SocketQueue, WaitKey};
use netcore::{tcp, udp};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

#[test]
fn many_frames_of_one_round_wake_a_reader_once() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let (count, waker) = counting();
    assert!(far.poll_readable(&mut WaitKey::default(), &waker).is_pending());

    // Ten segments that wait on the wire before the far end looks.
    assert_eq!(near.try_send(&[7; 14_000]), Ok(14_000));
    pair.near.stack.poll_device_io(pair.now, &mut pair.near.device);
    pair.run();

    assert_eq!(count.get(), 1);
    assert_eq!(read(&far, 20_000).map(|bytes| bytes.len()), Ok(14_000));
    end(&mut pair, [&near, &far], listener);
}

#[test]
fn reader_is_not_woken_by_write_events() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let (count, waker) = counting();
    assert!(near.poll_readable(&mut WaitKey::default(), &waker).is_pending());

    while near.try_send(&[7; 50_000]).is_ok() {
        pair.run();
    }
    while read(&far, 100_000).is_ok() {
        pair.run();
    }

    assert_eq!(count.get(), 0);
    assert_eq!(far.try_send(b"x"), Ok(1));
    pair.run();
    assert_eq!(count.get(), 1);
    assert_eq!(read(&near, 10), Ok(b"x".to_vec()));
    end(&mut pair, [&near, &far], listener);
}

#[test]
fn writer_is_not_woken_by_read_events() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    while near.try_send(&[7; 50_000]).is_ok() {
        pair.run();
    }
    let (count, waker) = counting();
    assert!(near.poll_writable(&mut WaitKey::default(), &waker).is_pending());

    for _ in 0..10 {
        assert_eq!(far.try_send(b"x"), Ok(1));
        pair.run();
        assert_eq!(read(&near, 10), Ok(b"x".to_vec()));
    }
    // A FIN of the peer does not wake a writer.
    assert_eq!(far.shutdown_send(), Ok(()));
    pair.run();

    assert_eq!(count.get(), 0);
    while read(&far, 100_000).is_ok() {
        pair.run();
    }
    assert_eq!(count.get(), 1);
    end(&mut pair, [&near, &far], listener);
}

#[test]
fn cancelled_reader_is_not_woken() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let (count, waker) = counting();
    let mut key = WaitKey::default();
    assert!(far.poll_readable(&mut key, &waker).is_pending());

    far.forget_reader(&key);
    assert_eq!(near.try_send(b"x"), Ok(1));
    pair.run();

    assert_eq!(count.get(), 0);
    assert_eq!(read(&far, 10), Ok(b"x".to_vec()));
    end(&mut pair, [&near, &far], listener);
}

#[test]
fn many_connections_of_one_round_wake_a_listener_once() {
    let mut pair = Pair::new();
    let options = tcp::ListenOptions::default();
    let command = tcp::Command::Listen { local: addr("127.0.0.1:80"), options };
    let listening = pair.call(Side::Far, None, command).expect("a free port");
    let (_, Some(SocketQueue::Accept(queue))) = listening else {
        panic!("listening gave {listening:?}");
    };
    let (count, waker) = counting();
    assert!(queue.poll_acceptable(&mut WaitKey::default(), &waker).is_pending());

    // Connections without an accept call are closed, but they woke the listener.
    for _ in 0..5 {
        let options = tcp::Options::default();
        let remote = addr("127.0.0.1:80");
        let command = tcp::Command::Connect { remote, local: None, options };
        netcore::HasChannel::request_nonblocking(&pair.far.stack, None, command).expect("room");
    }
    pair.run();

    assert_eq!(count.get(), 1);
    for _ in 0..5 {
        queue.try_accept().expect("a connection").close();
    }
    queue.close();
}

#[test]
fn many_datagrams_of_one_round_wake_a_reader_once_and_no_writer() {
    let mut pair = Pair::new();
    let (near, far) = (bind(&mut pair, Side::Near), bind(&mut pair, Side::Far));
    while far.try_send(datagram(&near, 60_000)).is_ok() {}
    let (reads, reader) = counting();
    let (writes, writer) = counting();
    assert!(far.poll_readable(&mut WaitKey::default(), &reader).is_pending());
    assert!(far.poll_writable(60_000, &mut WaitKey::default(), &writer).is_pending());

    for _ in 0..10 {
        assert_eq!(near.try_send(datagram(&far, 100)), Ok(()));
    }
    // Only frames move: what the far socket has queued is not yet the stack's.
    pair.near.stack.poll_device_io(pair.now, &mut pair.near.device);
    assert_eq!((reads.get(), writes.get()), (0, 0));
    pair.run();

    assert_eq!((reads.get(), writes.get()), (1, 1));
    near.close();
    far.close();
}

fn end(pair: &mut Pair, streams: [&netcore::queue::StreamQueue; 2], listener: netcore::SocketId) {
    for stream in streams {
        stream.close();
    }
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

fn bind(pair: &mut Pair, side: Side) -> Arc<DatagramQueue> {
    let local = if side == Side::Near { "10.0.0.1:9" } else { "10.0.0.2:9" };
    let bound = pair.call(side, None, udp::Command::Bind { endpoint: addr(local) });
    match bound.expect("a free port") {
        (_, Some(SocketQueue::Datagram(queue))) => queue,
        other => panic!("binding gave {other:?}"),
    }
}

fn datagram(to: &DatagramQueue, len: usize) -> netcore::queue::Datagram {
    let payload = vec![0; len].into();
    netcore::queue::Datagram::new(to.local_address(), payload)
}

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), count.into())
}
