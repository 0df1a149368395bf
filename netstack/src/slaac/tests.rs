//! The client against scripted routers, in virtual time.

mod link;
mod suspend;

use super::advertisement::read;
use super::{Config, Event, Identifier};
use crate::device::{self, PipeEnd};
use crate::wire::{Icmpv6Packet, IpProtocol, Ipv6Packet};
use crate::{Builder, Entropy, Stack};
use bytes::Bytes;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OTHER_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const HIGH: u8 = 0b01 << 3;
const MEDIUM: u8 = 0;
const ON_LINK: u8 = 0x80;
const FOR_ADDRESSES: u8 = 0x40;
const HOUR: u32 = 3600;

type Events = Arc<Mutex<Vec<Event>>>;

/// A stack with a running client, the client's events, and the far end of its link.
async fn start(seed: u64, config: Config) -> (Stack, Events, PipeEnd) {
    let (device, far) = device::pipe(64, 1500);
    let events = Events::default();
    let log = events.clone();
    let config = config.on_event(move |event| log.lock().expect("no panic").push(event.clone()));
    let limits = netcore::Config { entropy: Entropy::Seed(seed), ..Default::default() };
    let stack = Builder::new().config(limits).slaac(config).spawn(device).expect("a stack");
    sleep(Duration::from_millis(1)).await;
    (stack, events, far)
}

/// An advertisement with this lifetime in seconds.
fn advertisement(router: Ipv6Addr, lifetime: u16, flags: u8, options: &[Vec<u8>]) -> Vec<u8> {
    let payload = 16 + options.iter().map(Vec::len).sum::<usize>();
    let mut bytes = vec![0; 40];
    bytes.extend([134, 0, 0, 0, 64, flags]);
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend([0; 8]);
    options.iter().for_each(|option| bytes.extend(option));
    let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..]);
    ip.set_version(6);
    ip.set_payload_len(payload as u16);
    ip.set_next_header(IpProtocol::Icmpv6);
    ip.set_hop_limit(255);
    ip.set_src_addr(router);
    ip.set_dst_addr(ALL_NODES);
    Icmpv6Packet::new_unchecked(ip.payload_mut()).fill_checksum(&router, &ALL_NODES);
    bytes
}

fn prefix(network: &str, len: u8, flags: u8, valid: u32, preferred: u32) -> Vec<u8> {
    let network: Ipv6Addr = network.parse().expect("an address");
    let mut option = vec![3, 4, len, flags];
    option.extend(valid.to_be_bytes());
    option.extend(preferred.to_be_bytes());
    option.extend([0; 4]);
    option.extend(network.octets());
    option
}

fn name_servers(lifetime: u32, servers: &[&str]) -> Vec<u8> {
    let mut option = vec![25, 1 + 2 * servers.len() as u8, 0, 0];
    option.extend(lifetime.to_be_bytes());
    for server in servers {
        option.extend(server.parse::<Ipv6Addr>().expect("an address").octets());
    }
    option
}

fn search_domain(lifetime: u32) -> Vec<u8> {
    let mut option = vec![31, 2, 0, 0];
    option.extend(lifetime.to_be_bytes());
    option.extend(b"\x03lan\x00\x00\x00\x00");
    option
}

fn mtu(mtu: u32) -> Vec<u8> {
    let mut option = vec![5, 1, 0, 0];
    option.extend(mtu.to_be_bytes());
    option
}

/// Sends a packet to the stack, and lets the client process it.
async fn send(far: &PipeEnd, packet: Vec<u8>) {
    assert!(far.send(Bytes::from(packet)).await, "a running stack");
    sleep(Duration::from_millis(1)).await;
}

fn addresses(stack: &Stack) -> Vec<String> {
    stack.net().network().addresses.iter().map(ToString::to_string).collect()
}

fn gateways(stack: &Stack) -> Vec<IpAddr> {
    stack.net().network().routes.iter().filter_map(|route| route.gateway).collect()
}

async fn pass(seconds: u32) {
    sleep(Duration::from_secs(seconds.into())).await;
}

#[tokio::test(start_paused = true)]
async fn an_advertisement_is_put_into_force_and_is_over_in_time() {
    let (stack, events, far) = start(1, Config::default()).await;
    let packet = far.recv().await.expect("a question");
    let ip = Ipv6Packet::new_checked(&packet).expect("IPv6");
    assert_eq!((ip.src_addr(), ip.hop_limit()), (Ipv6Addr::UNSPECIFIED, 255));
    assert_eq!((ip.dst_addr().to_string(), ip.payload()[0]), ("ff02::2".into(), 133));
    let icmp = Icmpv6Packet::new_checked(ip.payload()).expect("ICMPv6");
    assert!(icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr()));

    let options = [
        prefix("fd00:7::", 64, ON_LINK | FOR_ADDRESSES, 3 * HOUR, HOUR),
        prefix("fd00:8::", 64, FOR_ADDRESSES, u32::MAX, u32::MAX),
        prefix("fd00:9::", 48, ON_LINK, 500, 400),
        mtu(1400),
        name_servers(700, &["fd00:7::53", "fe80::53", "ff02::1", "::"]),
        search_domain(600),
    ];
    send(&far, advertisement(ROUTER, 1800, MEDIUM, &options)).await;

    let own = addresses(&stack);
    assert_eq!(own.len(), 2, "{own:?}");
    assert!(own[0].starts_with("fd00:7::") && own[0].ends_with("/64"), "{own:?}");
    assert!(own[1].starts_with("fd00:8::") && own[1].ends_with("/128"), "{own:?}");
    let now = stack.net().network();
    assert_eq!(now.link.mtu, 1400);
    let servers: Vec<_> = now.name_servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        (&servers[..], &now.search_domains[..]),
        (&["fd00:7::53".to_string(), "fe80::53".into()][..], &["lan".to_string()][..],)
    );
    let routes: Vec<_> = now.routes.iter().map(|route| route.destination.to_string()).collect();
    assert_eq!(routes, ["fd00:9::/48", "::/0"]);
    assert_eq!(gateways(&stack), [IpAddr::V6(ROUTER)]);

    pass(500).await;
    assert_eq!(stack.net().network().routes.len(), 1, "the /48 is over");
    pass(100).await;
    assert!(stack.net().network().search_domains.is_empty());
    pass(100).await;
    assert!(stack.net().network().name_servers.is_empty());
    pass(1100).await;
    assert!(stack.net().network().routes.is_empty());
    pass(HOUR - 1800).await;
    assert!(matches!(
        events.lock().expect("no panic").iter().rfind(|event| **event != Event::Solicited),
        Some(Event::Deprecated(_))
    ));
    assert_eq!(addresses(&stack).len(), 2);
    assert_eq!(stack.net().network().deprecated.len(), 1);
    pass(2 * HOUR).await;
    assert_eq!(addresses(&stack).len(), 1, "the one with an infinite lifetime");
}

#[tokio::test(start_paused = true)]
async fn routers_are_asked_more_and_more_rarely_until_one_answers() {
    let (_stack, _, far) = start(3, Config::default()).await;
    let start = Instant::now();
    far.recv().await.expect("a question");
    assert!(start.elapsed() <= Duration::from_secs(1));
    let mut expected: f64 = 4.0;
    for _ in 0..14 {
        let last = Instant::now();
        far.recv().await.expect("a question");
        let waited = last.elapsed().as_secs_f64();
        assert!((waited / expected - 1.0).abs() < 0.11, "{waited} s instead of {expected} s");
        expected = (waited * 2.0).min(3600.0);
    }
    // A router with a lifetime of zero does not end the solicitations.
    send(&far, advertisement(ROUTER, 0, MEDIUM, &[])).await;
    far.recv().await.expect("a question");

    send(&far, advertisement(ROUTER, 9000, MEDIUM, &[])).await;
    pass(8999).await;
    assert!(far.try_recv().is_none());
    pass(2).await;
    assert!(far.try_recv().is_some(), "the last router is lost");
}

#[tokio::test(start_paused = true)]
async fn the_best_router_is_the_default_and_a_lost_one_is_replaced() {
    let (stack, events, far) = start(1, Config::default()).await;
    send(&far, advertisement(ROUTER, 600, MEDIUM, &[])).await;
    send(&far, advertisement(OTHER_ROUTER, 300, MEDIUM, &[])).await;
    assert_eq!(gateways(&stack), [IpAddr::V6(ROUTER)], "the first of equals");
    send(&far, advertisement(OTHER_ROUTER, 300, HIGH, &[])).await;
    assert_eq!(gateways(&stack), [IpAddr::V6(OTHER_ROUTER)]);
    pass(301).await;
    assert_eq!(gateways(&stack), [IpAddr::V6(ROUTER)]);
    send(&far, advertisement(ROUTER, 0, MEDIUM, &[])).await;
    assert!(gateways(&stack).is_empty());

    let log = events.lock().expect("no panic").clone();
    let routers: Vec<_> = log
        .iter()
        .filter_map(|it| if let Event::Router(it) = it { Some(*it) } else { None })
        .collect();
    assert_eq!(routers, [Some(ROUTER), Some(OTHER_ROUTER), Some(ROUTER), None]);
}

#[tokio::test(start_paused = true)]
async fn address_lifetime_is_not_cut_below_two_hours() {
    let flags = ON_LINK | FOR_ADDRESSES;
    let of = |valid, preferred| {
        advertisement(ROUTER, 1800, MEDIUM, &[prefix("fd00:7::", 64, flags, valid, preferred)])
    };
    // The first and second valid lifetime, and the lifetime in force after both.
    for (first, then, left) in [
        (10 * HOUR, 3 * HOUR, 3 * HOUR),
        (10 * HOUR, 60, 2 * HOUR),
        (10 * HOUR, 0, 2 * HOUR),
        (u32::MAX, 0, 2 * HOUR),
        (HOUR, 60, HOUR),
        (HOUR, 90 * 60, 90 * 60),
    ] {
        let (stack, _, far) = start(1, Config::default()).await;
        send(&far, of(first, first)).await;
        send(&far, of(then, then)).await;
        pass(left - 2).await;
        assert_eq!(addresses(&stack).len(), 1, "{first} {then}");
        pass(3).await;
        assert_eq!(addresses(&stack).len(), 0, "{first} {then}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_of_zero_removes() {
    let (stack, _, far) = start(1, Config::default()).await;
    let of = |lifetime| {
        let prefix = prefix("fd00:7::", 64, ON_LINK, lifetime, lifetime);
        let options = [prefix, name_servers(lifetime, &["fd00::53"]), search_domain(lifetime)];
        advertisement(ROUTER, 1800, MEDIUM, &options)
    };
    send(&far, of(HOUR)).await;
    let now = stack.net().network();
    assert_eq!((now.routes.len(), now.name_servers.len(), now.search_domains.len()), (2, 1, 1));
    send(&far, of(0)).await;
    let now = stack.net().network();
    assert_eq!((now.routes.len(), now.name_servers.len(), now.search_domains.len()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hostile_link_cannot_fill_the_stack() {
    let (stack, _, far) = start(1, Config::default()).await;
    for round in 0..100 {
        let network = format!("fd00:{round:x}::");
        let server = format!("fd00:{round:x}::53");
        let options = [
            prefix(&network, 64, ON_LINK | FOR_ADDRESSES, HOUR, HOUR),
            name_servers(HOUR, &[&server]),
        ];
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, round + 1);
        send(&far, advertisement(router, 1800, MEDIUM, &options)).await;
    }
    let now = stack.net().network();
    assert_eq!((now.addresses.len(), now.name_servers.len()), (16, 8));
    assert_eq!(gateways(&stack), [IpAddr::V6(ROUTER)]);
}

#[tokio::test(start_paused = true)]
async fn invalid_advertisements_are_ignored() {
    let (stack, _, far) = start(1, Config::default()).await;
    let flags = ON_LINK | FOR_ADDRESSES;
    let whole = |options: &[Vec<u8>]| advertisement(ROUTER, 1800, MEDIUM, options);
    let good = whole(&[prefix("fd00:7::", 64, flags, HOUR, HOUR)]);
    let spoilt = |spoil: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        bytes
    };
    for bad in [
        spoilt(|bytes| bytes[7] = 254),
        spoilt(|bytes| bytes[42] ^= 1),
        spoilt(|bytes| bytes.truncate(54)),
        advertisement("fd00::1".parse().expect("an address"), 1800, MEDIUM, &[]),
        whole(&[vec![3, 0, 0, 0, 0, 0, 0, 0]]),
        whole(&[vec![3, 9, 64, flags, 0, 0, 0, 0]]),
        whole(&[vec![3, 4]]),
    ] {
        send(&far, bad).await;
    }
    assert!(gateways(&stack).is_empty());

    for useless in [
        prefix("fe80::", 64, flags, HOUR, HOUR),
        prefix("ff02::", 64, flags, HOUR, HOUR),
        prefix("fd00::", 129, flags, HOUR, HOUR),
        prefix("fd00::", 63, FOR_ADDRESSES, HOUR, HOUR),
        prefix("fd00::", 64, FOR_ADDRESSES, HOUR, HOUR + 1),
        prefix("fd00::", 64, FOR_ADDRESSES, 0, 0),
        prefix("::", 0, flags, HOUR, HOUR),
        mtu(1279),
        vec![25, 1, 0, 0, 0, 0, 0, 9],
        vec![200, 1, 0, 0, 0, 0, 0, 9],
    ] {
        send(&far, whole(&[useless])).await;
    }
    let now = stack.net().network();
    assert_eq!((now.addresses.len(), now.routes.len(), now.link.mtu), (0, 1, 1500));
}

#[tokio::test(start_paused = true)]
async fn a_secret_gives_the_same_address_in_each_run() {
    let mut all = Vec::new();
    for (seed, secret, network) in
        [(1, 7, "fd00:7::"), (2, 7, "fd00:7::"), (3, 7, "fd00:8::"), (4, 8, "fd00:7::")]
    {
        let identifier = Identifier::StablePrivate { secret: [secret; 16] };
        let (stack, _, far) = start(seed, Config { identifier, on_event: None }).await;
        let option = prefix(network, 64, FOR_ADDRESSES, HOUR, HOUR);
        send(&far, advertisement(ROUTER, 1800, MEDIUM, &[option])).await;
        all.push(addresses(&stack).remove(0));
    }
    assert_eq!(all[0], all[1]);
    assert!(all[0][10..] != all[2][10..] && all[0] != all[3], "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn an_address_removed_by_hand_is_not_added_again() {
    let (stack, events, far) = start(1, Config::default()).await;
    let said = advertisement(
        ROUTER,
        1800,
        MEDIUM,
        &[prefix("fd00:7::", 64, ON_LINK | FOR_ADDRESSES, HOUR, HOUR)],
    );
    send(&far, said.clone()).await;
    let own = stack.net().network().addresses[0].addr();
    stack.net().control().remove_address(own).await.expect("its own");
    send(&far, said).await;
    assert!(addresses(&stack).is_empty());
    assert!(events.lock().expect("no panic").iter().any(|it| matches!(it, Event::Taken(_))));
}

#[tokio::test(start_paused = true)]
async fn clients_end_with_their_stacks() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..1000 {
        let (stack, _, far) = start(round, Config::default()).await;
        if round % 2 == 0 {
            send(&far, advertisement(ROUTER, 1800, MEDIUM, &[])).await;
        }
        assert!(tasks() > before);
        drop(stack);
    }
    sleep(Duration::from_millis(1)).await;

    assert_eq!(tasks(), before);
}

/// An advertisement of another node's that has this address (RFC 4861 section 4.4), in a frame.
fn taken(address: Ipv6Addr) -> Vec<u8> {
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd];
    let mut packet =
        advertisement(OTHER_ROUTER, 0, MEDIUM, &[vec![0; 8], vec![2, 1, 2, 0, 0, 0, 0, 9]]);
    packet[40..48].copy_from_slice(&[136, 0, 0, 0, 0x20, 0, 0, 0]);
    packet[48..64].copy_from_slice(&address.octets());
    let mut ip = Ipv6Packet::new_unchecked(&mut packet[..]);
    Icmpv6Packet::new_unchecked(ip.payload_mut()).fill_checksum(&OTHER_ROUTER, &ALL_NODES);
    frame.extend(packet);
    frame
}

#[tokio::test(start_paused = true)]
async fn duplicate_stable_address_is_replaced_by_another() {
    for (identifier, replacements) in
        [(Identifier::HardwareAddress, 0), (Identifier::StablePrivate { secret: [7; 16] }, 3)]
    {
        let (device, far) = device::ethernet_pipe(64, 1500);
        let config = Config { identifier, on_event: None };
        let stack = Builder::new().slaac(config).spawn(device).expect("a stack");
        sleep(Duration::from_secs(3)).await;
        let said = advertisement(
            ROUTER,
            1800,
            MEDIUM,
            &[prefix("fd00:7::", 64, ON_LINK | FOR_ADDRESSES, HOUR, HOUR)],
        );
        let header = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        far.send(Bytes::from([&header[..], &said].concat())).await;

        let mut tried = Vec::new();
        for _ in 0..10 {
            sleep(Duration::from_millis(300)).await;
            let own = stack.net().network().addresses.iter().map(|own| own.addr()).next_back();
            if let Some(IpAddr::V6(own)) = own.filter(|own| own.to_string().starts_with("fd00:7")) {
                assert!(!tried.contains(&own));
                tried.push(own);
                far.send(Bytes::from(taken(own))).await;
            }
        }

        assert_eq!(tried.len(), 1 + replacements);
        assert_eq!(stack.net().network().addresses.len(), 1, "the link-local one");
    }
}

proptest! {
    #[test]
    fn no_packet_panics(
        options in proptest::collection::vec(
            (
                prop_oneof![Just(1_u8), Just(3), Just(4), Just(5), Just(25), Just(31), any::<u8>()],
                0..6_u8,
                proptest::collection::vec(any::<u8>(), 0..48),
            ),
            0..8,
        ),
        noise in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let options: Vec<_> = options
            .into_iter()
            .map(|(kind, units, data)| [&[kind, units][..], &data].concat())
            .collect();
        let packet = advertisement(ROUTER, 9, MEDIUM, &options);
        if let Some(said) = read(&packet) {
            prop_assert!(said.prefixes.iter().all(|it| it.network.prefix_len() > 0));
        }
        prop_assert_eq!(read(&noise), None);
    }

    #[test]
    fn whole_options_are_read(
        units in 1..5_u8,
        kind in prop_oneof![Just(3_u8), Just(5), Just(25), Just(31)],
        data in proptest::collection::vec(any::<u8>(), 32),
    ) {
        let option = [&[kind, units][..], &data[..usize::from(units) * 8 - 2]].concat();
        prop_assert!(read(&advertisement(ROUTER, 9, MEDIUM, &[option])).is_some());
    }
}
