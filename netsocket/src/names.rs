//! Name resolution for a [`Net`](crate::Net) and its sockets.

use crate::address::sealed::Sealed as Address;
use crate::address::{Targets, none_given};
#[cfg(feature = "dns")]
use crate::dns::Resolver;
use crate::race::Candidates;
use crate::wait;
use netcore::Channel;
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "dns")]
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Where names are looked up. Cheap to clone; clones share one resolver.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    channel: Channel,
    /// Made when it is first needed.
    #[cfg(feature = "dns")]
    resolver: Arc<OnceLock<Resolver>>,
}

#[cfg(feature = "dns")]
impl Names {
    pub(crate) fn new(channel: &Channel) -> Self {
        Self { channel: channel.clone(), resolver: Arc::default() }
    }

    pub(crate) fn with(&self, resolver: Resolver) -> Self {
        Self { channel: self.channel.clone(), resolver: Arc::new(resolver.into()) }
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        self.resolver.get_or_init(|| Resolver::of_stack(self.channel.clone()))
    }

    /// The candidate addresses of a target.
    pub(crate) fn candidates(&self, targets: Targets) -> io::Result<Candidates<'static>> {
        Ok(match targets {
            Targets::Addresses(addresses) => Candidates::Given(addresses),
            Targets::Name(name, port) => Candidates::Named(self.resolver().race(&name, port)?),
        })
    }

    async fn all(&self, targets: Targets) -> io::Result<Vec<SocketAddr>> {
        match targets {
            Targets::Addresses(addresses) => Ok(addresses),
            Targets::Name(name, port) => {
                let ips = self.resolver().lookup_ip(&name).await?;
                Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
            }
        }
    }
}

#[cfg(not(feature = "dns"))]
impl Names {
    pub(crate) fn new(channel: &Channel) -> Self {
        Self { channel: channel.clone() }
    }

    /// The candidate addresses of a target.
    pub(crate) fn candidates(&self, targets: Targets) -> io::Result<Candidates<'static>> {
        match targets {
            Targets::Addresses(addresses) => Ok(Candidates::Given(addresses)),
            Targets::Name(name, _) => Err(without_feature(&name)),
        }
    }

    async fn all(&self, targets: Targets) -> io::Result<Vec<SocketAddr>> {
        match targets {
            Targets::Addresses(addresses) => Ok(addresses),
            Targets::Name(name, _) => Err(without_feature(&name)),
        }
    }
}

impl Names {
    /// The stack's command channel.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The addresses of a target, in the order to try them.
    pub(crate) async fn resolve(&self, target: impl Address) -> io::Result<Vec<SocketAddr>> {
        self.all(target.targets()?).await
    }

    /// The one of them that datagrams are sent to: the first of the socket's family, if there is one.
    pub(crate) async fn peer(&self, target: impl Address, is_v4: bool) -> io::Result<SocketAddr> {
        let addresses = self.resolve(target).await?;
        let of_family = addresses.iter().find(|address| address.is_ipv4() || !is_v4);
        of_family.or(addresses.first()).copied().ok_or_else(none_given)
    }

    /// As [`peer`](Self::peer), blocking the thread during a lookup.
    pub(crate) fn peer_blocking(
        &self,
        target: impl Address,
        is_v4: bool,
        deadline: Option<Instant>,
    ) -> io::Result<SocketAddr> {
        match target.targets()? {
            Targets::Addresses(_) => pollster::block_on(self.peer(target, is_v4)),
            Targets::Name(..) => wait::block_on_with_time(self.peer(target, is_v4), deadline)?,
        }
    }
}

#[cfg(not(feature = "dns"))]
fn without_feature(name: &str) -> io::Error {
    let message =
        format!("\"{name}\" is not an IP address, and host names need netsocket's feature \"dns\"");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
