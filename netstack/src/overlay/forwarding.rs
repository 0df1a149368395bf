//! What is done with a datagram and with a frame, without sockets.

use super::config::{Encapsulation, OverlayConfig};
use super::header::{self, HEADER_BYTES};
use super::table::Table;
use crate::frame_layout::ETHERNET_HEADER;
use netcore::MacAddr;
use std::net::SocketAddr;
use tokio::time::Instant;

/// The decisions of an overlay network, for a transport of one's own: takes frames out of
/// datagrams, learns where addresses are, and finds the peers of a frame.
#[derive(Debug)]
pub struct Forwarding {
    encapsulation: Encapsulation,
    header: [u8; HEADER_BYTES],
    /// The port of all peers.
    port: u16,
    /// Where frames to all and to unknown addresses go.
    all: Vec<SocketAddr>,
    table: Table,
}

/// What is in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// An Ethernet frame.
    Frame(&'a [u8]),
    /// A peer of vxvde leaves.
    Goodbye,
    /// Nothing of this network.
    Foreign,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To one peer.
    Peer(SocketAddr),
    /// To the group and to each fixed peer.
    All,
}

impl Forwarding {
    /// An overlay network in which nothing is learned yet.
    pub fn new(config: &OverlayConfig) -> Self {
        let group = config.group.map(|group| SocketAddr::new(group, config.port));
        Self {
            encapsulation: config.encapsulation,
            header: header::header(config.vni),
            port: config.port,
            all: group.into_iter().chain(config.remotes.iter().copied()).collect(),
            table: Table::new(config.addresses_max, config.address_age),
        }
    }

    /// Where frames to all and to unknown addresses go.
    pub fn all(&self) -> &[SocketAddr] {
        &self.all
    }

    /// What stands in front of each frame.
    pub fn header(&self) -> &[u8] {
        match self.encapsulation {
            Encapsulation::Vxlan | Encapsulation::Vxvde => &self.header,
            Encapsulation::None => &[],
        }
    }

    /// Takes in a datagram of a peer, and learns from it where the frame's source is.
    pub fn receive<'a>(
        &mut self,
        datagram: &'a [u8],
        from: SocketAddr,
        now: Instant,
    ) -> Datagram<'a> {
        let (frame, peer) = match self.encapsulation {
            Encapsulation::None => (datagram, None),
            Encapsulation::Vxlan => match header::split(datagram) {
                // The source port tells flows apart (RFC 7348 section 5): the answer goes to the port.
                Some((received, frame)) if header::is_of_network(received, &self.header) => {
                    let mut peer = from;
                    peer.set_port(self.port);
                    (frame, Some(peer))
                }
                _ => return Datagram::Foreign,
            },
            // Stricter than RFC 7348, as VDE is.
            Encapsulation::Vxvde => match header::split(datagram) {
                Some((received, frame)) if *received == self.header => (frame, Some(from)),
                _ => return Datagram::Foreign,
            },
        };
        if frame.is_empty() && self.encapsulation == Encapsulation::Vxvde {
            self.table.forget(from);
            return Datagram::Goodbye;
        }
        let Some(source) = address(frame, SOURCE).filter(|_| frame.len() > ETHERNET_HEADER) else {
            return Datagram::Foreign;
        };
        if let Some(peer) = peer.filter(|_| source.is_unicast()) {
            self.table.learn(source, peer, now);
        }
        Datagram::Frame(frame)
    }

    /// Where a frame goes. One that is no frame goes to all.
    pub fn destination(&self, frame: &[u8], now: Instant) -> Destination {
        let target = address(frame, DESTINATION).filter(|target| target.is_unicast());
        let peer = target.and_then(|target| self.table.find(target, now));
        peer.map_or(Destination::All, Destination::Peer)
    }

    /// How many addresses are known, old ones among them.
    pub fn known_addresses(&self) -> usize {
        self.table.len()
    }

    /// The datagram that tells peers that this one leaves, if the encapsulation has one.
    pub(super) fn goodbye(&self) -> Option<&[u8]> {
        (self.encapsulation == Encapsulation::Vxvde).then_some(&self.header)
    }
}

/// Where the addresses of an Ethernet header begin.
const DESTINATION: usize = 0;
const SOURCE: usize = 6;

fn address(frame: &[u8], at: usize) -> Option<MacAddr> {
    let octets = frame.get(at..at + 6)?;
    octets.try_into().ok().map(MacAddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarding(mut config: OverlayConfig, vni: u32) -> Forwarding {
        config.vni = vni;
        Forwarding::new(&config)
    }

    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mut frame = [[2, 0, 0, 0, 0, to], [2, 0, 0, 0, 0, from]].concat();
        frame.extend([8, 0, 0x45]);
        frame
    }

    fn datagram(header: [u8; 8], frame: &[u8]) -> Vec<u8> {
        [&header, frame].concat()
    }

    const PEER: &str = "192.0.2.7:46447";

    #[test]
    fn vxlan_ignores_reserved_bits_and_answers_to_the_port() {
        let mut vxlan = forwarding(OverlayConfig::vxlan(), 0x01_02_03);
        let now = Instant::now();
        for (header, is_own) in [
            ([0x08, 0, 0, 0, 1, 2, 3, 0], true),
            ([0xff, 9, 9, 9, 1, 2, 3, 9], true),
            ([0xf7, 0, 0, 0, 1, 2, 3, 0], false),
            ([0x08, 0, 0, 0, 1, 2, 4, 0], false),
        ] {
            let bytes = datagram(header, &frame(1, 9));
            let expected = if is_own { Datagram::Frame(&bytes[8..]) } else { Datagram::Foreign };
            assert_eq!(vxlan.receive(&bytes, PEER.parse().unwrap(), now), expected, "{header:?}");
        }

        let answer = vxlan.destination(&frame(9, 1), now);
        assert_eq!(answer, Destination::Peer("192.0.2.7:4789".parse().unwrap()));
        assert_eq!(vxlan.destination(&frame(8, 1), now), Destination::All);
    }

    #[test]
    fn vxvde_compares_the_whole_header_and_answers_to_the_sender() {
        let mut vxvde = forwarding(OverlayConfig::vxvde(), 1);
        let (now, peer) = (Instant::now(), PEER.parse().unwrap());
        for (header, is_own) in
            [([8, 0, 0, 0, 0, 0, 1, 0], true), ([8, 0, 0, 0, 0, 0, 1, 1], false)]
        {
            let bytes = datagram(header, &frame(1, 9));
            let is_frame = matches!(vxvde.receive(&bytes, peer, now), Datagram::Frame(_));
            assert_eq!(is_frame, is_own, "{header:?}");
        }
        assert_eq!(vxvde.destination(&frame(9, 1), now), Destination::Peer(peer));

        assert_eq!(vxvde.receive(&[8, 0, 0, 0, 0, 0, 1, 0], peer, now), Datagram::Goodbye);
        assert_eq!(vxvde.destination(&frame(9, 1), now), Destination::All);
    }

    #[test]
    fn a_group_is_no_source_and_a_short_frame_no_frame() {
        let mut vxlan = forwarding(OverlayConfig::vxlan(), 1);
        let (now, header) = (Instant::now(), [8, 0, 0, 0, 0, 0, 1, 0]);
        let mut of_group = frame(1, 9);
        of_group[6] = 0x33;

        let received = datagram(header, &of_group);
        assert!(matches!(vxlan.receive(&received, PEER.parse().unwrap(), now), Datagram::Frame(_)));
        for len in [0, 1, 14] {
            let short = datagram(header, &frame(1, 9)[..len]);
            assert_eq!(
                vxlan.receive(&short, PEER.parse().unwrap(), now),
                Datagram::Foreign,
                "{len}"
            );
        }
        assert_eq!(vxlan.known_addresses(), 0);
    }

    #[test]
    fn bare_frames_go_to_the_fixed_peer() {
        let far = "192.0.2.1:7002".parse().unwrap();
        let mut bare = Forwarding::new(&OverlayConfig::udp(7001, far));
        let now = Instant::now();

        let frame = frame(1, 9);
        assert_eq!(bare.receive(&frame, PEER.parse().unwrap(), now), Datagram::Frame(&frame));

        assert_eq!((bare.header(), bare.all()), (&[][..], &[far][..]));
        assert_eq!(bare.known_addresses(), 0);
    }
}
