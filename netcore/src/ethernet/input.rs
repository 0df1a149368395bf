//! Received frames, ARP and Neighbour Discovery messages (RFC 826, RFC 4861).

use crate::context::Context;
use crate::counters::DropReason;
use crate::ethernet::arp::{self, Arp};
use crate::ethernet::ndp::{self, Message};
use crate::ethernet::neighbours::{Confirmation, REACHABLE_MILLIS};
use crate::ethernet::{self, HEADER_BYTES, MacAddr};
use crate::ip::addressing::NextHop;
use crate::ip::layer::IpLayer;
use crate::ip::packet::{Origin, Packet};
use crate::ip::special_address;
use crate::link::Link;
use crate::output::Output;
use crate::wire::EthernetProtocol;
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Minimum time between defences of an IPv4 address (RFC 5227 section 1.1).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl IpLayer {
    /// Takes a frame; returns the IP packet in it, if there is one.
    pub(crate) fn receive_ethernet<L: Link>(
        &mut self,
        cx: &mut Context,
        frame: &Bytes,
        link: &mut L,
    ) -> Result<Option<(Bytes, Origin)>, DropReason> {
        let header = ethernet::parse(frame).ok_or(DropReason::Malformed)?;
        let own = self.outgoing.hardware_address;
        let is_for_many = header.destination.is_multicast();
        if !is_for_many && header.destination != own {
            return Err(DropReason::NotForUs);
        }
        // No other node sends from this hardware address, but a link may loop frames back.
        if !header.source.is_unicast() || header.source == own {
            return Err(DropReason::MartianSource);
        }
        let packet = frame.slice(HEADER_BYTES..);
        let version = match header.protocol {
            EthernetProtocol::Ipv4 => 4,
            EthernetProtocol::Ipv6 => 6,
            EthernetProtocol::Arp => {
                return self.receive_arp(cx, &packet, link).map(|()| None);
            }
            EthernetProtocol::Unknown(_) => return Err(DropReason::UnknownEtherType),
        };
        if packet.first().is_none_or(|first| first >> 4 != version) {
            return Err(DropReason::Malformed);
        }
        let origin = if is_for_many { Origin::LinkToMany } else { Origin::Link };
        Ok(Some((packet, origin)))
    }

    /// Takes an ARP message (RFC 826).
    fn receive_arp<L: Link>(
        &mut self,
        cx: &mut Context,
        message: &[u8],
        link: &mut L,
    ) -> Result<(), DropReason> {
        #[cfg(test)]
        cx.spring("arp");
        let arp = arp::parse(message).ok_or(DropReason::Malformed)?;
        let (sender, at) = arp.sender;
        if !self.is_neighbour_link(at) {
            return Err(DropReason::MartianSource);
        }
        let (target, _) = arp.target;
        let is_for_us = self.addressing.is_answered_for(target.into());
        if self.addressing.is_answered_for(sender.into()) {
            self.defend(cx, sender, at, link);
            return Ok(());
        }
        // An ARP probe has an unspecified sender (RFC 5227 section 2.1.1) and is answered as well.
        if !sender.is_unspecified() {
            self.check_neighbour(sender.into())?;
            self.learn_from_arp(cx, &arp, is_for_us, link);
        }
        if arp.is_request && is_for_us {
            let own = self.outgoing.hardware_address;
            let answer = Arp { is_request: false, sender: (target, own), target: arp.sender };
            self.send_arp(&answer, at, link);
        }
        Ok(())
    }

    fn learn_from_arp<L: Link>(
        &mut self,
        cx: &mut Context,
        arp: &Arp,
        is_for_us: bool,
        link: &mut L,
    ) {
        let (sender, at) = (IpAddr::V4(arp.sender.0), arp.sender.1);
        if !arp.is_request && is_for_us && self.outgoing.neighbours.is_pending(sender) {
            let answer = Confirmation {
                at: Some(at),
                is_solicited: true,
                is_override: true,
                reachable_for: self.reachable_for(cx),
            };
            self.on_advertisement(cx, sender, answer, link);
        } else {
            self.on_unsolicited(sender, at, arp.is_request && is_for_us, link);
        }
    }

    /// Counts an address conflict, and defends the IPv4 address at most once in [`DEFEND_INTERVAL`]
    /// (RFC 5227 section 2.4(b)).
    fn defend<L: Link>(
        &mut self,
        cx: &mut Context,
        address: Ipv4Addr,
        against: MacAddr,
        link: &mut L,
    ) {
        self.outgoing.counters.address_conflicts += 1;
        if self.ethernet.defends_from.is_none_or(|from| from <= cx.now) {
            self.ethernet.defends_from = Some(cx.now + DEFEND_INTERVAL);
            tracing::warn!(%address, %against, "another node claims an address of this stack");
            self.announce(address.into(), link);
        }
    }

    /// Takes a Neighbour Discovery message with a valid checksum.
    pub(crate) fn receive_ndp<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> Result<(), DropReason> {
        if !self.ethernet.is_up {
            return Err(DropReason::NotForUs);
        }
        let header = &packet.header;
        // A router has forwarded it (RFC 4861 sections 7.1.1 and 7.1.2).
        if header.hop_limit != ndp::HOP_LIMIT {
            return Err(DropReason::Malformed);
        }
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (header.source, header.destination)
        else {
            return Err(DropReason::Malformed);
        };
        match ndp::parse(packet.payload()).ok_or(DropReason::Malformed)? {
            Message::Solicitation { target, source_link } => {
                self.receive_solicitation((source, destination), target, source_link, link)
            }
            Message::Advertisement { target, target_link, is_solicited, is_override } => {
                if is_solicited && destination.is_multicast() {
                    return Err(DropReason::Malformed);
                }
                let reachable_for = self.reachable_for(cx);
                let answer =
                    Confirmation { at: target_link, is_solicited, is_override, reachable_for };
                self.receive_advertisement(cx, target, answer, link)
            }
        }
    }

    /// Takes a Neighbour Solicitation (RFC 4861 section 7.2.3, RFC 4862 section 5.4.3).
    fn receive_solicitation<L: Link>(
        &mut self,
        (source, destination): (Ipv6Addr, Ipv6Addr),
        target: Ipv6Addr,
        source_link: Option<MacAddr>,
        link: &mut L,
    ) -> Result<(), DropReason> {
        let is_probe = source.is_unspecified();
        if is_probe && (source_link.is_some() || destination != ndp::solicited_node(target)) {
            return Err(DropReason::Malformed);
        }
        if self.addressing.is_tentative(target.into()) {
            if is_probe {
                // Two nodes probe for the same address; neither may use it.
                self.on_duplicate_address(target, None);
            }
            return Ok(());
        }
        if !self.addressing.is_answered_for(target.into()) {
            return Err(DropReason::NotForUs);
        }
        let own = self.outgoing.hardware_address;
        if is_probe {
            let packet = ndp::advertisement(ndp::ALL_NODES, target, own, false);
            self.send_to_group(ndp::ALL_NODES, &packet, link);
            return Ok(());
        }
        self.check_neighbour(source.into())?;
        let packet = ndp::advertisement(source, target, own, true);
        let Some(at) = source_link else {
            let mut output = Output { link, state: &mut self.outgoing };
            output.reply(NextHop::Link(source.into()), &packet);
            return Ok(());
        };
        if !self.is_neighbour_link(at) {
            return Err(DropReason::MartianSource);
        }
        self.on_unsolicited(source.into(), at, true, link);
        // A unicast reply, not a queued packet: a solicitation must not trigger one in return.
        self.send_ipv6(at, &packet, link);
        Ok(())
    }

    /// Takes a Neighbour Advertisement (RFC 4861 section 7.2.5, RFC 4862 section 5.4.4).
    fn receive_advertisement<L: Link>(
        &mut self,
        cx: &mut Context,
        target: Ipv6Addr,
        answer: Confirmation,
        link: &mut L,
    ) -> Result<(), DropReason> {
        if answer.at.is_some_and(|at| !self.is_neighbour_link(at)) {
            return Err(DropReason::MartianSource);
        }
        if self.addressing.is_tentative(target.into()) {
            self.on_duplicate_address(target, answer.at);
            return Ok(());
        }
        if self.addressing.has(target.into()) {
            self.outgoing.counters.address_conflicts += 1;
            tracing::debug!(address = %target, by = ?answer.at, "another node claims an address of this stack");
            return Ok(());
        }
        self.on_advertisement(cx, target.into(), answer, link);
        Ok(())
    }

    /// Updates the neighbour cache from an unsolicited message.
    fn on_unsolicited<L: Link>(
        &mut self,
        address: IpAddr,
        at: MacAddr,
        may_add: bool,
        link: &mut L,
    ) {
        let (waiting, lost) = self.outgoing.neighbours.on_unsolicited(address, at, may_add);
        for _ in 0..lost {
            self.outgoing.counters.drop(DropReason::NeighbourUnknown);
        }
        Output { link, state: &mut self.outgoing }.release(address, waiting);
    }

    fn on_advertisement<L: Link>(
        &mut self,
        cx: &mut Context,
        address: IpAddr,
        answer: Confirmation,
        link: &mut L,
    ) {
        let waiting = self.outgoing.neighbours.on_advertisement(address, answer, cx.now);
        Output { link, state: &mut self.outgoing }.release(address, waiting);
    }

    /// Whether a neighbour can have this hardware address.
    fn is_neighbour_link(&self, at: MacAddr) -> bool {
        at.is_unicast() && at != self.outgoing.hardware_address
    }

    /// Whether a neighbour can have this address.
    fn check_neighbour(&self, address: IpAddr) -> Result<(), DropReason> {
        let is_neighbour = special_address::is_host(address)
            && !address.is_loopback()
            && !self.addressing.is_own(address)
            && !self.addressing.is_broadcast(address);
        if is_neighbour { Ok(()) } else { Err(DropReason::MartianSource) }
    }

    /// A random ReachableTime, from 0.5 to 1.5 times the mean (RFC 4861 section 6.3.2), so that
    /// entries do not expire all at once.
    fn reachable_for(&mut self, cx: &mut Context) -> Duration {
        let millis = REACHABLE_MILLIS / 2 + cx.random.below(REACHABLE_MILLIS);
        Duration::from_millis(millis.into())
    }
}
