//! What a sender has done, for [`TcpInfo`](crate::tcp::TcpInfo).

/// Totals of a connection, which outlive its sender.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Segments with data.
    pub(crate) segments: u64,
    /// Bytes sent again.
    pub(crate) again_bytes: u64,
    /// Bytes found lost.
    pub(crate) lost_bytes: u64,
    /// Segments sent again.
    pub(crate) again: u32,
    /// Of those, such as need not have been.
    pub(crate) spurious: u32,
    /// Reports of data that has arrived twice.
    pub(crate) duplicates: u32,
    /// Segments that others have overtaken.
    pub(crate) reordered: u32,
    pub(crate) timeouts: u32,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.again_bytes += other.again_bytes;
        self.lost_bytes += other.lost_bytes;
        self.again = self.again.saturating_add(other.again);
        self.spurious = self.spurious.saturating_add(other.spurious);
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.reordered = self.reordered.saturating_add(other.reordered);
        self.timeouts = self.timeouts.saturating_add(other.timeouts);
    }
}
