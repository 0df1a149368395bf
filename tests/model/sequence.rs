//! The contents of the streams.

use std::sync::LazyLock;
use tests::noise;

/// A prime, so that no buffer size is a multiple of it.
const PERIOD: usize = 1_048_573;
/// The longest piece.
pub(crate) const PIECE_MAX: usize = 128 * 1024;

static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut noise = noise(PERIOD);
    noise.extend_from_within(..PIECE_MAX);
    noise
});

/// The bytes of a stream from a position on. No two streams of one world have the same soon.
pub(crate) fn piece(stream: u64, position: u64, len: usize) -> &'static [u8] {
    let start = (stream.wrapping_mul(104_729) + position) % PERIOD as u64;
    &NOISE[start as usize..start as usize + len]
}
