//! TCP options as smoltcp may see them.
//!
//! smoltcp refuses a whole segment for one option that it cannot read. Others pass over such
//! options, and so a peer or a box in between that writes them is never noticed, until its segments
//! are lost in silence here. This is what Linux makes of them (`tcp_parse_options`): reading stops
//! at an option whose length cannot be true, those of a known kind with another length than theirs
//! are passed over, and of those that come twice the last counts.

use super::shown::set_payload_len;
use super::timestamps::{STAMP_BYTES, Stamp};
use crate::wire::{TCP_HEADER_LEN, TcpPacket};

/// Kinds of TCP options.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
pub(crate) const WINDOW_SCALE: u8 = 3;
pub(crate) const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
pub(crate) const TIMESTAMP: u8 = 8;
/// Those that smoltcp reads.
const KNOWN: [u8; 5] = [MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMP];
/// A TCP header with as many options as fit.
const TCP_HEADER_MAX: usize = 60;

/// The segment at `tcp_start` with options that smoltcp can read, if it could not read its own.
#[inline]
pub(crate) fn legible(packet: &[u8], tcp_start: usize) -> Option<Vec<u8>> {
    let segment = TcpPacket::new_unchecked(&packet[tcp_start..]);
    match segment.options() {
        // Nearly all segments.
        [] | [NO_OPERATION, NO_OPERATION, TIMESTAMP, 10, _, _, _, _, _, _, _, _] => None,
        options if are_legible(options) => None,
        _ => Some(rewritten(packet, tcp_start)),
    }
}

/// The value of an option of this kind, if it is there and all options before it are well-formed.
pub(crate) fn find(mut options: &mut [u8], wanted: u8) -> Option<&mut [u8]> {
    loop {
        match options {
            [] | [END, ..] => return None,
            [NO_OPERATION, rest @ ..] => options = rest,
            [kind, len, ..] if *len >= 2 => {
                let (kind, len) = (*kind, usize::from(*len));
                let (option, rest) = options.split_at_mut_checked(len)?;
                if kind == wanted {
                    return option.get_mut(2..);
                }
                options = rest;
            }
            _ => return None,
        }
    }
}

/// The timestamps, if there are any and all options before them are well-formed.
#[inline]
pub(crate) fn stamp(options: &[u8]) -> Option<Stamp> {
    match options.first_chunk::<STAMP_BYTES>() {
        // Nearly all segments.
        Some([NO_OPERATION, NO_OPERATION, TIMESTAMP, 10, value @ ..]) => Some(Stamp::read(value)),
        _ => misaligned_stamp(options),
    }
}

#[inline(never)]
fn misaligned_stamp(mut options: &[u8]) -> Option<Stamp> {
    while let Some((option, behind)) = split_first(options) {
        if let [TIMESTAMP, 10, value @ ..] = option {
            return value.try_into().ok().map(Stamp::read);
        }
        options = behind;
    }
    None
}

/// The value of the MSS option, if there is one and all options before it are well-formed.
pub(crate) fn mss_option(options: &mut [u8]) -> Option<&mut [u8; 2]> {
    find(options, MSS)?.try_into().ok()
}

/// Whether smoltcp reads these options, and reads of each kind one.
#[inline(never)]
fn are_legible(options: &[u8]) -> bool {
    let mut rest = options;
    let mut seen = [false; KNOWN.len()];
    while let Some((option, behind)) = split_first(rest) {
        if let Some(index) = KNOWN.iter().position(|kind| *kind == option[0])
            && (!is_of_its_length(option) || std::mem::replace(&mut seen[index], true))
        {
            return false;
        }
        rest = behind;
    }
    matches!(rest, [] | [END, ..])
}

/// The first option and what comes after it; `None` at the end, and at one whose length cannot be
/// true.
fn split_first(options: &[u8]) -> Option<(&[u8], &[u8])> {
    match options {
        [] | [END, ..] => None,
        [NO_OPERATION, ..] => Some(options.split_at(1)),
        [_, len, ..] if *len >= 2 => options.split_at_checked(usize::from(*len)),
        _ => None,
    }
}

/// Whether an option of a known kind is as long as that kind is.
fn is_of_its_length(option: &[u8]) -> bool {
    match (option[0], option.len()) {
        (MSS, len) => len == 4,
        (WINDOW_SCALE, len) => len == 3,
        (SACK_PERMITTED, len) => len == 2,
        (SACK, len) => len >= 10 && (len - 2).is_multiple_of(8),
        (TIMESTAMP, len) => len == 10,
        _ => false,
    }
}

/// The packet with the last well-formed option of each known kind, and no others.
#[cold]
fn rewritten(packet: &[u8], tcp_start: usize) -> Vec<u8> {
    let segment = TcpPacket::new_unchecked(&packet[tcp_start..]);
    let mut kept: [&[u8]; KNOWN.len()] = [&[]; KNOWN.len()];
    let mut rest = segment.options();
    while let Some((option, behind)) = split_first(rest) {
        if let Some(index) = KNOWN.iter().position(|kind| *kind == option[0])
            && is_of_its_length(option)
        {
            kept[index] = option;
        }
        rest = behind;
    }
    // They were in one header, and none is there twice, so they fit into one again.
    let mut options = kept.concat();
    options.resize(options.len().next_multiple_of(4), END);
    let header_len = TCP_HEADER_LEN + options.len();
    debug_assert!(header_len <= TCP_HEADER_MAX, "the options were in one header before");

    let fixed = &packet[..tcp_start + TCP_HEADER_LEN];
    let mut rewritten = [fixed, &options, segment.payload()].concat();
    set_payload_len(&mut rewritten, tcp_start);
    TcpPacket::new_unchecked(&mut rewritten[tcp_start..]).set_header_len(header_len as u8);
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::shown::{self, Shown};
    use crate::wire::ChecksumCapabilities;
    use crate::wire::{IpAddress, TcpRepr};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    /// A segment with these options, which are filled up with zeros, and one byte.
    fn packet(options: &[u8]) -> (Vec<u8>, usize) {
        let [remote, local] = ["10.0.0.1:9", "10.0.0.2:80"].map(|ends| {
            let ends: SocketAddr = ends.parse().expect("an address");
            ends
        });
        let (buffer, begin) = shown::segment(Shown::Ack, (remote, local), (100, 200));
        let packet = &buffer[begin..];
        let tcp_start = packet.len() - TCP_HEADER_LEN;
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), END);
        let fixed = &packet[..tcp_start + TCP_HEADER_LEN];
        let mut packet = [fixed, &options, &[7]].concat();
        set_payload_len(&mut packet, tcp_start);
        let header_len = (TCP_HEADER_LEN + options.len()) as u8;
        TcpPacket::new_unchecked(&mut packet[tcp_start..]).set_header_len(header_len);
        (packet, tcp_start)
    }

    /// What smoltcp reads of it.
    fn read(packet: &[u8], tcp_start: usize) -> Option<TcpRepr<'_>> {
        let segment = TcpPacket::new_checked(&packet[tcp_start..]).ok()?;
        let address = IpAddress::v4(10, 0, 0, 1);
        TcpRepr::parse(&segment, &address, &address, &ChecksumCapabilities::ignored()).ok()
    }

    #[test]
    fn options_are_read_as_linux_reads_them() {
        const GOOD_MSS: [u8; 4] = [2, 4, 5, 0xb4];
        for (options, expected) in [
            // An MSS of another length.
            (&[2, 3, 5, 3, 3, 7][..], (None, Some(7), false, false)),
            (&[2, 5, 5, 5, 5, 3, 3, 7], (None, Some(7), false, false)),
            (&[2, 2, 3, 3, 7], (None, Some(7), false, false)),
            // A length that cannot be true ends them.
            (&[4, 2, 2, 0, 3, 3, 7], (None, None, true, false)),
            (&[4, 2, 2, 1, 3, 3, 7], (None, None, true, false)),
            (&[4, 2, 0xfd, 0, 3, 3, 7], (None, None, true, false)),
            (&[4, 2, 3, 3, 7, 2, 40, 5], (None, Some(7), true, false)),
            (&[4, 2, 2], (None, None, true, false)),
            // A window scale of another length, and one that is too large.
            (&[3, 4, 7, 7, 4, 2], (None, None, true, false)),
            (&[3, 2, 4, 2], (None, None, true, false)),
            (&[3, 3, 15, 4, 2], (None, Some(14), true, false)),
            (&[3, 3, 255], (None, Some(14), false, false)),
            // SACK permitted and SACK of another length.
            (&[4, 3, 0, 3, 3, 7], (None, Some(7), false, false)),
            (&[5, 2, 3, 3, 7], (None, Some(7), false, false)),
            (&[5, 9, 0, 0, 0, 0, 0, 0, 0, 3, 3, 7], (None, Some(7), false, false)),
            (&[5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 3, 3, 7], (None, Some(7), false, true)),
            // A timestamp of another length.
            (&[8, 9, 0, 0, 0, 0, 0, 0, 0, 3, 3, 7], (None, Some(7), false, false)),
            // Unknown ones: experiments, Fast Open, TCP-AO and an MD5 signature.
            (&[0xfd, 4, 1, 2, 0xfe, 2, 3, 3, 7], (None, Some(7), false, false)),
            (&[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 3, 3, 7], (None, Some(7), false, false)),
            (&[29, 4, 1, 1, 3, 3, 7], (None, Some(7), false, false)),
            (&[19, 2, 3, 3, 7], (None, Some(7), false, false)),
            // The last of two counts, and nothing after the end.
            (&[2, 4, 1, 0, 2, 4, 2, 0], (Some(512), None, false, false)),
            (&[2, 4, 1, 0, 2, 3, 2], (Some(256), None, false, false)),
            (&[3, 3, 7, 0, 4, 2, 0, 0], (None, Some(7), false, false)),
            (&GOOD_MSS, (Some(1460), None, false, false)),
        ] {
            let (packet, tcp_start) = packet(options);

            let shown = legible(&packet, tcp_start);
            let repr = read(shown.as_deref().unwrap_or(&packet), tcp_start);

            let repr = repr.unwrap_or_else(|| panic!("smoltcp refuses {options:?}"));
            let sacked = repr.sack_ranges[0].is_some();
            let read = (repr.max_seg_size, repr.window_scale, repr.sack_permitted, sacked);
            assert_eq!(read, expected, "{options:?}");
            assert_eq!(repr.payload, [7], "{options:?}");
        }
    }

    #[test]
    fn usual_options_are_left_alone() {
        for options in [
            &[][..],
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
            &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        ] {
            let (packet, tcp_start) = packet(options);
            assert_eq!(legible(&packet, tcp_start), None, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn every_option_can_be_read(
            options in prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..=40),
        ) {
            let (packet, tcp_start) = packet(&options);

            let shown = legible(&packet, tcp_start);

            let repr = read(shown.as_deref().unwrap_or(&packet), tcp_start);
            prop_assert_eq!(repr.expect("smoltcp reads it").payload, [7]);
            if let Some(shown) = shown {
                prop_assert_eq!(legible(&shown, tcp_start), None);
            }
        }
    }

    #[test]
    fn the_mss_is_found_behind_other_options() {
        assert_eq!(mss_option(&mut [2, 4, 5, 0xb4]), Some(&mut [5, 0xb4]));
        assert_eq!(mss_option(&mut [1, 1, 3, 3, 7, 2, 4, 5, 0xb4]), Some(&mut [5, 0xb4]));
    }

    #[test]
    fn broken_options_have_no_mss() {
        for options in [
            &mut [][..],
            &mut [0, 2, 4, 5, 5],
            &mut [2],
            &mut [2, 4, 5],
            &mut [3, 0, 2, 4, 5, 5],
            &mut [3, 40, 2, 4],
        ] {
            assert_eq!(mss_option(options), None);
        }
    }
}
