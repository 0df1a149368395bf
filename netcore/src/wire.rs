//! Packet formats: the one door to smoltcp's.

pub(crate) use smoltcp::phy::{Checksum, ChecksumCapabilities};
pub(crate) use smoltcp::wire::*;
