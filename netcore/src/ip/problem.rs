//! The ICMP parameter problem of a malformed IP packet.
//!
//! Computed only for packets already rejected, so it parses the headers again.

use super::header;
use crate::wire::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpProtocol, Ipv4Packet, Ipv6Packet};

/// Code and pointer of a parameter problem (RFC 792, RFC 4443 section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: u8,
    /// Offset of the cause in the packet.
    pub(crate) pointer: usize,
    /// Whether it is reported for packets to multicast groups too.
    pub(crate) includes_multicast: bool,
}

/// The codes of RFC 4443 section 3.4 and RFC 7112 section 5.
const ERRONEOUS_FIELD: u8 = 0;
const UNKNOWN_NEXT_HEADER: u8 = 1;
const UNKNOWN_OPTION: u8 = 2;
const INCOMPLETE_HEADERS: u8 = 3;

/// Offsets of the payload length and the next header in IPv6.
const PAYLOAD_LENGTH_AT: usize = 4;
const NEXT_HEADER_AT: usize = 6;

impl Problem {
    const fn new(code: u8, pointer: usize) -> Self {
        Self { code, pointer, includes_multicast: false }
    }

    /// An unrecognized next header.
    pub(crate) const fn next_header(pointer: usize) -> Self {
        Self::new(UNKNOWN_NEXT_HEADER, pointer)
    }

    /// The problem to report about a dropped packet, if any.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => problem_v4(packet),
            _ => problem_v6(packet),
        }
    }
}

/// An option with an invalid length (RFC 1122 section 3.2.2.5).
fn problem_v4(packet: &[u8]) -> Option<Problem> {
    let end = usize::from(Ipv4Packet::new_checked(packet).ok()?.header_len());
    let options = packet.get(IPV4_HEADER_LEN..end)?;
    let at = header::first_malformed_option(options)?;
    Some(Problem::new(ERRONEOUS_FIELD, IPV4_HEADER_LEN + at))
}

fn problem_v6(packet: &[u8]) -> Option<Problem> {
    let chain = Chain::new(packet)?;
    for Header { protocol, at, named_at } in chain {
        let rest = packet.get(at..)?;
        match protocol {
            // Allowed right after the IPv6 header only (RFC 8200 section 4.1).
            IpProtocol::HopByHop if at != IPV6_HEADER_LEN => {
                return Some(Problem::next_header(named_at));
            }
            IpProtocol::HopByHop | IpProtocol::Ipv6Opts => {
                let options = rest.get(2..8 * (usize::from(*rest.get(1)?) + 1))?;
                if let Some((offset, action)) = header::first_refused_option(options) {
                    return option_problem(at + 2 + offset, action);
                }
            }
            // Any type: a host does not forward (RFC 8200 section 4.4).
            IpProtocol::Ipv6Route if *rest.get(3)? != 0 => {
                return Some(Problem::new(ERRONEOUS_FIELD, at + 2));
            }
            IpProtocol::Ipv6Frag => {
                if let Some(problem) = fragment_problem(packet, at) {
                    return Some(problem);
                }
            }
            _ => {}
        }
    }
    None
}

/// The action of an unknown option, its two highest bits (RFC 8200 section 4.2).
fn option_problem(pointer: usize, action: u8) -> Option<Problem> {
    match action {
        2 => Some(Problem { includes_multicast: true, ..Problem::new(UNKNOWN_OPTION, pointer) }),
        3 => Some(Problem::new(UNKNOWN_OPTION, pointer)),
        _ => None,
    }
}

/// The problem of a fragment (RFC 8200 section 4.5).
fn fragment_problem(packet: &[u8], at: usize) -> Option<Problem> {
    let end = Ipv6Packet::new_checked(packet).ok()?.total_len();
    let header = packet.get(at..at + 8)?;
    let payload = packet.get(at + 8..end)?;
    let field = u16::from_be_bytes([header[2], header[3]]);
    let (offset, more) = (usize::from(field & !7), field & 1 != 0);
    if more && !payload.len().is_multiple_of(8) {
        return Some(Problem::new(ERRONEOUS_FIELD, PAYLOAD_LENGTH_AT));
    }
    if offset + payload.len() > usize::from(u16::MAX) {
        return Some(Problem::new(ERRONEOUS_FIELD, at + 2));
    }
    let is_incomplete = more
        && offset == 0
        && header::check_first_fragment(IpProtocol::from(header[0]), payload).is_err();
    is_incomplete.then_some(Problem::new(INCOMPLETE_HEADERS, 0))
}

/// Whether a packet is an ICMP error, which must not cause another (RFC 1122 section 3.2.2, RFC
/// 4443 section 2.4(e)).
pub(crate) fn is_icmp_error(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            let Ok(packet) = Ipv4Packet::new_checked(packet) else { return false };
            packet.next_header() == IpProtocol::Icmp
                && matches!(packet.payload().first(), Some(3 | 4 | 5 | 11 | 12))
        }
        _ => Chain::new(packet).into_iter().flatten().any(|header| {
            // The highest bit of an error's type is 0; a redirect counts as an error.
            header.protocol == IpProtocol::Icmpv6
                && packet.get(header.at).is_some_and(|kind| *kind < 128 || *kind == 137)
        }),
    }
}

/// Offset of the next header field that names the unrecognized header.
pub(crate) fn last_next_header_at(packet: &[u8]) -> usize {
    Chain::new(packet)
        .and_then(|chain| chain.last())
        .map_or(NEXT_HEADER_AT, |header| header.named_at)
}

/// One of an IPv6 packet's headers.
#[derive(Debug, Clone, Copy)]
struct Header {
    protocol: IpProtocol,
    /// Its offset in the packet.
    at: usize,
    /// Offset of the next header field that names it.
    named_at: usize,
}

/// The extension headers of an IPv6 packet, up to an unknown or truncated one.
struct Chain<'a> {
    packet: &'a [u8],
    next: Option<Header>,
    left: usize,
}

impl<'a> Chain<'a> {
    fn new(packet: &'a [u8]) -> Option<Self> {
        let protocol = Ipv6Packet::new_checked(packet).ok()?.next_header();
        let next = Some(Header { protocol, at: IPV6_HEADER_LEN, named_at: NEXT_HEADER_AT });
        Some(Self { packet, next, left: header::EXTENSION_HEADERS_MAX + 1 })
    }

    /// The header after `header`; `None` if it is not an extension header, or truncated.
    fn behind(&self, header: Header) -> Option<Header> {
        let rest = self.packet.get(header.at..)?;
        let len = match header.protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Opts | IpProtocol::Ipv6Route => {
                8 * (usize::from(*rest.get(1)?) + 1)
            }
            // A fragment other than the first has no header after this.
            IpProtocol::Ipv6Frag if *rest.get(2)? == 0 && *rest.get(3)? & !7 == 0 => 8,
            _ => return None,
        };
        let protocol = IpProtocol::from(*rest.first()?);
        Some(Header { protocol, at: header.at + len, named_at: header.at })
    }
}

impl Iterator for Chain<'_> {
    type Item = Header;

    fn next(&mut self) -> Option<Header> {
        self.left = self.left.checked_sub(1)?;
        let header = self.next.take()?;
        self.next = self.behind(header);
        Some(header)
    }
}
