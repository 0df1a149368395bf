//! The answer to a packet that no peer takes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An ICMP message "host unreachable" (RFC 792), or "address unreachable" of ICMPv6 (RFC 4443 section
/// 3.1), as WireGuard in Linux sends it, so that connections fail at once. It comes from the packet's
/// destination. None is sent about ICMP errors, later fragments and groups (RFC 1122 section 3.2.2).
pub(super) fn unreachable(packet: &[u8]) -> Option<Vec<u8>> {
    match packet.first()? >> 4 {
        4 => unreachable_v4(packet),
        6 => unreachable_v6(packet),
        _ => None,
    }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOST_UNREACHABLE: [u8; 2] = [3, 1];
const ADDRESS_UNREACHABLE: [u8; 2] = [1, 3];
/// As much of a packet as an answer has, so that it is never larger than 576 bytes (RFC 1812 section
/// 4.3.2.3).
const QUOTE_BYTES_MAX: usize = 576 - 48;

fn unreachable_v4(packet: &[u8]) -> Option<Vec<u8>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let source = Ipv4Addr::from(*header[12..16].first_chunk()?);
    let destination = Ipv4Addr::from(*header[16..20].first_chunk()?);
    let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    // Echo requests and replies are no errors.
    let is_error = header[9] == ICMP && !matches!(packet.get(header_len)?, 0 | 8);
    if !is_first || is_error || destination.is_multicast() || destination.is_broadcast() {
        return None;
    }
    let quote = &packet[..packet.len().min(QUOTE_BYTES_MAX)];
    let len = (28 + quote.len()) as u16;
    let mut answer = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0];
    answer[2..4].copy_from_slice(&len.to_be_bytes());
    answer.extend(destination.octets().into_iter().chain(source.octets()));
    let sum = checksum(&[&answer]);
    answer[10..12].copy_from_slice(&sum.to_be_bytes());
    append_message(&mut answer, HOST_UNREACHABLE, quote, &[]);
    Some(answer)
}

fn unreachable_v6(packet: &[u8]) -> Option<Vec<u8>> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let source = Ipv6Addr::from(*header[8..24].first_chunk()?);
    let destination = Ipv6Addr::from(*header[24..40].first_chunk()?);
    // Errors have types below 128 (RFC 4443 section 2.1).
    let is_error = header[6] == ICMPV6 && *packet.get(40)? < 128;
    if is_error || destination.is_multicast() {
        return None;
    }
    let quote = &packet[..packet.len().min(QUOTE_BYTES_MAX)];
    let len = (8 + quote.len()) as u16;
    let mut answer = vec![0x60, 0, 0, 0, 0, 0, ICMPV6, 64];
    answer[4..6].copy_from_slice(&len.to_be_bytes());
    answer.extend(destination.octets().into_iter().chain(source.octets()));
    let mut pseudo = answer[8..40].to_vec();
    pseudo.extend(u32::from(len).to_be_bytes());
    pseudo.extend([0, 0, 0, ICMPV6]);
    append_message(&mut answer, ADDRESS_UNREACHABLE, quote, &pseudo);
    Some(answer)
}

fn append_message(answer: &mut Vec<u8>, kind: [u8; 2], quote: &[u8], pseudo: &[u8]) {
    let message = [&kind[..], &[0; 6], quote].concat();
    let start = answer.len();
    answer.extend(&message);
    let sum = checksum(&[pseudo, &message]);
    answer[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum (RFC 1071) of parts of even lengths, but the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0u32, |sum, word| {
        let low = word.get(1).copied().unwrap_or(0);
        sum + u32::from(u16::from_be_bytes([word[0], low]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend([10, 8, 0, 2, 10, 8, 0, 9]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn the_answer_is_an_icmp_message_with_the_packet_in_it() {
        let packet = packet_v4(17, &[0xab; 9]);
        let answer = unreachable(&packet).expect("an answer");
        assert_eq!(answer.len(), 28 + packet.len());
        assert_eq!((&answer[12..16], &answer[16..20]), (&packet[16..20], &packet[12..16]));
        assert_eq!((&answer[20..22], &answer[28..]), (&[3, 1][..], &packet[..]));
        // A sum with its checksum in it is zero.
        assert_eq!((checksum(&[&answer[..20]]), checksum(&[&answer[20..]])), (0, 0));

        let mut packet = vec![0x60, 0, 0, 0, 0, 1, 17, 64];
        packet.extend([0xfd; 32].iter().chain(&[7]));
        let answer = unreachable(&packet).expect("an answer");
        let pseudo = [&answer[8..40], &[0, 0, 0, 49], &[0, 0, 0, 58]].concat();
        assert_eq!((answer[6], &answer[40..42], &answer[48..]), (58, &[1, 3][..], &packet[..]));
        assert_eq!(checksum(&[&pseudo, &answer[40..]]), 0);
    }

    #[test]
    fn nothing_answers_errors_fragments_groups_and_no_packets() {
        assert_eq!(unreachable(&packet_v4(1, &[3, 1, 0, 0])), None);
        assert!(unreachable(&packet_v4(1, &[8, 0, 0, 0])).is_some(), "an echo request");
        let mut fragment = packet_v4(17, &[0; 8]);
        fragment[7] = 1;
        assert_eq!(unreachable(&fragment), None);
        let mut group = packet_v4(17, &[0; 8]);
        group[16] = 224;
        assert_eq!(unreachable(&group), None);
        let mut error = vec![0x60, 0, 0, 0, 0, 1, 58, 64];
        error.extend([0xfd; 32].iter().chain(&[1]));
        assert_eq!(unreachable(&error), None);
        for len in 0..20 {
            assert_eq!(unreachable(&packet_v4(17, &[])[..len]), None);
        }
    }
}
