//! Commands to the stack as a whole.

use crate::ip::routes::Route;
use crate::network::Network;
use crate::snapshot::Snapshot;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// What a stack can be told to do.
///
/// What changes its place in the network is seen by everybody who
/// [watches](crate::Channel::network) before the command is answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Nothing: wakes the stack's driver.
    Wake,
    /// Report all sockets and counters; answered by [`Response::Snapshot`]. Costs time in
    /// proportion to the number of sockets.
    Snapshot,
    /// Refuse what is new from now on and close everything that is there, as if all handles had
    /// been dropped; answered at once. [`Netstack::is_drained`](crate::Netstack::is_drained) tells
    /// when that is done.
    Shutdown,
    /// Report the stack's place in the network; answered by [`Response::Network`].
    Network,
    /// Take an address; see [`Netstack::add_address`](crate::Netstack::add_address).
    AddAddress {
        /// The address, with the network on the link.
        address: IpNet,
    },
    /// Give an address up, and with it the connections on it; see
    /// [`Netstack::remove_address`](crate::Netstack::remove_address).
    RemoveAddress {
        /// The address.
        address: IpAddr,
    },
    /// Add a route; see [`Netstack::add_route`](crate::Netstack::add_route).
    AddRoute {
        /// The route.
        route: Route,
    },
    /// Add a route whose gateway is on the link, whatever the stack's networks are; see
    /// [`Netstack::add_route_on_link`](crate::Netstack::add_route_on_link).
    AddRouteOnLink {
        /// The route.
        route: Route,
    },
    /// Keep an address from new connections, or stop that; see
    /// [`Netstack::set_deprecated`](crate::Netstack::set_deprecated).
    SetDeprecated {
        /// The address.
        address: IpAddr,
        /// Whether new connections avoid it.
        is_deprecated: bool,
    },
    /// Remove a route; see [`Netstack::remove_route`](crate::Netstack::remove_route).
    RemoveRoute {
        /// The destinations that it is for.
        destination: IpNet,
    },
    /// Use the link, or leave it alone; see
    /// [`Netstack::set_link_up`](crate::Netstack::set_link_up).
    SetLinkUp(bool),
    /// Send smaller packets than the device could; see
    /// [`Netstack::set_mtu`](crate::Netstack::set_mtu).
    SetMtu(Option<usize>),
    /// Note what servers and routers say of the link's MTU; see
    /// [`Netstack::set_advertised_mtu`](crate::Netstack::set_advertised_mtu).
    SetAdvertisedMtu(Option<usize>),
    /// Take packets to any address for one's own; see
    /// [`Netstack::set_any_ip`](crate::Netstack::set_any_ip).
    SetAnyIp(bool),
    /// Publish that something has ended that has provided for the stack, or was to; see
    /// [`Netstack::report_failure`](crate::Netstack::report_failure).
    ReportFailure(String),
    /// Say who is to be asked for names; see
    /// [`Netstack::set_name_servers`](crate::Netstack::set_name_servers).
    SetNameServers {
        /// The servers, in the order in which they are to be asked.
        servers: Vec<IpAddr>,
        /// The domains in which a name without dots is looked for.
        search_domains: Vec<String>,
    },
}

/// What a stack answers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Response {
    /// The sockets and counters at this moment.
    Snapshot(Box<Snapshot>),
    /// The place in the network at this moment.
    Network(Arc<Network>),
}
