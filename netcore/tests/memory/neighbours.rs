//! Packets of the stack's own that cannot leave.

use crate::Case;
use crate::wire::{Host, packet};
use netcore::Medium;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol};
use netcore::{Config, EthernetConfig};
use std::net::Ipv4Addr;

const NEIGHBOURS: usize = 64;
const PACKET_BYTES_MAX: usize = 65_535;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [1, 1_400, 9_000, 65_000] {
        let config = Config {
            ethernet: EthernetConfig { neighbours_max: NEIGHBOURS, ..EthernetConfig::default() },
            ..Config::default()
        };
        cases.push(Case {
            bound: "neighbours_max * neighbour_queue_bytes",
            bytes: NEIGHBOURS * config.ethernet.neighbour_queue_bytes,
            input: format!("pings of {len} from twice as many"),
            flood: Box::new(move || Box::new(ask(config, len))),
        });
    }
    cases.push(Case {
        bound: "replies_max, packets of 65,535",
        bytes: Config::default().ip.replies_max * PACKET_BYTES_MAX,
        input: "pings of 65000, no room on the link".to_owned(),
        flood: Box::new(|| Box::new(ask_without_room(65_000))),
    });
    cases
}

/// Has the stack answer hosts whose hardware address it will never learn.
fn ask(config: Config, len: usize) -> Host {
    let each = config.ethernet.neighbour_queue_bytes / (len + 128) + 2;
    let mut host = Host::new(config, Medium::Ethernet);
    let request = request(len);
    for number in 0..2 * NEIGHBOURS {
        let packet = packet(Ipv4Addr::new(10, 1, 0, number as u8), IpProtocol::Icmp, &request);
        for _ in 0..each {
            host.take(&packet);
        }
    }
    host.link.sent = Vec::new();
    host
}

fn ask_without_room(len: usize) -> Host {
    let config = Config::default();
    let count = config.ip.replies_max + 10;
    let mut host = Host::new(config, Medium::Ip);
    host.link.has_room = false;
    let packet = packet(Ipv4Addr::new(10, 1, 0, 1), IpProtocol::Icmp, &request(len));
    for _ in 0..count {
        host.take(&packet);
    }
    host
}

pub(crate) fn request(len: usize) -> Vec<u8> {
    let data = vec![7; len];
    let request = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 1, data: &data };
    let mut message = vec![0; request.buffer_len()];
    let mut out = Icmpv4Packet::new_unchecked(&mut message[..]);
    request.emit(&mut out, &ChecksumCapabilities::default());
    message
}
