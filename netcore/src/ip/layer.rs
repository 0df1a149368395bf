//! The state of IP and of the link below it.

use crate::binding::BoundTo;
use crate::binding::Families;
use crate::context::Context;
use crate::error::Error;
use crate::ethernet::dad::DuplicateAddressDetection;
use crate::ethernet::neighbours::Neighbours;
use crate::ethernet::state::EthernetState;
use crate::id::SocketId;
use crate::ip::addressing::Addressing;
use crate::ip::fragments::Reassembly;
use crate::ip::path_mtu::PathMtus;
use crate::ip::{self, Quoted};
use crate::link::LinkCapabilities;
use crate::network::{LinkState, Network, NetworkWatch, Publisher};
use crate::output::Outgoing;
use crate::random::LocalHasher;
use crate::rate_limit::RateLimit;
use crate::time::Instant;
use crate::wire::{IPV4_MIN_MTU, IPV6_MIN_MTU};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// IP below the transports: addresses, routes, reassembly, ICMP, and neighbours on the link.
#[derive(Debug)]
pub(crate) struct IpLayer {
    pub(crate) addressing: Addressing,
    pub(crate) outgoing: Outgoing,
    pub(crate) path_mtus: PathMtus,
    pub(crate) reassembly: Reassembly,
    pub(crate) icmp_errors: RateLimit,
    /// The sockets in each multicast group.
    pub(crate) groups: HashMap<IpAddr, Vec<SocketId>, LocalHasher>,
    pub(crate) mtu: Mtu,
    pub(crate) ethernet: EthernetState,
    /// Own addresses under detection or to be announced on an Ethernet link.
    pub(crate) dad: DuplicateAddressDetection,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) search_domains: Vec<String>,
    pub(crate) failures: Vec<String>,
    publisher: Publisher,
    events: VecDeque<IpEvent>,
}

/// The values that determine the link's MTU, in bytes.
#[derive(Debug)]
pub(crate) struct Mtu {
    pub(crate) configured: Option<usize>,
    pub(crate) advertised: Option<usize>,
    /// The device's, as of the last round.
    pub(crate) device: usize,
}

/// An event for the layers above.
#[derive(Debug)]
pub(crate) enum IpEvent {
    /// The next hop of some destinations may have changed.
    RoutesChanged,
    AddressRemoved(IpAddr),
    /// A received ICMP error, or an error of the stack's own.
    Error(IcmpReport),
}

/// An ICMP error about a packet of this stack.
#[derive(Debug)]
pub(crate) struct IcmpReport {
    pub(crate) from: IpAddr,
    pub(crate) quoted: Quoted,
    pub(crate) cause: IcmpCause,
}

impl IcmpReport {
    /// An error of the stack itself about a packet of its own.
    pub(crate) fn of_own(packet: &[u8], error: Error) -> Option<Self> {
        let quoted = ip::parse_quoted(packet)?;
        Some(Self { from: quoted.source, quoted, cause: IcmpCause::Failed(error) })
    }

    /// The addresses and ports of the TCP or UDP packet, the local one first.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        let quoted = &self.quoted;
        (
            SocketAddr::new(quoted.source, quoted.source_port),
            SocketAddr::new(quoted.destination, quoted.destination_port),
        )
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum IcmpCause {
    Failed(Error),
    /// Packet Too Big with this path MTU. The layer above checks that it has sent the quoted
    /// packet.
    TooBig(u16),
}

impl IpLayer {
    pub(crate) fn new(cx: &mut Context) -> (Self, NetworkWatch) {
        let config = &cx.config;
        let hardware_address =
            config.ethernet.hardware_address.filter(|address| address.is_unicast());
        let hardware_address = hardware_address.unwrap_or_else(|| cx.random.hardware_address());
        let (max, queue_bytes) =
            (config.ethernet.neighbours_max, config.ethernet.neighbour_queue_bytes);
        let hash_keys = cx.random.hash_keys();
        let neighbours = Neighbours::new(max, queue_bytes, hash_keys.clone());
        let limits = (config.ip.loopback_packets_max, config.ip.replies_max);
        let outgoing = Outgoing::new(limits, hardware_address, neighbours, cx.now);
        let device = outgoing.capabilities.mtu;
        let network = Network::blank(device);
        let (publisher, watch) = Publisher::new(network, cx.doorbell.stop_reason().clone());
        let ip = Self {
            addressing: Addressing::default(),
            path_mtus: PathMtus::new(config.ip.path_mtus_max, hash_keys.clone()),
            reassembly: Reassembly::new(
                config.ip.fragments_bytes_max,
                config.ip.fragment_timeout,
                hash_keys,
            ),
            icmp_errors: RateLimit::new(config.ip.icmp_errors_per_second, cx.now),
            groups: HashMap::default(),
            mtu: Mtu { configured: None, advertised: None, device },
            ethernet: EthernetState::default(),
            dad: DuplicateAddressDetection::default(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            failures: Vec::new(),
            publisher,
            events: VecDeque::new(),
            outgoing,
        };
        (ip, watch)
    }

    /// Takes the next event for the layers above.
    #[inline]
    pub(crate) fn next_event(&mut self) -> Option<IpEvent> {
        self.events.pop_front()
    }

    pub(crate) fn report(&mut self, event: IpEvent) {
        self.events.push_back(event);
    }

    /// Removes an address.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack does not have it.
    pub(crate) fn forget_address(&mut self, address: IpAddr) -> Result<(), Error> {
        if !self.addressing.remove_address(address) {
            return Err(Error::AddressNotAvailable);
        }
        self.dad.cancel(address);
        self.ethernet.on_address_removed(address);
        self.report(IpEvent::AddressRemoved(address));
        self.report(IpEvent::RoutesChanged);
        Ok(())
    }

    /// Updates the MTU and publishes the network after a change of addresses or routes, once the
    /// layers above have followed.
    pub(crate) fn publish_routes(&mut self) {
        // The minimum depends on whether there is an IPv6 address.
        self.update_mtu();
        self.publish();
    }

    /// The network as last published.
    pub(crate) fn network(&self) -> Arc<Network> {
        self.publisher.current()
    }

    pub(crate) fn publish(&self) {
        self.publisher.publish(Network {
            addresses: self.addressing.addresses().to_vec(),
            tentative: self.addressing.tentative().to_vec(),
            deprecated: self.addressing.deprecated().to_vec(),
            routes: self.addressing.routes().to_vec(),
            link: LinkState {
                is_up: self.addressing.is_link_up,
                has_carrier: self.ethernet.has_carrier,
                mtu: self.outgoing.capabilities.mtu,
                hardware_address: self
                    .outgoing
                    .is_on_ethernet()
                    .then_some(self.outgoing.hardware_address),
            },
            any_ip: self.addressing.any_ip,
            name_servers: self.name_servers.clone(),
            search_domains: self.search_domains.clone(),
            failures: self.failures.clone(),
            // The publisher counts.
            revision: 0,
        });
    }

    /// Sets the link's capabilities, as of this round.
    #[inline]
    pub(crate) fn set_link_capabilities(&mut self, capabilities: LinkCapabilities) {
        let LinkCapabilities { mtu, medium, .. } = self.outgoing.capabilities;
        self.outgoing.capabilities = LinkCapabilities { mtu, ..capabilities };
        if self.mtu.device != capabilities.mtu || medium != capabilities.medium {
            self.mtu.device = capabilities.mtu;
            self.publish_routes();
        }
    }

    /// Computes the MTU.
    pub(crate) fn update_mtu(&mut self) {
        let limits = self.mtu.configured.into_iter().chain(self.mtu.advertised);
        self.outgoing.capabilities.mtu = match limits.min() {
            Some(mtu) => mtu.max(self.mtu_min()).min(self.mtu.device),
            None => self.mtu.device,
        };
    }

    /// The minimum MTU of the stack's address families: 1,280 bytes in IPv6 (RFC 8200 section 5);
    /// 576 in IPv4, which every host accepts (RFC 791) and which leaves room for TCP.
    pub(crate) fn mtu_min(&self) -> usize {
        let has_v6 = self.addressing.addresses().iter().any(|own| own.addr().is_ipv6());
        if has_v6 { IPV6_MIN_MTU } else { IPV4_MIN_MTU }
    }

    /// The path MTU to `destination`, in bytes, as far as known.
    pub(crate) fn mtu_to(&self, now: Instant, destination: IpAddr) -> usize {
        let mtu = self.outgoing.capabilities.mtu;
        let path = self.path_mtus.get(destination, now);
        path.map_or(mtu, |path| mtu.min(usize::from(path.mtu)))
    }

    /// The addresses that a socket bound to `address` covers, if it is local or a wildcard.
    pub(crate) fn bindable(
        &self,
        cx: &Context,
        address: IpAddr,
        families: Families,
    ) -> Result<BoundTo, Error> {
        cx.check_running()?;
        let to = BoundTo::new(address, families);
        match to {
            BoundTo::One(address)
                if !self.addressing.is_local(address)
                    && !self.addressing.is_broadcast(address)
                    && !address.is_multicast() =>
            {
                Err(Error::AddressNotAvailable)
            }
            to => Ok(to),
        }
    }
}
