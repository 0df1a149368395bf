//! The Internet checksum (RFC 1071).

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
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        sum += u128::from(u64::from_ne_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum += u128::from(u64::from_ne_bytes(last));
    }
    // The sum is the same in any order of bytes, but for its own (RFC 1071 section 2).
    fold(sum).to_be()
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

    #[test]
    fn carries_are_added_again() {
        for len in [0, 1, 2, 63, 64, 65, 1480, 65_535] {
            let bytes = vec![0xff; len];
            let expected = crate::wire::checksum::data(&bytes);
            assert_eq!(sum(&bytes), expected, "{len}");
        }
    }
}
