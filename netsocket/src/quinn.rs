//! QUIC over the stack's datagrams, with quinn.
//!
//! ```
//! # async fn endpoint(stack: &impl netcore::HasChannel) -> std::io::Result<()> {
//! use netsocket::{Net, quinn::QuicSocket};
//! use std::sync::Arc;
//!
//! let socket = Net::new(stack).udp_bind("[::]:0").await?;
//! let endpoint = quinn::Endpoint::new_with_abstract_socket(
//!     quinn::EndpointConfig::default(),
//!     None,
//!     Arc::new(QuicSocket::from(socket)),
//!     Arc::new(quinn::TokioRuntime),
//! )?;
//! # Ok(())
//! # }
//! ```

use crate::UdpSocket;
use crate::datagram_socket::Socket;
use crate::wait::{self, Waitable};
use ::quinn::udp::{RecvMeta, Transmit};
use ::quinn::{AsyncUdpSocket, UdpPoller};
use bytes::Bytes;
use netcore::Error;
use netcore::queue::{Datagram, WaitKey};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A UDP socket for quinn.
///
/// Datagrams that exceed the link's MTU are not sent, as QUIC requires (RFC 9000 section 14), so
/// that quinn discovers the path MTU. ICMP errors for earlier datagrams are ignored: QUIC detects
/// losses itself, and ICMP errors can be forged.
#[derive(Debug)]
pub struct QuicSocket {
    socket: Arc<Socket>,
}

impl From<UdpSocket> for QuicSocket {
    fn from(socket: UdpSocket) -> Self {
        let socket = socket.into_socket();
        socket.set_options(|options| options.dont_fragment = true);
        Self { socket }
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self.socket.clone(), key: WaitKey::default() })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // Otherwise the error would be reported here, and end the connection.
        self.socket.take_error();
        let payload = Bytes::copy_from_slice(transmit.contents);
        let datagram = Datagram {
            local: transmit.src_ip.map(|ip| SocketAddr::new(ip, 0)),
            ..Datagram::new(transmit.destination, payload)
        };
        Ok(self.socket.try_send(datagram)?)
    }

    /// Gives as many datagrams as there are buffers.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        wait::poll_retry(&self.socket.reads(), cx, || {
            let mut received = 0;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                match self.try_recv(buf) {
                    Ok(received) => *meta = received,
                    Err(_) if received > 0 => break,
                    Err(error) => return Err(error),
                }
                received += 1;
            }
            Ok(received)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.local_addr())
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl QuicSocket {
    fn try_recv(&self, buf: &mut [u8]) -> Result<RecvMeta, Error> {
        let datagram = loop {
            match self.socket.try_recv() {
                Ok(datagram) => break datagram,
                Err(end @ (Error::WouldBlock | Error::Closed)) => return Err(end),
                Err(end) if end.is_stack_gone() => return Err(end),
                // An ICMP error, which is reported once.
                Err(_) => {}
            }
        };
        let len = crate::datagram_socket::copy(&datagram, buf);
        let (addr, dst_ip) = (datagram.peer, datagram.local.map(|local| local.ip()));
        Ok(RecvMeta { addr, len, stride: len, ecn: None, dst_ip })
    }
}

/// Waits for room, for one of quinn's tasks.
#[derive(Debug)]
struct Poller {
    socket: Arc<Socket>,
    key: WaitKey,
}

impl UdpPoller for Poller {
    /// Waits for room for the largest datagram, since the size of the next one is not known.
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, key } = self.get_mut();
        socket.writes(usize::MAX).poll(key, cx.waker()).map(Ok)
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.socket.writes(usize::MAX).forget(&self.key);
    }
}
