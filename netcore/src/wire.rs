//! Packet formats: the only import of smoltcp's.

pub(crate) use smoltcp::phy::{Checksum, ChecksumCapabilities};
pub(crate) use smoltcp::wire::*;
