//! Reassembly and fragmentation of IP packets.
//!
//! smoltcp has one set of reassembly slots for IPv4 and none for IPv6, and an incomplete packet
//! holds a slot for a minute. Packets are therefore reassembled before smoltcp sees them, for both
//! families, in bounded memory that evicts the oldest.

use crate::counters::DropReason;
use crate::ip::IpHeader;
use crate::time::Instant;
use crate::wire::{IpProtocol, Ipv4Packet};
use bytes::Bytes;
use lru::LruCache;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Incomplete packets.
#[derive(Debug)]
pub(crate) struct Reassembly {
    /// In the order of their first fragment; lookups keep that order.
    packets: LruCache<Key, Incomplete, ahash::RandomState>,
    bytes: usize,
    bytes_max: usize,
    timeout: Duration,
}

/// The key of a packet's fragments (RFC 791 section 2.3, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    /// IPv4 only: over IPv6 it is in the first fragment alone.
    protocol: Option<u8>,
    ident: u32,
}

#[derive(Debug)]
struct Incomplete {
    /// Payload by its offset. Copies: a small fragment must not keep its large receive buffer
    /// alive.
    parts: BTreeMap<u16, Box<[u8]>>,
    /// The protocol, from the first fragment (RFC 8200 section 4.5).
    protocol: Option<IpProtocol>,
    /// The first fragment's headers as received, with everything before the payload.
    head: Box<[u8]>,
    /// Bytes that this packet counts towards the bound.
    bytes: usize,
    received: usize,
    /// Length of the payload, from the last fragment.
    total: Option<usize>,
    began: Instant,
}

/// Overhead counted for an incomplete packet, in bytes: its entry; its slot in a hash table, which
/// after growing has 16 for 7; and the first node of its tree, which has room for 11 parts.
const PACKET_OVERHEAD: usize = size_of::<(Key, Incomplete)>()
    + 2 * size_of::<usize>()
    + size_of::<(usize, usize, u8)>() * 16 / 7
    + 11 * size_of::<(u16, Box<[u8]>)>();
/// Overhead counted for a part: its allocation, and its slot in a tree whose nodes may be half
/// full.
const PART_OVERHEAD: usize = ALLOCATION_OVERHEAD + 2 * size_of::<(u16, Box<[u8]>)>();
/// Overhead of an allocation, in bytes.
const ALLOCATION_OVERHEAD: usize = 24;
/// The largest payload of an IP packet.
const PAYLOAD_MAX: usize = 65_535;

impl Reassembly {
    pub(crate) fn new(bytes_max: usize, timeout: Duration, hash_keys: ahash::RandomState) -> Self {
        Self { packets: LruCache::unbounded_with_hasher(hash_keys), bytes: 0, bytes_max, timeout }
    }

    /// Adds a fragment; returns the whole packet once nothing is missing.
    ///
    /// # Errors
    ///
    /// Why the fragment was dropped, and with overlapping fragments the whole packet
    /// (RFC 5722).
    pub(crate) fn add(
        &mut self,
        header: &IpHeader,
        packet: &[u8],
        now: Instant,
    ) -> Result<Option<Bytes>, DropReason> {
        let fragment = header.fragment.expect("the caller passes fragments only");
        let payload = &packet[header.payload.clone()];
        let end = fragment.offset + payload.len();
        let is_whole_units = !fragment.more || payload.len().is_multiple_of(8);
        if payload.is_empty() || end > PAYLOAD_MAX || !is_whole_units {
            return Err(DropReason::BadFragment);
        }
        let key = Key {
            source: header.source,
            destination: header.destination,
            protocol: header.source.is_ipv4().then(|| header.protocol.into()),
            ident: fragment.ident,
        };
        if !self.packets.contains(&key) {
            self.packets.put(key, Incomplete::new(now));
            self.bytes += PACKET_OVERHEAD;
        }
        let incomplete = self.packets.peek_mut(&key).expect("the entry was inserted if missing");
        match incomplete.add(fragment.offset, fragment.more, payload) {
            Ok(added) => {
                self.bytes += added;
                if fragment.offset == 0 && added > 0 {
                    self.bytes += incomplete.set_first(header, packet);
                }
            }
            Err(reason) => {
                self.remove(&key);
                return Err(reason);
            }
        }
        if incomplete.is_complete() {
            let incomplete = self.remove(&key).expect("the entry was found above");
            return Ok(Some(incomplete.assemble(header)));
        }
        Ok(None)
    }

    /// Drops the oldest packets until the rest fits; returns how many.
    pub(crate) fn evict(&mut self) -> usize {
        let mut evicted = 0;
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.packets.pop_lru() else { break };
            self.bytes -= oldest.bytes;
            evicted += 1;
        }
        evicted
    }

    /// Drops packets past their timeout; returns the first fragment of each, if received.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Option<Bytes>> {
        let mut expired = Vec::new();
        while self.next().is_some_and(|due| due <= now)
            && let Some((_, oldest)) = self.packets.pop_lru()
        {
            self.bytes -= oldest.bytes;
            expired.push(oldest.into_first());
        }
        expired
    }

    /// When the oldest packet times out.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.packets.peek_lru().map(|(_, oldest)| oldest.began + self.timeout)
    }

    fn remove(&mut self, key: &Key) -> Option<Incomplete> {
        let incomplete = self.packets.pop(key)?;
        self.bytes -= incomplete.bytes;
        Some(incomplete)
    }
}

impl Incomplete {
    fn new(began: Instant) -> Self {
        Self {
            parts: BTreeMap::new(),
            protocol: None,
            head: Box::default(),
            bytes: PACKET_OVERHEAD,
            received: 0,
            total: None,
            began,
        }
    }

    /// Adds a part; returns the bytes to count for it.
    fn add(&mut self, offset: usize, more: bool, payload: &[u8]) -> Result<usize, DropReason> {
        let end = offset + payload.len();
        if !more && self.total.is_some_and(|total| total != end) {
            return Err(DropReason::BadFragment);
        }
        let at = u16::try_from(offset).map_err(|_| DropReason::BadFragment)?;
        let end_of = |at: &u16, part: &[u8]| usize::from(*at) + part.len();
        let before = self.parts.range(..=at).next_back();
        if before.is_some_and(|(known, part)| *known == at && **part == *payload) {
            // The network may duplicate a fragment.
            return Ok(0);
        }
        let overlaps_before = before.is_some_and(|(at, part)| end_of(at, part) > offset);
        let overlaps_after =
            self.parts.range(at..).next().is_some_and(|(at, _)| usize::from(*at) < end);
        let total = if more { self.total } else { Some(end) };
        let last_end = self.parts.last_key_value().map_or(0, |(at, part)| end_of(at, part));
        if overlaps_before || overlaps_after || total.is_some_and(|total| end.max(last_end) > total)
        {
            return Err(DropReason::BadFragment);
        }
        self.total = total;
        self.received += payload.len();
        let cost = PART_OVERHEAD + payload.len();
        self.bytes += cost;
        self.parts.insert(at, payload.into());
        Ok(cost)
    }

    /// Sets the protocol and headers from the first fragment; returns the bytes to count for it.
    fn set_first(&mut self, header: &IpHeader, packet: &[u8]) -> usize {
        self.protocol = Some(header.protocol);
        self.head = packet[..header.payload.start].into();
        let cost = ALLOCATION_OVERHEAD + self.head.len();
        self.bytes += cost;
        cost
    }

    /// The first fragment, if received.
    fn into_first(mut self) -> Option<Bytes> {
        self.protocol?;
        let payload = self.parts.remove(&0)?;
        Some([&self.head[..], &payload[..]].concat().into())
    }

    fn is_complete(&self) -> bool {
        self.total == Some(self.received)
    }

    /// The reassembled packet, without options, extension headers or fragment header: no later step
    /// reads them.
    fn assemble(self, header: &IpHeader) -> Bytes {
        let len = self.received;
        let repr = crate::ip::repr(
            header.source,
            header.destination,
            self.protocol.unwrap_or(header.protocol),
            len,
            header.hop_limit,
        );
        let mut packet = vec![0; repr.header_len() + len];
        repr.emit(&mut packet[..], &crate::ip::header_checksums_only());
        for (offset, part) in self.parts {
            packet[repr.header_len() + usize::from(offset)..][..part.len()].copy_from_slice(&part);
        }
        packet.into()
    }
}

/// Splits an IP packet into fragments for a link of this MTU, and passes each to `send`.
///
/// The packet must be larger than the MTU, have no options or extension headers, and the MTU leave
/// room for 8 bytes of payload.
pub(crate) fn split(packet: &[u8], mtu: usize, ident: u32, mut send: impl FnMut(&[u8])) {
    let is_v4 = packet[0] >> 4 == 4;
    let (header_len, extra) = if is_v4 { (20, 0) } else { (40, 8) };
    let (header, payload) = packet.split_at(header_len);
    let part_max = (mtu - header_len - extra) & !7;
    let mut fragment = Vec::with_capacity(mtu);
    for (index, part) in payload.chunks(part_max).enumerate() {
        let offset = index * part_max;
        let more = offset + part.len() < payload.len();
        fragment.clear();
        fragment.extend_from_slice(header);
        if !is_v4 {
            let offset_and_more = (offset as u16) | u16::from(more);
            fragment.extend_from_slice(&[header[6], 0]);
            fragment.extend_from_slice(&offset_and_more.to_be_bytes());
            fragment.extend_from_slice(&ident.to_be_bytes());
            fragment[6] = IpProtocol::Ipv6Frag.into();
            let len = (part.len() + extra) as u16;
            fragment[4..6].copy_from_slice(&len.to_be_bytes());
        }
        fragment.extend_from_slice(part);
        if is_v4 {
            let len = fragment.len() as u16;
            let mut packet = Ipv4Packet::new_unchecked(&mut fragment[..]);
            packet.set_total_len(len);
            packet.set_ident(ident as u16);
            packet.set_dont_frag(false);
            packet.set_more_frags(more);
            packet.set_frag_offset(offset as u16);
            packet.fill_checksum();
        }
        send(&fragment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip;
    use proptest::prelude::*;

    fn whole(is_v4: bool, len: usize) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) = if is_v4 {
            ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
        } else {
            ([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into())
        };
        let repr = ip::repr(source, destination, IpProtocol::Udp, len, 64);
        let mut packet = vec![0; repr.header_len() + len];
        repr.emit(&mut packet[..], &ip::header_checksums_only());
        for (index, byte) in packet[repr.header_len()..].iter_mut().enumerate() {
            *byte = (index * 7) as u8;
        }
        packet
    }

    fn fragments(packet: &[u8], mtu: usize) -> Vec<Bytes> {
        let mut fragments = Vec::new();
        split(packet, mtu, 77, |fragment| fragments.push(Bytes::copy_from_slice(fragment)));
        fragments
    }

    fn reassembly() -> Reassembly {
        Reassembly::new(1 << 20, Duration::from_secs(60), ahash::RandomState::with_seed(1))
    }

    fn add(to: &mut Reassembly, fragment: &Bytes) -> Result<Option<Bytes>, DropReason> {
        let header = ip::parse(fragment).expect("a fragment of ours is well-formed");
        to.add(&header, fragment, Instant::ZERO)
    }

    proptest! {
        #[test]
        fn fragments_in_any_order_are_reassembled(
            is_v4: bool,
            len in 1481usize..65_507,
            mtu in 576usize..9000,
            seed: u64,
        ) {
            let packet = whole(is_v4, len.max(mtu));
            let mut parts = fragments(&packet, mtu);
            prop_assert!(parts.iter().all(|part| part.len() <= mtu));
            // A shuffle determined by the seed.
            parts.sort_by_key(|part| ahash::RandomState::with_seed(seed as usize).hash_one(part));
            let mut reassembly = reassembly();
            let last = parts.pop().expect("there are fragments");
            for part in &parts {
                prop_assert_eq!(add(&mut reassembly, part), Ok(None));
            }

            let whole = add(&mut reassembly, &last).expect("fits").expect("complete");

            prop_assert_eq!(&whole[whole.len() - len.max(mtu)..], &packet[packet.len() - len.max(mtu)..]);
            prop_assert_eq!(ip::parse(&whole).map(|header| header.fragment), Ok(None));
            prop_assert_eq!(reassembly.bytes, 0);
        }
    }

    #[test]
    fn overlapping_fragments_drop_the_packet() {
        let small = fragments(&whole(true, 4000), 600);
        let large = fragments(&whole(true, 4000), 1000);
        let mut reassembly = reassembly();
        add(&mut reassembly, &small[1]).expect("fits");

        assert_eq!(add(&mut reassembly, &large[0]), Err(DropReason::BadFragment));
        assert_eq!((reassembly.packets.len(), reassembly.bytes), (0, 0));
    }

    #[test]
    fn duplicate_fragment_changes_nothing() {
        let parts = fragments(&whole(false, 3000), 1280);
        let mut reassembly = reassembly();
        add(&mut reassembly, &parts[0]).expect("fits");
        let bytes = reassembly.bytes;

        assert_eq!(add(&mut reassembly, &parts[0]), Ok(None));
        assert_eq!(reassembly.bytes, bytes);
    }

    #[test]
    fn oldest_packet_is_evicted_and_the_rest_times_out() {
        let mut reassembly =
            Reassembly::new(5000, Duration::from_secs(60), ahash::RandomState::with_seed(1));
        for ident in 0..10 {
            let mut parts = Vec::new();
            split(&whole(true, 3000), 1500, ident, |part| parts.push(Bytes::copy_from_slice(part)));
            add(&mut reassembly, &parts[0]).expect("fits");
            reassembly.evict();
            assert!(reassembly.bytes <= 5000);
        }
        let left = reassembly.packets.len();

        assert_eq!(reassembly.expire(Instant::from_secs(59)).len(), 0);
        assert_eq!(reassembly.expire(Instant::from_secs(60)).len(), left);
        assert_eq!((reassembly.bytes, reassembly.next()), (0, None));
    }
}
