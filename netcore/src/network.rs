//! The network configuration of a stack, published at each change.

use crate::error::Error;
use crate::ethernet::MacAddr;
use crate::ip::routes::Route;
use crate::stop::StopReason;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The network configuration of a stack, changed by [control commands](crate::control::Command).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Network {
    /// The configured addresses, loopback excluded, in the order of their addition.
    pub addresses: Vec<IpNet>,
    /// The tentative addresses, unused during duplicate address detection (RFC 4862 section 5.4).
    pub tentative: Vec<IpAddr>,
    /// The deprecated addresses, which new connections avoid (RFC 4862 section 5.5.4).
    pub deprecated: Vec<IpAddr>,
    /// The added routes, those implied by addresses excluded.
    pub routes: Vec<Route>,
    /// The link.
    pub link: LinkState,
    /// Whether the stack accepts packets to any address.
    pub any_ip: bool,
    /// The name servers, in order of preference.
    pub name_servers: Vec<IpAddr>,
    /// The search domains of names without dots, in order.
    pub search_domains: Vec<String>,
    /// Failures of configuration sources, each with its reason, as "the DHCP client has ended:
    /// address already in use". At most 16.
    pub failures: Vec<String>,
    /// The number of changes until this: one who has seen another knows how many are between.
    #[cfg_attr(feature = "serde", serde(default))]
    pub revision: u64,
}

/// The state of a stack's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LinkState {
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it has a carrier, as far as the device knows. A TUN or TAP whose kernel interface is
    /// down has none.
    pub has_carrier: bool,
    /// The MTU in bytes: the device's, or a lower one if set or advertised.
    pub mtu: usize,
    /// The stack's hardware address, if the link is Ethernet.
    pub hardware_address: Option<MacAddr>,
}

/// The next hop and the source address of packets to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NextHopInfo {
    /// The neighbour on the link: the gateway, or the destination itself; `None` for an own
    /// address.
    pub neighbour: Option<IpAddr>,
    /// The source address, unless a socket is bound to another one.
    pub source: IpAddr,
}

impl Network {
    /// The configuration of a new stack.
    pub(crate) fn blank(mtu: usize) -> Self {
        Self {
            addresses: Vec::new(),
            tentative: Vec::new(),
            deprecated: Vec::new(),
            routes: Vec::new(),
            link: LinkState { is_up: true, has_carrier: true, mtu, hardware_address: None },
            any_ip: false,
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            failures: Vec::new(),
            revision: 0,
        }
    }
}

/// A watch of a stack's [`Network`]. Cheap to clone; does not keep the stack alive.
#[derive(Debug, Clone)]
pub struct NetworkWatch(watch::Receiver<Arc<Network>>, StopReason);

impl NetworkWatch {
    /// The current state; marks it as seen by [`changed`](Self::changed).
    pub fn current(&mut self) -> Arc<Network> {
        self.0.borrow_and_update().clone()
    }

    /// Waits for a change since the last call of [`current`](Self::current), or since the creation
    /// of the watch, and returns the current state.
    ///
    /// # Errors
    ///
    /// [`Error::StackGone`] if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no change.
    pub async fn changed(&mut self) -> Result<Arc<Network>, Error> {
        self.0.changed().await.map_err(|_| self.1.error())?;
        Ok(self.current())
    }

    /// As [`changed`](Self::changed), blocking the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::StackGone`] if the stack is gone.
    pub fn changed_blocking(&mut self) -> Result<Arc<Network>, Error> {
        pollster::block_on(self.changed())
    }

    /// Waits until `is_wanted` is true of the state, which may be at once, and returns it.
    ///
    /// # Errors
    ///
    /// [`Error::StackGone`] if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no change.
    pub async fn wait_for(
        &mut self,
        mut is_wanted: impl FnMut(&Network) -> bool,
    ) -> Result<Arc<Network>, Error> {
        let found = self.0.wait_for(|network| is_wanted(network)).await;
        let found = found.map(|network| network.clone());
        found.map_err(|_| self.1.error())
    }
}

/// The publisher of a stack's network configuration.
#[derive(Debug)]
pub(crate) struct Publisher(watch::Sender<Arc<Network>>);

impl Publisher {
    pub(crate) fn new(network: Network, stop_reason: StopReason) -> (Self, NetworkWatch) {
        let (sender, receiver) = watch::channel(Arc::new(network));
        (Self(sender), NetworkWatch(receiver, stop_reason))
    }

    /// Publishes `network` to all watches, if it has changed.
    pub(crate) fn publish(&self, mut network: Network) {
        self.0.send_if_modified(|known| {
            network.revision = known.revision;
            let is_news = **known != network;
            if is_news {
                network.revision += 1;
                *known = Arc::new(network);
            }
            is_news
        });
    }

    pub(crate) fn current(&self) -> Arc<Network> {
        self.0.borrow().clone()
    }
}
