//! The part that all handles of one TCP connection share.

use crate::readiness::{Interest, Ready, Seen};
use crate::wait::{self, Waitable};
use netcore::Error;
use netcore::queue::{StreamQueue, WaitKey};
use netcore::tcp::KeepAlive;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A TCP connection's queue, closed when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    queue: Arc<StreamQueue>,
    /// Of the blocking handles, which share them as clones of one descriptor do.
    pub(crate) blocking: BlockingMode,
}

/// How blocking calls behave.
#[derive(Debug, Default)]
pub(crate) struct BlockingMode {
    read_timeout: Mutex<Option<Duration>>,
    write_timeout: Mutex<Option<Duration>>,
    is_nonblocking: AtomicBool,
}

impl BlockingMode {
    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        *self.read_timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        *self.write_timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_timeout(&self.read_timeout, timeout)
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_timeout(&self.write_timeout, timeout)
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.is_nonblocking.load(Ordering::Relaxed)
    }

    pub(crate) fn set_nonblocking(&self, is_nonblocking: bool) {
        self.is_nonblocking.store(is_nonblocking, Ordering::Relaxed);
    }
}

fn set_timeout(slot: &Mutex<Option<Duration>>, timeout: Option<Duration>) -> io::Result<()> {
    if timeout == Some(Duration::ZERO) {
        let message = "timeout must be non-zero";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = timeout;
    Ok(())
}

impl Stream {
    pub(crate) fn new(queue: Arc<StreamQueue>) -> Self {
        Self { queue, blocking: BlockingMode::default() }
    }

    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads(&self.queue)
    }

    pub(crate) fn writes(&self) -> Writes<'_> {
        Writes(&self.queue)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.queue.local_address()
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.queue.peer_address()
    }

    /// The other end's address, of which a connection that is over has none, as on Linux.
    pub(crate) fn connected_peer_addr(&self) -> Result<SocketAddr, Error> {
        if self.queue.is_over() { Err(Error::Closed) } else { Ok(self.queue.peer_address()) }
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = valid_ttl(ttl)?;
        self.queue.set_options(|options| options.hop_limit = Some(ttl));
        Ok(())
    }

    pub(crate) fn ttl(&self) -> u32 {
        self.queue.options().hop_limit.map_or(DEFAULT_TTL, u32::from)
    }

    /// The current readiness of the stream.
    pub(crate) fn readiness(&self) -> Seen {
        let (recv, send) = (self.queue.recv_state(), self.queue.send_state());
        let mut seen = Seen::new(&recv, &send);
        seen.ready.set(Ready::ERROR, self.queue.has_error());
        seen
    }

    /// Clears `interest` from the readiness last seen, unless it has changed since.
    pub(crate) fn clear_readiness(&self, interest: Interest, seen: Seen) {
        if interest.is_readable() {
            self.queue.clear_readable(seen.recv);
        }
        if interest.is_writable() {
            self.queue.clear_writable(seen.send);
        }
    }

    /// Waits until the stream is ready for something that `interest` names.
    pub(crate) async fn ready(&self, interest: Interest) -> Seen {
        wait::ready_for(interest, &self.reads(), &self.writes(), || self.readiness()).await
    }
}

pub(crate) fn valid_keepalive(keepalive: KeepAlive) -> io::Result<KeepAlive> {
    let KeepAlive { idle, interval, count } = keepalive;
    if idle.is_zero() || interval.is_zero() || count == 0 {
        let message = "keep-alive idle, interval and count must be non-zero";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(keepalive)
}

pub(crate) fn valid_byte(value: u32) -> io::Result<u8> {
    u8::try_from(value).map_err(|_| {
        let message = "traffic class must fit in one byte (0-255)";
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

/// The default time to live.
pub(crate) const DEFAULT_TTL: u32 = 64;

pub(crate) fn valid_ttl(ttl: u32) -> io::Result<u8> {
    match u8::try_from(ttl) {
        Ok(ttl) if ttl > 0 => Ok(ttl),
        _ => {
            let message = format!("time to live must be from 1 to 255, not {ttl}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

impl Deref for Stream {
    type Target = StreamQueue;

    fn deref(&self) -> &StreamQueue {
        &self.queue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The receive side of a connection.
pub(crate) struct Reads<'a>(&'a StreamQueue);

impl Waitable for Reads<'_> {
    fn poll(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.0.poll_readable(key, waker)
    }

    fn poll_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.0.poll_read_ready(key, waker)
    }

    fn forget(&self, key: &WaitKey) {
        self.0.forget_reader(key);
    }
}

/// The send side of a connection.
pub(crate) struct Writes<'a>(&'a StreamQueue);

impl Waitable for Writes<'_> {
    fn poll(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.0.poll_writable(key, waker)
    }

    fn poll_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.0.poll_write_ready(key, waker)
    }

    fn forget(&self, key: &WaitKey) {
        self.0.forget_writer(key);
    }
}
