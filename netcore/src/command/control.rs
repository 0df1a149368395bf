//! Commands to the stack as a whole.

use crate::id::SocketId;
use crate::ip::routes::Route;
use crate::network::{Network, NextHopInfo};
use crate::snapshot::{NeighbourInfo, Overview, Snapshot, SocketInfo, SocketPage, TimeWaitPage};
use crate::time::Instant;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// A command to a stack.
///
/// A change of the network is published to all [watches](crate::Channel::network) before the
/// command is answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// No operation; wakes the stack's driver.
    Wake,
    /// Report all sockets and counters; answered by [`Response::Snapshot`]. Costs time in
    /// proportion to the number of sockets.
    Snapshot,
    /// Report a part of the sockets; answered by [`Response::Sockets`]. Costs time in proportion to
    /// the number of slots.
    Sockets {
        /// The slot to begin at: 0, then [`SocketPage::next`].
        from: usize,
        /// The number of slots, each with a socket or none; at most 256 are read.
        slots: usize,
    },
    /// Report one socket; answered by [`Response::Socket`].
    Socket {
        /// The socket.
        id: SocketId,
    },
    /// Report a part of the connections in TIME-WAIT; answered by [`Response::TimeWait`].
    TimeWait {
        /// Only those that end after this: [`Instant::ZERO`], then [`TimeWaitPage::next`].
        after: Instant,
        /// About how many; at most 256 and those that end at the same time.
        max: usize,
    },
    /// Report the counters, without sockets; answered by [`Response::Overview`].
    Overview,
    /// Report the neighbours on an Ethernet link; answered by [`Response::Neighbours`].
    Neighbours,
    /// End a socket: a connection is reset (ABORT of RFC 9293 section 3.10.5), and pending calls fail
    /// with [`Error::Aborted`](crate::Error::Aborted), as those of any other socket do. Answered at
    /// once.
    Abort {
        /// The socket.
        id: SocketId,
    },
    /// Refuse new sockets and connections, and close existing ones as if all handles had been
    /// dropped; answered at once. [`Netstack::is_drained`](crate::Netstack::is_drained) is true
    /// once that is done.
    Shutdown,
    /// Report the network configuration; answered by [`Response::Network`].
    Network,
    /// Report the next hop and the source address of packets to a destination; answered by
    /// [`Response::NextHop`]. See [`Netstack::route_to`](crate::Netstack::route_to).
    RouteTo {
        /// The destination.
        destination: IpAddr,
    },
    /// Add an address; see [`Netstack::add_address`](crate::Netstack::add_address).
    AddAddress {
        /// The address, with the network on the link.
        address: IpNet,
    },
    /// Remove an address, and the connections on it; see
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
    /// Add a route without the check that its gateway is on the link; see
    /// [`Netstack::add_route_on_link`](crate::Netstack::add_route_on_link).
    AddRouteOnLink {
        /// The route.
        route: Route,
    },
    /// Set whether new connections avoid an address; see
    /// [`Netstack::set_deprecated`](crate::Netstack::set_deprecated).
    SetDeprecated {
        /// The address.
        address: IpAddr,
        /// Whether new connections avoid it.
        is_deprecated: bool,
    },
    /// Remove a route; see [`Netstack::remove_route`](crate::Netstack::remove_route).
    RemoveRoute {
        /// The destinations.
        destination: IpNet,
    },
    /// Set the link up or down; see [`Netstack::set_link_up`](crate::Netstack::set_link_up).
    SetLinkUp(bool),
    /// Set the MTU; see [`Netstack::set_mtu`](crate::Netstack::set_mtu).
    SetMtu(Option<usize>),
    /// Set the MTU that a server or router advertises; see
    /// [`Netstack::set_advertised_mtu`](crate::Netstack::set_advertised_mtu).
    SetAdvertisedMtu(Option<usize>),
    /// Set whether packets to any address are accepted; see
    /// [`Netstack::set_any_ip`](crate::Netstack::set_any_ip).
    SetAnyIp(bool),
    /// Publish the failure of a configuration source; see
    /// [`Netstack::report_failure`](crate::Netstack::report_failure).
    ReportFailure(String),
    /// Set name servers and search domains; see
    /// [`Netstack::set_name_servers`](crate::Netstack::set_name_servers).
    SetNameServers {
        /// The servers, in order of preference.
        servers: Vec<IpAddr>,
        /// The search domains of names without dots.
        search_domains: Vec<String>,
    },
}

/// A response to a command.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Response {
    /// The sockets and counters at this moment.
    Snapshot(Box<Snapshot>),
    /// A part of the sockets.
    Sockets(SocketPage),
    /// One socket.
    Socket(Box<SocketInfo>),
    /// A part of the connections in TIME-WAIT.
    TimeWait(TimeWaitPage),
    /// The counters.
    Overview(Box<Overview>),
    /// The neighbours, the most recently used first.
    Neighbours(Vec<NeighbourInfo>),
    /// The network configuration at this moment.
    Network(Arc<Network>),
    /// The next hop and the source address.
    NextHop(NextHopInfo),
}
