//! The header in front of each frame (RFC 7348 section 5).

/// The length of the header.
pub(super) const HEADER_BYTES: usize = 8;
/// The number of networks: a VNI has 24 bits.
pub(super) const VNI_MAX: u32 = 0xff_ffff;
/// The flag I: the VNI is valid.
const VNI_FLAG: u8 = 0x08;

/// The header of a network: flags, three reserved bytes, the VNI, one reserved byte.
pub(super) fn header(vni: u32) -> [u8; HEADER_BYTES] {
    let [_, high, middle, low] = vni.to_be_bytes();
    [VNI_FLAG, 0, 0, 0, high, middle, low, 0]
}

/// The header at the front of a datagram, and what follows it.
pub(super) fn split(datagram: &[u8]) -> Option<(&[u8; HEADER_BYTES], &[u8])> {
    datagram.split_first_chunk()
}

/// Whether a received header is of the network of `own`: reserved bits are ignored.
pub(super) fn is_of_network(received: &[u8; HEADER_BYTES], own: &[u8; HEADER_BYTES]) -> bool {
    received[0] & VNI_FLAG != 0 && received[4..7] == own[4..7]
}
