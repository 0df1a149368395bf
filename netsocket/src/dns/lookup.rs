//! Lookups with one set of servers.

use super::config::ResolverConfig;
use super::failures::Failures;
use super::servers::{Servers, Useless};
use crate::race::Answers;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use hickory_net::{NetError, NoRecords};
use hickory_resolver::Resolver;
use hickory_resolver::config as hickory;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The resolver for one set of servers.
pub(super) struct Lookups {
    resolver: Resolver<Servers>,
    failures: Failures,
    search_domains: Vec<Name>,
    config: ResolverConfig,
}

/// The time by which the last queries end before the lookup itself, so that silent servers are
/// recorded as such, and others are queried first the next time.
const MARGIN: Duration = Duration::from_millis(10);

impl Lookups {
    pub(super) fn new(servers: Servers, config: ResolverConfig) -> io::Result<Self> {
        let search_domains = config.search_domains.iter().map(|domain| {
            let name = parse(domain)?;
            Ok(if name.is_fqdn() { name } else { absolute(name) })
        });
        let search_domains = search_domains.collect::<io::Result<_>>()?;
        let name_servers = config.servers.iter().map(|server| {
            // That adds TCP.
            let mut udp = hickory::ConnectionConfig::udp();
            udp.port = server.port();
            hickory::NameServerConfig::new(server.ip().to_canonical(), true, vec![udp])
        });
        let name_servers = hickory::ResolverConfig::from_name_servers(name_servers.collect());
        let failures = servers.failures().clone();
        let mut builder = Resolver::builder_with_config(name_servers, servers);
        let options = builder.options_mut();
        let timeout = timeout(&config);
        options.timeout = timeout - MARGIN.min(timeout / 10);
        // It would not repeat a question after a failure of the network.
        options.attempts = 0;
        options.cache_size = config.cache_entries_max;
        // Nothing of the machine around the stack.
        options.use_hosts_file = hickory::ResolveHosts::Never;
        let resolver = builder.build().map_err(io::Error::other)?;
        Ok(Self { resolver, failures, search_domains, config })
    }

    pub(super) fn config(&self) -> &ResolverConfig {
        &self.config
    }

    /// The records of a name, of the first of the names that it may be short for that has some.
    pub(super) async fn records(&self, name: &str, kind: RecordType) -> io::Result<Lookup> {
        let mut unknown = None;
        for candidate in self.candidates(name)? {
            match self.ask(candidate, kind).await {
                Ok(found) => return Ok(found),
                Err(error) if has_next_asked(&error) => {
                    // A server failure outranks NXDOMAIN: the name may still exist.
                    if unknown.as_ref().is_none_or(is_negative) {
                        unknown = Some(error);
                    }
                }
                Err(error) => return Err(into_io(name, error)),
            }
        }
        Err(into_io(name, unknown.unwrap_or(NetError::NoConnections)))
    }

    /// The addresses of a name, family by family as the answers arrive. Both families are queried at
    /// once, and the next search domain only when neither has an address: otherwise they could be of
    /// different hosts.
    pub(super) fn addresses(
        self: Arc<Self>,
        name: &str,
        port: u16,
        families: &'static [RecordType],
    ) -> io::Result<Answers<'static>> {
        let mut candidates = self.candidates(name)?.into_iter();
        let name = name.to_owned();
        let mut asking = FuturesUnordered::new();
        let (mut is_found, mut failure) = (false, None);
        let mut deadline = Instant::now();
        let next = async move || {
            loop {
                let next = asking.next();
                let answer = match is_found {
                    // Some servers never answer for the other family.
                    true => timeout_at(deadline, next).await.unwrap_or(None),
                    false => next.await,
                };
                let Some(answer) = answer else {
                    if is_found {
                        return None;
                    }
                    let is_over = failure.as_ref().is_some_and(|e: &NetError| !has_next_asked(e));
                    match candidates.next().filter(|_| !is_over) {
                        Some(candidate) => {
                            deadline = Instant::now() + timeout(&self.config);
                            asking.extend(families.iter().map(|&kind| {
                                let (lookups, candidate) = (self.clone(), candidate.clone());
                                Box::pin(async move { lookups.ask(candidate, kind).await })
                            }));
                        }
                        None => {
                            is_found = true;
                            return failure.take().map(|error| Err(into_io(&name, error)));
                        }
                    }
                    continue;
                };
                match answer {
                    Ok(lookup) => {
                        is_found = true;
                        return Some(Ok(addresses(&lookup, port)));
                    }
                    // A server failure outranks NXDOMAIN: the name may still exist.
                    Err(error) if failure.as_ref().is_none_or(is_negative) => failure = Some(error),
                    Err(_) => {}
                }
            }
        };
        Ok(stream::unfold(next, async |mut next| next().await.map(|answer| (answer, next))).boxed())
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Lookup, NetError> {
        let query = Query::query(name.clone(), kind);
        let awaited = self.failures.awaited(query.clone());
        let tries = u32::try_from(self.config.attempts.max(1)).unwrap_or(u32::MAX);
        let asking = async {
            let mut failure = NetError::NoConnections;
            for _ in 0..tries {
                match self.resolver.lookup(name.clone(), kind).await {
                    Err(error) if !is_negative(&error) => failure = error,
                    found => return found,
                }
                let part = awaited.part();
                if !part.is_empty() {
                    // It would be the same name again.
                    let until = std::time::Instant::now();
                    return Ok(Lookup::new_with_deadline(query.clone(), part, until));
                }
            }
            Err(failure)
        };
        // hickory's own limits bound a question each, and an answer may need several.
        let limit = timeout(&self.config).saturating_mul(tries);
        let found = tokio::time::timeout(limit, asking).await.unwrap_or(Err(NetError::Timeout));
        let found = found.map_err(|error| awaited.behind(error))?;
        // An alias alone is no answer.
        match found.answers().iter().any(|record| record.record_type() == kind) {
            true => Ok(found),
            false => Err(NoRecords::new(query, ResponseCode::NoError).into()),
        }
    }

    /// The names that a name may be short for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> io::Result<Vec<Name>> {
        let name = parse(name)?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        // A name that becomes too long is invalid.
        let domains = self.search_domains.iter();
        let mut names: Vec<Name> =
            domains.filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        let position = if dots >= self.config.ndots { 0 } else { names.len() };
        names.insert(position, absolute(name));
        Ok(names)
    }
}

fn timeout(config: &ResolverConfig) -> Duration {
    config.timeout.max(Duration::from_millis(1))
}

pub(super) fn is_name(text: &str) -> bool {
    parse(text).is_ok()
}

fn parse(name: &str) -> io::Result<Name> {
    let invalid = |reason: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\": {reason}"))
    };
    match Name::from_utf8(name) {
        Ok(parsed) if parsed.num_labels() > 0 => Ok(parsed),
        Ok(_) => Err(invalid(&"not a host name")),
        Err(error) => Err(invalid(&error)),
    }
}

fn absolute(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

fn addresses(lookup: &Lookup, port: u16) -> Vec<SocketAddr> {
    let ips = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
    ips.map(|ip| SocketAddr::new(ip, port)).collect()
}

/// Whether this is a negative answer.
fn is_negative(error: &NetError) -> bool {
    error.is_no_records_found()
}

/// Whether the next search domain is tried after this error: after a negative answer or a server
/// failure, as glibc does.
fn has_next_asked(error: &NetError) -> bool {
    let failed = Useless(ResponseCode::ServFail);
    let is_failed =
        |error: &io::Error| error.get_ref().and_then(|cause| cause.downcast_ref()) == Some(&failed);
    is_negative(error) || matches!(error, NetError::Io(error) if is_failed(error))
}

/// Converts an error, with the name.
pub(super) fn into_io(name: &str, error: NetError) -> io::Error {
    let (kind, reason) = match error {
        error if error.is_nx_domain() => (io::ErrorKind::NotFound, "no such name".to_owned()),
        error if is_negative(&error) => {
            (io::ErrorKind::NotFound, "the name has no such record".to_owned())
        }
        NetError::Timeout => {
            (io::ErrorKind::TimedOut, "no name server answered in time".to_owned())
        }
        NetError::Io(error) => (error.kind(), format!("query to a name server failed: {error}")),
        error => (io::ErrorKind::Other, format!("query to a name server failed: {error}")),
    };
    io::Error::new(kind, format!("{name}: {reason}"))
}
