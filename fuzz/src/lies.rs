//! What a peer of TCP may claim against all truth.

use netcore::device::smoltcp::wire::TcpTimestampRepr;

/// Options in which nothing need be true.
pub(crate) struct Lies {
    /// Of what the peer claims to have behind gaps.
    pub(crate) blocks: [Option<(u32, u32)>; 3],
    /// Timestamps, which nobody has agreed on.
    pub(crate) timestamp: Option<TcpTimestampRepr>,
}

impl Lies {
    pub(crate) fn none() -> Self {
        Self { blocks: [None; 3], timestamp: None }
    }

    /// Blocks of what was sent before `end` and is, or was, or never will be in flight: also empty
    /// ones, ones that end before they begin, and half of all numbers away.
    pub(crate) fn told(luck: u32, end: u32) -> Self {
        let mut state = luck;
        let mut next = || {
            state = mixed(state.wrapping_add(0x9e37_79b9));
            state
        };
        let mut edge = || {
            let far = match next() % 8 {
                0..4 => 3000,
                4..6 => 20_000,
                6 => 1 << 17,
                _ => u32::MAX,
            };
            end.wrapping_sub(next() % far).wrapping_add(next() % 3)
        };
        let block = |index: u32| (luck >> 1 & 3 > index).then(|| (edge(), edge()));
        let blocks = [0, 1, 2].map(block).map(|block| match (block, luck >> 3 & 3) {
            // Mostly in order.
            (Some((left, right)), 1..) if (right.wrapping_sub(left) as i32) < 0 => {
                Some((right, left))
            }
            (block, _) => block,
        });
        let timestamp = (luck >> 5)
            .is_multiple_of(3)
            .then(|| TcpTimestampRepr::new(mixed(luck ^ 1), mixed(luck ^ 2)));
        Self { blocks, timestamp }
    }
}

/// A hash that spreads neighbouring numbers.
pub(crate) fn mixed(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x7feb_352d);
    let number = (number ^ number >> 15).wrapping_mul(0x846c_a68b);
    number ^ number >> 16
}
