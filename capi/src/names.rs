//! `getaddrinfo`, with the stack's resolver.

use crate::stack::Stack;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What addresses are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hints {
    /// `AI_…`.
    pub(crate) flags: libc::c_int,
    /// `AF_…`.
    pub(crate) family: libc::c_int,
}

/// Why there is no address: an `EAI_…`, and a text for people.
#[derive(Debug)]
pub(crate) struct NoAddress {
    pub(crate) code: libc::c_int,
    pub(crate) text: String,
}

impl NoAddress {
    pub(crate) fn new(code: libc::c_int, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    fn of(error: &io::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::InvalidInput => libc::EAI_NONAME,
            // Without a server, too, as glibc has it: there may be one later.
            ErrorKind::TimedOut | ErrorKind::NotConnected => libc::EAI_AGAIN,
            _ => libc::EAI_FAIL,
        };
        Self::new(code, error.to_string())
    }
}

impl Hints {
    fn has(self, flag: libc::c_int) -> bool {
        self.flags & flag != 0
    }

    fn takes_v4(self) -> bool {
        self.family != libc::AF_INET6
    }

    fn takes_v6(self) -> bool {
        self.family != libc::AF_INET
    }
}

/// The addresses of a node, in the order to try them.
pub(crate) fn addresses(
    stack: &Stack,
    node: Option<&str>,
    hints: Hints,
) -> Result<Vec<IpAddr>, NoAddress> {
    if !matches!(hints.family, libc::AF_UNSPEC | libc::AF_INET | libc::AF_INET6) {
        return Err(NoAddress::new(libc::EAI_FAMILY, "the family is none of AF_INET and AF_INET6"));
    }
    let all = match node {
        None => own(hints),
        Some(node) => match node.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) if hints.has(libc::AI_NUMERICHOST) => Vec::new(),
            Err(_) => look_up(stack, node, hints).map_err(|error| NoAddress::of(&error))?,
        },
    };
    let in_family = |address: IpAddr| match address {
        IpAddr::V4(_) if hints.takes_v4() => Some(address),
        IpAddr::V4(v4) if hints.has(libc::AI_V4MAPPED) => Some(v4.to_ipv6_mapped().into()),
        IpAddr::V6(_) if hints.takes_v6() => Some(address),
        _ => None,
    };
    let all: Vec<_> = all.into_iter().filter_map(in_family).collect();
    if all.is_empty() {
        let text = format!("{}: no address of this family", node.unwrap_or_default());
        return Err(NoAddress::new(libc::EAI_NONAME, text));
    }
    Ok(all)
}

/// The addresses to bind to, or this host.
fn own(hints: Hints) -> Vec<IpAddr> {
    match hints.has(libc::AI_PASSIVE) {
        true => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        false => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
    }
}

fn look_up(stack: &Stack, name: &str, hints: Hints) -> io::Result<Vec<IpAddr>> {
    let resolver = stack.net.resolver();
    let v4 = || async { resolver.lookup_ipv4(name).await.map(ips) };
    let v6 = || async { resolver.lookup_ipv6(name).await.map(ips) };
    let (has_v4, has_v6) = match hints.has(libc::AI_ADDRCONFIG) {
        true => families(stack),
        false => (true, true),
    };
    stack.block_on(async {
        match (hints.takes_v4() && has_v4, hints.takes_v6() && has_v6) {
            (true, true) => resolver.lookup_ip(name).await,
            (true, false) => v4().await,
            (false, true) => match v6().await {
                Err(_) if hints.has(libc::AI_V4MAPPED) => v4().await,
                found => found,
            },
            (false, false) => Ok(Vec::new()),
        }
    })
}

fn ips<T: Into<IpAddr>>(addresses: Vec<T>) -> Vec<IpAddr> {
    addresses.into_iter().map(Into::into).collect()
}

/// Whether the stack has addresses of IPv4, and of IPv6.
fn families(stack: &Stack) -> (bool, bool) {
    let network = stack.net.network();
    let has = |is_it: fn(&IpAddr) -> bool| network.addresses.iter().any(|own| is_it(&own.addr()));
    (has(IpAddr::is_ipv4), has(IpAddr::is_ipv6))
}
