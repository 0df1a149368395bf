//! Router advertisements for the hosts on a stack's link (RFC 4861 section 6.2, RFC 8106).

use super::advertisement::HOP_LIMIT;
use crate::provided::is_end;
use crate::wire::{IPV6_HEADER_LEN, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Packet};
use ipnet::Ipv6Net;
use netcore::Network;
use netcore::raw::Version;
use netsocket::{Net, RawSocket};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// What a router advertises.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct RouterConfig {
    /// The network on the link, from whose prefix hosts make addresses; of 64 bits, or hosts ignore
    /// it.
    pub prefix: Ipv6Net,
    /// The largest IP packet of the link, in bytes.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mtu: Option<u32>,
    /// The name servers, up to eight.
    #[cfg_attr(feature = "serde", serde(default))]
    pub name_servers: Vec<Ipv6Addr>,
    /// How long hosts use the router after an advertisement; up to 9,000 s (RFC 4861 section 6.2.1).
    #[cfg_attr(feature = "serde", serde(default = "lifetime", with = "netcore::serial::micros"))]
    pub lifetime: Duration,
}

/// A router that advertises itself and a prefix, as a task beside its stack. Dropping it ends the
/// task; hosts use the router until its lifetime has passed.
#[derive(Debug)]
#[must_use = "dropping it ends the advertisements"]
pub struct Router {
    task: JoinHandle<()>,
}

/// Every node on the link (RFC 4291 section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Every router on the link (RFC 4291 section 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Between MinRtrAdvInterval and MaxRtrAdvInterval of RFC 4861 section 6.2.1.
const INTERVAL: Duration = Duration::from_secs(300);
/// MIN_DELAY_BETWEEN_RAS of RFC 4861 section 10, for those to all nodes.
const INTERVAL_MIN: Duration = Duration::from_secs(3);
/// AdvValidLifetime and AdvPreferredLifetime of RFC 4861 section 6.2.1, in seconds.
const VALID: u32 = 2_592_000;
const PREFERRED: u32 = 604_800;
const NAME_SERVERS_MAX: usize = 8;
const HOST_HOP_LIMIT: u8 = 64;

impl RouterConfig {
    /// A prefix, without an MTU and name servers, for half an hour.
    pub fn new(prefix: Ipv6Net) -> Self {
        let (mtu, name_servers) = (None, Vec::new());
        Self { prefix: prefix.trunc(), mtu, name_servers, lifetime: lifetime() }
    }
}

/// AdvDefaultLifetime of RFC 4861 section 6.2.1.
const fn lifetime() -> Duration {
    Duration::from_secs(1800)
}

impl Router {
    /// Starts to advertise, once the stack has its link-local address: at first, every five minutes,
    /// and to each host that asks.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a link that is not Ethernet, and for more than eight name servers;
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is advertised.
    pub async fn start(net: &Net, config: RouterConfig) -> io::Result<Self> {
        let wrong = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        let Some(hardware_address) = net.network().link.hardware_address else {
            return wrong("a router advertises on Ethernet only");
        };
        if config.name_servers.len() > NAME_SERVERS_MAX {
            return wrong("name_servers: more than 8");
        }
        let socket = net.raw(Version::V6, IpProtocol::Icmpv6.into()).await?;
        // Without a member the stack does not take what hosts send to routers.
        let member = net.udp_bind((Ipv6Addr::UNSPECIFIED, 0)).await?;
        member.join_multicast_v6(&ALL_ROUTERS, 0)?;
        let message = message(&config, hardware_address.octets());
        let net = net.clone();
        let task = tokio::spawn(async move {
            // It ends with the stack.
            let _ = serve(&net, &socket, &message).await;
            drop(member);
        });
        Ok(Self { task })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(net: &Net, socket: &RawSocket, message: &[u8]) -> io::Result<()> {
    let ready = net.watch_network().wait_for(|network| link_local(network).is_some()).await?;
    let Some(own) = link_local(&ready) else { return Ok(()) };
    let (mut due, mut last) = (Instant::now(), None);
    loop {
        match timeout_at(due, socket.recv()).await {
            Ok(Ok(packet)) => match solicitor(&packet) {
                Some(Ipv6Addr::UNSPECIFIED) => {
                    let soonest = last.map_or(Instant::now(), |last| last + INTERVAL_MIN);
                    due = due.min(soonest);
                }
                Some(host) => send(socket, own, host, message).await?,
                None => {}
            },
            Ok(Err(error)) if is_end(&error) => return Err(error),
            // An advertisement that was lost, as any may be.
            Ok(Err(_)) => {}
            Err(_) => {
                last = Some(Instant::now());
                due = Instant::now() + INTERVAL;
                send(socket, own, ALL_NODES, message).await?;
            }
        }
        tokio::task::consume_budget().await;
    }
}

/// The link-local address, once it may be used.
fn link_local(network: &Network) -> Option<Ipv6Addr> {
    network.addresses.iter().find_map(|own| match own.addr() {
        IpAddr::V6(own) if own.is_unicast_link_local() => {
            Some(own).filter(|own| !network.tentative.contains(&IpAddr::V6(*own)))
        }
        _ => None,
    })
}

/// Whom a router solicitation is from, if it is one (RFC 4861 section 6.1.1).
fn solicitor(packet: &[u8]) -> Option<Ipv6Addr> {
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let (from, payload) = (ip.src_addr(), ip.payload());
    if ip.next_header() != IpProtocol::Icmpv6 || ip.hop_limit() != HOP_LIMIT {
        return None;
    }
    let icmp = Icmpv6Packet::new_checked(payload).ok()?;
    let is_solicitation = icmp.msg_type() == Icmpv6Message::RouterSolicit
        && icmp.msg_code() == 0
        && payload.len() >= 8
        && icmp.verify_checksum(&from, &ip.dst_addr());
    let is_host = from.is_unspecified() || from.is_unicast_link_local();
    (is_solicitation && is_host).then_some(from)
}

async fn send(socket: &RawSocket, own: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> io::Result<()> {
    let mut bytes = vec![0; IPV6_HEADER_LEN + message.len()];
    let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..]);
    ip.set_version(6);
    ip.set_payload_len(message.len() as u16);
    ip.set_next_header(IpProtocol::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_src_addr(own);
    ip.set_dst_addr(to);
    ip.payload_mut().copy_from_slice(message);
    Icmpv6Packet::new_unchecked(ip.payload_mut()).fill_checksum(&own, &to);
    match socket.send(&bytes).await {
        Err(error) if is_end(&error) => Err(error),
        // Of an earlier one.
        _ => Ok(()),
    }
}

/// An advertisement without its checksum (RFC 4861 section 4.2).
fn message(config: &RouterConfig, hardware_address: [u8; 6]) -> Vec<u8> {
    let lifetime = u16::try_from(config.lifetime.as_secs()).unwrap_or(9000).min(9000);
    let mut message = vec![134, 0, 0, 0, HOST_HOP_LIMIT, 0];
    message.extend(lifetime.to_be_bytes());
    // The reachable time and the retransmission timer are the hosts' own.
    message.extend([0; 8]);
    // The source link-layer address.
    message.extend([1, 1]);
    message.extend(hardware_address);
    if let Some(mtu) = config.mtu {
        message.extend([5, 1, 0, 0]);
        message.extend(mtu.to_be_bytes());
    }
    // The prefix is on the link, and for addresses.
    message.extend([3, 4, config.prefix.prefix_len(), 0xc0]);
    message.extend(VALID.to_be_bytes());
    message.extend(PREFERRED.to_be_bytes());
    message.extend([0; 4]);
    message.extend(config.prefix.network().octets());
    if !config.name_servers.is_empty() {
        message.extend([25, 1 + 2 * config.name_servers.len() as u8, 0, 0]);
        message.extend(u32::from(lifetime).to_be_bytes());
        message.extend(config.name_servers.iter().flat_map(|server| server.octets()));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, device, slaac};
    use netcore::{Entropy, Medium};
    use tokio::time::timeout;

    fn config() -> RouterConfig {
        RouterConfig {
            mtu: Some(1400),
            name_servers: vec!["fd00::3".parse().expect("an address")],
            ..RouterConfig::new("fd00::/64".parse().expect("a network"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_makes_an_address_of_the_advertised_prefix() {
        let (near, far) = device::join(64, Medium::Ethernet, 1500, false);
        let seeded = |seed| netcore::Config { entropy: Entropy::Seed(seed), ..Default::default() };
        let front = Builder::new().config(seeded(1)).spawn(near).expect("a stack");
        let _router = Router::start(front.net(), config()).await.expect("on Ethernet");
        // The host comes after the first advertisement, and asks.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let host = Builder::new().config(seeded(2)).slaac(slaac::Config::default());
        let host = host.spawn(far).expect("a stack");

        let prefix = config().prefix;
        let is_in = |now: &Network| {
            let has =
                |own: &ipnet::IpNet| matches!(own.addr(), IpAddr::V6(own) if prefix.contains(&own));
            now.addresses.iter().any(has) && now.tentative.is_empty()
        };
        let mut watch = host.net().watch_network();
        let made = timeout(Duration::from_secs(30), watch.wait_for(is_in)).await;
        let network = made.expect("soon").expect("a running stack");

        let via = network.routes.iter().find(|route| route.destination.prefix_len() == 0);
        let own = link_local(&front.net().network()).expect("a link-local address");
        assert_eq!(via.and_then(|route| route.gateway), Some(own.into()));
        assert_eq!(network.name_servers, ["fd00::3".parse::<IpAddr>().expect("an address")]);
        assert_eq!(network.link.mtu, 1400);
    }

    #[test]
    fn only_valid_solicitations_of_hosts_are_answered() {
        let host: Ipv6Addr = "fe80::7".parse().expect("an address");
        let solicitation = |hop_limit: u8, from: Ipv6Addr, kind: u8| {
            let mut bytes = vec![0; IPV6_HEADER_LEN + 8];
            let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..]);
            ip.set_version(6);
            ip.set_payload_len(8);
            ip.set_next_header(IpProtocol::Icmpv6);
            ip.set_hop_limit(hop_limit);
            ip.set_src_addr(from);
            ip.set_dst_addr(ALL_NODES);
            ip.payload_mut()[0] = kind;
            Icmpv6Packet::new_unchecked(ip.payload_mut()).fill_checksum(&from, &ALL_NODES);
            bytes
        };
        let right = solicitation(255, host, 133);
        assert_eq!(solicitor(&right), Some(host));
        let unspecified = Ipv6Addr::UNSPECIFIED;
        assert_eq!(solicitor(&solicitation(255, unspecified, 133)), Some(unspecified));

        assert_eq!(solicitor(&solicitation(64, host, 133)), None, "forwarded");
        assert_eq!(solicitor(&solicitation(255, host, 134)), None, "another message");
        let global = "2001:db8::1".parse().expect("an address");
        assert_eq!(solicitor(&solicitation(255, global, 133)), None, "not of the link");
        for len in 0..right.len() {
            assert_eq!(solicitor(&right[..len]), None, "{len} bytes");
        }
        let mut wrong = right;
        wrong[44] ^= 1;
        assert_eq!(solicitor(&wrong), None, "a wrong checksum");
    }
}
