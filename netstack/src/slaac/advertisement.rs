//! Router advertisements: RFC 4861 section 4.2, with the preference of RFC 4191 and the options of
//! RFC 8106.

use crate::domains;
use crate::wire::{
    Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Packet, NdiscOption, NdiscOptionType,
    NdiscPrefixInfoFlags,
};
use ipnet::Ipv6Net;
use std::net::Ipv6Addr;

/// Only packets that were not forwarded have this (RFC 4861 section 6.1.2).
pub(super) const HOP_LIMIT: u8 = 255;
/// The header of an advertisement, without options.
const HEADER_BYTES: usize = 16;
/// The unit of option lengths, in bytes.
const OPTION_UNIT: usize = 8;
/// Every IPv6 link must carry packets of this size (RFC 8200 section 5).
const MTU_MIN: u32 = 1280;
/// RFC 8106 section 5.
const NAME_SERVERS: u8 = 25;
const SEARCH_DOMAINS: u8 = 31;
/// Domains of one option.
const DOMAINS_MAX: usize = 8;

/// The contents of a router advertisement. Lifetimes are in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advertisement {
    pub(super) router: Ipv6Addr,
    /// 0 for a router that is none by default.
    pub(super) lifetime: u16,
    pub(super) preference: Preference,
    pub(super) mtu: Option<u32>,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) name_servers: Vec<(Ipv6Addr, u32)>,
    pub(super) search_domains: Vec<(String, u32)>,
}

/// How much a router wants to be the one (RFC 4191 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Preference {
    Low,
    Medium,
    High,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) network: Ipv6Net,
    /// Whether all of it is on the link.
    pub(super) is_on_link: bool,
    /// Whether hosts make addresses of it.
    pub(super) is_for_addresses: bool,
    pub(super) valid: u32,
    pub(super) preferred: u32,
}

/// Reads an IPv6 packet, if it is a valid advertisement (RFC 4861 section 6.1.2).
pub(super) fn read(packet: &[u8]) -> Option<Advertisement> {
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let (router, payload) = (ip.src_addr(), ip.payload());
    // Extension headers have no business in front of it (RFC 6980).
    if ip.next_header() != IpProtocol::Icmpv6
        || ip.hop_limit() != HOP_LIMIT
        || !router.is_unicast_link_local()
        || payload.len() < HEADER_BYTES
    {
        return None;
    }
    let icmp = Icmpv6Packet::new_checked(payload).ok()?;
    if icmp.msg_type() != Icmpv6Message::RouterAdvert
        || icmp.msg_code() != 0
        || !icmp.verify_checksum(&router, &ip.dst_addr())
    {
        return None;
    }
    let mut advertisement = Advertisement {
        router,
        lifetime: u16::from_be_bytes([payload[6], payload[7]]),
        preference: match payload[5] >> 3 & 0b11 {
            0b01 => Preference::High,
            0b11 => Preference::Low,
            _ => Preference::Medium,
        },
        mtu: None,
        prefixes: Vec::new(),
        name_servers: Vec::new(),
        search_domains: Vec::new(),
    };
    let mut rest = &payload[HEADER_BYTES..];
    while let [kind, units, ..] = *rest {
        let (option, tail) = rest.split_at_checked(usize::from(units) * OPTION_UNIT)?;
        if option.is_empty() {
            return None;
        }
        rest = tail;
        advertisement.take(kind, option);
    }
    rest.is_empty().then_some(advertisement)
}

impl Advertisement {
    /// Takes one option, if it is known and well-formed.
    fn take(&mut self, kind: u8, option: &[u8]) {
        let Ok(known) = NdiscOption::new_checked(option) else { return };
        let lifetime = || option[4..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match known.option_type() {
            NdiscOptionType::PrefixInformation => self.take_prefix(&known),
            NdiscOptionType::Mtu if known.mtu() >= MTU_MIN => self.mtu = Some(known.mtu()),
            NdiscOptionType::Unknown(_) if kind == NAME_SERVERS => {
                let Some(lifetime) = lifetime() else { return };
                let servers = option[8..].as_chunks::<16>().0.iter().copied().map(Ipv6Addr::from);
                let is_server = |server: &Ipv6Addr| {
                    !server.is_multicast() && !server.is_unspecified() && !server.is_loopback()
                };
                self.name_servers
                    .extend(servers.filter(is_server).map(|server| (server, lifetime)));
            }
            NdiscOptionType::Unknown(_) if kind == SEARCH_DOMAINS => {
                let Some(lifetime) = lifetime() else { return };
                let domains = domains::read(&option[8..], false, DOMAINS_MAX);
                self.search_domains.extend(domains.into_iter().map(|domain| (domain, lifetime)));
            }
            _ => {}
        }
    }

    /// RFC 4861 section 6.3.4, RFC 4862 section 5.5.3.
    fn take_prefix(&mut self, option: &NdiscOption<&[u8]>) {
        let (prefix, flags) = (option.prefix(), option.prefix_flags());
        let Ok(network) = Ipv6Net::new(prefix, option.prefix_len()) else { return };
        if prefix.is_unicast_link_local() || prefix.is_multicast() || network.prefix_len() == 0 {
            return;
        }
        let seconds = |time: crate::wire::Duration| u32::try_from(time.secs()).unwrap_or(u32::MAX);
        let valid = seconds(option.valid_lifetime());
        let preferred = seconds(option.preferred_lifetime());
        self.prefixes.push(Prefix {
            network: network.trunc(),
            is_on_link: flags.contains(NdiscPrefixInfoFlags::ON_LINK),
            is_for_addresses: flags.contains(NdiscPrefixInfoFlags::ADDRCONF) && preferred <= valid,
            valid,
            preferred,
        });
    }
}
