//! Echo requests and replies.

use crate::datagram_socket::Socket;
use crate::wait;
use bytes::Bytes;
use netcore::Error;
use netcore::queue::{Datagram, DatagramQueue};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Sends ICMP echo requests to one target and receives the replies.
pub struct PingSocket {
    socket: Socket,
    target: IpAddr,
    identifier: u16,
}

/// A reply to an echo request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingReply {
    /// The address that replied.
    pub from: IpAddr,
    /// The sequence number of the request.
    pub sequence: u16,
    /// The time to live or hop limit that the reply arrived with.
    pub hop_limit: u8,
    /// The payload, which is the request's if all went well.
    pub payload: Bytes,
}

/// The outcome of an echo request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PingAnswer {
    /// The target has replied.
    Reply(PingReply),
    /// An ICMP error reported that the request did not arrive.
    Failed(PingError),
}

/// An ICMP error for an echo request: the inner error of the [`io::Error`] that
/// [`PingSocket::recv`] and [`PingSocket::ping`] then return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingError {
    /// The sender of the ICMP error: a router, or the target itself.
    pub from: IpAddr,
    /// The sequence number of the request.
    pub sequence: u16,
    /// The error; [`Error::TtlExceeded`] from the router where the request's
    /// [time to live](PingSocket::set_ttl) expired.
    pub error: Error,
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}: {}", self.from, self.error)
    }
}

impl std::error::Error for PingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<PingError> for io::Error {
    fn from(error: PingError) -> Self {
        Self::new(error.error.kind(), error)
    }
}

impl PingSocket {
    pub(crate) fn new(
        queue: Arc<DatagramQueue>,
        target: IpAddr,
        identifier: u16,
    ) -> io::Result<Self> {
        let socket = Socket::new(queue);
        socket.check_peer(SocketAddr::new(target, 0))?;
        Ok(Self { socket, target, identifier })
    }

    /// Where the requests go.
    pub fn target(&self) -> IpAddr {
        self.target
    }

    /// The identifier in the requests, by which replies find this socket.
    pub fn identifier(&self) -> u16 {
        self.identifier
    }

    /// The time to live or hop limit of the requests.
    ///
    /// # Errors
    ///
    /// None.
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(self.socket.ttl())
    }

    /// Sets the time to live or hop limit of the requests, from 1 to 255.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for any other value.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// Sends a request, once there is room for it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is too large; `NetworkUnreachable` and others if an earlier request
    /// could not be sent, once; `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send(&self, sequence: u16, payload: &[u8]) -> io::Result<()> {
        self.send_to(self.target, sequence, payload).await
    }

    /// As [`send`](Self::send), to another target of the same family.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `InvalidInput` if the address cannot be a host's of that family.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_to(&self, target: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let peer = SocketAddr::new(target, sequence);
        self.socket.check_peer(SocketAddr::new(target, 0))?;
        let request = Datagram::new(peer, Bytes::copy_from_slice(payload));
        wait::retry(&self.socket.writes(payload.len()), || self.socket.try_send(request.clone()))
            .await
    }

    /// Receives a reply.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, `NetworkUnreachable` or `HostUnreachable`, with a [`PingError`] inside
    /// if an ICMP error was received, and without one if a request could not be sent; `BrokenPipe`
    /// if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no reply.
    pub async fn recv(&self) -> io::Result<PingReply> {
        match self.recv_answer().await? {
            PingAnswer::Reply(reply) => Ok(reply),
            PingAnswer::Failed(error) => Err(error.into()),
        }
    }

    /// Receives a reply or an ICMP error, in the order of arrival. A traceroute finds the routers
    /// from the errors.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no answer.
    pub async fn recv_answer(&self) -> io::Result<PingAnswer> {
        wait::retry(&self.socket.reads(), || {
            let datagram = self.socket.try_recv()?;
            let (from, sequence) = (datagram.peer.ip(), datagram.peer.port());
            Ok(match datagram.error {
                Some(error) => PingAnswer::Failed(PingError { from, sequence, error }),
                None => PingAnswer::Reply(PingReply {
                    from,
                    sequence,
                    hop_limit: datagram.hop_limit.unwrap_or(0),
                    payload: datagram.payload,
                }),
            })
        })
        .await
    }

    /// Sends a request and waits for its reply; returns it, and the round-trip time. Replies to
    /// other requests are discarded meanwhile.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`recv`](Self::recv). Never times out by itself.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request may have been sent; its reply comes with the next
    /// [`recv`](Self::recv).
    pub async fn ping(&self, sequence: u16, payload: &[u8]) -> io::Result<(PingReply, Duration)> {
        let start = Instant::now();
        self.send(sequence, payload).await?;
        loop {
            match self.recv_answer().await? {
                PingAnswer::Reply(reply) if reply.sequence == sequence => {
                    return Ok((reply, start.elapsed()));
                }
                PingAnswer::Failed(error) if error.sequence == sequence => return Err(error.into()),
                _ => {}
            }
        }
    }
}

impl fmt::Debug for PingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PingSocket")
            .field("target", &self.target)
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}
