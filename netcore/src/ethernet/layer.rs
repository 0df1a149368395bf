//! Ethernet below IP: address resolution, and duplicate detection and announcement of own
//! addresses.

use crate::context::Context;
use crate::context::Part;
use crate::counters::DropReason;
use crate::error::Error;
use crate::ethernet::MacAddr;
use crate::ethernet::arp::{self, Arp};
use crate::ethernet::dad::Step;
use crate::ethernet::ndp::{self};
use crate::ethernet::neighbours::Due;
use crate::ip::layer::{IcmpReport, IpEvent, IpLayer};
use crate::link::Link;
use crate::output::Output;
use crate::time::Instant;
use crate::wire::EthernetProtocol;
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Solicitations and steps of duplicate address detection per round.
const STEPS_PER_ROUND: usize = 256;
/// The prefix length of a link-local address.
const LINK_LOCAL_PREFIX: u8 = 64;

/// New addresses.
impl IpLayer {
    /// Follows the state of the link. When an Ethernet link comes up, the stack probes and
    /// announces its addresses on it.
    #[inline]
    pub(crate) fn update_link(&mut self, cx: &Context) {
        let is_up = self.outgoing.is_on_ethernet() && self.addressing.is_link_up;
        if is_up != self.ethernet.is_up {
            self.link_changed(cx, is_up);
        }
    }

    /// Sets whether the link has a carrier. When it gains one, the stack probes and announces its
    /// addresses again (RFC 4862 section 5.4).
    #[inline]
    pub(crate) fn set_carrier(&mut self, cx: &Context, has_carrier: bool) {
        if has_carrier != self.ethernet.has_carrier {
            self.ethernet.has_carrier = has_carrier;
            if has_carrier && self.ethernet.is_up {
                self.link_changed(cx, true);
            }
            self.publish();
        }
    }

    #[cold]
    fn link_changed(&mut self, cx: &Context, is_up: bool) {
        if !is_up {
            self.reset_ethernet();
            return;
        }
        self.ethernet.is_up = true;
        if cx.config.ethernet.link_local && self.ethernet.link_local.is_none() {
            let address = self.outgoing.hardware_address.link_local();
            let network = IpNet::V6(Ipv6Net::new_assert(address, LINK_LOCAL_PREFIX));
            if self.addressing.add_address(network).is_ok() {
                self.ethernet.link_local = Some(address);
            }
        }
        let own: Vec<_> = self.addressing.addresses().iter().map(IpNet::addr).collect();
        for address in own {
            self.on_address_added(cx, address);
        }
        self.report(IpEvent::RoutesChanged);
    }

    /// Clears the neighbour cache, and counts the link as down until the next round.
    pub(crate) fn reset_ethernet(&mut self) {
        self.ethernet.is_up = false;
        for _ in 0..self.outgoing.neighbours.clear() {
            self.outgoing.counters.drop(DropReason::NeighbourUnknown);
        }
    }

    /// Starts duplicate address detection and announcement of a new address.
    pub(crate) fn on_address_added(&mut self, cx: &Context, address: IpAddr) {
        if !self.ethernet.is_up {
            // Done once the link is up.
            return;
        }
        let probes = cx.config.ethernet.dad_transmits;
        self.addressing.set_tentative(address, address.is_ipv6() && probes > 0);
        self.dad.begin(address, probes, cx.now);
    }

    /// Removes an address that another node uses (RFC 4862 section 5.4.5).
    pub(super) fn on_duplicate_address(&mut self, address: Ipv6Addr, by: Option<MacAddr>) {
        tracing::warn!(%address, ?by, "duplicate address detected, address removed");
        self.outgoing.counters.duplicate_addresses += 1;
        // The address exists, so this cannot fail.
        let _ = self.forget_address(address.into());
    }
}

/// Timers.
impl IpLayer {
    /// When the next solicitation or step of duplicate address detection is due.
    pub(crate) fn ethernet_due(&self, now: Instant) -> Option<Instant> {
        if !self.ethernet.is_up {
            let is_to_begin = self.outgoing.is_on_ethernet() && self.addressing.is_link_up;
            return is_to_begin.then_some(now);
        }
        self.outgoing.neighbours.next().into_iter().chain(self.dad.next()).min()
    }

    /// Whether the link is Ethernet and up.
    #[inline]
    pub(crate) fn is_on_ethernet_link(&self) -> bool {
        self.ethernet.is_up
    }

    /// Retransmits solicitations, gives up unreachable neighbours and advances duplicate address
    /// detection; returns whether anything was due.
    pub(crate) fn poll_ethernet<L: Link>(&mut self, cx: &mut Context, link: &mut L) -> bool {
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
                self.run_dad_step(step, link);
            } else if let Some(due) = self.outgoing.neighbours.pop(cx.now) {
                #[cfg(test)]
                cx.spring("neighbours");
                self.handle_due_neighbour(due, link);
            }
            cx.at_work.part = None;
        }
        true
    }

    fn run_dad_step<L: Link>(&mut self, step: Step, link: &mut L) {
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

    /// Announces an address on the link (RFC 5227 section 2.3, RFC 4861 section 7.2.6).
    pub(super) fn announce<L: Link>(&mut self, address: IpAddr, link: &mut L) {
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

    fn handle_due_neighbour<L: Link>(&mut self, due: Due, link: &mut L) {
        match due {
            Due::Solicit { address, at, for_packet } => {
                // The source of the waiting packet is preferred: the neighbour will see it anyhow
                // (RFC 4861 section 7.2.2).
                let header = for_packet.and_then(|packet| crate::ip::parse(&packet).ok());
                let source = header
                    .map(|header| header.source)
                    .filter(|source| self.addressing.is_answered_for(*source))
                    .or_else(|| self.addressing.source_for(address).ok());
                self.solicit(address, at, source, link);
            }
            Due::Unresolved(waiting) => {
                for waiting in waiting {
                    self.outgoing.counters.drop(DropReason::NeighbourUnknown);
                    let report = IcmpReport::of_own(&waiting.packet, Error::HostUnreachable);
                    report.into_iter().for_each(|report| self.report(IpEvent::Error(report)));
                }
            }
            Due::Removed => {}
        }
    }

    /// Solicits a neighbour: by broadcast or multicast, or by unicast at the cached address `at`.
    pub(super) fn solicit<L: Link>(
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
                    // Without an address of its own the stack sends an ARP probe (RFC 5227 section
                    // 2.1.1).
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
            // Without a source address for the reply no solicitation can be sent.
            (IpAddr::V6(_), _) => {}
        }
    }

    pub(super) fn send_arp<L: Link>(&mut self, arp: &Arp, to: MacAddr, link: &mut L) {
        let mut output = Output { link, state: &mut self.outgoing };
        output.send_frame(to, EthernetProtocol::Arp, &arp::message(arp));
    }

    pub(super) fn send_to_group<L: Link>(&mut self, group: Ipv6Addr, packet: &[u8], link: &mut L) {
        if let Some(to) = MacAddr::of_group(group.into()) {
            self.send_ipv6(to, packet, link);
        }
    }

    pub(super) fn send_ipv6<L: Link>(&mut self, to: MacAddr, packet: &[u8], link: &mut L) {
        let mut output = Output { link, state: &mut self.outgoing };
        output.send_frame(to, EthernetProtocol::Ipv6, packet);
    }
}
