//! Packet formats: the one door to smoltcp's.

#[cfg(test)]
pub(crate) use smoltcp::phy::ChecksumCapabilities;
pub(crate) use smoltcp::time::Duration;
pub(crate) use smoltcp::wire::*;
