//! Name resolution over the stack's own sockets.
//!
//! [`hickory_resolver`] queries the name servers; a [`Resolver`] gives it UDP and TCP sockets of
//! the stack and tokio's clock: nothing goes over the kernel's network, and none of the machine's
//! configuration is read. A program rarely needs it itself, since host names are accepted wherever
//! addresses are:
//!
//! ```
//! # async fn example(net: netsocket::Net) -> std::io::Result<()> {
//! use netsocket::dns::{Resolver, ResolverConfig};
//!
//! let resolver = Resolver::new(&net, ResolverConfig::new(["10.0.0.53".parse().unwrap()]))?;
//! for ip in resolver.lookup_ip("www.example.com").await? {
//!     println!("{ip}");
//! }
//! let net = net.with_resolver(resolver);
//! let stream = net.tcp_connect("www.example.com:443").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Resources
//!
//! A query has a socket, a port and an identifier of its own, which live as long as the future that
//! waits for the answer; a truncated answer is queried again over TCP, on a connection that lives
//! as long. No task is left behind. The cache is bounded by [`ResolverConfig::cache_entries_max`].
//!
//! # Interoperability
//!
//! A query uses EDNS (RFC 6891). It is repeated without EDNS if a server answers with an error,
//! malformed or not at all; such a server is queried without EDNS for ten minutes. After an answer
//! that says nothing about the name (SERVFAIL, REFUSED, or a lame delegation) the next server is
//! queried. If a truncated answer cannot be had over TCP, nor from another server, its records are
//! used, and not cached. Once a name has addresses of one family, those of the other are waited for
//! no longer than one [timeout](ResolverConfig::timeout).

mod config;
mod failures;
mod lookup;
mod mending;
mod servers;
mod sockets;

pub use config::{PORT, ResolverConfig};

use crate::Net;
use crate::race::Answers;
use futures_util::stream::{self, StreamExt};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use lookup::Lookups;
use netcore::{Channel, HasChannel};
use servers::Servers;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

/// Looks up names over a stack's sockets. Cheap to clone; clones share a cache. It does not keep
/// the stack alive.
///
/// Lookups need a tokio runtime with its time driver, and fail with `Unsupported` outside of one;
/// those of the [blocking](crate::blocking) sockets make one.
#[derive(Clone)]
pub struct Resolver {
    source: Arc<Source>,
}

/// Where its servers are from.
enum Source {
    Given(Arc<Lookups>),
    /// Made from the name servers that the stack publishes, again when those change.
    Stack {
        channel: Channel,
        made: Mutex<Option<Arc<Lookups>>>,
    },
}

/// A service location (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The name of its host.
    pub target: String,
    /// Its port.
    pub port: u16,
    /// Lower values are tried first.
    pub priority: u16,
    /// Its share of the clients among those with the same priority.
    pub weight: u16,
}

const BOTH: &[RecordType] = &[RecordType::AAAA, RecordType::A];
const ONLY_V4: &[RecordType] = &[RecordType::A];
const ONLY_V6: &[RecordType] = &[RecordType::AAAA];

impl Resolver {
    /// Makes a resolver with the servers of `config`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a search domain is no name.
    pub fn new(stack: &impl HasChannel, config: ResolverConfig) -> io::Result<Self> {
        let lookups = Lookups::new(servers(stack.command_channel()), config)?;
        Ok(Self { source: Arc::new(Source::Given(Arc::new(lookups))) })
    }

    /// Makes a resolver with the servers that the stack publishes at the time of each lookup.
    pub(crate) fn of_stack(channel: Channel) -> Self {
        Self { source: Arc::new(Source::Stack { channel, made: Mutex::default() }) }
    }

    /// The same resolver for plain threads.
    pub fn blocking(&self) -> crate::blocking::Resolver {
        self.clone().into()
    }

    /// The current configuration.
    pub fn config(&self) -> ResolverConfig {
        self.lookups().map(|lookups| lookups.config().clone()).unwrap_or_default()
    }

    /// The addresses of a name in both families, in the order to try them: the families alternate,
    /// IPv6 first. An IP address is returned as it is, and `localhost` and names below it are the
    /// stack's loopback addresses (RFC 6761 section 6.3); neither is queried.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such name, or it has no address; `TimedOut` if no server answers
    /// in time; `NotConnected` if the stack has no name server; `InvalidInput` if it is not a valid
    /// name; the error response of a server, or the error of the network.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the lookup up, with its sockets.
    pub async fn lookup_ip(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.answers(name, 0, BOTH)?;
        let (mut v6, mut v4) = (Vec::new(), Vec::new());
        while let Some(answer) = answers.next().await {
            for address in answer? {
                if address.is_ipv6() { &mut v6 } else { &mut v4 }.push(address.ip());
            }
        }
        let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
        let mut turns = Vec::with_capacity(v6.len() + v4.len());
        while v6.len() + v4.len() > 0 {
            turns.extend(v6.next());
            turns.extend(v4.next());
        }
        Ok(turns)
    }

    /// The IPv4 addresses of a name.
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    ///
    /// # Cancel safety
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub async fn lookup_ipv4(&self, name: &str) -> io::Result<Vec<Ipv4Addr>> {
        let v4 = |ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None };
        Ok(self.family(name, ONLY_V4).await?.into_iter().filter_map(v4).collect())
    }

    /// The IPv6 addresses of a name.
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    ///
    /// # Cancel safety
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub async fn lookup_ipv6(&self, name: &str) -> io::Result<Vec<Ipv6Addr>> {
        let v6 = |ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None };
        Ok(self.family(name, ONLY_V6).await?.into_iter().filter_map(v6).collect())
    }

    /// The names of an address.
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    ///
    /// # Cancel safety
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub async fn reverse(&self, ip: IpAddr) -> io::Result<Vec<String>> {
        let name = Name::from(ip.to_canonical()).to_string();
        let found = self.asked(&name)?.records(&name, RecordType::PTR).await?;
        let name =
            |data: &RData| if let RData::PTR(name) = data { Some(plain(name)) } else { None };
        Ok(found.answers().iter().filter_map(|record| name(&record.data)).collect())
    }

    /// The locations of a service, such as `_imaps._tcp.example.com`; sorted by priority, and then
    /// by weight, the largest first.
    ///
    /// # Errors
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    ///
    /// # Cancel safety
    ///
    /// As [`lookup_ip`](Self::lookup_ip).
    pub async fn service(&self, name: &str) -> io::Result<Vec<Service>> {
        let found = self.asked(name)?.records(name, RecordType::SRV).await?;
        let service = |data: &RData| match data {
            RData::SRV(service) => Some(Service {
                target: plain(&service.target),
                port: service.port,
                priority: service.priority,
                weight: service.weight,
            }),
            _ => None,
        };
        let mut services: Vec<Service> =
            found.answers().iter().filter_map(|record| service(&record.data)).collect();
        services.sort_by_key(|service| (service.priority, u16::MAX - service.weight));
        Ok(services)
    }

    /// The addresses of a name as they come, for a [race](crate::race).
    pub(crate) fn race(&self, name: &str, port: u16) -> io::Result<Answers<'static>> {
        self.answers(name, port, BOTH)
    }

    fn answers(
        &self,
        name: &str,
        port: u16,
        families: &'static [RecordType],
    ) -> io::Result<Answers<'static>> {
        let known = match name.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) if is_localhost(name) => {
                vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
            }
            Err(_) => return self.asked(name)?.addresses(name, port, families),
        };
        let wanted =
            |ip: &IpAddr| families.contains(if ip.is_ipv6() { &BOTH[0] } else { &BOTH[1] });
        let known = known.into_iter().filter(wanted).map(|ip| SocketAddr::new(ip, port)).collect();
        Ok(stream::iter([Ok(known)]).boxed())
    }

    async fn family(&self, name: &str, family: &'static [RecordType]) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.answers(name, 0, family)?;
        let mut ips = Vec::new();
        while let Some(answer) = answers.next().await {
            ips.extend(answer?.into_iter().map(|address| address.ip()));
        }
        Ok(ips)
    }

    /// The resolver for a name, and the name, if it can be queried.
    fn asked(&self, name: &str) -> io::Result<Arc<Lookups>> {
        let failed = |kind, reason| Err(io::Error::new(kind, format!("{name}: {reason}")));
        let lookups = self.lookups()?;
        if lookups.config().servers.is_empty() {
            return failed(io::ErrorKind::NotConnected, "the stack has no name server");
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return failed(io::ErrorKind::Unsupported, "a lookup needs a tokio runtime");
        }
        Ok(lookups)
    }

    fn lookups(&self) -> io::Result<Arc<Lookups>> {
        match &*self.source {
            Source::Given(lookups) => Ok(lookups.clone()),
            Source::Stack { channel, made } => {
                let network = channel.network().current();
                let mut config = ResolverConfig::new(network.name_servers.iter().copied());
                // A DHCP server or router may set anything: invalid names are left out.
                let domains = network.search_domains.iter();
                config.search_domains =
                    domains.filter(|name| lookup::is_name(name)).cloned().collect();
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(lookups) = made.as_ref().filter(|made| *made.config() == config) {
                    return Ok(lookups.clone());
                }
                let lookups = Arc::new(Lookups::new(servers(channel.clone()), config)?);
                *made = Some(lookups.clone());
                Ok(lookups)
            }
        }
    }
}

fn servers(channel: Channel) -> Servers {
    Servers::new(Net::new(&channel))
}

/// These names are never queried (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// A name as people write it, without the dot at its end.
fn plain(name: &Name) -> String {
    let mut text = name.to_utf8();
    if text.len() > 1 && text.ends_with('.') {
        text.pop();
    }
    text
}

// A panic leaves no broken state for later lookups: shared state is behind locks, and consistent
// whenever those are released.
impl UnwindSafe for Resolver {}
impl RefUnwindSafe for Resolver {}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("config", &self.config()).finish()
    }
}
