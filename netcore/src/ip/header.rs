//! Parsing and writing of IP headers.

use crate::checksum::sum;
use crate::command::raw::Version;
use crate::counters::DropReason;
use crate::error::Error;
use crate::wire::ChecksumCapabilities;
use crate::wire::{
    IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Packet,
};
use std::net::IpAddr;
use std::ops::Range;

/// The fields of an IP packet that routing and demultiplexing need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IpHeader {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Protocol of the payload, after all extension headers.
    pub(crate) protocol: IpProtocol,
    pub(crate) hop_limit: u8,
    /// Range of the payload in the packet; its end is the packet's.
    pub(crate) payload: Range<usize>,
    /// Whether options or extension headers lie between the IP header and the payload.
    pub(crate) has_extensions: bool,
    pub(crate) fragment: Option<Fragment>,
}

/// The position of a fragment in its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) ident: u32,
    /// Offset of its payload, in bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// An IPv6 packet has few extension headers; more than this many is an attack.
pub(crate) const EXTENSION_HEADERS_MAX: usize = 8;

/// Reads the header of the IP packet at the beginning of `packet`.
pub(crate) fn parse(packet: &[u8]) -> Result<IpHeader, DropReason> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => parse_v4(packet),
        Some(6) => parse_v6(packet),
        _ => Err(DropReason::Malformed),
    }
}

fn parse_v4(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| DropReason::Malformed)?;
    let header_len = usize::from(packet.header_len());
    if header_len < 20 {
        return Err(DropReason::Malformed);
    }
    if sum(&bytes[..header_len]) != u16::MAX {
        return Err(DropReason::Checksum);
    }
    if header_len > 20 {
        check_options_v4(&bytes[20..header_len])?;
    }
    let fragment = (packet.more_frags() || packet.frag_offset() != 0).then(|| Fragment {
        ident: u32::from(packet.ident()),
        offset: usize::from(packet.frag_offset()),
        more: packet.more_frags(),
    });
    Ok(IpHeader {
        source: packet.src_addr().into(),
        destination: packet.dst_addr().into(),
        protocol: packet.next_header(),
        hop_limit: packet.hop_limit(),
        payload: header_len..usize::from(packet.total_len()),
        has_extensions: header_len > 20,
        fragment,
    })
}

fn parse_v6(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| DropReason::Malformed)?;
    let end = packet.total_len();
    let mut header = IpHeader {
        source: packet.src_addr().into(),
        destination: packet.dst_addr().into(),
        protocol: packet.next_header(),
        hop_limit: packet.hop_limit(),
        payload: packet.header_len()..end,
        has_extensions: false,
        fragment: None,
    };
    for _ in 0..EXTENSION_HEADERS_MAX {
        let rest = &bytes[header.payload.clone()];
        let len = match header.protocol {
            IpProtocol::Ipv6Frag => {
                let fragment = parse_v6_fragment(rest)?;
                // An atomic fragment (RFC 6946) is a whole packet.
                if fragment.offset != 0 || fragment.more {
                    header.fragment = Some(fragment);
                    header.protocol = IpProtocol::from(rest[0]);
                    header.payload.start += 8;
                    header.has_extensions = true;
                    if fragment.offset == 0 {
                        check_first_fragment(header.protocol, &bytes[header.payload.clone()])?;
                    }
                    return Ok(header);
                }
                8
            }
            // Allowed as the first only (RFC 8200 section 4.1).
            IpProtocol::HopByHop if header.has_extensions => return Err(DropReason::Malformed),
            IpProtocol::HopByHop | IpProtocol::Ipv6Opts => {
                let extension = extension_header(rest)?;
                check_options(extension.payload())?;
                8 * (usize::from(extension.header_len()) + 1)
            }
            // A routing header with segments left requests forwarding, which hosts do not do (RFC
            // 5095 for type 0).
            IpProtocol::Ipv6Route => {
                let extension = extension_header(rest)?;
                if extension.payload().get(1).is_none_or(|segments_left| *segments_left != 0) {
                    return Err(DropReason::NotForUs);
                }
                8 * (usize::from(extension.header_len()) + 1)
            }
            _ => return Ok(header),
        };
        if rest.len() < len {
            return Err(DropReason::Malformed);
        }
        header.protocol = IpProtocol::from(rest[0]);
        header.payload.start += len;
        header.has_extensions = true;
    }
    Err(DropReason::Malformed)
}

/// Checks that the first fragment has all headers, the transport's included (RFC 8200 section 4.5,
/// RFC 7112): filters look at single fragments.
pub(crate) fn check_first_fragment(
    mut protocol: IpProtocol,
    mut rest: &[u8],
) -> Result<(), DropReason> {
    for _ in 0..EXTENSION_HEADERS_MAX {
        let header_len = match protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Opts | IpProtocol::Ipv6Route => {
                extension_header(rest).map_err(|_| DropReason::BadFragment)?;
                8 * (usize::from(rest[1]) + 1)
            }
            // Fragments of fragments.
            IpProtocol::Ipv6Frag => return Err(DropReason::BadFragment),
            IpProtocol::Tcp => 20,
            IpProtocol::Udp | IpProtocol::Icmpv6 => 8,
            _ => 0,
        };
        if rest.len() < header_len {
            return Err(DropReason::BadFragment);
        }
        if matches!(protocol, IpProtocol::Tcp | IpProtocol::Udp | IpProtocol::Icmpv6)
            || header_len == 0
        {
            return Ok(());
        }
        protocol = IpProtocol::from(rest[0]);
        rest = &rest[header_len..];
    }
    Err(DropReason::Malformed)
}

fn extension_header(bytes: &[u8]) -> Result<Ipv6ExtHeader<&[u8]>, DropReason> {
    Ipv6ExtHeader::new_checked(bytes).map_err(|_| DropReason::Malformed)
}

fn parse_v6_fragment(bytes: &[u8]) -> Result<Fragment, DropReason> {
    let extension = bytes.get(2..8).ok_or(DropReason::Malformed)?;
    let header = Ipv6FragmentHeader::new_checked(extension).map_err(|_| DropReason::Malformed)?;
    Ok(Fragment {
        ident: header.ident(),
        offset: usize::from(header.frag_offset()) * 8,
        more: header.more_frags(),
    })
}

/// Checks that all options may be skipped (RFC 8200 section 4.2).
fn check_options(options: &[u8]) -> Result<(), DropReason> {
    match first_refused_option(options) {
        None => Ok(()),
        Some((_, 0)) => Err(DropReason::Malformed),
        Some(_) => Err(DropReason::UnknownOption),
    }
}

/// Offset of the first option that may not be skipped, and its action, the two highest bits (RFC
/// 8200 section 4.2); 0 if it is malformed.
pub(crate) fn first_refused_option(options: &[u8]) -> Option<(usize, u8)> {
    let mut at = 0;
    while let [kind, rest @ ..] = options.get(at..)? {
        if *kind == 0 {
            at += 1;
            continue;
        }
        let Some(len) = rest.first().map(|len| usize::from(*len)) else {
            return Some((at, 0));
        };
        // PadN aside; Pad1 is above.
        if *kind != 1 && kind >> 6 != 0 {
            return Some((at, kind >> 6));
        }
        if rest.len() < 1 + len {
            return Some((at, 0));
        }
        at += 2 + len;
    }
    None
}

/// Offset of the first IPv4 option with an invalid length.
pub(crate) fn first_malformed_option(options: &[u8]) -> Option<usize> {
    options_v4(options).find_map(|(at, option)| option.is_none().then_some(at))
}

/// Skips IPv4 options (RFC 1122 section 3.2.1.8), but rejects malformed ones and source routes:
/// replies along a source route reach a spoofed sender (RFC 7126 sections 4.3 and 4.4; as Linux).
#[cold]
fn check_options_v4(options: &[u8]) -> Result<(), DropReason> {
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    for (_, option) in options_v4(options) {
        match option {
            None => return Err(DropReason::Malformed),
            Some([LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..]) => {
                return Err(DropReason::UnknownOption);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The options of an IPv4 header with their offsets, up to one with an invalid length, which is
/// `None`.
fn options_v4(options: &[u8]) -> impl Iterator<Item = (usize, Option<&[u8]>)> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let start = at.take()?;
        let rest = options.get(start..)?;
        let option = match rest {
            [] | [END, ..] => return None,
            [NO_OPERATION, ..] => rest.get(..1),
            [_, len, ..] if *len >= 2 => rest.get(..usize::from(*len)),
            _ => None,
        };
        at = option.map(|option| start + option.len());
        Some((start, option))
    })
}

/// The header of a packet from `source` to `destination`.
///
/// # Panics
///
/// If the two are of different families.
pub(crate) fn repr(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    payload_len: usize,
    hop_limit: u8,
) -> IpRepr {
    IpRepr::new(
        IpAddress::from(source),
        IpAddress::from(destination),
        protocol,
        payload_len,
        hop_limit,
    )
}

/// Sets the traffic class of an outgoing packet (RFC 2474). The two lowest bits, ECN, stay 0.
pub(crate) fn set_traffic_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        let mut packet = Ipv4Packet::new_unchecked(packet);
        packet.set_dscp(class >> 2);
        packet.fill_checksum();
    } else {
        Ipv6Packet::new_unchecked(packet).set_traffic_class(class & !0b11);
    }
}

/// smoltcp computes the IPv4 header checksum only; the transport's is written where the link's
/// offloads are known.
pub(crate) fn header_checksums_only() -> ChecksumCapabilities {
    let mut checksums = ChecksumCapabilities::ignored();
    checksums.ipv4 = crate::wire::Checksum::Tx;
    checksums
}

/// The default hop limit (RFC 1700).
pub(crate) const HOP_LIMIT: u8 = 64;

/// The packet quoted in an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: IpProtocol,
    /// For TCP and UDP.
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// For TCP.
    pub(crate) sequence: u32,
    /// For ICMP echo requests.
    pub(crate) echo_identifier: u16,
    pub(crate) echo_sequence: u16,
    /// Length of the packet, or of its fragment, in bytes.
    pub(crate) total_len: u16,
}

/// Parses the packet that an ICMP error quotes: truncated anywhere after the first 8 bytes of
/// payload. Of a fragmented packet only the first fragment identifies the socket.
pub(crate) fn parse_quoted(packet: &[u8]) -> Option<Quoted> {
    let (source, destination, mut protocol, mut start, total_len) = match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let packet = Ipv4Packet::new_unchecked(packet);
            if packet.frag_offset() != 0 {
                return None;
            }
            let addresses = (packet.src_addr().into(), packet.dst_addr().into());
            let start = usize::from(packet.header_len());
            (addresses.0, addresses.1, packet.next_header(), start, packet.total_len())
        }
        6 if packet.len() >= 40 => {
            let packet = Ipv6Packet::new_unchecked(packet);
            let addresses = (packet.src_addr().into(), packet.dst_addr().into());
            (
                addresses.0,
                addresses.1,
                packet.next_header(),
                40,
                packet.payload_len().saturating_add(40),
            )
        }
        _ => return None,
    };
    if protocol == IpProtocol::Ipv6Frag {
        let header = packet.get(start..)?;
        if parse_v6_fragment(header).ok()?.offset != 0 {
            return None;
        }
        protocol = IpProtocol::from(header[0]);
        start += 8;
    }
    let transport: &[u8; 8] = packet.get(start..)?.first_chunk()?;
    let field = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    Some(Quoted {
        source,
        destination,
        protocol,
        source_port: field(0),
        destination_port: field(2),
        sequence: u32::from(field(4)) << 16 | u32::from(field(6)),
        echo_identifier: field(4),
        echo_sequence: field(6),
        total_len,
    })
}

/// Completes a raw socket's packet: its length and, for IPv4, the header checksum.
///
/// # Errors
///
/// [`Error::Malformed`] if it is not a packet of this version and protocol;
/// [`Error::MessageTooLarge`] if it is longer than 65,535 bytes.
pub(crate) fn complete_raw(
    packet: &[u8],
    version: Version,
    protocol: u8,
) -> Result<Vec<u8>, Error> {
    if packet.len() > usize::from(u16::MAX) {
        return Err(Error::MessageTooLarge);
    }
    let mut packet = packet.to_vec();
    let len = packet.len() as u16;
    let found = match version {
        Version::V4 if packet.len() >= 20 && packet[0] >> 4 == 4 => {
            let header_len = usize::from(packet[0] & 0xf) * 4;
            if header_len < 20 || header_len > packet.len() {
                return Err(Error::Malformed);
            }
            let mut header = Ipv4Packet::new_unchecked(&mut packet[..]);
            header.set_total_len(len);
            header.fill_checksum();
            header.next_header()
        }
        Version::V6 if packet.len() >= 40 && packet[0] >> 4 == 6 => {
            let mut header = Ipv6Packet::new_unchecked(&mut packet[..]);
            header.set_payload_len(len - 40);
            header.next_header()
        }
        _ => return Err(Error::Malformed),
    };
    if u8::from(found) == protocol { Ok(packet) } else { Err(Error::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend([0xfd; 16]);
        packet.extend([0xfc; 16]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn payload_is_found_after_extension_headers() {
        // Hop-by-hop with padding, destination options with an unknown one to be skipped, UDP.
        let packet = v6(0, &[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0x1e, 4, 0, 0, 0, 0, 1, 2, 3]);

        let header = parse(&packet).expect("well-formed");

        assert_eq!(header.protocol, IpProtocol::Udp);
        assert_eq!(&packet[header.payload], [1, 2, 3]);
        assert!(header.has_extensions);
    }

    #[test]
    fn unknown_option_with_discard_action_drops_packet() {
        let packet = v6(0, &[17, 0, 0x9e, 4, 0, 0, 0, 0, 1, 2, 3]);

        assert_eq!(parse(&packet), Err(DropReason::UnknownOption));
    }

    #[test]
    fn too_many_extension_headers_are_malformed() {
        let chain: Vec<u8> = (0..40).flat_map(|_| [60, 0, 1, 4, 0, 0, 0, 0]).collect();

        assert_eq!(parse(&v6(60, &chain)), Err(DropReason::Malformed));
    }

    #[test]
    fn raw_packet_must_match_its_sockets_protocol() {
        let packet = v6(17, &[0; 8]);

        assert!(complete_raw(&packet, Version::V6, 17).is_ok());
        assert_eq!(complete_raw(&packet, Version::V6, 6), Err(Error::Malformed));
        assert_eq!(complete_raw(&packet, Version::V4, 17), Err(Error::Malformed));
        assert_eq!(complete_raw(&[], Version::V4, 17), Err(Error::Malformed));
        assert_eq!(complete_raw(&[0x4f; 20], Version::V4, 0x4f), Err(Error::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(
            first in prop_oneof![Just(0x45u8), Just(0x4f), Just(0x60), any::<u8>()],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let packet: Vec<u8> = std::iter::once(first).chain(rest).collect();
            if let Ok(header) = parse(&packet) {
                prop_assert!(header.payload.start <= header.payload.end);
                prop_assert!(header.payload.end <= packet.len());
            }
            let _ = parse_quoted(&packet);
        }
    }
}
