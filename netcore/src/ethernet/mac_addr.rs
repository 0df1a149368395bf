//! Hardware addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A MAC address: the hardware address of an Ethernet interface, or of a multicast group. Displayed
/// as `aa:bb:cc:dd:ee:ff`; parsed with colons or dashes.
///
/// ```
/// let address: netcore::MacAddr = "02:00:5e:10:00:01".parse().unwrap();
/// assert!(address.is_unicast());
/// assert_eq!(address.to_string(), "02:00:5e:10:00:01");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// The error of parsing a [`MacAddr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddrParseError;

impl fmt::Display for MacAddrParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a hardware address is six pairs of hexadecimal digits, for example 02:00:5e:10:ab:ff",
        )
    }
}

impl std::error::Error for MacAddrParseError {}

impl MacAddr {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All zeros: an unknown address, as in the target of an ARP request.
    pub const UNSPECIFIED: Self = Self([0; 6]);

    /// The bytes, in transmission order.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether it is a multicast address. Broadcast is one.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is a unicast address, neither unspecified nor multicast.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::UNSPECIFIED
    }

    /// A locally administered unicast address (IEEE 802 section 8.4.2) with these bytes: sets the
    /// local bit and clears the group bit.
    pub const fn locally_administered(mut octets: [u8; 6]) -> Self {
        octets[0] = octets[0] & !1 | 2;
        Self(octets)
    }

    /// The destination of broadcast and multicast packets (RFC 1112 section 6.4, RFC 2464 section
    /// 7); `None` if `address` is neither a multicast group nor 255.255.255.255.
    pub(crate) fn of_group(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Self::BROADCAST),
            IpAddr::V4(group) if group.is_multicast() => {
                let [_, a, b, c] = group.octets();
                Some(Self([0x01, 0x00, 0x5e, a & 0x7f, b, c]))
            }
            IpAddr::V6(group) if group.is_multicast() => {
                let [.., a, b, c, d] = group.octets();
                Some(Self([0x33, 0x33, a, b, c, d]))
            }
            _ => None,
        }
    }

    /// The link-local address derived from it (RFC 4291 appendix A, RFC 2464 section 5).
    pub(crate) fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrParseError;

    fn from_str(text: &str) -> Result<Self, MacAddrParseError> {
        let separator = text.chars().nth(2).filter(|c| matches!(c, ':' | '-'));
        let mut parts = text.split(separator.ok_or(MacAddrParseError)?);
        let mut octets = [0; 6];
        for octet in &mut octets {
            let digits = parts.next().ok_or(MacAddrParseError)?;
            if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacAddrParseError);
            }
            *octet = u8::from_str_radix(digits, 16).map_err(|_| MacAddrParseError)?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(MacAddrParseError),
        }
    }
}

#[cfg(feature = "serde")]
crate::serial::as_text!(MacAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_parse_round_trip() {
        let address = MacAddr([0x02, 0, 0x5e, 0x10, 0xab, 0xff]);

        assert_eq!(address.to_string(), "02:00:5e:10:ab:ff");
        for text in ["02:00:5e:10:ab:ff", "02-00-5E-10-AB-FF"] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn malformed_texts_are_rejected() {
        for text in [
            "",
            "02",
            "02:00:5e:10:ab",
            "02:00:5e:10:ab:ff:00",
            "02:00:5e:10:ab:f",
            "02:00-5e:10:ab:ff",
            "02:00:5e:10:ab:+f",
            "0200:5e:10:ab:ff:",
            "µ2:00:5e:10:ab:ff",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(MacAddrParseError), "{text}");
        }
    }

    #[test]
    fn multicast_groups_map_to_the_addresses_of_the_rfcs() {
        let of = |text: &str| {
            let address = text.parse().expect("an address");
            MacAddr::of_group(address).map(|address| address.to_string())
        };

        // Only the low 23 bits of an IPv4 group are mapped.
        assert_eq!(of("224.129.2.3").as_deref(), Some("01:00:5e:01:02:03"));
        assert_eq!(of("ff02::1:ff12:3456").as_deref(), Some("33:33:ff:12:34:56"));
        assert_eq!(of("255.255.255.255"), Some(MacAddr::BROADCAST.to_string()));
        assert_eq!(of("10.0.0.255"), None);
        assert_eq!(of("fe80::1"), None);
    }

    #[test]
    fn link_local_address_has_the_modified_eui_64() {
        // The example of RFC 2464 section 4.
        let address = MacAddr([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);

        assert_eq!(address.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }

    #[test]
    fn locally_administered_address_is_unicast() {
        let address = MacAddr::locally_administered([0xff; 6]);

        assert!(address.is_unicast());
        assert_eq!(address.octets()[0] & 2, 2);
    }
}
