//! A stack's place in the network, as it is published whenever it changes.

use crate::error::Error;
use crate::ethernet::MacAddr;
use crate::ip::routes::Route;
use crate::stop::StopReason;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// A stack's place in the network: what [control commands](crate::control::Command) change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// The addresses, without the loopback ones, in the order in which they were added.
    pub addresses: Vec<IpNet>,
    /// Those of the addresses that are not used yet, since it is being found out whether another
    /// node on the Ethernet link has them.
    pub tentative: Vec<IpAddr>,
    /// Those of the addresses that new connections avoid (RFC 4862 section 5.5.4).
    pub deprecated: Vec<IpAddr>,
    /// The routes, without those that the addresses imply.
    pub routes: Vec<Route>,
    /// The link.
    pub link: LinkState,
    /// Whether packets to any address are for this stack.
    pub any_ip: bool,
    /// Who is asked for names, in this order.
    pub name_servers: Vec<IpAddr>,
    /// The domains in which a name without dots is looked for, in this order.
    pub search_domains: Vec<String>,
    /// What has provided the stack with any of this, or was to, and has ended: each with the reason,
    /// as "the DHCP client has ended: address already in use". At most 16.
    pub failures: Vec<String>,
}

/// What a stack knows of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkState {
    /// Whether it is used at all.
    pub is_up: bool,
    /// Whether somebody is there at the other end, as far as the device knows: a TUN or TAP whose
    /// kernel's end is down has no carrier.
    pub has_carrier: bool,
    /// The largest IP packet that is sent, in bytes: the device's, or less if it was set.
    pub mtu: usize,
    /// The stack's hardware address, if the link is Ethernet.
    pub hardware_address: Option<MacAddr>,
}

/// Where a packet to some destination goes, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextHopInfo {
    /// The neighbour on the link that it is sent to: the gateway, or the destination; `None` for an
    /// address of the stack's own.
    pub neighbour: Option<IpAddr>,
    /// The address that it is sent from, unless a socket is bound to another one.
    pub source: IpAddr,
}

impl Network {
    /// What a stack begins with.
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
        }
    }
}

/// The [`Network`] of a stack, now and whenever it changes. Cheap to clone; does not keep the stack
/// alive.
#[derive(Debug, Clone)]
pub struct NetworkWatch(watch::Receiver<Arc<Network>>, StopReason);

impl NetworkWatch {
    /// The newest state. What has changed until now is no news to [`changed`](Self::changed).
    pub fn current(&mut self) -> Arc<Network> {
        self.0.borrow_and_update().clone()
    }

    /// Waits until something has changed since [`current`](Self::current) was called, or since the
    /// watch was made, and returns the newest state.
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

    /// Waits until the state is such that `is_wanted` says so, which may be now, and returns it.
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

/// Where a stack publishes its place in the network.
#[derive(Debug)]
pub(crate) struct Publisher(watch::Sender<Arc<Network>>);

impl Publisher {
    pub(crate) fn new(network: Network, stop_reason: StopReason) -> (Self, NetworkWatch) {
        let (sender, receiver) = watch::channel(Arc::new(network));
        (Self(sender), NetworkWatch(receiver, stop_reason))
    }

    /// Tells everybody who watches, if this is news.
    pub(crate) fn publish(&self, network: Network) {
        self.0.send_if_modified(|known| {
            let is_news = **known != network;
            if is_news {
                *known = Arc::new(network);
            }
            is_news
        });
    }

    pub(crate) fn current(&self) -> Arc<Network> {
        self.0.borrow().clone()
    }
}
