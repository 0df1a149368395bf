//! The numbers of streams.

/// The number of a stream by its place, which is the same at both ends: iperf3 counts 1, 3, 4, 5.
pub(crate) fn stream_id(place: usize) -> u64 {
    match place {
        0 => 1,
        place => place as u64 + 2,
    }
}
