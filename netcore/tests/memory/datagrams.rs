//! Unread UDP, ping and raw sockets.

use crate::Case;
use crate::wire::{Host, OWN, PEER, packet};
use netcore::Medium;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol};
use netcore::{Command, Config, Response, icmp, raw, udp};

#[derive(Debug, Clone, Copy)]
enum Kind {
    Udp,
    Ping,
    Raw,
}

const SOCKETS: usize = 20;
const PROTOCOL: u8 = 253;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Udp, Kind::Ping, Kind::Raw] {
        for len in [0, 1, 9_000, 35_000, 65_507] {
            let bytes = Config::default().datagram.queue_bytes * SOCKETS;
            cases.push(Case {
                bound: "datagram_queue_bytes",
                bytes,
                input: format!("{SOCKETS} {kind:?} sockets, {len} bytes each"),
                flood: Box::new(move || Box::new(flood(kind, len))),
            });
        }
    }
    cases
}

/// The stack and the handles of its sockets.
fn flood(kind: Kind, len: usize) -> impl Sized {
    let mut host = Host::new(Config::default(), Medium::Ip);
    let mut handles = Vec::new();
    for number in 0..SOCKETS {
        let port = 1000 + number as u16;
        let command: Command = match kind {
            Kind::Udp => udp::Command::Bind { endpoint: (OWN, port).into() }.into(),
            Kind::Ping => icmp::Command::Open { local: OWN.into() }.into(),
            Kind::Raw => {
                raw::Command::Open { version: raw::Version::V4, protocol: PROTOCOL }.into()
            }
        };
        let (response, handle) = host.call(command);
        handles.push(handle);
        let packet = match (kind, response) {
            (Kind::Udp, _) => packet(PEER, IpProtocol::Udp, &datagram(port, len)),
            (Kind::Ping, Response::Icmp(icmp::Response::Opened { identifier, .. })) => {
                packet(PEER, IpProtocol::Icmp, &reply(identifier, len))
            }
            (Kind::Raw, _) => packet(PEER, IpProtocol::from(PROTOCOL), &vec![7; len]),
            (Kind::Ping, other) => panic!("opening answered {other:?}"),
        };
        // All raw sockets get each of them.
        let queue = Config::default().datagram.queue_bytes;
        for _ in 0..(queue / len.max(64)).min(4000) + 2 {
            host.take(&packet);
        }
    }
    host.link.sent = Vec::new();
    (host, handles)
}

fn datagram(port: u16, len: usize) -> Vec<u8> {
    let mut datagram = vec![7; 8 + len];
    datagram[2..4].copy_from_slice(&port.to_be_bytes());
    datagram[4..6].copy_from_slice(&(8 + len as u16).to_be_bytes());
    datagram
}

fn reply(ident: u16, len: usize) -> Vec<u8> {
    let data = vec![7; len];
    let reply = Icmpv4Repr::EchoReply { ident, seq_no: 1, data: &data };
    let mut message = vec![0; reply.buffer_len()];
    let mut out = Icmpv4Packet::new_unchecked(&mut message[..]);
    reply.emit(&mut out, &ChecksumCapabilities::default());
    message
}
