//! The Internet checksum (RFC 1071).

use crate::wire::IpProtocol;
use std::net::IpAddr;

/// The one's complement sum of bytes, the last of which is followed by a zero if they are odd in
/// number, as a big-endian number.
///
/// Words of eight bytes are added, with their carries kept apart.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        for word in block.as_chunks::<8>().0 {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
    }
    let (words, mut rest) = rest.as_chunks::<8>();
    for word in words {
        sum += u128::from(u64::from_ne_bytes(*word));
    }
    // Most headers end with half a word: no call to copy that is worth it.
    if let Some((half, after)) = rest.split_first_chunk() {
        sum += u128::from(u32::from_ne_bytes(*half));
        rest = after;
    }
    if let Some((pair, after)) = rest.split_first_chunk() {
        sum += u128::from(u16::from_ne_bytes(*pair));
        rest = after;
    }
    if let [last] = rest {
        sum += u128::from(u16::from_ne_bytes([*last, 0]));
    }
    // The sum is the same in any order of bytes, but for its own (RFC 1071 section 2).
    fold(sum).to_be()
}

/// The sum of the pseudo-header of a transport protocol's packet of `len` bytes (RFC 9293 section 3.1,
/// RFC 8200 section 8.1).
pub(crate) fn pseudo_header(ends: (IpAddr, IpAddr), protocol: IpProtocol, len: u32) -> u16 {
    let rest = u128::from(len.to_be()) + u128::from(u32::from(u8::from(protocol)).to_be());
    fold(address(ends.0) + address(ends.1) + rest).to_be()
}

fn address(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(address) => {
            let words = address.octets();
            let words = words.as_chunks::<8>().0.iter();
            words.map(|word| u128::from(u64::from_ne_bytes(*word))).sum()
        }
    }
}

/// Adds the carries. Half of the bits at a time, twice since that may carry again.
fn fold(sum: u128) -> u16 {
    let (low, carries) = (sum as u64).overflowing_add((sum >> 64) as u64);
    let mut sum = low + u64::from(carries);
    for bits in [32, 32, 16, 16] {
        sum = (sum >> bits) + (sum & ((1 << bits) - 1));
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_sum_of_words_of_two_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let expected = crate::wire::checksum::data(&bytes);
            prop_assert_eq!(sum(&bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn pseudo_header_is_that_of_smoltcp(
            v4: [[u8; 4]; 2], v6: [[u8; 16]; 2], protocol: u8, len: u16,
        ) {
            let (v4, v6) = (v4.map(IpAddr::from), v6.map(IpAddr::from));
            let (protocol, len) = (IpProtocol::from(protocol), u32::from(len));
            for [source, destination] in [v4, v6] {
                let expected = crate::wire::checksum::pseudo_header(
                    &source.into(), &destination.into(), protocol, len,
                );
                prop_assert_eq!(pseudo_header((source, destination), protocol, len), expected);
            }
        }
    }

    #[test]
    fn carries_are_added_again() {
        for len in [0, 1, 2, 63, 64, 65, 1480, 65_535] {
            let bytes = vec![0xff; len];
            let expected = crate::wire::checksum::data(&bytes);
            assert_eq!(sum(&bytes), expected, "{len}");
        }
    }
}
