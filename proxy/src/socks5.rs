//! The messages of SOCKS5 (RFC 1928).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The version, with which each message begins.
pub const VERSION: u8 = 5;
/// The longest header of a datagram: that of a name of 255 bytes.
pub const DATAGRAM_HEADER_BYTES_MAX: usize = 4 + 1 + 255 + 2;

/// Where a client wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, of 1 to 255 bytes without control characters and spaces.
    Name(String),
}

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A connection.
    Connect,
    /// An association for datagrams.
    UdpAssociate,
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Succeeded,
    /// It failed for another reason.
    Failure,
    /// The rules of the server do not allow it.
    NotAllowed,
    /// There is no way to the network.
    NetworkUnreachable,
    /// There is no way to the host, or it has no address.
    HostUnreachable,
    /// The host has refused.
    Refused,
    /// It took too long.
    TtlExpired,
    /// The server has no such command.
    CommandNotSupported,
    /// The server has no such form of address.
    AddressNotSupported,
}

const NO_AUTHENTICATION: u8 = 0;
const NONE_ACCEPTABLE: u8 = 0xff;

/// Reads the methods that a client has, behind the version; the answer to it, and whether the client may
/// go on.
///
/// # Errors
///
/// That of the connection.
///
/// # Cancel safety
///
/// If the future is dropped, a part of the message may have been read.
pub async fn read_methods(from: &mut (impl AsyncRead + Unpin)) -> io::Result<([u8; 2], bool)> {
    let mut methods = vec![0; from.read_u8().await?.into()];
    from.read_exact(&mut methods).await?;
    let may = methods.contains(&NO_AUTHENTICATION);
    Ok(([VERSION, if may { NO_AUTHENTICATION } else { NONE_ACCEPTABLE }], may))
}

/// Reads a request.
///
/// # Errors
///
/// That of the connection; the reply to a request that cannot be served.
///
/// # Cancel safety
///
/// If the future is dropped, a part of the message may have been read.
pub async fn read_request(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Result<(Command, Target), Reply>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    if version != VERSION {
        return Ok(Err(Reply::Failure));
    }
    let len = match kind {
        1 => 4,
        3 => usize::from(from.read_u8().await?),
        4 => 16,
        _ => return Ok(Err(Reply::AddressNotSupported)),
    };
    let mut host = vec![0; len];
    from.read_exact(&mut host).await?;
    let port = from.read_u16().await?;
    let command = match command {
        1 => Command::Connect,
        3 => Command::UdpAssociate,
        _ => return Ok(Err(Reply::CommandNotSupported)),
    };
    let Some(host) = Host::of(kind, &host) else { return Ok(Err(Reply::AddressNotSupported)) };
    Ok(Ok((command, Target { host, port })))
}

/// Takes a client's datagram apart: its target, and its payload. Those in fragments are dropped, as RFC
/// 1928 allows.
#[must_use]
pub fn parse_datagram(datagram: &[u8]) -> Option<(Target, &[u8])> {
    let (head, rest) = datagram.split_first_chunk::<4>()?;
    let [0, 0, 0, kind] = *head else { return None };
    let (len, rest) = match kind {
        1 => (4, rest),
        3 => {
            let (len, rest) = rest.split_first()?;
            (usize::from(*len), rest)
        }
        4 => (16, rest),
        _ => return None,
    };
    let (host, rest) = rest.split_at_checked(len)?;
    let (port, payload) = rest.split_first_chunk()?;
    Some((Target { host: Host::of(kind, host)?, port: u16::from_be_bytes(*port) }, payload))
}

/// A datagram for a client, from this address.
#[must_use]
pub fn datagram(from: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0, 0, 0];
    write_address(&mut datagram, from);
    datagram.extend(payload);
    datagram
}

impl Reply {
    /// The reply for an error of the way to a target.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NotFound => Self::HostUnreachable,
            io::ErrorKind::TimedOut => Self::TtlExpired,
            io::ErrorKind::PermissionDenied => Self::NotAllowed,
            _ => Self::Failure,
        }
    }

    /// The message, with an address of the server.
    #[must_use]
    pub fn message(self, bound: SocketAddr) -> Vec<u8> {
        let code = match self {
            Self::Succeeded => 0,
            Self::Failure => 1,
            Self::NotAllowed => 2,
            Self::NetworkUnreachable => 3,
            Self::HostUnreachable => 4,
            Self::Refused => 5,
            Self::TtlExpired => 6,
            Self::CommandNotSupported => 7,
            Self::AddressNotSupported => 8,
        };
        let mut message = vec![VERSION, code, 0];
        write_address(&mut message, bound);
        message
    }
}

impl Host {
    fn of(kind: u8, bytes: &[u8]) -> Option<Self> {
        if let (1, Ok(octets)) = (kind, <[u8; 4]>::try_from(bytes)) {
            return Some(Self::Ip(Ipv4Addr::from(octets).into()));
        }
        if let (4, Ok(octets)) = (kind, <[u8; 16]>::try_from(bytes)) {
            return Some(Self::Ip(IpAddr::from(Ipv6Addr::from(octets)).to_canonical()));
        }
        let name = std::str::from_utf8(bytes).ok()?;
        // Some clients send an address as a name.
        if let Ok(address) = name.parse() {
            return Some(Self::Ip(address));
        }
        let is_name = |c: char| !c.is_control() && !c.is_whitespace() && !"[]:/@".contains(c);
        (!name.is_empty() && name.chars().all(is_name)).then(|| Self::Name(name.to_owned()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(address) => write!(f, "{}", SocketAddr::new(*address, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

fn write_address(to: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            to.push(1);
            to.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            to.push(4);
            to.extend(ip.octets());
        }
    }
    to.extend(address.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_names_an_address_or_a_name() {
        for (bytes, expected) in [
            (&b"\x05\x01\0\x01\x0a\x09\0\x01\0\x50"[..], "10.9.0.1:80"),
            (b"\x05\x01\0\x03\x08web.test\x1f\x90", "web.test:8080"),
            (b"\x05\x01\0\x03\x07fd00::1\0\x50", "[fd00::1]:80"),
            (b"\x05\x01\0\x04\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50", "[fd00::1]:80"),
        ] {
            let request = read_request(&mut &bytes[..]).await.expect("a whole request");
            let (command, target) = request.expect("a right request");
            assert_eq!((command, target.to_string()), (Command::Connect, expected.to_owned()));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_served_has_its_reply() {
        for (bytes, reply) in [
            (&b"\x04\x01\0\x01\x0a\x09\0\x01\0\x50"[..], Reply::Failure),
            (b"\x05\x02\0\x01\x0a\x09\0\x01\0\x50", Reply::CommandNotSupported),
            (b"\x05\x01\0\x09\x0a\x09\0\x01\0\x50", Reply::AddressNotSupported),
            (b"\x05\x01\0\x03\0\0\x50", Reply::AddressNotSupported),
            (b"\x05\x01\0\x03\x03a\nb\0\x50", Reply::AddressNotSupported),
        ] {
            let request = read_request(&mut &bytes[..]).await.expect("a whole request");
            assert_eq!(request, Err(reply), "{bytes:?}");
        }
        assert!(read_request(&mut &b"\x05\x01\0\x01\x0a"[..]).await.is_err());
    }

    #[tokio::test]
    async fn only_clients_without_a_password_may_go_on() {
        for (bytes, answer, may) in [
            (&b"\x02\x02\0"[..], [5, 0], true),
            (b"\x01\x02", [5, 0xff], false),
            (b"\0", [5, 0xff], false),
        ] {
            assert_eq!(read_methods(&mut &bytes[..]).await.ok(), Some((answer, may)));
        }
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written() {
        for from in ["10.9.0.1:53", "[fd00::1]:53"] {
            let from: SocketAddr = from.parse().expect("an address");
            let bytes = datagram(from, b"payload");
            let (target, payload) = parse_datagram(&bytes).expect("a datagram");
            assert_eq!((target.to_string(), payload), (from.to_string(), &b"payload"[..]));
            for len in 0..bytes.len() - b"payload".len() {
                assert!(parse_datagram(&bytes[..len]).is_none());
            }
        }
        assert!(parse_datagram(b"\0\0\x01\x01\x0a\x09\0\x01\0\x50x").is_none(), "a fragment");
    }
}
