//! An IPv4 address from a DHCP server (RFC 2131).
//!
//! [`Builder::dhcp`](crate::Builder::dhcp) starts a client, a task beside the stack: it acquires a
//! lease, configures the stack with its address, routes, name servers and MTU, renews it in time,
//! and removes all of that when the lease is lost. Programs wait for an address with
//! [`watch_network`](crate::Net::watch_network):
//!
//! ```no_run
//! # fn device() -> netstack::device::PipeDevice { unimplemented!() }
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let stack = netstack::Builder::new().dhcp(netstack::dhcp::Config::default()).spawn(device())?;
//! // On Ethernet the stack has a link-local IPv6 address from the beginning.
//! let mut watch = stack.net().watch_network();
//! let network = watch.wait_for(|now| now.addresses.iter().any(|own| own.addr().is_ipv4())).await?;
//! println!("reached at {:?}", network.addresses);
//! # Ok(())
//! # }
//! ```
//!
//! When the link comes up, and after a suspend of the machine, the client immediately acquires a
//! lease, or verifies the one it holds (RFC 2131 section 3.2); a lease that expired in the meantime
//! is dropped. [`Clock`](crate::Clock) documents how soon a suspend is noticed.
//!
//! The client asks for answers by broadcast. From a server that sends to the address that it offers,
//! answers are taken as long as the stack has no IPv4 address (RFC 2131 section 4.1).
//!
//! A connection on an address that is lost fails with
//! [`Error::AddressRemoved`](crate::Error::AddressRemoved); a listener on the unspecified address
//! keeps listening and accepts on the next one.
//!
//! Not implemented: probing an address before use (DHCPDECLINE), keeping a lease across runs, and
//! the random delay of up to ten seconds before the first message (RFC 2131 section 4.4.1).
//! Addresses and routes from elsewhere stay, and the client then broadcasts from such an address.

mod client;
mod message;
mod options;
mod release;
pub mod server;
#[cfg(test)]
mod tests;

pub(crate) use client::Client;
pub(crate) use release::Release;

use crate::hook::Hook;
use crate::provided::Provided;
use ipnet::{IpNet, Ipv4Net};
use netcore::Route;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Configuration of the DHCP client.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// The host name (option 12), up to 255 bytes; none by default.
    pub host_name: Option<String>,
    /// The client identifier (option 61), including its type, 2 to 255 bytes; the hardware address
    /// by default.
    pub client_id: Option<Vec<u8>>,
    /// Whether the address is given back when the stack is [shut
    /// down](crate::Stack::shutdown); so by default. A stack that is dropped keeps its lease.
    pub release: bool,
    /// Called on every event, besides the log.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub on_event: Option<Hook<Event>>,
}

/// An event of the client. Each is also logged at the level *info*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It has sent a DHCPDISCOVER.
    Discover,
    /// A server has one.
    Offer {
        /// The address.
        address: Ipv4Net,
        /// The server.
        server: Ipv4Addr,
    },
    /// It has sent a DHCPREQUEST: for an offered address, to extend the lease, or to verify it.
    Request,
    /// A server has agreed.
    Ack {
        /// To this.
        lease: Lease,
    },
    /// A server has refused.
    Nak {
        /// Which.
        server: Ipv4Addr,
    },
    /// It begins to ask the server for more time.
    Renewing,
    /// The server did not answer; it begins to ask any.
    Rebinding,
    /// The lease is in force.
    Bound(Lease),
    /// The lease has ended; the client starts over.
    Lost,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address, with the network on the link.
    pub address: Ipv4Net,
    /// The server.
    pub server: Ipv4Addr,
    /// The classless routes, or else the default route (RFC 3442), up to 32.
    pub routes: Vec<Route>,
    /// The name servers, up to eight.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domains in which a name without dots is looked for, up to eight.
    pub search_domains: Vec<String>,
    /// The largest IP packet of the link, in bytes.
    pub mtu: Option<usize>,
    /// How long the lease lasts; `None` if it is infinite.
    pub duration: Option<Duration>,
    /// The time after which the lease is renewed at its server (T1).
    pub renew_after: Duration,
    /// The time after which it is rebound at any server (T2).
    pub rebind_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { host_name: None, client_id: None, release: true, on_event: None }
    }
}

impl Config {
    /// Calls `callback` on every event, in the client's task; it must not block.
    #[must_use]
    pub fn on_event(mut self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Hook::new(callback));
        self
    }
}

impl Lease {
    /// The router of the default route.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        let default = self.routes.iter().find(|route| route.destination.prefix_len() == 0)?;
        match default.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            _ => None,
        }
    }

    fn provided(&self) -> Provided {
        Provided {
            addresses: vec![IpNet::V4(self.address)],
            routes: self.routes.clone(),
            mtu: self.mtu,
            name_servers: self.name_servers.iter().copied().map(IpAddr::V4).collect(),
            search_domains: self.search_domains.clone(),
            ..Provided::default()
        }
    }
}
