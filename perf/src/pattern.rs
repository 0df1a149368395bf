//! Bytes that say where they stand: each eight of them are their own number.

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes from `start` on.
pub(crate) fn bytes(start: u64, len: usize) -> Bytes {
    // A word more at both ends, as the first and the last may be cut.
    let mut bytes = BytesMut::with_capacity(len + 2 * WORD);
    let skipped = (start % WORD as u64) as usize;
    let mut word = start / WORD as u64;
    while bytes.len() < skipped + len {
        bytes.put_u64(word);
        word = word.wrapping_add(1);
    }
    bytes.truncate(skipped + len);
    bytes.freeze().slice(skipped..)
}

/// The bytes `into` from `start` on.
pub(crate) fn fill(start: u64, into: &mut [u8]) {
    for (place, byte) in (start..).zip(&mut *into) {
        *byte = at(place);
    }
}

/// Where the first byte is that is not the one of its place, and what stands there instead.
pub(crate) fn find_mistake(start: u64, bytes: &[u8]) -> Option<(u64, u8)> {
    let head = bytes.len().min(start.wrapping_neg() as usize % WORD);
    let (head, rest) = bytes.split_at(head);
    let first = start + head.len() as u64;
    let (words, tail) = rest.as_chunks::<WORD>();
    let is_right = (first / WORD as u64..)
        .zip(words)
        .fold(true, |is_right, (word, bytes)| is_right & (u64::from_be_bytes(*bytes) == word));
    let last = first + (words.len() * WORD) as u64;
    let is_whole = is_right && starts_at(start, head) && starts_at(last, tail);
    if is_whole {
        None
    } else {
        (start..).zip(bytes.iter().copied()).find(|(at_, it)| at(*at_) != *it)
    }
}

fn starts_at(start: u64, bytes: &[u8]) -> bool {
    (start..).zip(bytes).all(|(place, byte)| at(place) == *byte)
}

fn at(place: u64) -> u8 {
    (place / WORD as u64).to_be_bytes()[(place % WORD as u64) as usize]
}

const WORD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_found_wherever_it_stands() {
        for start in [0, 1, 7, 8, 1_000_003] {
            for len in [0, 1, 5, 8, 17, 64] {
                let right = bytes(start, len);
                assert_eq!(right.len(), len);
                assert_eq!(find_mistake(start, &right), None, "{start} {len}");
                let mut filled = vec![0; len];
                fill(start, &mut filled);
                assert_eq!(filled, right);
                for place in 0..len {
                    let mut wrong = right.to_vec();
                    wrong[place] ^= 0x40;
                    let expected = Some((start + place as u64, wrong[place]));
                    assert_eq!(find_mistake(start, &wrong), expected, "{start} {len}");
                }
            }
        }
    }

    #[test]
    fn a_piece_at_another_place_is_a_mistake() {
        let piece = bytes(128 * 1024, 4096);
        assert!(find_mistake(0, &piece).is_some());
        assert!(find_mistake(256 * 1024, &piece).is_some());
    }
}
