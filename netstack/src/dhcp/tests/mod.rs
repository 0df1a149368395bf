//! The client against scripted servers, in virtual time.

mod hostile;
mod link;
mod server;
mod suspend;

use super::{Config, Event};
use crate::wire::DhcpMessageType as Kind;
use crate::{Builder, Entropy, Stack, device};
use server::{ClientMessage, MASK, SERVER, Server};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 100);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 101);
const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

type Events = Arc<Mutex<Vec<Event>>>;

/// A stack with a client, the client's events, and the far end of its link.
fn start(seed: u64, config: Config) -> (Stack, Events, Server) {
    let (device, far) = device::pipe(64, 1500);
    let events = Events::default();
    let log = events.clone();
    let config = config.on_event(move |event| log.lock().expect("no panic").push(event.clone()));
    let limits = netcore::Config { entropy: Entropy::Seed(seed), ..Default::default() };
    let stack = Builder::new().config(limits).dhcp(config).spawn(device).expect("a stack");
    (stack, events, Server(far))
}

fn seconds(since: Instant) -> u64 {
    (since.elapsed().as_millis() as u64 + 500) / 1000
}

async fn until_bound(stack: &Stack, own: Ipv4Addr) {
    let wanted = IpAddr::V4(own);
    let mut watch = stack.net().watch_network();
    let is_there = |now: &netcore::Network| now.addresses.iter().any(|own| own.addr() == wanted);
    timeout(Duration::from_secs(60), watch.wait_for(is_there))
        .await
        .expect("an address")
        .expect("a running stack");
}

fn names(events: &Events) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Discover => "discover",
        Event::Offer { .. } => "offer",
        Event::Request => "request",
        Event::Ack { .. } => "ack",
        Event::Nak { .. } => "nak",
        Event::Renewing => "renewing",
        Event::Rebinding => "rebinding",
        Event::Bound(_) => "bound",
        Event::Lost => "lost",
    };
    std::mem::take(&mut *events.lock().expect("no panic")).iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_asked_for_and_put_into_force() {
    let config = Config { host_name: Some("box".into()), ..Config::default() };
    let (stack, events, server) = start(1, config);

    let asked = server.expect(Kind::Discover).await;
    assert_eq!((asked.source, asked.destination), (UNSPECIFIED, Ipv4Addr::BROADCAST));
    assert!(asked.wants_broadcast);
    assert_eq!(asked.option(12), Some(&b"box"[..]));
    assert_eq!(asked.option(61).map(|id| (id[0], id.len())), Some((1, 7)));
    let parameters = asked.option(55).expect("a list");
    assert!([1, 3, 6, 15, 26, 119, 121].iter().all(|wanted| parameters.contains(wanted)));
    server.send(&asked.lease(Kind::Offer, OWN)).await;
    let asked = server.expect(Kind::Request).await;
    assert_eq!((asked.source, asked.destination), (UNSPECIFIED, Ipv4Addr::BROADCAST));
    assert_eq!(asked.option(50), Some(&OWN.octets()[..]));
    assert_eq!(asked.option(54), Some(&SERVER.octets()[..]));
    server.send(&asked.lease(Kind::Ack, OWN)).await;
    until_bound(&stack, OWN).await;

    let now = stack.net().network();
    assert_eq!(now.addresses, ["10.7.0.100/24".parse().expect("a network")]);
    assert_eq!(now.routes, [netcore::Route::default_via(SERVER.into())]);
    assert_eq!(now.name_servers, [IpAddr::from([10, 7, 0, 53])]);
    assert_eq!((&now.search_domains[..], now.link.mtu), (&["lan".to_string()][..], 1400));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(names(&events), ["discover", "offer", "request", "ack", "bound"]);
}

/// As passt does.
#[tokio::test(start_paused = true)]
async fn a_lease_comes_by_unicast_before_there_is_an_address() {
    let (stack, events, server) = start(1, Config::default());

    let asked = server.expect(Kind::Discover).await;
    server.send(asked.lease(Kind::Offer, OWN).unicast()).await;
    let asked = server.expect(Kind::Request).await;
    server.send(asked.lease(Kind::Ack, OWN).unicast()).await;
    until_bound(&stack, OWN).await;

    sleep(Duration::from_secs(1)).await;
    assert_eq!(names(&events), ["discover", "offer", "request", "ack", "bound"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_rebound_and_lost() {
    let (stack, events, server) = start(1, Config::default());
    server.lease(OWN).await;
    until_bound(&stack, OWN).await;
    names(&events);

    // At T1 the server gets a request, and answers.
    let bound = Instant::now();
    let asked = server.expect(Kind::Request).await;
    assert!((58..=60).contains(&seconds(bound)), "{bound:?}");
    assert_eq!((asked.source, asked.destination, asked.own), (OWN, SERVER, OWN));
    assert_eq!((asked.option(50), asked.option(54), asked.wants_broadcast), (None, None, false));
    let mut ack = asked.lease(Kind::Ack, OWN);
    server.send(ack.set(58, &5_u32.to_be_bytes()).set(59, &90_u32.to_be_bytes())).await;

    // The server grants T1 and is silent after it: the client rebinds, asking any server.
    let renewed = Instant::now();
    assert_eq!(server.expect(Kind::Request).await.destination, SERVER);
    assert_eq!(seconds(renewed), 5);
    assert_eq!(server.expect(Kind::Request).await.destination, SERVER);
    assert_eq!(seconds(renewed), 65);
    let asked = server.expect(Kind::Request).await;
    assert_eq!((asked.source, asked.destination, asked.own), (OWN, Ipv4Addr::BROADCAST, OWN));
    assert_eq!(seconds(renewed), 90);
    let mut ack = asked.lease(Kind::Ack, OWN);
    server.send(ack.by(OTHER_SERVER).set(51, &400_u32.to_be_bytes())).await;
    sleep(Duration::from_secs(1)).await;
    let expected = ["renewing", "request", "ack", "bound"];
    let then = ["renewing", "request", "request", "rebinding", "request", "ack", "bound"];
    assert_eq!(names(&events), [&expected[..], &then].concat());
    assert_eq!(stack.net().network().addresses.len(), 1);

    // No server answers any more.
    let rebound = Instant::now() - Duration::from_secs(1);
    while server.asked().await.kind == Kind::Request {}
    assert_eq!(seconds(rebound), 400);
    assert!(stack.net().network().addresses.is_empty());
    assert!(stack.net().network().name_servers.is_empty());
    let log = names(&events);
    assert_eq!(log.last_chunk::<2>(), Some(&["lost", "discover"]), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn last_address_is_requested_again_unless_refused() {
    let (_stack, events, server) = start(1, Config::default());
    server.lease(OWN).await;

    let asked = loop {
        let asked = server.asked().await;
        if asked.kind == Kind::Discover {
            break asked;
        }
    };
    assert_eq!(asked.option(50), Some(&OWN.octets()[..]));
    server.send(&asked.lease(Kind::Offer, OWN)).await;
    let asked = server.expect(Kind::Request).await;
    server.send(&asked.answer(Kind::Nak)).await;
    let asked = server.expect(Kind::Discover).await;
    assert_eq!(asked.option(50), None);

    // A server that refuses repeatedly gets ever fewer requests.
    let (mut asked, start) = (asked, Instant::now());
    for _ in 0..10 {
        server.send(&asked.lease(Kind::Offer, OWN)).await;
        let request = server.expect(Kind::Request).await;
        server.send(&request.answer(Kind::Nak)).await;
        asked = server.expect(Kind::Discover).await;
    }
    assert_eq!(seconds(start), 1 + 2 + 4 + 8 + 16 + 32 + 4 * 64);
    assert!(names(&events).contains(&"nak"));
}

/// Takes the client's messages to the test, and everything else to and from another stack.
fn beside(
    server: Server,
) -> (tokio::sync::mpsc::UnboundedReceiver<ClientMessage>, Arc<Server>, Stack) {
    let (device, peer) = device::pipe(64, 1500);
    let address = "10.7.0.50/24".parse().expect("a network");
    let stack = Builder::new().address(address).spawn(device).expect("a stack");
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    let (server, peer) = (Arc::new(server), Arc::new(peer));
    let (to, from) = (server.clone(), peer.clone());
    tokio::spawn(async move {
        while let Some(packet) = from.recv().await {
            to.0.send(packet).await;
        }
    });
    let from = server.clone();
    tokio::spawn(async move {
        while let Some(packet) = from.0.recv().await {
            match ClientMessage::read(&packet) {
                Some(asked) => drop(sender.send(asked)),
                None => drop(peer.send(packet).await),
            }
        }
    });
    (asked, server, stack)
}

#[tokio::test(start_paused = true)]
async fn with_another_address_old_connections_end_and_listeners_go_on() {
    let (stack, events, server) = start(1, Config::default());
    let (mut asked, server, peer) = beside(server);
    let listener = stack.net().tcp_listen("0.0.0.0:80").await.expect("a port");
    let mut own = OWN;
    let mut streams = Vec::new();
    for is_renewal in [false, true] {
        if is_renewal {
            let asked = asked.recv().await.expect("a renewal");
            assert_eq!((asked.kind, asked.own), (Kind::Request, OWN));
            server.send(&asked.answer(Kind::Nak)).await;
            own = OTHER;
        }
        let discover = asked.recv().await.expect("a discover");
        assert_eq!(discover.kind, Kind::Discover);
        server.send(&discover.lease(Kind::Offer, own)).await;
        let request = asked.recv().await.expect("a request");
        server.send(&request.lease(Kind::Ack, own)).await;
        until_bound(&stack, own).await;

        let client = peer.net().tcp_connect((own, 80)).await.expect("a listener");
        let (stream, _) = listener.accept().await.expect("a connection");
        streams.push((client, stream));
    }

    let (mut old_client, mut old) = streams.remove(0);
    let ours = old.read(&mut [0]).await.expect_err("its address is gone");
    let cause = ours.get_ref().and_then(|cause| cause.downcast_ref::<crate::Error>());
    assert_eq!(cause, Some(&crate::Error::AddressRemoved));
    let theirs = old_client.read(&mut [0]).await.expect_err("a reset");
    assert_eq!(theirs.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(stack.net().network().addresses, ["10.7.0.101/24".parse().expect("a network")]);
    let log = names(&events);
    assert!(log.windows(3).any(|three| three == ["nak", "lost", "discover"]), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_more_and_more_rarely() {
    for seed in 0..20 {
        let (_stack, _, server) = start(seed, Config::default());
        server.expect(Kind::Discover).await;
        for expected in [4_000, 8_000, 16_000, 32_000, 64_000, 64_000, 64_000_i64] {
            let last = Instant::now();
            server.expect(Kind::Discover).await;
            let waited = last.elapsed().as_millis() as i64;
            assert!((waited - expected).abs() <= 1_002, "{waited} ms instead of {expected}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_message_may_get_lost() {
    for seed in 0..50_u64 {
        let (stack, _, server) = start(seed, Config::default());
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let serving = async {
            loop {
                let asked = server.asked().await;
                let kind = if asked.kind == Kind::Discover { Kind::Offer } else { Kind::Ack };
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Two thirds of all messages, or answers to them.
                if state.is_multiple_of(3) {
                    server.send(&asked.lease(kind, OWN)).await;
                }
            }
        };
        let mut watch = stack.net().watch_network();
        let bound = watch.wait_for(|now| !now.addresses.is_empty());
        tokio::select! {
            bound = timeout(Duration::from_secs(3600), bound) => {
                assert!(bound.is_ok(), "seed {seed}");
            }
            () = serving => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_anything_due_nothing_is_sent() {
    let (stack, _, server) = start(1, Config::default());
    let asked = server.expect(Kind::Discover).await;
    server.send(&asked.lease(Kind::Offer, OWN)).await;
    let asked = server.expect(Kind::Request).await;
    server.send(asked.lease(Kind::Ack, OWN).set(51, &u32::MAX.to_be_bytes())).await;
    until_bound(&stack, OWN).await;

    sleep(Duration::from_secs(3 * 365 * 86_400)).await;

    assert!(server.0.try_recv().is_none(), "an infinite lease");
    assert_eq!(stack.net().network().addresses.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_given_back_in_good_order() {
    for (release, is_shut_down) in [(true, true), (false, true), (true, false)] {
        let (stack, _, server) = start(1, Config { release, ..Config::default() });
        server.lease(OWN).await;
        until_bound(&stack, OWN).await;
        sleep(Duration::from_secs(1)).await;

        if is_shut_down {
            stack.shutdown(Duration::from_secs(1)).await.expect("no failure");
        } else {
            drop(stack);
        }

        let last =
            server.0.recv().await.map(|packet| ClientMessage::read(&packet).expect("a message"));
        assert_eq!(last.is_some(), release && is_shut_down);
        if let Some(last) = last {
            assert_eq!((last.kind, last.own, last.destination), (Kind::Release, OWN, SERVER));
            assert_eq!(last.option(54), Some(&SERVER.octets()[..]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dhcprelease_waits_for_the_server_on_ethernet() {
    let (device, far) = device::ethernet_pipe(64, 1500);
    let stack = Builder::new().dhcp(Config::default()).spawn(device).expect("a stack");
    let server_link = [2, 0, 0, 0, 0, 1];
    let mut is_leased = false;
    let serving = async {
        while let Some(frame) = far.recv().await {
            let asker = frame[6..12].to_vec();
            let header = [&asker[..], &server_link, &frame[12..14]].concat();
            let is_question = frame[12..14] == [8, 6] && frame[38..42] == SERVER.octets();
            if is_question && is_leased {
                let mut answer = [&header[..], &[0, 1, 8, 0, 6, 4, 0, 2], &server_link].concat();
                answer.extend(SERVER.octets());
                answer.extend(&frame[22..32]);
                far.send(answer.into()).await;
            }
            let Some(asked) = ClientMessage::read(&frame[14..]) else { continue };
            let kind = match asked.kind {
                Kind::Discover => Kind::Offer,
                Kind::Request => Kind::Ack,
                _ => return asked,
            };
            is_leased = kind == Kind::Ack;
            let packet = asked.lease(kind, OWN).packet();
            let header = [&[0xff; 6][..], &server_link, &[8, 0]].concat();
            far.send([&header[..], &packet].concat().into()).await;
        }
        panic!("the stack has ended");
    };
    let stopping = async {
        until_bound(&stack, OWN).await;
        stack.shutdown(Duration::from_secs(5)).await
    };

    let (last, stopped) = tokio::join!(serving, stopping);

    assert_eq!((last.kind, last.own, last.source), (Kind::Release, OWN, OWN));
    stopped.expect("no failure");
}

#[tokio::test]
async fn a_client_runs_on_the_thread_of_its_stack() {
    let (device, far) = device::pipe(64, 1500);
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let config = Config::default().on_event(move |event| {
        let _ = sender.send(event.clone());
    });
    let stack = Builder::new().dhcp(config).spawn_thread(device).expect("a stack");
    let server = Server(far);
    server.lease(OWN).await;
    while !matches!(events.recv().await.expect("a client"), Event::Bound(_)) {}

    let stopping =
        tokio::task::spawn_blocking(move || stack.shutdown_blocking(Duration::from_secs(10)));
    let last = server.expect(Kind::Release).await;

    assert_eq!(last.own, OWN);
    stopping.await.expect("no panic").expect("no failure");
}

#[tokio::test(start_paused = true)]
async fn clients_end_with_their_stacks() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..1000 {
        let (stack, _, server) = start(round, Config::default());
        if round % 2 == 0 {
            server.lease(OWN).await;
            until_bound(&stack, OWN).await;
        }
        assert!(tasks() > before);
    }
    sleep(Duration::from_millis(1)).await;

    assert_eq!(tasks(), before);
}
