use super::*;
use crate::Direction;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Sends so many datagrams of 100 bytes from near to far; returns when they came, and from which
/// position.
async fn datagrams(near: &Host, far: &Host, count: u32) -> Vec<(Duration, u32)> {
    let receiver = far.net().udp_bind("10.0.0.2:9").await.expect("free");
    let sender = near.net().udp_bind("10.0.0.1:0").await.expect("free");
    let start = tokio::time::Instant::now();
    let mut received = Vec::new();
    let mut buffer = [0; 100];
    for number in 0..count {
        buffer[..4].copy_from_slice(&number.to_be_bytes());
        sender.send_to(&buffer, "10.0.0.2:9").await.expect("room");
        tokio::time::sleep(MILLISECOND).await;
    }
    let patience = Duration::from_secs(1);
    while let Ok(got) = tokio::time::timeout(patience, receiver.recv_from(&mut buffer)).await {
        got.expect("open");
        let number = buffer[..4].try_into().expect("four bytes");
        received.push((start.elapsed(), u32::from_be_bytes(number)));
    }
    received
}

/// Moves bytes over a bad link; returns the hash of the packets and how long it took.
fn transfer(seed: u64) -> (u64, Duration) {
    run_exactly(seed, |sim| async move {
        let link = LinkConfig::new().delay(20 * MILLISECOND).jitter(5 * MILLISECOND);
        let link = link.loss(0.05).reorder(0.05).duplicate(0.05).corrupt(0.05);
        let (near, far) = sim.pair(link);
        let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("free");
        let data: Vec<u8> = (0..100_000u32).map(|index| (index ^ index >> 8) as u8).collect();
        let sent = data.clone();
        sim.spawn(async move {
            let (mut server, _) = listener.accept().await.expect("a client");
            server.write_all(&sent).await.expect("open");
        });

        let mut client = near.net().tcp_connect("10.0.0.2:80").await.expect("a listener");
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("open");

        assert!(received == data, "{} bytes", received.len());
        (sim.trace_hash(), sim.elapsed())
    })
}

#[test]
fn one_seed_gives_the_same_packets_each_time_and_another_others() {
    let (first, again, other) = (transfer(7), transfer(7), transfer(8));

    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

#[test]
fn link_delay_applies_in_each_direction() {
    run_exactly(1, |sim| async move {
        let (near, _far) = sim.pair(LinkConfig::new().delay(40 * MILLISECOND));
        let socket = near.net().ping("fd00::2".parse().expect("an address")).await.expect("free");

        let (_, round_trip) = socket.ping(1, b"").await.expect("an answer");

        assert!((80 * MILLISECOND..=82 * MILLISECOND).contains(&round_trip), "{round_trip:?}");
    });
}

#[test]
fn bandwidth_spreads_packets_and_a_short_queue_loses_them() {
    run_exactly(1, |sim| async move {
        // A datagram of 100 bytes and its 28 of headers take 10.24 ms.
        let link = LinkConfig::new().bandwidth(100_000).queue(5);
        let (near, far) = sim.pair(link);

        let received = datagrams(&near, &far, 20).await;

        let counters = near.counters(Direction::Outbound);
        assert_eq!(counters.sent, 20);
        assert_eq!(counters.lost_queue + counters.arrived, 20);
        assert_eq!(counters.arrived, received.len() as u64);
        assert!(counters.lost_queue > 10 && counters.arrived > 5, "{counters:?}");
    });
}

#[test]
fn impairments_occur_with_their_probability_and_are_counted() {
    run_exactly(1, |sim| async move {
        let impaired = LinkConfig::new().loss(0.2).duplicate(0.2).corrupt(0.2).reorder(0.2);
        let (near, far) = sim.pair(impaired.delay(MILLISECOND));

        let received = datagrams(&near, &far, 1000).await;

        let counters = near.counters(Direction::Outbound);
        let near_200 = |count: u64| (120..280).contains(&count);
        assert_eq!(counters.sent, 1000);
        assert!(near_200(counters.lost), "{counters:?}");
        assert!(near_200(counters.duplicated) && near_200(counters.corrupted), "{counters:?}");
        assert!(near_200(counters.reordered), "{counters:?}");
        assert_eq!(counters.arrived, 1000 - counters.lost + counters.duplicated);
        // The stack drops damaged packets, whose checksums are wrong.
        assert!(received.len() as u64 <= counters.arrived - counters.corrupted);
        assert!(received.windows(2).any(|pair| pair[0].1 > pair[1].1), "some were overtaken");
    });
}

#[test]
fn jitter_keeps_the_order() {
    run_exactly(1, |sim| async move {
        let (near, far) = sim.pair(LinkConfig::new().jitter(50 * MILLISECOND));

        let received = datagrams(&near, &far, 200).await;

        assert_eq!(received.len(), 200);
        assert!(received.is_sorted());
    });
}

#[test]
fn link_that_is_down_or_too_narrow_loses_every_packet() {
    run_exactly(1, |sim| async move {
        let (near, far) = sim.pair(LinkConfig::new());
        near.set_link(near.link().down());
        assert_eq!(datagrams(&near, &far, 3).await, []);
        near.set_link(near.link().up().mtu(127));
        assert_eq!(datagrams(&near, &far, 3).await, []);

        near.set_link(LinkConfig::new());
        assert_eq!(datagrams(&near, &far, 3).await.len(), 3);

        let counters = near.counters(Direction::Outbound);
        assert_eq!((counters.lost_down, counters.lost_mtu, counters.arrived), (3, 3, 3));
    });
}

#[test]
fn packets_refused_by_a_filter_are_lost() {
    run_exactly(1, |sim| async move {
        let (near, far) = sim.pair(LinkConfig::new());
        let mut count = 0;
        far.set_filter(move |direction, packet| {
            assert_eq!((direction, packet.len()), (Direction::Inbound, 128));
            count += 1;
            count != 2
        });

        let received = datagrams(&near, &far, 3).await;

        let numbers: Vec<u32> = received.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [0, 2]);
        assert_eq!(far.counters(Direction::Inbound).lost, 1);
    });
}

#[test]
fn multicast_packet_reaches_all_other_hosts() {
    run_exactly(1, |sim| async move {
        let hosts: Vec<_> = (0..300).map(|_| sim.host().spawn().expect("addresses")).collect();
        let all = Bytes::from_static(&[
            0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 255, 255, 255, 255,
        ]);

        sim.inject(all);

        for host in hosts {
            assert_eq!(host.counters(Direction::Inbound).arrived, 1);
        }
    });
}

#[test]
#[should_panic(expected = "left behind")]
fn socket_that_outlives_the_run_fails_it() {
    let mut outside = None;
    let kept = &mut outside;
    run_exactly(1, |sim| async move {
        let host = sim.host().spawn().expect("addresses");
        *kept = Some(host.net().udp_bind("10.0.0.1:9").await.expect("free"));
    });
}

#[test]
fn a_hundred_seeds_of_a_bad_link_lose_no_byte() {
    run_seeds(0..100, |sim| async move {
        let link = LinkConfig::new().delay(20 * MILLISECOND).jitter(5 * MILLISECOND);
        let (near, far) = sim.pair(link.loss(0.1).reorder(0.05).duplicate(0.05).corrupt(0.05));
        let listener = far.net().tcp_listen("[::]:80").await.expect("free");
        let data: Vec<u8> = (0..20_000u32).map(|index| (index ^ index >> 8) as u8).collect();
        let echo = async {
            let (mut server, _) = listener.accept().await.expect("a client");
            let (mut from, mut to) = server.split();
            tokio::io::copy(&mut from, &mut to).await.expect("open");
            server.shutdown().await.expect("open");
            server
        };
        let ask = async {
            let to = if sim.seed() % 2 == 0 { "10.0.0.2:80" } else { "[fd00::2]:80" };
            let mut client = near.net().tcp_connect(to).await.expect("a listener");
            let (mut from, mut to) = client.split();
            let send = async {
                to.write_all(&data).await.expect("open");
                to.shutdown().await.expect("open");
            };
            let mut received = Vec::new();
            let ((), read) = tokio::join!(send, from.read_to_end(&mut received));
            read.expect("open");
            received
        };

        // The server waits: a connection without a handle has a minute to get rid of its bytes.
        let (received, _server) = tokio::join!(ask, echo);

        assert!(received == data, "{} bytes", received.len());
    });
}

#[test]
#[should_panic(expected = "a task's own")]
fn a_panic_of_a_task_fails_the_run() {
    run_exactly(1, |sim| async move {
        sim.spawn(async { panic!("a task's own") });
        tokio::time::sleep(MILLISECOND).await;
    });
}

#[test]
fn tasks_end_with_the_run() {
    run_exactly(1, |sim| async move {
        let host = sim.host().spawn().expect("addresses");
        let listener = host.net().tcp_listen("10.0.0.1:80").await.expect("free");
        sim.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
    });
}

#[test]
fn two_hosts_that_dial_each_other_at_once_are_connected() {
    // In milliseconds: as long as the second SYN leaves before the first arrives.
    for (delay, later) in [(1, 0), (20, 0), (20, 10), (20, 19)] {
        run_exactly(1, move |sim| async move {
            let (near, far) = sim.pair(LinkConfig::new().delay(delay * MILLISECOND));
            let dial = |host: &Host, local: &str, remote: &str| {
                let socket = host.net().tcp_socket_v4();
                let (local, remote) =
                    (local.parse().expect("it is"), remote.parse().expect("it is"));
                async move {
                    socket.bind(local)?;
                    socket.connect(remote).await
                }
            };
            let (ours, theirs) = ("10.0.0.1:5000", "10.0.0.2:6000");

            let (client, server) = tokio::join!(dial(&near, ours, theirs), async {
                tokio::time::sleep(later * MILLISECOND).await;
                dial(&far, theirs, ours).await
            });

            let (mut client, mut server) = (client.expect("crossed"), server.expect("crossed"));
            client.write_all(b"hello").await.expect("open");
            let mut greeting = [0; 5];
            server.read_exact(&mut greeting).await.expect("open");
            assert_eq!(&greeting, b"hello", "{delay} {later}");
        });
    }
}

#[test]
fn each_direction_of_a_host_has_a_link_of_its_own() {
    run_exactly(1, |sim| async move {
        let outbound = LinkConfig::new().delay(30 * MILLISECOND);
        let inbound = LinkConfig::new().delay(10 * MILLISECOND);
        let near = sim.host().link_of(Direction::Outbound, outbound.clone());
        let near = near.link_of(Direction::Inbound, inbound.clone()).spawn().expect("valid");
        let _far = sim.host().spawn().expect("valid");
        assert_eq!((near.link(), near.link_of(Direction::Inbound)), (outbound, inbound));
        let socket = near.net().ping("fd00::2".parse().expect("an address")).await.expect("free");
        let (_, round_trip) = socket.ping(1, b"").await.expect("an answer");
        assert!((40 * MILLISECOND..=42 * MILLISECOND).contains(&round_trip), "{round_trip:?}");

        near.set_link_of(Direction::Inbound, LinkConfig::new().down());

        let reply = tokio::time::timeout(DRAIN, socket.ping(2, b"")).await;
        assert!(reply.is_err());
        let lost = Direction::Inbound;
        assert_eq!((near.counters(lost).lost_down, near.counters(lost).arrived), (1, 1));
        assert_eq!(near.counters(Direction::Outbound).arrived, 2);
    });
}

#[test]
fn queued_packets_of_a_host_follow_a_change_of_the_rate() {
    run_exactly(1, |sim| async move {
        // A datagram of 100 bytes and its 28 of headers take 102.4 ms.
        let (near, far) = sim.pair(LinkConfig::new().bandwidth(10_000));
        let host = near.clone();
        sim.spawn(async move {
            tokio::time::sleep(150 * MILLISECOND).await;
            host.set_link(LinkConfig::new().bandwidth(100_000));
        });

        let received = datagrams(&near, &far, 100).await;

        let times = (received[0].0, received[1].0, received[99].0);
        assert_eq!(received.len(), 100);
        assert!(times.0 >= 102 * MILLISECOND, "{times:?}");
        // The rest of the second takes 5.5 ms, and each other 10.24.
        assert!((155 * MILLISECOND..=158 * MILLISECOND).contains(&times.1), "{times:?}");
        assert!((1158 * MILLISECOND..=1162 * MILLISECOND).contains(&times.2), "{times:?}");
    });
}

#[test]
fn impairments_of_a_host_apply_in_both_directions() {
    run_exactly(1, |sim| async move {
        // Three times as much is sent as the queue lets through, and half of it passes the policer.
        let link = LinkConfig::new().bandwidth(1_000_000).queue_bytes(8_000);
        let link = link.police(1_700_000, 10_000).codel(Codel::default());
        let (near, far) = sim.pair(link.burst_loss(BurstLoss::new(0.1, 0.3)));
        for (from, to, direction) in
            [(&near, &far, Direction::Outbound), (&far, &near, Direction::Inbound)]
        {
            let address = to.addresses()[0].addr();
            let receiver = to.net().udp_bind((address, 9)).await.expect("free");
            let sender = from.net().udp_bind("0.0.0.0:0").await.expect("free");
            for _ in 0..300 {
                for _ in 0..10 {
                    sender.send_to(&[0; 100], (address, 9)).await.expect("room");
                }
                tokio::time::sleep(3 * MILLISECOND).await;
            }
            tokio::time::sleep(100 * MILLISECOND).await;
            drop(receiver);

            let counters = near.counters(direction);
            let LinkCounters { lost_policer, lost_queue, lost_burst, lost_codel, .. } = counters;
            let lost = lost_policer + lost_queue + lost_burst + lost_codel;
            assert_eq!((counters.sent, counters.arrived + lost), (3000, 3000), "{counters:?}");
            let causes = [lost_policer, lost_queue, lost_burst, lost_codel];
            assert!(causes.into_iter().all(|count| count > 0), "{counters:?}");
        }
    });
}
