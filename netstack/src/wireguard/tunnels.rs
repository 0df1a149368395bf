//! The tunnels to all peers: IP packets on one side, datagrams on the other.

use super::allowed_ips::AllowedIps;
use super::config::Config;
use super::counters::WireGuardCounters;
use super::handshake_limit::{HandshakeLimit, Verdict};
use super::key::Key;
use super::outgoing::Outgoing;
use super::peer::{HANDSHAKE_BYTES_MAX, Peer};
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::PublicKey;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Sessions with peers, without a socket.
pub(super) struct Tunnels {
    private_key: Key,
    public_key: PublicKey,
    /// A peer's position is its part of the receiver's index in messages.
    peers: Vec<Peer>,
    by_key: HashMap<[u8; 32], usize>,
    allowed: AllowedIps,
    limit: HandshakeLimit,
    mtu: usize,
    counters: WireGuardCounters,
}

impl Tunnels {
    /// Resolves the peers' endpoints.
    pub(super) fn new(config: &Config, counters: WireGuardCounters) -> io::Result<Self> {
        let public_key = PublicKey::from(config.private_key.public().to_bytes());
        // Messages were verified, and bounded, before a tunnel has them.
        let limiter = Arc::new(RateLimiter::new(&public_key, u64::MAX));
        let mut allowed = AllowedIps::new();
        let mut peers = Vec::new();
        let mut by_key = HashMap::new();
        for (index, peer) in config.peers.iter().enumerate() {
            let endpoint = peer.endpoint.as_ref().map(|it| it.resolve()).transpose()?;
            for network in &peer.allowed_ips {
                allowed.insert(*network, index);
            }
            by_key.insert(peer.public_key.to_bytes(), index);
            let own = config.private_key;
            peers.push(Peer::new(own, peer, endpoint, index as u32, limiter.clone()));
        }
        Ok(Self {
            private_key: config.private_key,
            public_key,
            peers,
            by_key,
            allowed,
            limit: HandshakeLimit::new(&public_key),
            mtu: config.mtu(),
            counters,
        })
    }

    /// Begins handshakes with the peers that are to be kept alive.
    pub(super) fn start(&mut self, outgoing: &mut Outgoing) {
        for peer in &mut self.peers {
            peer.start(outgoing);
        }
    }

    /// Does what is due of all timers. Returns whether more may become due.
    pub(super) fn tick(&mut self, outgoing: &mut Outgoing) -> bool {
        for peer in &mut self.peers {
            peer.tick(outgoing);
        }
        self.peers.iter().any(Peer::is_live)
    }

    /// Sends an IP packet of the stack to the peer that has its destination. Returns whether there is
    /// one, and it is known where.
    pub(super) fn send(&mut self, packet: &[u8], outgoing: &mut Outgoing) -> bool {
        let destination = Tunn::dst_address(packet);
        let index = destination.and_then(|destination| self.allowed.peer(destination));
        match index.map(|index| &mut self.peers[index]) {
            Some(peer) if peer.endpoint.is_some() => {
                peer.send(packet, outgoing);
                self.counters.count_sent();
                true
            }
            _ => {
                self.counters.count_dropped_outgoing();
                false
            }
        }
    }

    /// Takes a datagram. Returns the length of the IP packet that it has brought, which is at the start
    /// of `room`: that must have the datagram's size, and that of a handshake's message.
    pub(super) fn receive(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        room: &mut [u8],
        outgoing: &mut Outgoing,
    ) -> Option<usize> {
        let packet = match self.limit.verify(source.ip(), datagram, room) {
            Verdict::Accepted(packet) => packet,
            Verdict::Answered(cookie) => {
                answer(outgoing, source, cookie);
                return None;
            }
            Verdict::Dropped => {
                self.counters.count_dropped_incoming();
                return None;
            }
        };
        let Some(index) = self.peer_of(&packet) else {
            self.counters.count_dropped_incoming();
            return None;
        };
        // A cookie says nothing about where the peer is.
        let is_of_handshake =
            matches!(packet, Packet::HandshakeInit(_) | Packet::HandshakeResponse(_));
        let is_cookie = matches!(packet, Packet::PacketCookieReply(_));
        let peer = &mut self.peers[index];
        let (len, from) = match peer.receive(datagram, room) {
            TunnResult::Err(error) => {
                tracing::trace!(?error, %source, "a datagram was dropped");
                self.counters.count_dropped_incoming();
                return None;
            }
            TunnResult::Done => (None, None),
            TunnResult::WriteToNetwork(reply) => {
                answer(outgoing, source, reply);
                (None, None)
            }
            TunnResult::WriteToTunnelV4(packet, from) => {
                (Some(packet.len()), Some(IpAddr::V4(from)))
            }
            TunnResult::WriteToTunnelV6(packet, from) => {
                (Some(packet.len()), Some(IpAddr::V6(from)))
            }
        };
        if is_of_handshake {
            self.counters.count_handshake();
        }
        if !is_cookie {
            if peer.endpoint != Some(source) {
                tracing::debug!(%source, "a peer has moved");
                peer.endpoint = Some(source);
            }
            peer.send_waiting(self.mtu, outgoing);
        }
        if from.is_some_and(|from| self.allowed.peer(from) != Some(index)) {
            self.counters.count_not_allowed();
            return None;
        }
        if len.is_some() {
            self.counters.count_received();
        }
        len
    }

    /// The peer that a message is of, if it is whose it says.
    fn peer_of(&self, packet: &Packet<'_>) -> Option<usize> {
        let receiver = match packet {
            Packet::HandshakeInit(message) => {
                let (own, public) = (self.private_key.secret(), &self.public_key);
                let half = parse_handshake_anon(&own, public, message).ok()?;
                return self.by_key.get(&half.peer_static_public).copied();
            }
            Packet::HandshakeResponse(message) => message.receiver_idx,
            Packet::PacketCookieReply(message) => message.receiver_idx,
            Packet::PacketData(message) => message.receiver_idx,
        };
        // The low byte counts the sessions of a peer.
        let index = (receiver >> 8) as usize;
        (index < self.peers.len()).then_some(index)
    }

    #[cfg(test)]
    pub(super) fn peer_mut(&mut self, index: usize) -> &mut Peer {
        &mut self.peers[index]
    }
}

fn answer(outgoing: &mut Outgoing, to: SocketAddr, message: &[u8]) {
    debug_assert!(message.len() <= HANDSHAKE_BYTES_MAX, "of a handshake");
    outgoing.push(to, message.len(), |room| {
        room[..message.len()].copy_from_slice(message);
        Some(message.len())
    });
}
