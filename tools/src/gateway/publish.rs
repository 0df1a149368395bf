//! Ports of this machine that lead to guests.

use super::service::Gateway;
use anyhow::{Context, Result};
use netstack::Net;
use proxy::carry;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

/// A port of this machine, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publish {
    protocol: Protocol,
    /// All addresses of this machine without one.
    address: Option<IpAddr>,
    port: u16,
    /// The first guest without one.
    guest: Option<IpAddr>,
    guest_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

/// A pause after a failure to accept, as with too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a peer of a published UDP port may be silent before its port at the gateway is another's
/// (RFC 4787 section 4.3).
const SILENCE: Duration = Duration::from_secs(120);
/// Peers of a published UDP port at once; datagrams of further ones are lost.
const PEERS_MAX: usize = 1024;
const DATAGRAM_MAX: usize = 65_535;

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not [ADDRESS:]PORT[:[GUEST:]PORT][/udp], as in 8080:80 or \
                 127.0.0.1:5353:10.0.2.16:53/udp"
            )
        };
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.split('/').next().unwrap_or(text), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let (address, rest) = address(ports).ok_or_else(wrong)?;
        let (port, rest) = port(rest).ok_or_else(wrong)?;
        let (guest, guest_port) = match rest {
            "" => (None, port),
            rest => {
                let (guest, rest) = self::address(rest).ok_or_else(wrong)?;
                match self::port(rest).ok_or_else(wrong)? {
                    (port, "") => (guest, port),
                    _ => return Err(wrong()),
                }
            }
        };
        Ok(Self { protocol, address, port, guest, guest_port })
    }
}

/// An address in front of a colon, if there is one, and the rest.
fn address(text: &str) -> Option<(Option<IpAddr>, &str)> {
    if let Some(text) = text.strip_prefix('[') {
        let (address, rest) = text.split_once("]:")?;
        return Some((Some(IpAddr::V6(address.parse().ok()?)), rest));
    }
    match text.split_once(':') {
        Some((first, rest)) if first.contains('.') => {
            Some((Some(IpAddr::V4(first.parse().ok()?)), rest))
        }
        _ => Some((None, text)),
    }
}

/// A port that is not 0, and the rest behind a colon.
fn port(text: &str) -> Option<(u16, &str)> {
    let (port, rest) = match text.split_once(':') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    Some((port.parse().ok().filter(|port| *port != 0)?, rest))
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == Protocol::Tcp { "TCP" } else { "UDP" };
        write!(f, "{protocol} port {}", self.port)?;
        if let Some(address) = self.address {
            write!(f, " of {address}")?;
        }
        Ok(())
    }
}

impl Publish {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// Those of this machine's sockets.
    pub(super) async fn start(&self, gateway: &Arc<Gateway>) -> Result<()> {
        let guest = match self.guest {
            Some(guest) => guest,
            None => gateway.lan.first_guest().with_context(|| format!("publishing {self}"))?,
        };
        let guest = SocketAddr::new(guest, self.guest_port);
        let gateway = gateway.clone();
        match self.protocol {
            Protocol::Tcp => {
                let listener = self.bind(TcpListener::bind).await?;
                tokio::spawn(accept(gateway, listener, guest));
            }
            Protocol::Udp => {
                let socket = self.bind(UdpSocket::bind).await?;
                tokio::spawn(receive(gateway, Arc::new(socket), guest));
            }
        }
        Ok(())
    }

    async fn bind<T>(&self, bind: impl AsyncFn(SocketAddr) -> io::Result<T>) -> Result<T> {
        if let Some(address) = self.address {
            return bind((address, self.port).into()).await.with_context(|| self.to_string());
        }
        match bind((Ipv6Addr::UNSPECIFIED, self.port).into()).await {
            // This machine has no IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                let any = (Ipv4Addr::UNSPECIFIED, self.port).into();
                bind(any).await.with_context(|| self.to_string())
            }
            bound => bound.with_context(|| self.to_string()),
        }
    }
}

async fn accept(gateway: Arc<Gateway>, listener: TcpListener, guest: SocketAddr) {
    loop {
        let Ok((host, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        // Dropped, it is reset: nothing was read.
        let Some(permit) = gateway.connections.take(guest.ip()) else {
            let _ = host.set_zero_linger();
            continue;
        };
        let net = gateway.net.clone();
        tokio::spawn(async move {
            connect(&net, host, guest).await;
            drop(permit);
        });
    }
}

async fn connect(net: &Net, host: TcpStream, guest: SocketAddr) {
    match net.tcp_connect(guest).await {
        Ok(guest) => carry(guest, host).await,
        Err(error) => {
            tracing::debug!(%guest, %error, "no connection to a guest");
            let _ = host.set_zero_linger();
        }
    }
}

/// The sockets of the stack for the peers of a published port.
type Peers = Arc<Mutex<HashMap<SocketAddr, Arc<netstack::UdpSocket>>>>;

async fn receive(gateway: Arc<Gateway>, socket: Arc<UdpSocket>, guest: SocketAddr) {
    let peers = Peers::default();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error is that of an earlier datagram.
        let Ok((n, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let known = peers.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned();
        let stack = match known {
            Some(known) => known,
            None => match open(&gateway, &socket, &peers, peer, guest).await {
                Ok(opened) => opened,
                Err(_) => continue,
            },
        };
        let _ = stack.try_send(&buffer[..n]);
    }
}

/// Makes the socket for a new peer, and a task for what the guest answers.
async fn open(
    gateway: &Gateway,
    socket: &Arc<UdpSocket>,
    peers: &Peers,
    peer: SocketAddr,
    guest: SocketAddr,
) -> io::Result<Arc<netstack::UdpSocket>> {
    let lock = |peers: &Peers| peers.lock().unwrap_or_else(PoisonError::into_inner).len();
    if lock(peers) >= PEERS_MAX {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let own = SocketAddr::new(gateway.lan.gateway_like(guest.ip()), 0);
    let stack = Arc::new(gateway.net.udp_bind(own).await?);
    stack.connect(guest).await?;
    peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, stack.clone());
    let (socket, peers, answers) = (socket.clone(), peers.clone(), stack.clone());
    tokio::spawn(async move {
        let mut buffer = Vec::new();
        while let Ok(Ok(())) = timeout(SILENCE, answers.readable()).await {
            buffer.resize(DATAGRAM_MAX, 0);
            while let Ok(n) = answers.try_recv(&mut buffer) {
                let _ = socket.try_send_to(&buffer[..n], peer);
            }
            buffer = Vec::new();
        }
        peers.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    });
    Ok(stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_in_docker() {
        let [machine, guest] = [[127, 0, 0, 1], [10, 0, 2, 16]].map(|ip| Some(IpAddr::from(ip)));
        let v6 = Some(IpAddr::from(Ipv6Addr::LOCALHOST));
        for (text, protocol, address, port, guest, guest_port) in [
            ("80", Protocol::Tcp, None, 80, None, 80),
            ("8080:80", Protocol::Tcp, None, 8080, None, 80),
            ("8080:80/tcp", Protocol::Tcp, None, 8080, None, 80),
            ("53/udp", Protocol::Udp, None, 53, None, 53),
            ("127.0.0.1:8080:80", Protocol::Tcp, machine, 8080, None, 80),
            ("8080:10.0.2.16:80", Protocol::Tcp, None, 8080, guest, 80),
            ("127.0.0.1:8080:10.0.2.16:80", Protocol::Tcp, machine, 8080, guest, 80),
            ("[::1]:8080:[::1]:80/udp", Protocol::Udp, v6, 8080, v6, 80),
        ] {
            let expected = Publish { protocol, address, port, guest, guest_port };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "0",
            "x",
            "80:",
            ":80",
            "80:0",
            "80:80:80",
            "70000",
            "80/sctp",
            "80/",
            "1.2.3:80",
            "[::1]:80:80:80",
            "[::1",
            "::1:80:80",
        ] {
            let error = wrong.parse::<Publish>().expect_err(wrong);
            assert!(error.contains("as in 8080:80"), "{error}");
        }
    }
}
