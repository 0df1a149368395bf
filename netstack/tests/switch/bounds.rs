//! Bounds on the effect of one port on others, and on memory.

use crate::{ALL, assert_adds_up, frame, mac, port, received, switch};
use netcore::Link as _;
use netstack::device::ethernet_pipe;
use netstack::switch::{PortConfig, Switch, SwitchConfig, SwitchDropReason};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn floods_have_a_rate_for_each_port() {
    let config = SwitchConfig { flooded_frames_per_second: 10, ..SwitchConfig::default() };
    let switch = Switch::new(config);
    let (a, b, c) = (port(&switch), port(&switch), port(&switch));

    for _ in 0..100 {
        a.send(frame(ALL, mac(1), b"storm"));
    }
    assert_eq!(received(&b).len(), 10);
    b.send(frame(ALL, mac(2), b"still flooded"));
    a.send(frame(mac(2), mac(1), b"unicast is not rate-limited"));
    assert_eq!((received(&a).len(), received(&b).len(), received(&c).len()), (1, 1, 11));
    tokio::time::advance(Duration::from_millis(500)).await;
    for _ in 0..100 {
        a.send(frame(ALL, mac(1), b"storm"));
    }

    assert_eq!(received(&b).len(), 5);
    assert_eq!(switch.ports()[0].statistics.dropped(SwitchDropReason::FloodRate), 185);
    assert_adds_up(&switch);
}

#[test]
fn pairs_are_counted_as_far_as_there_is_room() {
    let switch = Switch::new(SwitchConfig { port_pairs_max: 2, ..SwitchConfig::default() });
    let ports: Vec<_> = (0..5).map(|_| port(&switch)).collect();
    for (port, number) in ports.iter().zip(1..) {
        port.send(frame(ALL, mac(number), b"here"));
    }

    for _ in 0..2 {
        for number in 2..=5 {
            ports[0].send(frame(mac(number), mac(1), b"to each"));
        }
    }

    let pairs: Vec<_> = switch.pairs().iter().map(|it| (it.to, it.traffic.frames)).collect();
    assert_eq!(pairs, [(ports[1].id(), 2), (ports[2].id(), 2)]);
    assert_adds_up(&switch);
}

#[test]
fn a_port_that_is_never_read_loses_only_its_own_frames() {
    let switch = Switch::new(SwitchConfig { queue_frames_max: 8, ..SwitchConfig::default() });
    let (a, slow, quick) = (port(&switch), port(&switch), port(&switch));

    let mut heard = 0;
    for _ in 0..100 {
        a.send(frame(ALL, mac(1), b"to all"));
        heard += received(&quick).len();
    }

    assert_eq!(heard, 100);
    let statistics = switch.ports()[1].statistics;
    assert_eq!((statistics.sent.frames, statistics.dropped(SwitchDropReason::QueueFull)), (8, 92));
    assert_eq!(received(&slow).len(), 8);
    assert_adds_up(&switch);
}

#[tokio::test(start_paused = true)]
async fn addresses_have_bounds_in_all_and_for_a_port() {
    let config =
        SwitchConfig { addresses_max: 10, port_addresses_max: 6, ..SwitchConfig::default() };
    let age = config.address_age;
    let switch = Switch::new(config);
    let (a, b) = (port(&switch), port(&switch));
    let count = |id| switch.addresses().iter().filter(|entry| entry.port == id).count();

    for number in 0..100 {
        a.send(frame(ALL, mac(number), b""));
    }
    assert_eq!(count(a.id()), 6);
    for number in 100..200 {
        b.send(frame(ALL, mac(number), b""));
    }
    assert_eq!((count(a.id()), count(b.id())), (6, 4));
    tokio::time::advance(age).await;
    b.send(frame(ALL, mac(250), b"old ones make room"));

    assert_eq!((count(a.id()), count(b.id())), (0, 1));
}

#[test]
fn a_slow_monitor_counts_missed_frames() {
    let switch = Switch::new(SwitchConfig { monitor_frames_max: 3, ..SwitchConfig::default() });
    let (a, b) = (port(&switch), port(&switch));
    let monitor = switch.monitor();

    for _ in 0..10 {
        a.send(frame(ALL, mac(1), b"to all"));
    }

    assert_eq!(monitor.missed(), 7);
    assert_eq!(std::iter::from_fn(|| monitor.try_recv()).count(), 3);
    assert_eq!(received(&b).len(), 10);
}

#[test]
fn ports_have_a_bound() {
    let switch = Switch::new(SwitchConfig { ports_max: 2, ..SwitchConfig::default() });
    let (_a, b) = (port(&switch), port(&switch));
    let refused = switch.raw_port(PortConfig::default()).expect_err("two are there");
    assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
    drop(b);
    port(&switch);
}

#[test]
fn a_thousand_added_and_removed_ports_leave_nothing() {
    let switch = switch();
    let stays = port(&switch);
    for number in 0..1000_u32 {
        let guest = port(&switch);
        let [.., a, b] = number.to_be_bytes();
        guest.send(frame(ALL, [2, 1, 0, 0, a, b], b"hello"));
        stays.send(frame([2, 1, 0, 0, a, b], mac(1), b"hello"));
        assert_eq!((received(&guest).len(), received(&stays).len()), (1, 1));
    }

    assert_eq!(switch.ports().len(), 1);
    assert_eq!(switch.addresses().len(), 1, "that of the port that stays");
    assert_eq!(switch.statistics().received.frames, 2000);
    assert_adds_up(&switch);
}

#[test]
fn ports_come_and_go_in_the_middle_of_floods() {
    let config = SwitchConfig { flooded_frames_per_second: u32::MAX, ..SwitchConfig::default() };
    let switch = Switch::new(config);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (switch, is_over) = (&switch, &is_over);
            scope.spawn(move || {
                let port = port(switch);
                while !is_over.load(Ordering::Relaxed) {
                    port.send(frame(ALL, mac(number), b"to all"));
                    port.send(frame(mac((number + 1) % 3), mac(number), b"to one"));
                    received(&port);
                }
            });
        }
        for _ in 0..300 {
            let guests: Vec<_> = (0..3).map(|_| port(&switch)).collect();
            guests[0].send(frame(ALL, mac(9), b"hello"));
            switch.remove(guests[1].id());
        }
        is_over.store(true, Ordering::Relaxed);
    });

    assert_eq!(switch.ports().len(), 0);
    assert_eq!(switch.addresses().len(), 0);
    assert_adds_up(&switch);
}

#[tokio::test]
async fn an_uplink_carries_frames_until_its_device_ends() {
    let switch = switch();
    let a = port(&switch);
    let (device, far) = ethernet_pipe(4, 1500);
    let uplink = switch.uplink(device, PortConfig::default()).expect("Ethernet");
    let out = frame(mac(2), mac(1), b"out");
    let back = frame(mac(1), mac(2), b"back");

    a.send(out.clone());
    assert_eq!(far.recv().await, Some(out.clone()));
    assert!(far.send(back.clone()).await);
    assert_eq!(a.recv().await, Some(back));
    // More than the pipe holds: the sender does not wait, and the port's queue loses nothing.
    for _ in 0..100 {
        a.send(out.clone());
    }
    for _ in 0..100 {
        assert_eq!(far.recv().await, Some(out.clone()));
    }
    drop(far);

    uplink.ended().await.expect("an end in good order");
    assert_eq!((switch.ports().len(), switch.addresses().len()), (1, 1));
    assert_adds_up(&switch);
}

#[tokio::test]
async fn an_uplink_ends_with_its_switch_or_when_removed() {
    for removes in [true, false] {
        let switch = switch();
        let (device, far) = ethernet_pipe(1, 1500);
        let uplink = switch.uplink(device, PortConfig::default()).expect("Ethernet");
        // It is waiting for room.
        let a = port(&switch);
        for _ in 0..5 {
            a.send(frame(ALL, mac(1), b"to all"));
        }
        tokio::task::yield_now().await;
        match removes {
            true => drop(uplink),
            false => drop(switch),
        }
        while far.recv().await.is_some() {}
    }
}

#[tokio::test]
async fn a_device_of_another_medium_is_refused() {
    let (device, _far) = netstack::device::pipe(4, 1500);
    let refused = switch().uplink(device, PortConfig::default()).expect_err("not Ethernet");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn frame_too_large_for_a_port_is_dropped_there() {
    let switch = switch();
    let (a, b) = (port(&switch), port(&switch));
    let mut jumbo = switch.port(PortConfig::default()).expect("room");

    a.send(frame(ALL, mac(1), &[0; 1501]));
    a.send(frame(ALL, mac(1), &[0; 1500]));

    assert_eq!(received(&b).len(), 1);
    assert_eq!(switch.ports()[1].statistics.dropped(SwitchDropReason::TooLarge), 1);
    assert!(jumbo.receive().is_some() && jumbo.receive().is_some());
    assert_adds_up(&switch);
}
