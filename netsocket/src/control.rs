//! Changing a running stack.

use ipnet::IpNet;
#[cfg(doc)]
use netcore::Error;
use netcore::{Channel, HasChannel, Network, NetworkWatch, Route, control};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Changes a running stack's addresses, routes and link.
///
/// Cheap to clone; does not keep the stack alive. Every method fails with
/// [`io::ErrorKind::BrokenPipe`] once the stack is gone. When one returns, the change is visible to
/// all that [watch](Self::watch).
#[derive(Debug, Clone)]
pub struct Control {
    channel: Channel,
}

impl Control {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The stack's current addresses, routes, link and name servers.
    pub fn network(&self) -> Arc<Network> {
        self.watch().current()
    }

    /// The same, now and whenever it changes from now on.
    pub fn watch(&self) -> NetworkWatch {
        self.channel.network()
    }

    /// The same for plain threads.
    pub fn blocking(&self) -> crate::blocking::Control {
        crate::blocking::Control::new(self.clone())
    }

    /// Waits until the stack has handled what came before: a socket that was dropped has then given
    /// up its port, which [`TcpSocket::bind`](crate::TcpSocket::bind), without waiting, finds free.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn synchronize(&self) -> io::Result<()> {
        self.send(control::Command::Wake).await
    }

    /// Adds an address; connections on others are not affected. Its prefix is the network on the
    /// link; for an address that the stack has already, the prefix is changed.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the address cannot be a host's; `QuotaExceeded` if the stack has too
    /// many.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn add_address(&self, address: IpNet) -> io::Result<()> {
        self.send(control::Command::AddAddress { address }).await
    }

    /// Removes an address, and ends exactly the connections on it: their handles fail with
    /// [`Error::AddressRemoved`], their peers get a reset. Listeners and UDP sockets bound to it
    /// stay.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the stack does not have it.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn remove_address(&self, address: IpAddr) -> io::Result<()> {
        self.send(control::Command::RemoveAddress { address }).await
    }

    /// Sets whether an address is deprecated: new connections and unbound sockets avoid it while
    /// there is another one; see [`Netstack::set_deprecated`](netcore::Netstack::set_deprecated).
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the stack does not have it.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn set_deprecated(&self, address: IpAddr, is_deprecated: bool) -> io::Result<()> {
        self.send(control::Command::SetDeprecated { address, is_deprecated }).await
    }

    /// As [`add_route`](Self::add_route), without checking that the gateway is on the link, as
    /// `onlink` of Linux's `ip route`.
    ///
    /// # Errors
    ///
    /// As [`add_route`](Self::add_route), except for a gateway that is not on the link.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn add_route_on_link(&self, route: Route) -> io::Result<()> {
        self.send(control::Command::AddRouteOnLink { route }).await
    }

    /// Adds a route, replacing one to the same destination; see
    /// [`Netstack::add_route`](netcore::Netstack::add_route).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the gateway is of another family than the destination, or not on the link;
    /// `AddrNotAvailable` if its address cannot be a host's; `QuotaExceeded` if the stack has too
    /// many routes.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn add_route(&self, route: Route) -> io::Result<()> {
        self.send(control::Command::AddRoute { route }).await
    }

    /// Removes the route to exactly this destination. Connections without another route stay open,
    /// and retransmit as for a silent peer.
    ///
    /// # Errors
    ///
    /// `NetworkUnreachable` if there is no such route.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn remove_route(&self, destination: IpNet) -> io::Result<()> {
        self.send(control::Command::RemoveRoute { destination }).await
    }

    /// Sets the link up or down. While it is down, nothing is sent or received over it, new
    /// connections fail with `NetworkUnreachable`, and open ones retransmit as for a silent peer.
    ///
    /// # Errors
    ///
    /// Only `BrokenPipe`, as every method.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn set_link_up(&self, is_up: bool) -> io::Result<()> {
        self.send(control::Command::SetLinkUp(is_up)).await
    }

    /// Sets the MTU in bytes, or the device's with `None`. Open connections continue with segments
    /// that fit; see [`Netstack::set_mtu`](netcore::Netstack::set_mtu).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is less than 1,280 bytes and the stack has an IPv6 address, or less
    /// than 576.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn set_mtu(&self, mtu: Option<usize>) -> io::Result<()> {
        self.send(control::Command::SetMtu(mtu)).await
    }

    /// Sets the MTU that servers and routers advertise, in bytes, or none with `None`. Values below
    /// the minimum are raised to it; see
    /// [`Netstack::set_advertised_mtu`](netcore::Netstack::set_advertised_mtu).
    ///
    /// # Errors
    ///
    /// Only `BrokenPipe`, as every method.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn set_advertised_mtu(&self, mtu: Option<usize>) -> io::Result<()> {
        self.send(control::Command::SetAdvertisedMtu(mtu)).await
    }

    /// Sets whether packets to any destination address are accepted; see
    /// [`Netstack::set_any_ip`](netcore::Netstack::set_any_ip).
    ///
    /// # Errors
    ///
    /// Only `BrokenPipe`, as every method.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn set_any_ip(&self, any_ip: bool) -> io::Result<()> {
        self.send(control::Command::SetAnyIp(any_ip)).await
    }

    /// Sets the name servers, and the search domains for names without dots.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if there are too many of either.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn set_name_servers(
        &self,
        servers: Vec<IpAddr>,
        search_domains: Vec<String>,
    ) -> io::Result<()> {
        self.send(control::Command::SetNameServers { servers, search_domains }).await
    }

    /// Publishes the failure of a client that configures the stack, in
    /// [`Network::failures`](netcore::Network::failures).
    ///
    /// # Errors
    ///
    /// Only `BrokenPipe`, as every method.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    pub async fn report_failure(&self, text: String) -> io::Result<()> {
        self.send(control::Command::ReportFailure(text)).await
    }

    async fn send(&self, command: control::Command) -> io::Result<()> {
        self.channel.request(None, command).await?;
        Ok(())
    }
}
