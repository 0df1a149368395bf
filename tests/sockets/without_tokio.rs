//! Waiting for sockets without tokio.

use netstack::netsocket::{Interest, TcpStream, UdpSocket};
use netstack::{Pair, Stack};
use std::io::{self, ErrorKind, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts wake-ups, and wakes a thread.
struct Counter {
    wakes: AtomicUsize,
    thread: std::thread::Thread,
}

impl Counter {
    fn waker() -> (Arc<Self>, Waker) {
        let counter = Arc::new(Self { wakes: AtomicUsize::new(0), thread: std::thread::current() });
        (counter.clone(), counter.into())
    }

    /// Waits for the next wake-up.
    fn wait(&self) {
        while self.wakes.swap(0, Ordering::Acquire) == 0 {
            std::thread::park();
        }
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Release);
        self.thread.unpark();
    }
}

fn pair() -> (Stack, Stack) {
    Pair::new().spawn_threads().expect("threads")
}

fn would_block() -> io::Result<()> {
    Err(ErrorKind::WouldBlock.into())
}

#[test]
fn would_block_ends_a_poll_without_tokio() {
    let (near, far) = pair();
    let listener = far.net().blocking().tcp_listen("[::]:80").expect("free");
    let mut client = near.net().blocking().tcp_connect("10.0.0.2:80").expect("a listener");
    let (server, _) = listener.accept().expect("a client");
    client.write_all(b"four").expect("open");
    server.peek(&mut [0]).expect("open");
    let server = TcpStream::from(server);
    let (counter, waker) = Counter::waker();
    let (mut cx, calls) = (Context::from_waker(&waker), AtomicUsize::new(0));
    let mut waiting = pin!(server.async_io(Interest::READABLE, || {
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => would_block(),
            _ => Ok(()),
        }
    }));

    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert_eq!((calls.load(Ordering::Relaxed), counter.wakes.load(Ordering::Relaxed)), (1, 0));
    client.write_all(b"more").expect("open");
    counter.wait();

    assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn would_block_at_the_end_of_stream_yields_to_others() {
    let (near, far) = pair();
    let listener = far.net().blocking().tcp_listen("[::]:80").expect("free");
    let client = near.net().blocking().tcp_connect("10.0.0.2:80").expect("a listener");
    let (server, _) = listener.accept().expect("a client");
    drop(client);
    assert_eq!(server.peek(&mut [0]).expect("the end"), 0);
    let server = TcpStream::from(server);
    let (counter, waker) = Counter::waker();
    let (mut cx, calls) = (Context::from_waker(&waker), AtomicUsize::new(0));
    let mut waiting = pin!(server.async_io(Interest::READABLE, || {
        calls.fetch_add(1, Ordering::Relaxed);
        would_block()
    }));

    for call in 1..10 {
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(calls.load(Ordering::Relaxed), call, "one in each poll");
        counter.wait();
    }
}

#[test]
fn unwanted_datagram_ends_a_poll_without_tokio() {
    let (near, far) = pair();
    let receiver = far.net().blocking().udp_bind("10.0.0.2:9").expect("free");
    let sender = near.net().blocking().udp_bind("10.0.0.1:0").expect("free");
    sender.send_to(b"x", "10.0.0.2:9").expect("room");
    receiver.peek(&mut [0]).expect("a datagram");
    let receiver = UdpSocket::from(receiver);
    let (counter, waker) = Counter::waker();
    let (mut cx, calls) = (Context::from_waker(&waker), AtomicUsize::new(0));
    let mut waiting = pin!(receiver.async_io(Interest::READABLE, || {
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => would_block(),
            _ => Ok(()),
        }
    }));

    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    sender.send_to(b"y", "10.0.0.2:9").expect("room");
    counter.wait();

    assert!(waiting.as_mut().poll(&mut cx).is_ready());
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
