//! DHCP messages: RFC 2131 section 2, with the options of RFC 2132, 3396, 3397 and 3442.
//!
//! smoltcp reads and writes the header and writes options. Its `DhcpRepr` supports few of the
//! options that are needed here. dhcproto supports all of them, but rejects a message for one
//! malformed option, asserts on option lengths, panics on a hardware address length beyond its
//! field, and pulls in hickory-proto even without the feature `dns`. So options are read here.

use super::Lease;
use super::options::{
    self as option, HEADER_BYTES, MAGIC, OPTION_BYTES_MAX, address, addresses, number, options,
};
use crate::domains;
use crate::wire::{
    ArpHardware, DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, EthernetAddress,
};
use ipnet::{IpNet, Ipv4Net};
use netcore::Route;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;

/// Limits for the entries of a lease; the rest is ignored.
const NAME_SERVERS_MAX: usize = 8;
const SEARCH_DOMAINS_MAX: usize = 8;
const ROUTES_MAX: usize = 32;
/// Less than every IPv4 host must take (RFC 791) is no MTU.
const MTU_MIN: usize = 576;

/// What relays of BOOTP expect at least (RFC 1542 section 2.1).
const MESSAGE_BYTES_MIN: usize = 300;
/// With the longest options that [`Query::write`] sends.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The parameter request list. Classless routes come before the router (RFC 3442).
const PARAMETERS: [u8; 10] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::NAME_SERVERS,
    option::DOMAIN_NAME,
    option::DOMAIN_SEARCH,
    option::MTU,
    option::LEASE_TIME,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
];

/// The client's identification.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) hardware_address: [u8; 6],
    /// Option 61.
    pub(super) client_id: Vec<u8>,
    /// Option 12.
    pub(super) host_name: Option<String>,
}

/// A message from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) kind: DhcpMessageType,
    pub(super) transaction: u32,
    /// Since the client has begun to ask.
    pub(super) elapsed: Duration,
    /// The address that the client has already, or 0.0.0.0: then it is answered by broadcast, since
    /// a stack takes no packets to an address that it does not have.
    pub(super) own: Ipv4Addr,
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
    /// The longest message that is taken, in bytes.
    pub(super) bytes_max: u16,
}

/// An answer from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Offer(Lease),
    Ack(Lease),
    Nak { server: Ipv4Addr },
}

impl Query {
    pub(super) fn write(&self, identity: &Identity) -> Vec<u8> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
        packet.set_opcode(DhcpOpCode::Request);
        packet.set_hardware_type(ArpHardware::Ethernet);
        packet.set_hardware_len(6);
        packet.set_transaction_id(self.transaction);
        packet.set_secs(u16::try_from(self.elapsed.as_secs()).unwrap_or(u16::MAX));
        if self.own.is_unspecified() {
            packet.set_flags(DhcpFlags::BROADCAST);
        }
        packet.set_client_ip(self.own);
        packet.set_client_hardware_address(EthernetAddress(identity.hardware_address));
        packet.set_magic_number(MAGIC);

        let kind = [u8::from(self.kind)];
        let is_release = self.kind == DhcpMessageType::Release;
        let bytes_max = self.bytes_max.to_be_bytes();
        let requested = self.requested.map(|address| address.octets());
        let server = self.server.map(|address| address.octets());
        let host_name = identity.host_name.as_deref().map(str::as_bytes);
        // RFC 2131 section 4.4.1, table 5.
        let options = [
            (option::MESSAGE_TYPE, Some(&kind[..])),
            (option::CLIENT_ID, Some(&identity.client_id[..])),
            (option::REQUESTED_ADDRESS, requested.as_ref().map(|octets| &octets[..])),
            (option::SERVER, server.as_ref().map(|octets| &octets[..])),
            (option::MESSAGE_BYTES_MAX, Some(&bytes_max[..]).filter(|_| !is_release)),
            (option::PARAMETERS, Some(&PARAMETERS[..]).filter(|_| !is_release)),
            (option::HOST_NAME, host_name.filter(|_| !is_release)),
        ];
        let mut len = HEADER_BYTES + 1;
        let mut writer = packet.options_mut();
        for (kind, data) in options {
            let Some(data) = data.filter(|data| (1..=OPTION_BYTES_MAX).contains(&data.len()))
            else {
                continue;
            };
            writer.emit(DhcpOption { kind, data }).expect("there is room for all options");
            len += 2 + data.len();
        }
        writer.end().expect("there is room for all options");
        bytes.truncate(len.max(MESSAGE_BYTES_MIN));
        bytes
    }
}

/// Reads an answer to the client with this hardware address in this transaction.
///
/// # Errors
///
/// The reason why it cannot be used.
pub(super) fn read(
    bytes: &[u8],
    transaction: u32,
    hardware_address: [u8; 6],
    random: &mut impl Rng,
) -> Result<Answer, &'static str> {
    let packet = DhcpPacket::new_checked(bytes).map_err(|_| "too short")?;
    if packet.opcode() != DhcpOpCode::Reply || packet.magic_number() != MAGIC {
        return Err("no answer of a DHCP server");
    }
    if packet.transaction_id() != transaction {
        return Err("of another transaction");
    }
    if packet.hardware_len() != 6 || packet.client_hardware_address().0 != hardware_address {
        return Err("for another client");
    }
    let options = options(bytes);
    let server = address(&options, option::SERVER).ok_or("without a server")?;
    if !is_host(server) {
        return Err("from a server that can have no such address");
    }
    let kind = match options.get(&option::MESSAGE_TYPE).map(Vec::as_slice) {
        Some([kind]) => DhcpMessageType::from(*kind),
        _ => return Err("without a type"),
    };
    match kind {
        DhcpMessageType::Offer => {
            Ok(Answer::Offer(lease(packet.your_ip(), server, &options, random)?))
        }
        DhcpMessageType::Ack => Ok(Answer::Ack(lease(packet.your_ip(), server, &options, random)?)),
        DhcpMessageType::Nak => Ok(Answer::Nak { server }),
        _ => Err("of a type that no server sends"),
    }
}

/// The lease in an answer, if a host can use it.
fn lease(
    own: Ipv4Addr,
    server: Ipv4Addr,
    options: &BTreeMap<u8, Vec<u8>>,
    random: &mut impl Rng,
) -> Result<Lease, &'static str> {
    let prefix_len = match address(options, option::SUBNET_MASK) {
        Some(mask) => ipnet::ipv4_mask_to_prefix(mask).map_err(|_| "with no mask of a network")?,
        None if options.contains_key(&option::SUBNET_MASK) => return Err("with no mask"),
        None => class(own),
    };
    let own = Ipv4Net::new(own, prefix_len).map_err(|_| "with no mask of a network")?;
    // A /31 has neither a broadcast address (RFC 3021) nor one for itself.
    let is_network =
        own.prefix_len() < 31 && (own.addr() == own.network() || own.addr() == own.broadcast());
    if !is_host(own.addr()) || is_network || own.prefix_len() == 0 {
        return Err("with an address that no host can have");
    }
    let duration = match number(options, option::LEASE_TIME) {
        None | Some(0) => return Err("without a time"),
        // RFC 2131 section 3.3.
        Some(u32::MAX) => None,
        Some(seconds) => Some(Duration::from_secs(seconds.into())),
    };
    let (renew_after, rebind_after) = times(options, duration, random);
    let name_servers = addresses(options, option::NAME_SERVERS);
    let mtu = options.get(&option::MTU).and_then(|data| <[u8; 2]>::try_from(&data[..]).ok());
    let mtu = mtu.map(|mtu| usize::from(u16::from_be_bytes(mtu))).filter(|mtu| *mtu >= MTU_MIN);
    Ok(Lease {
        address: own,
        server,
        routes: routes(options),
        name_servers: name_servers.filter(|ip| is_host(*ip)).take(NAME_SERVERS_MAX).collect(),
        search_domains: search_domains(options),
        mtu,
        duration,
        renew_after,
        rebind_after,
    })
}

/// T1 and T2 from the server if they are valid, otherwise the defaults of RFC 2131 section 4.4.5, a
/// little less, so that not all clients renew at once.
fn times(
    options: &BTreeMap<u8, Vec<u8>>,
    duration: Option<Duration>,
    random: &mut impl Rng,
) -> (Duration, Duration) {
    let Some(duration) = duration else { return (Duration::MAX, Duration::MAX) };
    let said = |kind| {
        let seconds = number(options, kind).filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds.into())).filter(|time| *time < duration)
    };
    let fuzz = random.random_range(0.98..1.0);
    let rebind_after = said(option::REBINDING_TIME);
    let rebind_after = rebind_after.unwrap_or_else(|| duration.mul_f64(0.875 * fuzz));
    let renew_after = said(option::RENEWAL_TIME).filter(|time| *time < rebind_after);
    let renew_after = renew_after
        .unwrap_or_else(|| duration.mul_f64(0.5 * fuzz).min(rebind_after.mul_f64(0.5 / 0.875)));
    (renew_after, rebind_after)
}

/// The routes of option 121; the router of option 3 only without it (RFC 3442).
fn routes(options: &BTreeMap<u8, Vec<u8>>) -> Vec<Route> {
    let Some(data) = options.get(&option::CLASSLESS_ROUTES) else {
        let router = addresses(options, option::ROUTER).find(|router| is_host(*router));
        return router.into_iter().map(|router| Route::default_via(router.into())).collect();
    };
    let mut routes: Vec<Route> = Vec::new();
    let mut rest = &data[..];
    while routes.len() < ROUTES_MAX
        && let Some((destination, gateway, tail)) = classless_route(rest)
    {
        rest = tail;
        let gateway = Some(gateway).filter(|gateway| !gateway.is_unspecified());
        let is_usable = gateway.is_none_or(is_host) && !destination.network().is_multicast();
        let destination = IpNet::V4(destination.trunc());
        if is_usable && routes.iter().all(|known| known.destination != destination) {
            routes.push(Route { destination, gateway: gateway.map(IpAddr::V4) });
        }
    }
    routes
}

/// One route and the rest of the data: the prefix length, the significant bytes of the prefix, and
/// the router.
fn classless_route(data: &[u8]) -> Option<(Ipv4Net, Ipv4Addr, &[u8])> {
    let (len, rest) = data.split_first()?;
    let significant = usize::from(*len).div_ceil(8);
    if significant > 4 {
        return None;
    }
    let (prefix, rest) = rest.split_at_checked(significant)?;
    let (gateway, rest) = rest.split_first_chunk::<4>()?;
    let mut network = [0; 4];
    network[..significant].copy_from_slice(prefix);
    Some((Ipv4Net::new(network.into(), *len).ok()?, (*gateway).into(), rest))
}

/// The domains of option 119, or else of option 15, where many servers put several.
fn search_domains(options: &BTreeMap<u8, Vec<u8>>) -> Vec<String> {
    if let Some(data) = options.get(&option::DOMAIN_SEARCH) {
        return domains::read(data, true, SEARCH_DOMAINS_MAX);
    }
    let text = options.get(&option::DOMAIN_NAME).and_then(|data| std::str::from_utf8(data).ok());
    let words = text.unwrap_or_default().trim_end_matches('\0').split_ascii_whitespace();
    let names = words.map(|word| word.trim_end_matches('.')).filter(|name| domains::is_name(name));
    names.map(str::to_owned).take(SEARCH_DOMAINS_MAX).collect()
}

/// Whether a single host that is not this one can have this address (RFC 6890 section 2.2.2).
fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// The classful prefix length, for a lease without a subnet mask (RFC 791 section 3.2).
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}
