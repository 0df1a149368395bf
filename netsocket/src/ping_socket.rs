//! Echo requests and replies.

use crate::udp_socket::Socket;
use crate::wait;
use bytes::Bytes;
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
    /// Who replied.
    pub from: IpAddr,
    /// The sequence number of the request.
    pub sequence: u16,
    /// The time to live or hop limit that the reply arrived with.
    pub hop_limit: u8,
    /// The payload, which is the request's if all went well.
    pub payload: Bytes,
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
    /// `InvalidInput` if it is too large; an error that the network reported for an earlier
    /// request, once; `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send(&self, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let request = Datagram {
            peer: SocketAddr::new(self.target, sequence),
            local: None,
            hop_limit: None,
            payload: Bytes::copy_from_slice(payload),
        };
        wait::retry(&self.socket.writes(payload.len()), || self.socket.try_send(request.clone()))
            .await
    }

    /// Receives a reply.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, `NetworkUnreachable` or `HostUnreachable` if that is what the network
    /// answered; `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no reply.
    pub async fn recv(&self) -> io::Result<PingReply> {
        wait::retry(&self.socket.reads(), || {
            let datagram = self.socket.try_recv()?;
            Ok(PingReply {
                from: datagram.peer.ip(),
                sequence: datagram.peer.port(),
                hop_limit: datagram.hop_limit.unwrap_or(0),
                payload: datagram.payload,
            })
        })
        .await
    }

    /// Sends a request and waits for its reply; returns it, and how long that took. Replies to
    /// other requests are dropped meanwhile.
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
            let reply = self.recv().await?;
            if reply.sequence == sequence {
                return Ok((reply, start.elapsed()));
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
