//! An Ethernet switch in this process: stacks, programs and devices on one LAN.
//!
//! It learns which addresses are behind which port and forwards unicast frames to that port alone
//! (IEEE 802.1D sections 7.7 and 7.8); it floods unknown unicast, multicast and broadcast frames to
//! every other port. It has no address of its own, does not speak a spanning tree protocol and does
//! not snoop multicast memberships: two links between two switches make a loop, bounded only by
//! [`SwitchConfig::flooded_frames_per_second`] and the queues.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use netstack::switch::{PortConfig, Switch, SwitchConfig};
//!
//! let switch = Switch::new(SwitchConfig::default());
//! let near = switch.raw_port(PortConfig::default())?;
//! let far = switch.raw_port(PortConfig::default())?;
//!
//! let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], b"hello, all"].concat();
//! near.send(frame.into());
//! assert!(far.try_recv().expect("flooded").ends_with(b"hello, all"));
//! # Ok(())
//! # }
//! ```
//!
//! A stack's port is a device: `Builder::spawn(switch.port(PortConfig::default())?)`.

mod frame;
mod hub;
mod monitor;
mod pairs;
mod port;
mod queue;
mod shared;
mod statistics;
mod table;
mod uplink;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod vde;
mod vlan;

pub use monitor::{Monitor, Seen};
pub use port::{RawPort, SwitchPort, SwitchSlot};
pub use statistics::{PortStatistics, SwitchDropReason, Traffic};
pub use uplink::Uplink;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use vde::{VdeListener, VdeListenerConfig, VdePortInfo};
pub use vlan::{Vlan, VlanId};

use crate::device::Device;
use hub::Hub;
use netcore::MacAddr;
use netcore::Medium;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A switch. Dropping it closes its ports: stacks on them end without an error.
///
/// Ports come and go while it runs, from any thread.
#[derive(Debug)]
#[must_use = "dropping it closes its ports"]
pub struct Switch {
    hub: Arc<Hub>,
}

/// Limits of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct SwitchConfig {
    /// The largest IP packet on its stacks' and programs' ports, in bytes.
    pub mtu: usize,
    /// Ports at a time.
    pub ports_max: usize,
    /// Learned addresses. Frames to unknown addresses are flooded.
    pub addresses_max: usize,
    /// Learned addresses on one port, so that no port can fill the table.
    pub port_addresses_max: usize,
    /// Ports to which the traffic from one port is counted ([`Switch::pairs`]); what goes to further ones
    /// is not.
    pub port_pairs_max: usize,
    /// How long it remembers an address from which nothing comes.
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub address_age: Duration,
    /// Frames queued at a port. A packet that is cut behind the port counts once. A port that is
    /// never read keeps this many packets of at most 64 KiB, each in memory of its own size except
    /// the first 16, which may keep 68 KiB each.
    pub queue_frames_max: usize,
    /// Frames that wait at a monitor, kept as those at a port.
    pub monitor_frames_max: usize,
    /// Frames from one port that are flooded per second; also the burst.
    pub flooded_frames_per_second: u32,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            mtu: 1500,
            ports_max: 4096,
            addresses_max: 8192,
            port_addresses_max: 1024,
            port_pairs_max: 256,
            // IEEE 802.1D table 7-5.
            address_age: Duration::from_secs(300),
            queue_frames_max: 1024,
            monitor_frames_max: 4096,
            flooded_frames_per_second: 10_000,
        }
    }
}

/// Configuration of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct PortConfig {
    /// Its name in lists and captures; its number if empty.
    pub name: String,
    /// The virtual LANs that it is part of.
    pub vlan: Vlan,
    /// For a stack's port: whether TCP sends and receives packets of up to 64 KiB whatever the MTU,
    /// with incomplete checksums. On the way out of a port or device without offload, the switch
    /// cuts them and completes their checksums.
    pub jumbo: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self { name: String::new(), vlan: Vlan::default(), jumbo: true }
    }
}

/// Which port of a switch. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u64);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An existing port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortInfo {
    /// Which one.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// The virtual LANs that it is part of.
    pub vlan: Vlan,
    /// What happened there.
    pub statistics: PortStatistics,
}

/// An address that a switch has learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The virtual LAN that it was seen on, if any.
    pub vlan: Option<VlanId>,
    /// The address.
    pub address: MacAddr,
    /// The port that it is behind.
    pub port: PortId,
    /// How long ago something came from it.
    pub age: Duration,
}

/// The traffic from one port to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairInfo {
    /// Where it came from.
    pub from: PortId,
    /// Where it went.
    pub to: PortId,
    /// What the queue of that port has taken, without what was flooded.
    pub traffic: Traffic,
}

impl Switch {
    /// Makes a switch without ports.
    pub fn new(config: SwitchConfig) -> Self {
        Self { hub: Arc::new(Hub::new(config)) }
    }

    /// Adds a port for a stack.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if there are [`SwitchConfig::ports_max`] already.
    pub fn port(&self, config: PortConfig) -> io::Result<SwitchPort> {
        let jumbo = config.jumbo;
        let mtu = (!jumbo).then_some(self.hub.config.mtu);
        let port = self.hub.add_port(config, mtu)?;
        Ok(SwitchPort::new(self.hub.clone(), port, jumbo))
    }

    /// Adds a port for a program, which sends and receives frames as they are on a wire.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if there are [`SwitchConfig::ports_max`] already.
    pub fn raw_port(&self, config: PortConfig) -> io::Result<RawPort> {
        let port = self.hub.add_port(config, Some(self.hub.config.mtu))?;
        Ok(RawPort::new(self.hub.clone(), port))
    }

    /// Adds a port with a device behind it, a TAP or the end of a pipe, and a task that drives it.
    /// The device's offload is used.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the device's medium is not Ethernet; `QuotaExceeded` if there are
    /// [`SwitchConfig::ports_max`] ports already; errors of the device.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn uplink(&self, mut device: impl Device, config: PortConfig) -> io::Result<Uplink> {
        let link = device.capabilities();
        if link.medium != Medium::Ethernet {
            let message = "the device behind a switch port must be an Ethernet device";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        device.attach()?;
        let port = self.hub.add_port(config, Some(link.mtu))?;
        Ok(Uplink::spawn(self.hub.clone(), port, device))
    }

    /// Adds a monitor.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.hub.clone())
    }

    /// Removes a port and forgets the addresses behind it; returns whether it existed. Its holder
    /// sees it end.
    pub fn remove(&self, port: PortId) -> bool {
        self.hub.remove_port(port)
    }

    /// The ports that there are, in the order in which they were added.
    pub fn ports(&self) -> Vec<PortInfo> {
        self.hub.port_infos()
    }

    /// Counters of all ports together, removed ones included.
    pub fn statistics(&self) -> PortStatistics {
        self.hub.totals.snapshot()
    }

    /// The addresses that it has learned, sorted by virtual LAN and address.
    pub fn addresses(&self) -> Vec<AddressInfo> {
        self.hub.address_infos()
    }

    /// Who talks to whom: the ports between which frames have passed, sorted.
    pub fn pairs(&self) -> Vec<PairInfo> {
        self.hub.pair_infos()
    }

    /// Forgets all addresses.
    pub fn forget_addresses(&self) {
        self.hub.forget_addresses();
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.hub.close();
    }
}
