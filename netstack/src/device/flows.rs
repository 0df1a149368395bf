//! The queue of each flow, of an interface with several.

use crate::frame_layout::ethernet_payload;
use lru::LruCache;
use netcore::Medium;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

/// Remembers on which queue each flow came last, so that answers leave on it: the kernel sends the
/// rest of a flow where its last packet came from (`tun_flow_update`).
pub(super) struct Flows {
    medium: Medium,
    queues: usize,
    known: LruCache<u64, usize>,
    hashes: RandomState,
}

/// How many flows are known; the kernel's driver knows as many (`MAX_TAP_FLOWS`).
const FLOWS_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// Protocols whose header begins with two ports.
const WITH_PORTS: [u8; 4] = [TCP, UDP, SCTP, UDP_LITE];
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

impl Flows {
    pub(super) fn new(medium: Medium, queues: usize) -> Self {
        let known = LruCache::new(FLOWS_MAX);
        Self { medium, queues, known, hashes: RandomState::new() }
    }

    /// Notes that a packet came on a queue.
    pub(super) fn note(&mut self, frame: &[u8], queue: usize) {
        if let Some(flow) = self.flow(frame) {
            self.known.put(flow, queue);
        }
    }

    /// The queue on which a packet leaves. A flow that has not come yet is spread by its hash.
    pub(super) fn queue(&mut self, frame: &[u8]) -> usize {
        let Some(flow) = self.flow(frame) else { return 0 };
        let spread = (flow % self.queues as u64) as usize;
        *self.known.get_or_insert(flow, || spread)
    }

    /// A number for the flow of a packet, the same in both directions; `None` for what has none.
    fn flow(&self, frame: &[u8]) -> Option<u64> {
        let start = match self.medium {
            Medium::Ip => 0,
            Medium::Ethernet => ethernet_payload(frame)?,
        };
        let packet = frame.get(start..)?;
        let (addresses, protocol, header, is_fragment) = match packet.first()? >> 4 {
            4 => {
                let is_fragment = packet.get(6)? & 0x3f != 0 || *packet.get(7)? != 0;
                let header = usize::from(packet[0] & 0x0f) * 4;
                (packet.get(12..20)?, *packet.get(9)?, header, is_fragment)
            }
            6 => (packet.get(8..40)?, *packet.get(6)?, 40, false),
            _ => return None,
        };
        let has_ports = !is_fragment && WITH_PORTS.contains(&protocol);
        let ports = if has_ports { packet.get(header..header + 4)? } else { &[] };
        let (from, to) = addresses.split_at(addresses.len() / 2);
        let (from_port, to_port) = ports.split_at(ports.len() / 2);
        let (near, far) = ((from, from_port), (to, to_port));
        Some(self.hashes.hash_one((near.min(far), near.max(far), protocol)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_v4(from: u8, from_port: u16, to: u8, to_port: u16) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = UDP;
        packet[12..20].copy_from_slice(&[10, 0, 0, from, 10, 0, 0, to]);
        packet[20..22].copy_from_slice(&from_port.to_be_bytes());
        packet[22..24].copy_from_slice(&to_port.to_be_bytes());
        packet
    }

    #[test]
    fn an_answer_leaves_on_the_queue_of_its_request() {
        let mut flows = Flows::new(Medium::Ip, 4);
        for port in 0..1000 {
            flows.note(&udp_v4(1, port, 2, 7), usize::from(port) % 4);
        }
        for port in 0..1000 {
            assert_eq!(flows.queue(&udp_v4(2, 7, 1, port)), usize::from(port) % 4);
        }
    }

    #[test]
    fn own_flows_are_spread_and_stay_where_they_are() {
        let mut flows = Flows::new(Medium::Ip, 4);
        let mut counts = [0; 4];
        for port in 0..1000 {
            let queue = flows.queue(&udp_v4(2, port, 1, 7));
            counts[queue] += 1;
            assert_eq!(flows.queue(&udp_v4(2, port, 1, 7)), queue);
        }
        assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
    }

    #[test]
    fn no_more_flows_are_known_than_the_bound() {
        let mut flows = Flows::new(Medium::Ip, 2);
        for port in 0..10_000 {
            flows.note(&udp_v4(1, port, 2, 7), 1);
        }
        assert_eq!(flows.known.len(), FLOWS_MAX.get());
    }

    #[test]
    fn what_is_no_packet_leaves_on_the_first_queue() {
        let mut flows = Flows::new(Medium::Ethernet, 4);
        let mut arp = [0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        for frame in [&arp[..], &[], &[0x45; 15], &[0x60; 20]] {
            assert_eq!(flows.queue(frame), 0);
        }
    }
}
