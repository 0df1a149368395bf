//! Ethernet below IP: frames in, questions about neighbours in and out, and own addresses that are
//! looked for before they are used.

use crate::context::Context;
use crate::context::Part;
use crate::counters::DropReason;
use crate::error::Error;
use crate::ethernet::arp::{self, Arp};
use crate::ethernet::dad::Step;
use crate::ethernet::ndp::{self, Message};
use crate::ethernet::neighbours::{Answer, Due, REACHABLE_MILLIS};
use crate::ethernet::{self, HEADER_BYTES, MacAddr};
use crate::ip::addressing::{self, NextHop};
use crate::ip::layer::{IcmpReport, IpEvent, IpLayer};
use crate::ip::packet::{Origin, Packet};
use crate::link::{Frame, Link};
use crate::output::Output;
use crate::time::Instant;
use crate::wire::EthernetProtocol;
use bytes::Bytes;
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What a stack knows of its place on an Ethernet link.
#[derive(Debug)]
pub(crate) struct Place {
    /// Somebody is there at the other end of the link, of whatever kind that is.
    pub(crate) has_carrier: bool,
    /// The link is Ethernet, and it is up.
    is_there: bool,
    /// The address that was made from the hardware address.
    pub(crate) link_local: Option<Ipv6Addr>,
    /// Before this an IPv4 address is not defended again.
    defends_from: Option<Instant>,
}

impl Place {
    /// Does no more for an address that the stack has given up.
    pub(crate) fn address_left(&mut self, address: IpAddr) {
        if self.link_local.is_some_and(|own| own == address) {
            self.link_local = None;
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { has_carrier: true, is_there: false, link_local: None, defends_from: None }
    }
}

/// Questions to neighbours and steps of new addresses in one round.
const STEPS_PER_ROUND: usize = 256;
/// How far apart an IPv4 address is defended (DEFEND_INTERVAL of RFC 5227 section 1.1).
const DEFENCE_INTERVAL: Duration = Duration::from_secs(10);
/// The prefix of a link-local address.
const LINK_LOCAL_PREFIX: u8 = 64;

/// New addresses.
impl IpLayer {
    /// Notes whether the stack is on an Ethernet link that is up, and introduces it there if that
    /// is new.
    #[inline]
    pub(crate) fn look_at_ethernet(&mut self, cx: &Context) {
        let is_there = self.outgoing.is_on_ethernet() && self.addressing.is_link_up;
        if is_there != self.place.is_there {
            self.link_changed(cx, is_there);
        }
    }

    /// Notes whether somebody is there at the other end. To who has just come, the stack introduces
    /// itself anew (RFC 4862 section 5.4).
    #[inline]
    pub(crate) fn carrier_is(&mut self, cx: &Context, has_carrier: bool) {
        if has_carrier != self.place.has_carrier {
            self.place.has_carrier = has_carrier;
            if has_carrier && self.place.is_there {
                self.link_changed(cx, true);
            }
            self.publish();
        }
    }

    #[cold]
    fn link_changed(&mut self, cx: &Context, is_there: bool) {
        if !is_there {
            self.leave_ethernet();
            return;
        }
        self.place.is_there = true;
        if cx.config.link_local && self.place.link_local.is_none() {
            let address = self.outgoing.hardware_address.link_local();
            let network = IpNet::V6(Ipv6Net::new_assert(address, LINK_LOCAL_PREFIX));
            if self.addressing.add_address(network).is_ok() {
                self.place.link_local = Some(address);
            }
        }
        let own: Vec<_> = self.addressing.addresses().iter().map(IpNet::addr).collect();
        for address in own {
            self.address_arrived(cx, address);
        }
        self.report(IpEvent::RoutesChanged);
    }

    /// Forgets the neighbours; the next turn begins anew.
    pub(crate) fn leave_ethernet(&mut self) {
        self.place.is_there = false;
        for _ in 0..self.outgoing.neighbours.clear() {
            self.outgoing.counters.drop(DropReason::NeighbourUnknown);
        }
    }

    /// Looks whether another node has an address that the stack was given, and tells the link of
    /// it.
    pub(crate) fn address_arrived(&mut self, cx: &Context, address: IpAddr) {
        if !self.place.is_there {
            // Done once the link is there.
            return;
        }
        let probes = cx.config.dad_transmits;
        self.addressing.set_tentative(address, address.is_ipv6() && probes > 0);
        self.dad.begin(address, probes, cx.now);
    }

    /// Gives up an address that another node has (RFC 4862 section 5.4.5).
    fn address_is_taken(&mut self, address: Ipv6Addr, by: Option<MacAddr>) {
        tracing::warn!(%address, ?by, "another node has this address, which is given up");
        self.outgoing.counters.duplicate_addresses += 1;
        // It was there, so this cannot fail.
        let _ = self.forget_address(address.into());
    }
}

/// What is due.
impl IpLayer {
    /// When a question to a neighbour or a step of a new address is due.
    pub(crate) fn ethernet_due(&self, now: Instant) -> Option<Instant> {
        if !self.place.is_there {
            let is_to_begin = self.outgoing.is_on_ethernet() && self.addressing.is_link_up;
            return is_to_begin.then_some(now);
        }
        self.outgoing.neighbours.next().into_iter().chain(self.dad.next()).min()
    }

    /// Whether there is anything to be attended to.
    #[inline]
    pub(crate) fn is_on_ethernet_link(&self) -> bool {
        self.place.is_there
    }

    /// Asks neighbours, gives them up, and brings new addresses further; returns whether there was
    /// anything to be done.
    pub(crate) fn attend_ethernet<L: Link>(&mut self, cx: &mut Context, link: &mut L) -> bool {
        for step in 0..STEPS_PER_ROUND {
            if self.ethernet_due(cx.now).is_none_or(|due| due > cx.now) {
                return step > 0;
            }
            if link.transmit().is_none() {
                self.outgoing.link_is_full = true;
                return step > 0;
            }
            cx.at_work.part = Some(Part::Neighbours);
            if let Some(step) = self.dad.pop(cx.now) {
                self.take_step(step, link);
            } else if let Some(due) = self.outgoing.neighbours.pop(cx.now) {
                #[cfg(test)]
                cx.spring("neighbours");
                self.tend_neighbour(due, link);
            }
            cx.at_work.part = None;
        }
        true
    }

    fn take_step<L: Link>(&mut self, step: Step, link: &mut L) {
        match step {
            Step::Probe(address) => {
                let group = ndp::solicited_node(address);
                let own = self.outgoing.hardware_address;
                let packet = ndp::solicitation(None, group, address, own);
                self.send_to_group(group, &packet, link);
            }
            Step::Announce(address) => {
                if self.addressing.is_tentative(address) {
                    self.addressing.set_tentative(address, false);
                    self.publish();
                }
                self.announce(address, link);
            }
        }
    }

    /// Tells everybody on the link where an address is (RFC 5227 section 2.3, RFC 4861 section
    /// 7.2.6).
    fn announce<L: Link>(&mut self, address: IpAddr, link: &mut L) {
        let own = self.outgoing.hardware_address;
        match address {
            IpAddr::V4(address) => {
                let target = (address, MacAddr::UNSPECIFIED);
                let arp = Arp { is_request: true, sender: (address, own), target };
                self.send_arp(&arp, MacAddr::BROADCAST, link);
            }
            IpAddr::V6(address) => {
                let packet = ndp::advertisement(ndp::ALL_NODES, address, own, false);
                self.send_to_group(ndp::ALL_NODES, &packet, link);
            }
        }
    }

    fn tend_neighbour<L: Link>(&mut self, due: Due, link: &mut L) {
        match due {
            Due::Ask { address, at, for_packet } => {
                // The source of what is to be sent is an address that the neighbour will see anyhow
                // (RFC 4861 section 7.2.2).
                let header = for_packet.and_then(|packet| crate::ip::parse(&packet).ok());
                let source = header
                    .map(|header| header.source)
                    .filter(|source| self.addressing.is_answered_for(*source))
                    .or_else(|| self.addressing.source_for(address).ok());
                self.ask(address, at, source, link);
            }
            Due::GivenUp(waiting) => {
                for waiting in waiting {
                    self.outgoing.counters.drop(DropReason::NeighbourUnknown);
                    let report = IcmpReport::of_own(&waiting.packet, Error::HostUnreachable);
                    report.into_iter().for_each(|report| self.report(IpEvent::Error(report)));
                }
            }
            Due::Forgotten => {}
        }
    }

    /// Asks where a neighbour is: all of them, or the one that has been there.
    fn ask<L: Link>(
        &mut self,
        address: IpAddr,
        at: Option<MacAddr>,
        source: Option<IpAddr>,
        link: &mut L,
    ) {
        let own = self.outgoing.hardware_address;
        match (address, source) {
            (IpAddr::V4(address), source) => {
                let source = match source {
                    Some(IpAddr::V4(source)) => source,
                    // As who has no address yet asks (RFC 5227 section 2.1.1).
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                let target = (address, MacAddr::UNSPECIFIED);
                let arp = Arp { is_request: true, sender: (source, own), target };
                self.send_arp(&arp, at.unwrap_or(MacAddr::BROADCAST), link);
            }
            (IpAddr::V6(address), Some(IpAddr::V6(source))) => {
                let group = ndp::solicited_node(address);
                let destination = if at.is_some() { address } else { group };
                let packet = ndp::solicitation(Some(source), destination, address, own);
                match at {
                    Some(at) => self.send_ipv6(at, &packet, link),
                    None => self.send_to_group(group, &packet, link),
                }
            }
            // Without an address that answers could be sent to, nobody can be asked.
            (IpAddr::V6(_), _) => {}
        }
    }

    fn send_arp<L: Link>(&mut self, arp: &Arp, to: MacAddr, link: &mut L) {
        let mut output = Output { link, state: &mut self.outgoing };
        output.send_frame(to, EthernetProtocol::Arp, &arp::message(arp));
    }

    fn send_to_group<L: Link>(&mut self, group: Ipv6Addr, packet: &[u8], link: &mut L) {
        if let Some(to) = MacAddr::of_group(group.into()) {
            self.send_ipv6(to, packet, link);
        }
    }

    fn send_ipv6<L: Link>(&mut self, to: MacAddr, packet: &[u8], link: &mut L) {
        let mut output = Output { link, state: &mut self.outgoing };
        output.send_frame(to, EthernetProtocol::Ipv6, packet);
    }
}

/// Receiving.
impl IpLayer {
    /// Takes a frame; returns the IP packet in it, if there is one.
    pub(crate) fn receive_ethernet<L: Link>(
        &mut self,
        cx: &mut Context,
        frame: &Frame,
        link: &mut L,
    ) -> Result<Option<(Bytes, Origin)>, DropReason> {
        let header = ethernet::parse(&frame.data).ok_or(DropReason::Malformed)?;
        let own = self.outgoing.hardware_address;
        let is_for_many = header.destination.is_multicast();
        if !is_for_many && header.destination != own {
            return Err(DropReason::NotForUs);
        }
        // Nobody else sends as this stack, but a link may bring back what it has sent.
        if !header.source.is_unicast() || header.source == own {
            return Err(DropReason::MartianSource);
        }
        let packet = frame.data.slice(HEADER_BYTES..);
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
        // Who has no address yet says so (RFC 5227 section 2.1.1), and is answered all the same.
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
        if !arp.is_request && is_for_us && self.outgoing.neighbours.is_asked(sender) {
            let answer = Answer {
                at: Some(at),
                is_solicited: true,
                is_override: true,
                reachable_for: self.reachable_for(cx),
            };
            self.neighbour_answered(cx, sender, answer, link);
        } else {
            self.neighbour_heard(sender, at, arp.is_request && is_for_us, link);
        }
    }

    /// Counts that somebody claims an IPv4 address of the stack's, and claims it back, now and then
    /// (RFC 5227 section 2.4(b)).
    fn defend<L: Link>(
        &mut self,
        cx: &mut Context,
        address: Ipv4Addr,
        against: MacAddr,
        link: &mut L,
    ) {
        self.outgoing.counters.address_conflicts += 1;
        if self.place.defends_from.is_none_or(|from| from <= cx.now) {
            self.place.defends_from = Some(cx.now + DEFENCE_INTERVAL);
            tracing::warn!(%address, %against, "another node claims an address of this stack");
            self.announce(address.into(), link);
        }
    }

    /// Takes an ICMPv6 message of Neighbour Discovery whose checksum is good.
    pub(crate) fn receive_ndp<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> Result<(), DropReason> {
        if !self.place.is_there {
            return Err(DropReason::NotForUs);
        }
        let header = &packet.header;
        // From farther away than the link (RFC 4861 sections 7.1.1 and 7.1.2).
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
                let answer = Answer { at: target_link, is_solicited, is_override, reachable_for };
                self.receive_advertisement(cx, target, answer, link)
            }
        }
    }

    /// RFC 4861 section 7.2.3, RFC 4862 section 5.4.3.
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
                // Two want the same address, and neither can have it.
                self.address_is_taken(target, None);
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
        self.neighbour_heard(source.into(), at, true, link);
        // To be asked is no reason to ask back whether it is still there.
        self.send_ipv6(at, &packet, link);
        Ok(())
    }

    /// RFC 4861 section 7.2.5, RFC 4862 section 5.4.4.
    fn receive_advertisement<L: Link>(
        &mut self,
        cx: &mut Context,
        target: Ipv6Addr,
        answer: Answer,
        link: &mut L,
    ) -> Result<(), DropReason> {
        if answer.at.is_some_and(|at| !self.is_neighbour_link(at)) {
            return Err(DropReason::MartianSource);
        }
        if self.addressing.is_tentative(target.into()) {
            self.address_is_taken(target, answer.at);
            return Ok(());
        }
        if self.addressing.has(target.into()) {
            self.outgoing.counters.address_conflicts += 1;
            tracing::debug!(address = %target, by = ?answer.at, "another node claims an address of this stack");
            return Ok(());
        }
        self.neighbour_answered(cx, target.into(), answer, link);
        Ok(())
    }

    /// Notes what a neighbour says of itself without having been asked.
    fn neighbour_heard<L: Link>(
        &mut self,
        address: IpAddr,
        at: MacAddr,
        may_add: bool,
        link: &mut L,
    ) {
        let (waiting, lost) = self.outgoing.neighbours.hear(address, at, may_add);
        for _ in 0..lost {
            self.outgoing.counters.drop(DropReason::NeighbourUnknown);
        }
        Output { link, state: &mut self.outgoing }.release(address, waiting);
    }

    fn neighbour_answered<L: Link>(
        &mut self,
        cx: &mut Context,
        address: IpAddr,
        answer: Answer,
        link: &mut L,
    ) {
        let waiting = self.outgoing.neighbours.answered(address, answer, cx.now);
        Output { link, state: &mut self.outgoing }.release(address, waiting);
    }

    /// Whether a neighbour can have this hardware address.
    fn is_neighbour_link(&self, at: MacAddr) -> bool {
        at.is_unicast() && at != self.outgoing.hardware_address
    }

    /// Whether a neighbour can have this address.
    fn check_neighbour(&self, address: IpAddr) -> Result<(), DropReason> {
        let is_neighbour = addressing::is_host(address)
            && !address.is_loopback()
            && !self.addressing.is_own(address)
            && !self.addressing.is_broadcast(address);
        if is_neighbour { Ok(()) } else { Err(DropReason::MartianSource) }
    }

    /// How long a neighbour that has answered counts as reachable: each time another time, between
    /// half and one and a half times the mean (RFC 4861 section 6.3.2), so that not all are asked
    /// at once.
    fn reachable_for(&mut self, cx: &mut Context) -> Duration {
        let millis = REACHABLE_MILLIS / 2 + cx.random.below(REACHABLE_MILLIS);
        Duration::from_millis(millis.into())
    }
}
