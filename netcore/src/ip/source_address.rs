//! IPv6 source address selection. In IPv4 the route determines the source.

use ipnet::Ipv6Net;
use std::cmp::Ordering;
use std::net::Ipv6Addr;

/// The IPv6 source address for a destination (RFC 6724 section 5). `is_deprecated` is true of
/// addresses that new connections should not use (RFC 4862 section 5.5.4).
///
/// Rules 4 (home addresses), 5 and 5.5 (interfaces and next hops) and 7 (temporary addresses) never
/// decide: a stack has one link, no mobility and no temporary addresses. The RFC leaves ties open;
/// as on Linux the address that was added last wins.
pub(crate) fn ipv6(
    addresses: impl Iterator<Item = Ipv6Net>,
    is_deprecated: impl Fn(Ipv6Addr) -> bool,
    destination: Ipv6Addr,
) -> Option<Ipv6Addr> {
    let compare = |a: &Ipv6Net, b: &Ipv6Net| {
        // Rule 1: the same address.
        (a.addr() == destination)
            .cmp(&(b.addr() == destination))
            .then_with(|| by_scope(a.addr(), b.addr(), destination))
            // Rule 3: not deprecated.
            .then_with(|| is_deprecated(b.addr()).cmp(&is_deprecated(a.addr())))
            // Rule 6: the label of the destination.
            .then_with(|| {
                let matches = |own: &Ipv6Net| label(own.addr()) == label(destination);
                matches(a).cmp(&matches(b))
            })
            // Rule 8: the longest common prefix, as far as the own one reaches.
            .then_with(|| common_prefix(a, destination).cmp(&common_prefix(b, destination)))
    };
    addresses.max_by(compare).map(|own| own.addr())
}

/// Rule 2: the smallest scope that reaches the destination, or else the largest.
fn by_scope(a: Ipv6Addr, b: Ipv6Addr, destination: Ipv6Addr) -> Ordering {
    let (of_a, of_b, needed) = (scope(a), scope(b), scope(destination));
    match of_a.cmp(&of_b) {
        Ordering::Less if of_a < needed => Ordering::Less,
        Ordering::Less => Ordering::Greater,
        Ordering::Greater if of_b < needed => Ordering::Greater,
        Ordering::Greater => Ordering::Less,
        Ordering::Equal => Ordering::Equal,
    }
}

/// The scope of an address in the terms of multicast (RFC 6724 section 3.1).
fn scope(address: Ipv6Addr) -> u8 {
    const LINK_LOCAL: u8 = 2;
    const SITE_LOCAL: u8 = 5;
    const GLOBAL: u8 = 14;
    let first = address.segments()[0];
    match first {
        0xff00.. => (first & 0xf) as u8,
        0xfe80..=0xfebf => LINK_LOCAL,
        0xfec0..=0xfeff => SITE_LOCAL,
        _ if address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

/// The label of the policy table (RFC 6724 section 2.1), with the row for ORCHID (RFC 4843) that
/// Linux has besides.
fn label(address: Ipv6Addr) -> u8 {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        [0x2001, 0, ..] => 5,
        [0x2001, 0x10..=0x1f, ..] => 7,
        [0x2002, ..] => 2,
        [0x3ffe, ..] => 12,
        [0xfec0..=0xfeff, ..] => 11,
        [0xfc00..=0xfdff, ..] => 13,
        _ => 1,
    }
}

fn common_prefix(own: &Ipv6Net, destination: Ipv6Addr) -> u32 {
    let common = (own.addr().to_bits() ^ destination.to_bits()).leading_zeros();
    common.min(own.prefix_len().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source for `destination` of these addresses, of which those with a `!` are deprecated.
    fn source(own: &[&str], destination: &str) -> String {
        let parse =
            |text: &&str| text.trim_start_matches('!').parse::<Ipv6Net>().expect("a network");
        let deprecated: Vec<_> =
            own.iter().filter(|text| text.starts_with('!')).map(parse).collect();
        let is_deprecated = |address| deprecated.iter().any(|own| own.addr() == address);
        let destination = destination.parse().expect("an address");
        let found = ipv6(own.iter().map(parse), is_deprecated, destination);
        found.expect("a source").to_string()
    }

    #[test]
    fn rule_1_same_address() {
        assert_eq!(source(&["!fd00::2/64", "fd00::3/64"], "fd00::2"), "fd00::2");
    }

    #[test]
    fn rule_2_appropriate_scope() {
        let both = ["fe80::2/64", "2001:db8::2/64"];
        assert_eq!(source(&both, "2001:db8:1::1"), "2001:db8::2");
        assert_eq!(source(&both, "fe80::9"), "fe80::2");
        assert_eq!(source(&both, "ff02::1"), "fe80::2");
        assert_eq!(source(&both, "ff05::1"), "2001:db8::2");
        // The scope counts before the preference.
        assert_eq!(source(&["fe80::2/64", "!2001:db8::2/64"], "2001:db8:1::1"), "2001:db8::2");
    }

    #[test]
    fn rule_3_deprecated_addresses_come_last() {
        let own = ["!2600:1::2/64", "2001:db8:f::2/64"];
        assert_eq!(source(&own, "2600:2::5"), "2001:db8:f::2");
        assert_eq!(source(&["!2600:1::2/64"], "2600:2::5"), "2600:1::2");
    }

    #[test]
    fn rule_6_matching_label() {
        let own = ["fd00::2/64", "2001:db8::2/64", "2002::2/64", "2001::2/64"];
        assert_eq!(source(&own, "fd77::1"), "fd00::2");
        assert_eq!(source(&own, "2600::1"), "2001:db8::2");
        assert_eq!(source(&own, "2002:7::1"), "2002::2");
        assert_eq!(source(&own, "2001:0:7::1"), "2001::2");
    }

    #[test]
    fn rule_8_longest_common_prefix_within_the_own_one() {
        let own = ["2001:db8:1::2/64", "2001:db8:2::2/64"];
        assert_eq!(source(&own, "2001:db8:1:7::1"), "2001:db8:1::2");
        // Bits beyond the own prefix do not count, and the address added last wins.
        assert_eq!(source(&["2001:db8::7/32", "2001:db8::2/32"], "2001:db8::6"), "2001:db8::2");
    }
}
