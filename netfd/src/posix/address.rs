//! Socket addresses as the kernel's interface has them: `sockaddr_in` and `sockaddr_in6`.

use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The length of a `sockaddr_in`.
const LEN_V4: usize = 16;
/// The lengths of a `sockaddr_in6`, and of the one without a scope that old programs have (RFC
/// 2133).
const LEN_V6: usize = 28;
const LEN_V6_MIN: usize = 24;
/// The longest address of the interface (`sockaddr_storage`).
pub const SOCKADDR_LEN_MAX: usize = 128;

/// The family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// What a program has given as an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// An address.
    Address(SocketAddr),
    /// `AF_UNSPEC`, which undoes a connect.
    None,
}

impl Family {
    /// The number of the family.
    pub fn number(self) -> libc::c_int {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }

    /// The unspecified address and port.
    pub fn unspecified(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Self::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        }
    }

    /// Reads an address for a socket of this family.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is too short; `EAFNOSUPPORT` if it is of another family.
    pub fn decode(self, bytes: &[u8]) -> Result<Given, Errno> {
        let family = bytes.first_chunk().map(|family| u16::from_ne_bytes(*family));
        let family = libc::c_int::from(family.ok_or(Errno::INVAL)?);
        if family == libc::AF_UNSPEC {
            return Ok(Given::None);
        }
        match (family, self) {
            (libc::AF_INET, _) | (libc::AF_INET6, Self::V6) => {}
            _ => return Err(Errno::AFNOSUPPORT),
        }
        let address = match family {
            libc::AF_INET if bytes.len() >= LEN_V4 => Self::V4.address(bytes),
            libc::AF_INET6 if bytes.len() >= LEN_V6_MIN => Self::V6.address(bytes),
            _ => return Err(Errno::INVAL),
        };
        // Linux takes it, and getaddrinfo relies on that where it sorts addresses.
        Ok(Given::Address(match (self, address) {
            (Self::V6, SocketAddr::V4(address)) => {
                SocketAddr::from((address.ip().to_ipv6_mapped(), address.port()))
            }
            (_, address) => address,
        }))
    }

    /// The address in bytes that are long enough.
    fn address(self, bytes: &[u8]) -> SocketAddr {
        let port = u16::from_be_bytes(part(bytes, 2));
        match self {
            Self::V4 => SocketAddr::from((part::<4>(bytes, 4), port)),
            Self::V6 => {
                let flow = u32::from_be_bytes(part(bytes, 4));
                let scope = if bytes.len() >= LEN_V6 { part(bytes, 24) } else { [0; 4] };
                let scope = u32::from_ne_bytes(scope);
                SocketAddrV6::new(part::<16>(bytes, 8).into(), port, flow, scope).into()
            }
        }
    }

    /// An address in the form of this family: to an IPv6 socket IPv4 addresses are mapped ones.
    pub fn encode(self, address: SocketAddr) -> Vec<u8> {
        let mut bytes = vec![0; if self == Self::V4 { LEN_V4 } else { LEN_V6 }];
        bytes[..2].copy_from_slice(&(self.number() as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match self {
            Self::V4 => {
                let ip = match address.ip().to_canonical() {
                    IpAddr::V4(ip) => ip,
                    // A socket of IPv4 has no other addresses.
                    IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
                };
                bytes[4..8].copy_from_slice(&ip.octets());
            }
            Self::V6 => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                bytes[8..24].copy_from_slice(&ip.octets());
                if let SocketAddr::V6(address) = address {
                    bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                }
            }
        }
        bytes
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the length was looked at")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_encoding_and_decoding() {
        for (family, text) in [
            (Family::V4, "10.9.0.1:80"),
            (Family::V6, "[fd00::1]:443"),
            (Family::V6, "[fe80::1%3]:1"),
            (Family::V6, "[::ffff:10.9.0.1]:5"),
        ] {
            let address: SocketAddr = text.parse().expect("an address");
            let bytes = family.encode(address);
            assert_eq!(family.decode(&bytes), Ok(Given::Address(address)), "{text}");
        }
    }

    #[test]
    fn an_ipv6_socket_sees_ipv4_addresses_as_mapped_ones() {
        let bytes = Family::V6.encode(SocketAddr::from(([10, 9, 0, 1], 80)));
        let mapped = "[::ffff:10.9.0.1]:80".parse().expect("an address");
        assert_eq!(Family::V6.decode(&bytes), Ok(Given::Address(mapped)));
        let v4 = Family::V4.encode(mapped);
        assert_eq!(Family::V6.decode(&v4), Ok(Given::Address(mapped)));
        assert_eq!(v4[4..8], [10, 9, 0, 1]);
    }

    #[test]
    fn short_and_foreign_addresses_are_errors() {
        let v4 = Family::V4.encode(SocketAddr::from(([10, 9, 0, 1], 80)));
        let v6 = Family::V6.encode(SocketAddr::from((Ipv6Addr::LOCALHOST, 80)));
        assert_eq!(Family::V4.decode(&v4[..15]), Err(Errno::INVAL));
        assert_eq!(Family::V4.decode(&v6), Err(Errno::AFNOSUPPORT));
        assert_eq!(Family::V6.decode(&v6[..23]), Err(Errno::INVAL));
        assert!(Family::V6.decode(&v6[..24]).is_ok());
        assert_eq!(Family::V4.decode(&[0, 0]), Ok(Given::None));
        assert_eq!(Family::V4.decode(&[0]), Err(Errno::INVAL));
    }
}
