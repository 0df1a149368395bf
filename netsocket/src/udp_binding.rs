//! UDP sockets of a stack.

use crate::address::{ToSocketAddrs, none_given};
use crate::net::Net;
use crate::udp_socket::UdpSocket;
use netcore::queue::SocketQueue;
use netcore::tcp::Families;
use netcore::{Error, udp};
use std::io;
use std::net::Ipv6Addr;

impl Net {
    /// Binds a UDP socket. Port 0 lets the stack choose; `[::]` takes IPv4 too.
    ///
    /// # Errors
    ///
    /// `AddrInUse`; `AddrNotAvailable` if the address is none of the stack's.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the port is free again.
    pub async fn udp_bind(&self, addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        self.udp_bind_with(addr, Families::Both).await
    }

    /// As [`udp_bind`](Self::udp_bind), with a choice of the families that a socket on `[::]`
    /// receives.
    ///
    /// # Errors
    ///
    /// As [`udp_bind`](Self::udp_bind).
    ///
    /// # Cancel safety
    ///
    /// As [`udp_bind`](Self::udp_bind).
    pub async fn udp_bind_with(
        &self,
        addr: impl ToSocketAddrs,
        families: Families,
    ) -> io::Result<UdpSocket> {
        self.udp_bind_with_options(addr, families, udp::Options::default()).await
    }

    /// As [`udp_bind_with`](Self::udp_bind_with), with options: those that let sockets share a port,
    /// [`reuse_address`](udp::Options::reuse_address) and [`reuse_port`](udp::Options::reuse_port),
    /// must be set before.
    ///
    /// # Errors
    ///
    /// As [`udp_bind`](Self::udp_bind).
    ///
    /// # Cancel safety
    ///
    /// As [`udp_bind`](Self::udp_bind).
    pub async fn udp_bind_with_options(
        &self,
        addr: impl ToSocketAddrs,
        families: Families,
        options: udp::Options,
    ) -> io::Result<UdpSocket> {
        let mut last = none_given();
        for endpoint in self.names.resolve(addr).await? {
            let command = udp::Command::BindWith { endpoint, families, options };
            match self.open(command).await {
                Ok((_, SocketQueue::Datagram(queue))) => {
                    return Ok(UdpSocket::new(queue, self.names.clone()));
                }
                Ok(_) => return Err(Error::WrongSocket.into()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Makes a UDP socket that receives datagrams to any port without another socket; with
    /// [any-IP](crate::Control::set_any_ip), to all destinations that are routed to the stack.
    /// [`UdpSocket::recv_from_to`] returns the destination of a datagram, and
    /// [`UdpSocket::send_from_to`] sends from it; the socket has no port of its own to send from.
    /// It is bound to `[::]`, so IPv4 addresses appear as `::ffff:a.b.c.d`, which
    /// [`to_canonical`](std::net::IpAddr::to_canonical) undoes; both calls accept either form.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is such a socket.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn udp_intercept(&self) -> io::Result<UdpSocket> {
        let address = Ipv6Addr::UNSPECIFIED.into();
        match self.open(udp::Command::BindAnyPort { address }).await? {
            (_, SocketQueue::Datagram(queue)) => Ok(UdpSocket::new(queue, self.names.clone())),
            _ => Err(Error::WrongSocket.into()),
        }
    }
}
