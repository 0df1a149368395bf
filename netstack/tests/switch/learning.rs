//! Where frames go.

use crate::{ALL, assert_adds_up, frame, mac, port, received, switch};
use netstack::switch::{SwitchConfig, SwitchDropReason};
use std::time::Duration;

#[test]
fn unknown_destination_is_flooded_until_learned() {
    let switch = switch();
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));

    let question = frame(mac(2), mac(1), b"question");
    assert!(a.send(question.clone()));
    assert_eq!(received(&b), std::slice::from_ref(&question));
    assert_eq!(received(&c), [question]);

    let answer = frame(mac(1), mac(2), b"answer");
    b.send(answer.clone());
    let next = frame(mac(2), mac(1), b"next");
    a.send(next.clone());

    assert_eq!(received(&a), [answer]);
    assert_eq!(received(&b), [next]);
    assert_eq!(received(&c).len(), 0, "unicast between two ports does not reach a third");
    let learned: Vec<_> =
        switch.addresses().iter().map(|entry| (entry.address.0, entry.port)).collect();
    assert_eq!(learned, [(mac(1), a.id()), (mac(2), b.id())]);
    assert_adds_up(&switch);
}

#[test]
fn unicast_is_counted_between_the_two_ports_that_talk() {
    let switch = switch();
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));
    a.send(frame(ALL, mac(1), b"here"));
    b.send(frame(mac(1), mac(2), b"to a"));
    a.send(frame(mac(2), mac(1), b"to b"));
    a.send(frame(mac(2), mac(1), b"to b again"));
    c.send(frame(mac(2), mac(3), b"to b, too"));

    let pairs: Vec<_> = switch
        .pairs()
        .into_iter()
        .map(|pair| (pair.from, pair.to, pair.traffic.frames, pair.traffic.bytes))
        .collect();

    let header = frame(mac(1), mac(2), b"").len() as u64;
    let expected = [
        (a.id(), b.id(), 2, 2 * header + 14),
        (b.id(), a.id(), 1, header + 4),
        (c.id(), b.id(), 1, header + 9),
    ];
    assert_eq!(pairs, expected);
    switch.remove(b.id());
    assert_eq!(switch.pairs().len(), 0, "a port that is gone talks to nobody");
    assert_adds_up(&switch);
}

#[test]
fn broadcast_and_multicast_go_to_all_others() {
    let switch = switch();
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));

    a.send(frame(ALL, mac(1), b"all"));
    a.send(frame([0x33, 0x33, 0, 0, 0, 1], mac(1), b"many"));

    assert_eq!((received(&a).len(), received(&b).len(), received(&c).len()), (0, 2, 2));
    let all = switch.statistics();
    assert_eq!((all.flooded, all.flood_copies, all.sent.frames), (2, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_is_forgotten() {
    let switch = switch();
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));
    let age = SwitchConfig::default().address_age;
    b.send(frame(ALL, mac(2), b"here"));
    tokio::time::advance(age - Duration::from_secs(1)).await;
    a.send(frame(mac(2), mac(1), b"known"));
    assert_eq!(received(&c).len(), 1, "the broadcast alone");

    // Being sent to does not keep it.
    tokio::time::advance(Duration::from_secs(1)).await;
    a.send(frame(mac(2), mac(1), b"unknown"));

    assert_eq!(received(&c).len(), 1);
    assert_eq!(switch.addresses().len(), 1);
    b.send(frame(mac(1), mac(2), b"here again"));
    a.send(frame(mac(2), mac(1), b"known"));
    assert_eq!(received(&c).len(), 0);
}

#[test]
fn an_address_is_where_it_was_seen_last() {
    let switch = switch();
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));
    b.send(frame(ALL, mac(2), b"here"));

    // The address has moved, or is spoofed: a bridge cannot distinguish the two.
    c.send(frame(ALL, mac(2), b"here"));
    received(&b);
    a.send(frame(mac(2), mac(1), b"to the new port"));
    assert_eq!((received(&b).len(), received(&c).len()), (0, 2));
    b.send(frame(ALL, mac(2), b"here again"));
    received(&c);
    a.send(frame(mac(2), mac(1), b"to the old port"));

    assert_eq!((received(&b).len(), received(&c).len()), (1, 0));
    assert_eq!(switch.addresses().len(), 2);
}

#[tokio::test]
async fn a_removed_port_closes_and_its_addresses_are_forgotten() {
    let switch = switch();
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));
    b.send(frame(ALL, mac(2), b"here"));
    received(&c);
    let id = b.id();

    assert!(switch.remove(id));

    assert!(!switch.remove(id));
    assert_eq!(b.recv().await, None);
    assert!(!b.send(frame(ALL, mac(2), b"still here")));
    assert_eq!(switch.addresses().len(), 0);
    a.send(frame(mac(2), mac(1), b"to a forgotten address"));
    assert_eq!(received(&c).len(), 1);
    drop(c);
    assert_eq!(switch.ports().len(), 1);
    a.send(frame(mac(2), mac(1), b"to an unknown address"));
    assert_eq!(switch.ports()[0].statistics.dropped(SwitchDropReason::NoPort), 1);
    drop(switch);
    assert!(!a.send(frame(mac(2), mac(1), b"without a switch")));
    received(&a);
    assert_eq!(a.recv().await, None);
}

#[test]
fn frames_that_bridges_must_not_forward_are_dropped() {
    let switch = switch();
    let (a, b) = (port(&switch), port(&switch));
    let cases = [
        (frame(ALL, mac(1), b"")[..13].to_vec().into(), SwitchDropReason::Short),
        (bytes::Bytes::new(), SwitchDropReason::Short),
        (frame(mac(2), ALL, b"from all"), SwitchDropReason::Source),
        (frame(mac(2), [0x33, 0x33, 0, 0, 0, 1], b"from many"), SwitchDropReason::Source),
        (frame(mac(2), [0; 6], b"from the zero address"), SwitchDropReason::Source),
        (frame([1, 0x80, 0xc2, 0, 0, 0], mac(1), b"a bridge's"), SwitchDropReason::Reserved),
        (frame(mac(2), mac(1), &vec![0; 70_000]), SwitchDropReason::TooLarge),
    ];

    for (frame, reason) in cases {
        let before = switch.ports()[0].statistics.dropped(reason);
        a.send(frame);
        let after = switch.ports()[0].statistics.dropped(reason);
        assert_eq!(after, before + 1, "{reason:?}");
    }

    assert_eq!(received(&b).len(), 0);
    assert_eq!(switch.addresses().len(), 0);
    assert_adds_up(&switch);
}

#[test]
fn frame_to_an_address_on_its_own_port_is_dropped() {
    let switch = switch();
    let (a, b) = (port(&switch), port(&switch));
    a.send(frame(ALL, mac(1), b"here"));
    received(&b);

    // Two hosts behind one port, and one that sends to its own address.
    a.send(frame(mac(1), mac(3), b"neighbour"));
    a.send(frame(mac(1), mac(1), b"myself"));

    assert_eq!((received(&a).len(), received(&b).len()), (0, 0));
    assert_eq!(switch.statistics().dropped(SwitchDropReason::SamePort), 2);
    assert_adds_up(&switch);
}

#[tokio::test]
async fn a_monitor_sees_every_frame_once() {
    let switch = switch();
    let (a, b, _c) = (port(&switch), port(&switch), port(&switch));
    let monitor = switch.monitor();

    a.send(frame(ALL, mac(1), b"flooded"));
    b.send(frame(mac(1), mac(2), b"for one"));
    b.send(frame(mac(2), mac(2), b"dropped"));
    drop(switch);

    for (port, content) in [(a.id(), &b"flooded"[..]), (b.id(), b"for one"), (b.id(), b"dropped")] {
        let seen = monitor.recv().await.expect("seen");
        assert_eq!((seen.port, &seen.frame[14..]), (port, content));
    }
    assert!(monitor.recv().await.is_none());
}

#[cfg(feature = "capture")]
#[tokio::test]
async fn monitored_frames_can_be_recorded() {
    use netstack::capture::Recorder;
    let switch = switch();
    let (a, b) = (port(&switch), port(&switch));
    let (monitor, recorder) = (switch.monitor(), Recorder::new(std::io::sink()));
    a.send(frame(ALL, mac(1), b"to all"));
    b.send(frame(mac(1), mac(2), b"to one"));
    drop(switch);

    monitor.record(&recorder).await;

    assert_eq!(recorder.statistics().frames, 2);
}
