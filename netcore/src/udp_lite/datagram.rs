//! The format of a datagram (RFC 3828 section 3).

use crate::checksum::{pseudo_header, sum};
use crate::counters::DropReason;
use crate::wire::{IpProtocol, checksum};
use std::net::IpAddr;

pub(crate) const PROTOCOL: IpProtocol = IpProtocol::Unknown(136);
pub(super) const HEADER_BYTES: usize = 8;
/// The limit of UDP over IPv4.
pub(super) const PAYLOAD_MAX: usize = 65_535 - 20 - HEADER_BYTES;

/// Reads a datagram between these addresses; returns its ports and its payload.
pub(super) fn parse(
    datagram: &[u8],
    (source, destination): (IpAddr, IpAddr),
) -> Result<((u16, u16), &[u8]), DropReason> {
    let header = datagram.first_chunk::<HEADER_BYTES>().ok_or(DropReason::Malformed)?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let covered = match usize::from(field(4)) {
        0 => datagram.len(),
        // Less than the header, or more than the datagram (RFC 3828 section 3.1).
        covered if covered < HEADER_BYTES || covered > datagram.len() => {
            return Err(DropReason::Malformed);
        }
        covered => covered,
    };
    if field(6) == 0 {
        return Err(DropReason::NoChecksum);
    }
    let pseudo = pseudo_header((source, destination), PROTOCOL, datagram.len() as u32);
    if checksum::combine(&[pseudo, sum(&datagram[..covered])]) != u16::MAX {
        return Err(DropReason::Checksum);
    }
    if field(2) == 0 {
        return Err(DropReason::Malformed);
    }
    Ok(((field(0), field(2)), &datagram[HEADER_BYTES..]))
}

/// Writes a datagram between these addresses and ports. The checksum covers the header and
/// `coverage` bytes of the payload, or all of it.
pub(super) fn write(
    buffer: &mut [u8],
    (source, destination): (IpAddr, IpAddr),
    ports: (u16, u16),
    coverage: Option<u16>,
    payload: &[u8],
) {
    let covered = coverage.map(|bytes| HEADER_BYTES + usize::from(bytes).min(payload.len()));
    let covered = covered.filter(|covered| *covered < buffer.len());
    buffer[0..2].copy_from_slice(&ports.0.to_be_bytes());
    buffer[2..4].copy_from_slice(&ports.1.to_be_bytes());
    buffer[4..6].copy_from_slice(&(covered.unwrap_or(0) as u16).to_be_bytes());
    buffer[6..8].fill(0);
    buffer[HEADER_BYTES..].copy_from_slice(payload);
    let pseudo = pseudo_header((source, destination), PROTOCOL, buffer.len() as u32);
    let sum = sum(&buffer[..covered.unwrap_or(buffer.len())]);
    let sum = match !checksum::combine(&[pseudo, sum]) {
        0 => u16::MAX,
        sum => sum,
    };
    buffer[6..8].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses() -> (IpAddr, IpAddr) {
        (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]))
    }

    proptest! {
        #[test]
        fn only_damage_to_covered_bytes_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 1..100),
            coverage in proptest::option::of(0_u16..120),
            at in any::<prop::sample::Index>(),
        ) {
            let mut buffer = vec![0; HEADER_BYTES + payload.len()];
            write(&mut buffer, addresses(), (1000, 2000), coverage, &payload);
            prop_assert_eq!(parse(&buffer, addresses()), Ok(((1000, 2000), &payload[..])));

            let at = at.index(payload.len());
            buffer[HEADER_BYTES + at] ^= 1;
            let is_covered = coverage.is_none_or(|bytes| at < usize::from(bytes));
            prop_assert_eq!(parse(&buffer, addresses()).is_err(), is_covered);
        }
    }

    #[test]
    fn impossible_coverage_is_malformed() {
        let mut buffer = vec![0; 12];
        write(&mut buffer, addresses(), (1000, 2000), None, &[0; 4]);
        for coverage in [1_u16, 7, 13, u16::MAX] {
            buffer[4..6].copy_from_slice(&coverage.to_be_bytes());
            assert_eq!(parse(&buffer, addresses()), Err(DropReason::Malformed), "{coverage}");
        }
    }
}
