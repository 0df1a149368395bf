//! Leases after a suspend of the machine.

use super::*;
use crate::Clock;

/// By then every sleeper has compared the clocks again.
const NOTICED: Duration = Duration::from_secs(31);

/// A stack that holds a lease of 120 s, and its clock.
async fn holding() -> (Stack, Events, Server, Clock) {
    let (device, far) = device::pipe(64, 1500);
    let (clock, events) = (Clock::new(), Events::default());
    let log = events.clone();
    let config =
        Config::default().on_event(move |event| log.lock().expect("no panic").push(event.clone()));
    let builder = Builder::new().clock(clock.clone()).dhcp(config);
    let stack = builder.spawn(device).expect("a stack");
    let server = Server(far);
    server.lease(OWN).await;
    until_bound(&stack, OWN).await;
    sleep(Duration::from_millis(1)).await;
    names(&events);
    (stack, events, server, clock)
}

#[tokio::test(start_paused = true)]
async fn lease_that_expired_in_suspend_is_dropped() {
    let (stack, events, server, clock) = holding().await;
    let listener = stack.net().tcp_listen((OWN, 80)).await.expect("free");
    let dialled = stack.net().tcp_connect((OWN, 80));
    let (client, accepted) = tokio::join!(dialled, listener.accept());
    let (mut client, _accepted) = (client.expect("a listener"), accepted.expect("a client"));

    clock.skip(Duration::from_secs(8 * 3600));
    sleep(NOTICED).await;

    assert_eq!(stack.net().network().addresses, []);
    assert_eq!(stack.net().network().routes, []);
    assert_eq!(names(&events)[..2], ["lost", "discover"]);
    let end = client.read(&mut [0]).await.expect_err("its address is gone");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionAborted);
    assert_eq!(server.expect(Kind::Discover).await.option(50), Some(&OWN.octets()[..]));
}

#[tokio::test(start_paused = true)]
async fn a_packet_after_a_suspend_is_enough_to_notice_it() {
    let (stack, _, server, clock) = holding().await;
    clock.skip(Duration::from_secs(8 * 3600));

    let snapshot = stack.net().snapshot().await;
    sleep(Duration::from_millis(1)).await;

    assert!(snapshot.is_ok());
    assert_eq!(stack.net().network().addresses, []);
    server.expect(Kind::Discover).await;
}

#[tokio::test(start_paused = true)]
async fn lease_is_renewed_or_rebound_by_its_t1_and_t2() {
    for (slept, destination) in [(70, SERVER), (110, Ipv4Addr::BROADCAST)] {
        let (stack, _, server, clock) = holding().await;

        clock.skip(Duration::from_secs(slept));
        stack.net().snapshot().await.expect("a running stack");

        let asked = server.expect(Kind::Request).await;
        assert_eq!((asked.own, asked.destination), (OWN, destination), "after {slept} s");
        assert_eq!(stack.net().network().addresses.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_force_is_verified_and_kept_in_silence() {
    let (stack, events, server, clock) = holding().await;
    clock.skip(Duration::from_secs(10));
    stack.net().snapshot().await.expect("a running stack");

    // As RFC 2131 section 4.3.2 has it for INIT-REBOOT.
    let asked = server.expect(Kind::Request).await;
    assert_eq!((asked.own, asked.destination), (UNSPECIFIED, Ipv4Addr::BROADCAST));
    assert_eq!((asked.option(50), asked.option(54)), (Some(&OWN.octets()[..]), None));
    server.expect(Kind::Request).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(stack.net().network().addresses.len(), 1);
    assert_eq!(names(&events), ["request", "request"]);

    // And it is renewed when that is due.
    let asked = server.expect(Kind::Request).await;
    assert_eq!((asked.own, asked.destination), (OWN, SERVER));
}

#[tokio::test(start_paused = true)]
async fn lease_refused_by_another_network_is_dropped() {
    let (stack, events, server, clock) = holding().await;
    clock.skip(Duration::from_secs(10));
    stack.net().snapshot().await.expect("a running stack");

    let asked = server.expect(Kind::Request).await;
    server.send(asked.answer(Kind::Nak).by(OTHER_SERVER)).await;
    sleep(Duration::from_millis(1)).await;

    assert_eq!(stack.net().network().addresses, []);
    assert_eq!(names(&events), ["request", "nak", "lost", "discover"]);
    assert_eq!(server.expect(Kind::Discover).await.option(50), None);
}

#[tokio::test(start_paused = true)]
async fn lease_that_expired_while_stopped_is_not_used() {
    let (stack, events, server, _clock) = holding().await;

    // No task runs in the meantime, and every timer is late.
    tokio::time::advance(Duration::from_secs(8 * 3600)).await;
    sleep(Duration::from_millis(1)).await;

    assert_eq!(stack.net().network().addresses, []);
    assert_eq!(names(&events)[..2], ["lost", "discover"]);
    server.expect(Kind::Discover).await;
}
