//! Looking names up, for plain threads.

use crate::dns::{ResolverConfig, Service};
use crate::wait;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// Looks up names over a stack's sockets. See [`dns::Resolver`](crate::dns::Resolver), whose
/// [`blocking`](crate::dns::Resolver::blocking) makes one; both share a cache.
///
/// Works outside of a tokio runtime: each lookup makes one for its timers.
#[derive(Debug, Clone)]
pub struct Resolver(crate::dns::Resolver);

impl Resolver {
    /// The current configuration.
    pub fn config(&self) -> ResolverConfig {
        self.0.config()
    }

    /// As [`lookup_ip`](crate::dns::Resolver::lookup_ip).
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](crate::dns::Resolver::lookup_ip), and a failure to make a runtime.
    pub fn lookup_ip(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.lookup_ip_until(name, None)
    }

    /// Looks up a name, until a deadline if there is one.
    pub(crate) fn lookup_ip_until(
        &self,
        name: &str,
        deadline: Option<Instant>,
    ) -> io::Result<Vec<IpAddr>> {
        wait::block_on_with_time(self.0.lookup_ip(name), deadline)?
    }

    /// As [`lookup_ipv4`](crate::dns::Resolver::lookup_ipv4).
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub fn lookup_ipv4(&self, name: &str) -> io::Result<Vec<Ipv4Addr>> {
        wait::block_on_with_time(self.0.lookup_ipv4(name), None)?
    }

    /// As [`lookup_ipv6`](crate::dns::Resolver::lookup_ipv6).
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub fn lookup_ipv6(&self, name: &str) -> io::Result<Vec<Ipv6Addr>> {
        wait::block_on_with_time(self.0.lookup_ipv6(name), None)?
    }

    /// As [`reverse`](crate::dns::Resolver::reverse).
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub fn reverse(&self, ip: IpAddr) -> io::Result<Vec<String>> {
        wait::block_on_with_time(self.0.reverse(ip), None)?
    }

    /// As [`service`](crate::dns::Resolver::service).
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub fn service(&self, name: &str) -> io::Result<Vec<Service>> {
        wait::block_on_with_time(self.0.service(name), None)?
    }
}

impl From<crate::dns::Resolver> for Resolver {
    fn from(resolver: crate::dns::Resolver) -> Self {
        Self(resolver)
    }
}

impl From<Resolver> for crate::dns::Resolver {
    fn from(resolver: Resolver) -> Self {
        resolver.0
    }
}
