//! Fragments that never find their siblings.

use crate::Case;
use crate::wire::{Host, PEER, packet};
use netcore::Config;
use netcore::Medium;
use netcore::device::smoltcp::wire::{IpProtocol, Ipv4Packet};

pub(crate) fn cases() -> Vec<Case> {
    // Bytes of each, and how many of one packet there are, with a gap behind each.
    [(8, 1), (8, 4000), (1480, 1), (9000, 3), (65_000, 1)]
        .map(|(len, count)| Case {
            bound: "fragments_bytes_max",
            bytes: Config::default().ip.fragments_bytes_max,
            input: format!("{count} of a packet, {len} bytes each"),
            flood: Box::new(move || Box::new(flood(len, count))),
        })
        .into()
}

fn flood(len: usize, count: usize) -> Host {
    let config = Config::default();
    // More than there can be room for.
    let enough = config.ip.fragments_bytes_max / (len + 64) + 1000;
    let mut host = Host::new(config, Medium::Ip);
    let mut fragment = packet(PEER, IpProtocol::Udp, &vec![7; len]);
    for number in 0..enough {
        let mut header = Ipv4Packet::new_unchecked(&mut fragment[..]);
        header.set_ident((number / count) as u16);
        // The same of many: another source.
        header.set_src_addr([10, 0, 1, (number / count / 65_536) as u8].into());
        header.set_more_frags(true);
        let offset = (number % count) * (len + 8);
        header.set_frag_offset(u16::try_from(offset).expect("inside of a packet"));
        header.fill_checksum();
        host.take(&fragment);
    }
    host.link.sent = Vec::new();
    host
}
