//! Hosts on a simulated network.

use super::counters::LinkCounters;
use super::link::LinkConfig;
use super::network::Network;
use super::record::Record;
use crate::builder::Builder;
#[cfg(feature = "capture")]
use crate::capture::{Captures, Filter, LiveCapture, Recorder};
use crate::device;
use crate::direction::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netcore::{Config, Entropy};
use netsocket::Net;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Configures a host; made by [`Sim::host`](super::Sim::host).
#[derive(Debug)]
#[must_use = "a host is there once it is spawned"]
pub struct HostBuilder {
    network: Arc<Network>,
    addresses: Vec<IpNet>,
    /// Outbound and inbound.
    links: [LinkConfig; 2],
    config: Config,
}

/// More than a link can bring at one instant of virtual time.
const PIPE_FRAMES: usize = 1 << 16;

impl HostBuilder {
    pub(super) fn new(network: Arc<Network>) -> Self {
        let links = [LinkConfig::new(), LinkConfig::new()];
        Self { network, addresses: Vec::new(), links, config: Config::default() }
    }

    /// Adds an address; the host then gets none by default.
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// Sets the host's link to the network, in both directions.
    pub fn link(mut self, link: LinkConfig) -> Self {
        self.links = [link.clone(), link];
        self
    }

    /// Sets one direction of the host's link. The host's MTU is that of the outbound one.
    pub fn link_of(mut self, direction: Direction, link: LinkConfig) -> Self {
        let [outbound, inbound] = &mut self.links;
        match direction {
            Direction::Outbound => *outbound = link,
            Direction::Inbound => *inbound = link,
        }
        self
    }

    /// Sets the limits of the host's stack. Its entropy becomes the seed of the run.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Makes the host.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::spawn`]; `AddrNotAvailable` if no address was added and there have been
    /// 65,534 hosts.
    pub fn spawn(mut self) -> io::Result<Host> {
        let number = self.network.next_host();
        if self.addresses.is_empty() {
            self.addresses = addresses(number)?.into();
        }
        let (device, pipe) = device::pipe(PIPE_FRAMES, self.links[0].mtu);
        let entropy = Entropy::Seed(self.network.seed_of(number, 0));
        let mut builder = Builder::new().config(Config { entropy, ..self.config });
        for address in &self.addresses {
            builder = builder.address(*address);
        }
        let stack = builder.spawn(device)?;
        let net = stack.net().clone();
        let own = self.addresses.iter().map(IpNet::addr);
        let index = self.network.attach(stack, pipe, own, self.links);
        Ok(Host { network: self.network, index, net, addresses: self.addresses.into() })
    }
}

/// The default addresses of the host with this number.
fn addresses(number: usize) -> io::Result<[IpNet; 2]> {
    let number = u16::try_from(number).ok().filter(|number| *number < u16::MAX);
    let number = number.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let [high, low] = number.to_be_bytes();
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, high, low), 16);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number), 64);
    Ok([v4.into(), v6.into()])
}

/// A host on a simulated network: a stack and its link. Cheap to clone; it runs until it is stopped
/// or the run ends.
#[derive(Debug, Clone)]
pub struct Host {
    network: Arc<Network>,
    index: usize,
    net: Net,
    addresses: Arc<[IpNet]>,
}

impl Host {
    /// Where its sockets come from.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// The current configuration of its link: of the outbound direction, if they differ.
    pub fn link(&self) -> LinkConfig {
        self.link_of(Direction::Outbound)
    }

    /// The current configuration of one direction of its link.
    pub fn link_of(&self, direction: Direction) -> LinkConfig {
        self.network.link(self.index, direction)
    }

    /// Changes its link in both directions. Packets that wait in a queue leave as the new link has
    /// it; those that have left it are not affected.
    pub fn set_link(&self, link: LinkConfig) {
        self.set_link_of(Direction::Outbound, link.clone());
        self.set_link_of(Direction::Inbound, link);
    }

    /// Changes one direction of its link, as [`set_link`](Self::set_link) does.
    pub fn set_link_of(&self, direction: Direction, link: LinkConfig) {
        self.network.set_link(self.index, direction, link);
    }

    /// Calls `filter` for every packet on its link, before any impairment; packets for which it
    /// returns `false` are lost. Replaces an earlier filter. If it panics, the packet is lost, and
    /// the run ends with that panic.
    pub fn set_filter(&self, filter: impl FnMut(Direction, &[u8]) -> bool + Send + 'static) {
        self.network.set_filter(self.index, Some(Box::new(filter)));
    }

    /// Removes the filter.
    pub fn clear_filter(&self) {
        self.network.set_filter(self.index, None);
    }

    /// Records the first TCP connection that it opens to `remote`, from now on and until it ends or
    /// the host is stopped.
    ///
    /// # Panics
    ///
    /// If the host was stopped.
    pub fn record(&self, remote: SocketAddr) -> Record {
        let (record, tap) = Record::new(remote);
        self.network.taps(self.index).expect("the host runs").attach(Box::new(tap));
        record
    }

    /// Captures its frames; see [`Stack::capture`](crate::Stack::capture).
    ///
    /// # Panics
    ///
    /// If the host was stopped.
    #[cfg(feature = "capture")]
    pub fn capture(&self, recorder: &Recorder, filter: Filter) -> LiveCapture {
        let taps = self.network.taps(self.index).expect("the host runs");
        Captures::new(taps).begin(recorder, filter)
    }

    /// The counters of one direction of its link so far.
    pub fn counters(&self, direction: Direction) -> LinkCounters {
        self.network.counters(self.index, direction)
    }

    /// Stops its stack at once, as dropping a [`Stack`](crate::Stack) does: peers get resets,
    /// pending operations fail. For a host that vanishes silently take its link
    /// [down](LinkConfig::down).
    pub fn stop(&self) {
        drop(self.network.take_stack(self.index));
    }
}
