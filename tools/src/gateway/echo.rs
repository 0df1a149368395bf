//! ICMP echo messages (RFC 792, RFC 4443 section 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An echo request of a guest, or a reply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    kind: u8,
    pub(super) identifier: u16,
    sequence: u16,
    payload: &'a [u8],
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;
const HEADER_BYTES: usize = 8;

/// The types of a request and of a reply.
fn kinds(address: IpAddr) -> (u8, u8) {
    match address {
        IpAddr::V4(_) => (8, 0),
        IpAddr::V6(_) => (128, 129),
    }
}

impl<'a> Echo<'a> {
    /// Reads a whole IP packet, if it is a request. The stack has verified its checksum.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let (source, destination, message): (IpAddr, IpAddr, _) = match packet.first()? >> 4 {
            4 => {
                let header_len = usize::from(packet[0] & 0xf) * 4;
                let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
                let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
                (source.into(), destination.into(), packet.get(header_len.max(20)..)?)
            }
            6 => {
                let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
                let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
                // Behind extension headers nobody puts one.
                let message = packet.get(40..).filter(|_| packet[6] == ICMPV6)?;
                (source.into(), destination.into(), message)
            }
            _ => return None,
        };
        let is_request = message.starts_with(&[kinds(source).0, 0]);
        let read = Self::message_of(message, source).filter(|_| is_request)?;
        Some(Self { destination, ..read })
    }

    /// The fields of a message from this address.
    fn message_of(message: &'a [u8], address: IpAddr) -> Option<Self> {
        let (header, payload) = message.split_first_chunk::<HEADER_BYTES>()?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (source, destination) = (address, address);
        let (kind, identifier, sequence) = (header[0], field(4), field(6));
        Some(Self { source, destination, kind, identifier, sequence, payload })
    }

    /// The reply to a guest that a message from the kernel is, with the guest's identifier.
    pub(super) fn reply(
        message: &'a [u8],
        source: IpAddr,
        guest: IpAddr,
        identifier: u16,
    ) -> Option<Self> {
        let reply = Self::message_of(message, source)?;
        let is_reply = reply.kind == kinds(source).1;
        is_reply.then_some(Self { destination: guest, identifier, ..reply })
    }

    /// The message, without its checksum.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        message.extend([self.kind, 0, 0, 0]);
        message.extend(self.identifier.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.payload);
        message
    }

    /// The whole packet; the stack fills in its length and the checksum of an IPv4 header.
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut message = self.message();
        let (mut packet, sum) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => (v4(source, destination), 0),
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let len = sum(&(message.len() as u32).to_be_bytes());
                let addresses = sum(&source.octets()) + sum(&destination.octets());
                (v6(source, destination, message.len()), addresses + len + u64::from(ICMPV6))
            }
            _ => return Vec::new(),
        };
        let checksum = !folded(sum + self::sum(&message));
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(message);
        packet
    }
}

fn v4(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, HOP_LIMIT, ICMP, 0, 0];
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

fn v6(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((len as u16).to_be_bytes());
    header.extend([ICMPV6, HOP_LIMIT]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

/// The sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |last| u64::from(*last) << 8);
    words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>() + last
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(source: &str, destination: &str) -> Echo<'static> {
        let [source, destination] = [source, destination].map(|it| it.parse().expect("right"));
        let kind = kinds(source).0;
        Echo { source, destination, kind, identifier: 7, sequence: 9, payload: b"odd" }
    }

    #[test]
    fn a_request_is_read_and_any_other_packet_is_not() {
        for request in [request("10.0.2.15", "192.0.2.1"), request("fd00::15", "2001:db8::1")] {
            let packet = request.packet();
            assert_eq!(Echo::read(&packet), Some(request));
            let start = packet.len() - request.message().len();
            let wrong = |at: usize, byte| {
                let mut packet = packet.clone();
                packet[at] = byte;
                packet
            };
            assert_eq!(Echo::read(&wrong(start, kinds(request.source).1)), None, "a reply");
            assert_eq!(Echo::read(&wrong(start + 1, 1)), None, "a code");
            assert_eq!(Echo::read(&wrong(0, 0x75)), None, "a version");
            for len in 0..start + HEADER_BYTES {
                assert_eq!(Echo::read(&packet[..len]), None, "{len} bytes");
            }
        }
    }

    #[test]
    fn a_reply_has_the_identifier_of_the_guest_and_right_sums() {
        for (server, guest) in [("192.0.2.1", "10.0.2.15"), ("2001:db8::1", "fd00::15")] {
            let said = request(server, guest);
            let message = Echo { kind: kinds(said.source).1, ..said }.message();
            let reply = Echo::reply(&message, said.source, said.destination, 1234).expect("one");
            assert_eq!((reply.identifier, reply.sequence, reply.payload), (1234, 9, &b"odd"[..]));
            let packet = reply.packet();
            let message = &packet[packet.len() - 11..];
            let pseudo = match said.source {
                IpAddr::V4(_) => 0,
                IpAddr::V6(_) => sum(&packet[8..40]) + 11 + u64::from(ICMPV6),
            };
            assert_eq!(folded(pseudo + sum(message)), 0xffff);
            assert_eq!(Echo::reply(&said.message(), said.source, said.destination, 1), None);
        }
    }
}
