//! The server against the client of this crate, and against messages of any kind.

use super::*;
use crate::dhcp::message::{Identity, Query};
use crate::dhcp::options::{self as option, options};
use crate::wire::DhcpMessageType as Kind;
use crate::{Builder, Stack, device, dhcp};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddrV4};
use tokio::time::{sleep, timeout};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 15);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 16);
const NOW: Duration = Duration::from_secs(1_000);

fn config() -> Config {
    Config {
        pool: FIRST..=SECOND,
        name_servers: vec![[10, 7, 0, 53].into()],
        domain: Some("lan".into()),
        mtu: Some(1400),
        lease_time: Duration::from_secs(120),
        ..Config::new("10.7.0.1/24".parse().expect("a network"))
    }
}

fn responder() -> Responder {
    Responder::new(config()).expect("a right configuration")
}

fn identity(client: u8) -> Identity {
    let hardware_address = [2, 0, 0, 0, 0, client];
    let client_id = [&[1][..], &hardware_address].concat();
    Identity { hardware_address, client_id, host_name: None }
}

/// A message of a client.
fn query(kind: Kind, own: Ipv4Addr, requested: Option<Ipv4Addr>) -> Query {
    let (transaction, elapsed) = (7, Duration::ZERO);
    Query { kind, transaction, elapsed, own, requested, server: None, bytes_max: 1500 }
}

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn discover(client: u8) -> Vec<u8> {
    query(Kind::Discover, NONE, None).write(&identity(client))
}

/// A request for an offer of the server.
fn select(client: u8, address: Ipv4Addr) -> Vec<u8> {
    let query = query(Kind::Request, NONE, Some(address));
    Query { server: Some(SERVER), ..query }.write(&identity(client))
}

/// The type of an answer, and its address.
fn said(reply: Option<Reply>) -> Option<(Kind, Ipv4Addr)> {
    let message = reply?.message;
    let kind = options(&message)[&option::MESSAGE_TYPE][0].into();
    let own: [u8; 4] = message[16..20].try_into().expect("four bytes");
    Some((kind, own.into()))
}

/// Gives a client its lease.
fn lease(responder: &mut Responder, client: u8, now: Duration) -> Ipv4Addr {
    let (_, own) = said(responder.answer(&discover(client), now)).expect("an offer");
    let acknowledged = said(responder.answer(&select(client, own), now));
    assert_eq!(acknowledged, Some((Kind::Ack, own)));
    own
}

/// A server on a stack and a client, with the capacity of the pipe between them.
async fn start() -> (Stack, Server, Stack) {
    let (near, far) = device::join(64, netcore::Medium::Ethernet, 1500, false);
    let seeded =
        |seed| netcore::Config { entropy: netcore::Entropy::Seed(seed), ..Default::default() };
    let address = "10.7.0.1/24".parse().expect("a network");
    let front = Builder::new().config(seeded(1)).address(address).spawn(near).expect("a stack");
    let server = Server::start(front.net(), config()).await.expect("a free port");
    let client = Builder::new().config(seeded(2)).dhcp(dhcp::Config::default());
    (front, server, client.spawn(far).expect("a stack"))
}

#[tokio::test(start_paused = true)]
async fn the_client_of_this_crate_gets_and_renews_a_lease() {
    let (_front, server, client) = start().await;

    let mut watch = client.net().watch_network();
    let has_address = |now: &netcore::Network| now.addresses.iter().any(|own| own.addr() == FIRST);
    let bound = timeout(Duration::from_secs(30), watch.wait_for(has_address));
    let network = bound.await.expect("soon").expect("a running stack");

    assert_eq!(network.routes, [netcore::Route::default_via(SERVER.into())]);
    assert_eq!(network.name_servers, [IpAddr::from([10, 7, 0, 53])]);
    assert_eq!((&network.search_domains[..], network.link.mtu), (&["lan".to_string()][..], 1400));
    for _ in 0..5 {
        sleep(Duration::from_secs(100)).await;
        let leases = server.leases();
        assert_eq!(leases.len(), 1, "renewed in time");
        assert_eq!(leases[0].address, FIRST);
        assert!(leases[0].remaining > Duration::from_secs(40), "{leases:?}");
    }
    client.shutdown(Duration::from_secs(5)).await.expect("an end in good order");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.leases(), [], "given back");
}

#[test]
fn a_client_keeps_its_address_after_its_lease_has_ended() {
    let mut responder = responder();
    assert_eq!(lease(&mut responder, 1, NOW), FIRST);
    assert_eq!(lease(&mut responder, 2, NOW), SECOND);
    assert_eq!(responder.leases(NOW).len(), 2);

    let later = NOW + Duration::from_secs(500);
    assert_eq!(responder.leases(later), []);
    assert_eq!(lease(&mut responder, 2, later), SECOND);
    assert_eq!(lease(&mut responder, 1, later), FIRST);
}

#[test]
fn a_full_pool_answers_nobody_until_a_lease_ends() {
    let mut responder = responder();
    lease(&mut responder, 1, NOW);
    lease(&mut responder, 2, NOW + Duration::from_secs(1));

    assert_eq!(responder.answer(&discover(3), NOW), None);
    let ended = NOW + Duration::from_secs(120);
    assert_eq!(lease(&mut responder, 3, ended), FIRST);
}

#[test]
fn offers_that_nobody_takes_up_do_not_fill_the_pool() {
    let mut responder = responder();
    for client in 0..=255 {
        let now = NOW + Duration::from_millis(client.into());
        let offered = said(responder.answer(&discover(client), now)).expect("an offer");
        assert_eq!(offered.0, Kind::Offer);
    }
    // The older of two offers is given away, and its client is refused.
    let now = NOW + Duration::from_secs(1);
    assert_eq!(lease(&mut responder, 1, now), FIRST);
    assert_eq!(said(responder.answer(&select(254, FIRST), now)), Some((Kind::Nak, NONE)));
}

#[test]
fn an_address_from_before_is_kept_or_refused() {
    let reboot = |client, own| query(Kind::Request, NONE, Some(own)).write(&identity(client));
    let renew = |client, own| query(Kind::Request, own, None).write(&identity(client));
    let mut responder = responder();

    // As after a restart of the server.
    assert_eq!(said(responder.answer(&reboot(1, FIRST), NOW)), Some((Kind::Ack, FIRST)));
    let renewed = responder.answer(&renew(2, SECOND), NOW).expect("an answer");
    assert_eq!(renewed.destination, SocketAddrV4::new(SECOND, 68));
    assert_eq!(said(Some(renewed)), Some((Kind::Ack, SECOND)));

    // Another's, one of another network, one outside of the pool, the server's.
    for own in [FIRST, [192, 168, 1, 5].into(), [10, 7, 0, 99].into(), SERVER] {
        for message in [reboot(3, own), renew(3, own)] {
            let refused = responder.answer(&message, NOW).expect("an answer");
            assert_eq!(*refused.destination.ip(), Ipv4Addr::BROADCAST);
            assert_eq!(said(Some(refused)), Some((Kind::Nak, NONE)), "{own}");
        }
    }
}

#[test]
fn a_declined_address_is_set_aside() {
    let mut responder = responder();
    lease(&mut responder, 1, NOW);
    let decline = |client| query(Kind::Decline, NONE, Some(FIRST)).write(&identity(client));

    assert_eq!(responder.answer(&decline(2), NOW), None);
    assert_eq!(responder.leases(NOW).len(), 1, "of another client");
    assert_eq!(responder.answer(&decline(1), NOW), None);
    assert_eq!(responder.leases(NOW), []);
    assert_eq!(lease(&mut responder, 1, NOW), SECOND);
    assert_eq!(responder.answer(&discover(3), NOW), None);
    let later = NOW + Duration::from_secs(600);
    assert_eq!(lease(&mut responder, 3, later), SECOND);
    assert_eq!(lease(&mut responder, 4, later), FIRST);
}

#[test]
fn an_offer_ends_when_another_server_is_chosen() {
    let mut responder = responder();
    responder.answer(&discover(1), NOW).expect("an offer");
    let other = Some(Ipv4Addr::new(10, 7, 0, 2));
    let chosen = Query { server: other, ..query(Kind::Request, NONE, Some(FIRST)) };

    assert_eq!(responder.answer(&chosen.write(&identity(1)), NOW), None);
    assert_eq!(lease(&mut responder, 2, NOW), FIRST);
}

#[test]
fn an_inform_is_answered_without_an_address() {
    let own = Ipv4Addr::new(10, 7, 0, 99);
    let inform = |own| query(Kind::Inform, own, None).write(&identity(1));
    let reply = responder().answer(&inform(own), NOW).expect("an answer");

    assert_eq!(reply.destination, SocketAddrV4::new(own, 68));
    assert!(!options(&reply.message).contains_key(&option::LEASE_TIME));
    assert_eq!(said(Some(reply)), Some((Kind::Ack, NONE)));
    // An answer to one elsewhere would be a reflection.
    assert_eq!(responder().answer(&inform([8, 8, 8, 8].into()), NOW), None);
}

#[test]
fn messages_that_no_client_sends_are_ignored() {
    let whole = discover(1);
    let doctored = |at: usize, bytes: &[u8]| {
        let mut message = whole.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let wrong = [
        ("a reply", doctored(0, &[2])),
        ("another hardware", doctored(1, &[6])),
        ("a length of the address", doctored(2, &[16])),
        ("a relay agent", doctored(24, &[10, 7, 0, 9])),
        ("a group address", doctored(28, &[0xff; 6])),
        ("no magic", doctored(236, &[0; 4])),
        ("no type", doctored(240, &[0, 0, 0])),
        ("an unknown type", doctored(242, &[99])),
        ("a type of a server", doctored(242, &[u8::from(Kind::Offer)])),
        ("nothing", Vec::new()),
        ("a half", whole[..239].to_vec()),
    ];
    for (what, message) in wrong {
        assert_eq!(responder().answer(&message, NOW), None, "{what}");
    }
}

#[test]
fn the_longest_answer_fits_into_what_every_client_takes() {
    let domain = Some(["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(60)].join("."));
    let name_servers = vec![[10, 7, 0, 53].into(); NAME_SERVERS_MAX];
    let mut responder = Responder::new(Config { domain, name_servers, ..config() }).expect("right");
    let identity = Identity { client_id: vec![7; 255], ..identity(1) };
    let long = Query { bytes_max: 0, ..query(Kind::Discover, NONE, None) };

    let reply = responder.answer(&long.write(&identity), NOW).expect("an offer");
    assert!(reply.message.len() <= 548, "{}", reply.message.len());
    let found = options(&reply.message);
    assert_eq!(found[&option::NAME_SERVERS].len(), 32);
    assert!(found.contains_key(&option::LEASE_TIME));
}

#[test]
fn a_wrong_configuration_is_named() {
    for (wrong, expected) in [
        (Config { pool: SECOND..=FIRST, ..config() }, "pool: 10.7.0.16 to 10.7.0.15"),
        (Config { pool: FIRST..=[10, 7, 0, 255].into(), ..config() }, "pool"),
        (Config { pool: FIRST..=[10, 8, 0, 1].into(), ..config() }, "pool"),
        (Config::new("255.255.255.255/32".parse().expect("a network")), "pool"),
        (Config::new("10.0.0.1/32".parse().expect("a network")), "pool"),
        (Config { domain: Some("a b".into()), ..config() }, "domain: \"a b\""),
        (Config { mtu: Some(575), ..config() }, "mtu"),
        (Config { lease_time: Duration::from_millis(999), ..config() }, "lease_time"),
        (Config { name_servers: vec![SERVER; 9], ..config() }, "name_servers"),
    ] {
        let error = Responder::new(wrong).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_ignored(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0..400_usize,
    ) {
        let mut responder = responder();
        let _ = responder.answer(&bytes, NOW);
        // The same behind a header that is right.
        let mut message = discover(1);
        message.truncate(240.max(at));
        message.extend(&bytes);
        let _ = responder.answer(&message, NOW);
    }
}
