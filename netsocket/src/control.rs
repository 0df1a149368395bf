//! The way to change a running stack.

use ipnet::IpNet;
#[cfg(doc)]
use netcore::Error;
use netcore::{Channel, HasChannel, Network, NetworkWatch, Route, control};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Changes a running stack's place in the network: its addresses, its routes and its link.
///
/// Cheap to clone; does not keep the stack alive. Every method fails with
/// [`io::ErrorKind::BrokenPipe`] once that is gone. When one returns, whoever
/// [watches](Self::watch) sees the change.
#[derive(Debug, Clone)]
pub struct Control {
    channel: Channel,
}

impl Control {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The stack's place in the network at this moment.
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

    /// Gives the stack an address, which disturbs nothing that is there. Its prefix is the network on
    /// the link; for an address that the stack has already, the prefix is changed.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if no host can have this address; `QuotaExceeded` if the stack has too many.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn add_address(&self, address: IpNet) -> io::Result<()> {
        self.tell(control::Command::AddAddress { address }).await
    }

    /// Takes an address from the stack, and ends exactly the connections on it: their handles fail with
    /// [`Error::AddressRemoved`], their peers are sent a reset. Listeners and UDP sockets that are
    /// bound to it stay.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the stack does not have it.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn remove_address(&self, address: IpAddr) -> io::Result<()> {
        self.tell(control::Command::RemoveAddress { address }).await
    }

    /// Says whether new connections and unbound sockets avoid an address as long as there is another
    /// one; see [`Netstack::set_deprecated`](netcore::Netstack::set_deprecated).
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the stack does not have it.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn set_deprecated(&self, address: IpAddr, is_deprecated: bool) -> io::Result<()> {
        self.tell(control::Command::SetDeprecated { address, is_deprecated }).await
    }

    /// As [`add_route`](Self::add_route), without a look at where the gateway is: what Linux calls
    /// `onlink`.
    ///
    /// # Errors
    ///
    /// As [`add_route`](Self::add_route), but for the gateway that is not on the link.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn add_route_on_link(&self, route: Route) -> io::Result<()> {
        self.tell(control::Command::AddRouteOnLink { route }).await
    }

    /// Adds a route, in place of one to the same destinations; see
    /// [`Netstack::add_route`](netcore::Netstack::add_route).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the gateway is of another family than the destinations, or on none of the
    /// stack's networks; `AddrNotAvailable` if no host can have its address; `QuotaExceeded` if there
    /// are too many.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn add_route(&self, route: Route) -> io::Result<()> {
        self.tell(control::Command::AddRoute { route }).await
    }

    /// Removes the route to just these destinations. Connections that have no other way stay, and wait
    /// for one as for a peer that is silent.
    ///
    /// # Errors
    ///
    /// `NetworkUnreachable` if there is no such route.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn remove_route(&self, destination: IpNet) -> io::Result<()> {
        self.tell(control::Command::RemoveRoute { destination }).await
    }

    /// Uses the link, or leaves it alone: while it is down, nothing is sent or received over it, new
    /// connections fail with `NetworkUnreachable`, and those that are there wait as for a peer that is
    /// silent.
    ///
    /// # Errors
    ///
    /// None but those of all.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn set_link_up(&self, is_up: bool) -> io::Result<()> {
        self.tell(control::Command::SetLinkUp(is_up)).await
    }

    /// Sends IP packets of at most `mtu` bytes, or as large as the device can with `None`. Connections
    /// that are there go on with segments that fit; see
    /// [`Netstack::set_mtu`](netcore::Netstack::set_mtu).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is less than 1,280 bytes and the stack has an IPv6 address, or less than 576.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn set_mtu(&self, mtu: Option<usize>) -> io::Result<()> {
        self.tell(control::Command::SetMtu(mtu)).await
    }

    /// Sends IP packets of at most as many bytes as servers and routers say that the link carries, or
    /// as large as otherwise with `None`. Too small ones count as the least that is allowed; see
    /// [`Netstack::set_advertised_mtu`](netcore::Netstack::set_advertised_mtu).
    ///
    /// # Errors
    ///
    /// None but those of all.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn set_advertised_mtu(&self, mtu: Option<usize>) -> io::Result<()> {
        self.tell(control::Command::SetAdvertisedMtu(mtu)).await
    }

    /// Takes packets to any address for the stack's own; see
    /// [`Netstack::set_any_ip`](netcore::Netstack::set_any_ip).
    ///
    /// # Errors
    ///
    /// None but those of all.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn set_any_ip(&self, any_ip: bool) -> io::Result<()> {
        self.tell(control::Command::SetAnyIp(any_ip)).await
    }

    /// Says who is to be asked for names, and in which domains a name without dots is looked for.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if there are too many of either.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn set_name_servers(
        &self,
        servers: Vec<IpAddr>,
        search_domains: Vec<String>,
    ) -> io::Result<()> {
        self.tell(control::Command::SetNameServers { servers, search_domains }).await
    }

    /// Publishes that something has ended that has provided for the stack, or was to, in
    /// [`Network::failures`](netcore::Network::failures).
    ///
    /// # Errors
    ///
    /// None but those of all.
    ///
    /// # Cancel safety
    ///
    /// The command is sent or not; one that was sent is carried out.
    pub async fn report_failure(&self, text: String) -> io::Result<()> {
        self.tell(control::Command::ReportFailure(text)).await
    }

    async fn tell(&self, command: control::Command) -> io::Result<()> {
        self.channel.request(None, command).await?;
        Ok(())
    }
}
