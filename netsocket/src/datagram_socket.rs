//! The common part of UDP, ping and raw sockets, async and blocking.

use crate::readiness::{Interest, Ready, Seen};
use crate::stream::{BlockingMode, DEFAULT_TTL, valid_ttl};
use crate::wait::{self, Waitable};
use bytes::{BufMut, Bytes};
use netcore::Error;
use netcore::queue::{Datagram, DatagramQueue, WaitKey};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// A datagram socket's queue, closed when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    queue: Arc<DatagramQueue>,
    pub(crate) blocking: BlockingMode,
}

impl Socket {
    pub(crate) fn new(queue: Arc<DatagramQueue>) -> Self {
        Self { queue, blocking: BlockingMode::default() }
    }

    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads(&self.queue)
    }

    /// To wait for room for a datagram of `len` bytes.
    pub(crate) fn writes(&self, len: usize) -> Writes<'_> {
        Writes(&self.queue, len)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.queue.local_address()
    }

    pub(crate) fn peer_addr(&self) -> Result<SocketAddr, Error> {
        self.queue.peer().ok_or(Error::NoPeer)
    }

    pub(crate) fn try_send_to(&self, payload: Bytes, peer: SocketAddr) -> Result<usize, Error> {
        let len = payload.len();
        self.queue.try_send(Datagram::new(peer, payload))?;
        Ok(len)
    }

    /// Sends from an address and port that the socket has among others.
    pub(crate) fn try_send_from_to(
        &self,
        payload: Bytes,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<usize, Error> {
        let len = payload.len();
        let local = Some(local);
        self.queue.try_send(Datagram { local, ..Datagram::new(peer, payload) })?;
        Ok(len)
    }

    /// Receives a datagram with its source and destination.
    pub(crate) fn try_recv_from_to(
        &self,
        buf: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Error> {
        let datagram = self.queue.try_recv()?;
        let local = datagram.local.unwrap_or(self.local_addr());
        Ok((copy(&datagram, buf), datagram.peer, local))
    }

    pub(crate) fn try_recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let datagram = self.queue.try_recv()?;
        Ok((copy(&datagram, buf), datagram.peer))
    }

    pub(crate) fn try_peek_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        self.queue.try_peek(|datagram| (copy(datagram, buf), datagram.peer))
    }

    pub(crate) fn try_recv_buf_from(
        &self,
        buf: &mut impl BufMut,
    ) -> Result<(usize, SocketAddr), Error> {
        let mut datagram = self.queue.try_recv()?;
        datagram.payload.truncate(buf.remaining_mut());
        let n = datagram.payload.len();
        buf.put(datagram.payload);
        Ok((n, datagram.peer))
    }

    /// The current readiness of the socket.
    pub(crate) fn readiness(&self) -> Seen {
        let mut seen = Seen::new(&self.queue.recv_state(), &self.queue.send_state());
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

    /// Waits until the socket is ready for something that `interest` names.
    pub(crate) async fn ready(&self, interest: Interest) -> Seen {
        wait::ready_for(interest, &self.reads(), &self.writes(0), || self.readiness()).await
    }

    pub(crate) fn ttl(&self) -> u32 {
        self.queue.options().hop_limit.map_or(DEFAULT_TTL, u32::from)
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = valid_ttl(ttl)?;
        self.queue.set_options(|options| options.hop_limit = Some(ttl));
        Ok(())
    }
}

impl Deref for Socket {
    type Target = DatagramQueue;

    fn deref(&self) -> &DatagramQueue {
        &self.queue
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.queue.close();
    }
}

pub(crate) fn copy(datagram: &Datagram, buf: &mut [u8]) -> usize {
    let n = datagram.payload.len().min(buf.len());
    buf[..n].copy_from_slice(&datagram.payload[..n]);
    n
}

/// The receive side of a socket.
pub(crate) struct Reads<'a>(&'a DatagramQueue);

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

/// The send side of a socket, for a datagram of some length.
pub(crate) struct Writes<'a>(&'a DatagramQueue, usize);

impl Waitable for Writes<'_> {
    fn poll(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.0.poll_writable(self.1, key, waker)
    }

    /// For a datagram of no bytes, since it is not known yet which one it will be.
    fn poll_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.0.poll_write_ready(key, waker)
    }

    fn forget(&self, key: &WaitKey) {
        self.0.forget_writer(key);
    }
}
