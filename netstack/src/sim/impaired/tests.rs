use super::*;
use crate::device::{PipeEnd, ethernet_pipe, pipe};
use crate::sim::BurstLoss;
use crate::{Builder, Stack};
use netcore::Link as _;
use std::future::poll_fn;
use std::time::Duration;

const DELAY: Duration = Duration::from_millis(10);

fn stack_behind(link: LinkConfig) -> (Stack, PipeEnd, Impairment) {
    let (device, far) = pipe(1 << 12, 1500);
    let device = Impaired::new(device, link, 7);
    let impairment = device.impairment();
    let stack = Builder::new().address("10.0.0.2/24".parse().expect("an address"));
    (stack.spawn(device).expect("a valid device"), far, impairment)
}

/// Sends this many datagrams from the stack; returns those that arrive at the pipe, and when.
async fn send(stack: &Stack, far: &PipeEnd, count: u32) -> Vec<(Duration, Bytes)> {
    let socket = stack.net().udp_bind("10.0.0.2:9").await.expect("free");
    let start = Instant::now();
    for number in 0..count {
        socket.send_to(&number.to_be_bytes(), "10.0.0.1:9").await.expect("room");
    }
    let mut received = Vec::new();
    let patience = Duration::from_secs(1);
    while let Ok(Some(packet)) = tokio::time::timeout(patience, far.recv()).await {
        received.push((start.elapsed(), packet));
    }
    received
}

fn near_200(count: u64) -> bool {
    (140..260).contains(&count)
}

#[tokio::test(start_paused = true)]
async fn outbound_packets_are_delayed_lost_and_damaged() {
    let link = LinkConfig::new().delay(DELAY).loss(0.2).duplicate(0.2).corrupt(0.2).reorder(0.2);
    let (stack, far, impairment) = stack_behind(link);

    let received = send(&stack, &far, 1000).await;

    let counters = impairment.counters(Direction::Outbound);
    assert_eq!(counters.sent, 1000);
    assert_eq!(counters.arrived, received.len() as u64);
    assert_eq!(counters.arrived, 1000 - counters.lost + counters.duplicated);
    assert!(near_200(counters.lost), "{counters:?}");
    assert!(near_200(counters.duplicated) && near_200(counters.corrupted), "{counters:?}");
    assert!(near_200(counters.reordered), "{counters:?}");
    let late = received.iter().filter(|(at, _)| *at > DELAY + Duration::from_millis(2)).count();
    assert!(received.iter().all(|(at, _)| *at >= DELAY));
    assert!(late as u64 <= counters.reordered, "{late} are late");
    let order: Vec<&[u8]> = received.iter().map(|(_, packet)| &packet[28..]).collect();
    assert!(!order.is_sorted(), "some were overtaken");
}

#[tokio::test(start_paused = true)]
async fn inbound_packets_are_delayed_lost_and_damaged() {
    let link = LinkConfig::new().delay(DELAY).loss(0.2).duplicate(0.2).corrupt(0.2);
    let (there, from, _) = stack_behind(LinkConfig::new());
    let packets = send(&there, &from, 1000).await;
    let (stack, far, impairment) = stack_behind(link);
    for (_, packet) in packets {
        assert!(far.send(packet).await);
    }
    tokio::time::sleep(DELAY / 2).await;
    assert_eq!(impairment.counters(Direction::Inbound).arrived, 0);
    tokio::time::sleep(DELAY).await;

    let counters = impairment.counters(Direction::Inbound);
    assert_eq!(counters.sent, 1000);
    assert_eq!(counters.arrived, 1000 - counters.lost + counters.duplicated);
    assert!(near_200(counters.lost) && near_200(counters.corrupted), "{counters:?}");
    let frames = stack.net().snapshot().await.expect("running").counters.frames_received;
    assert_eq!(frames, counters.arrived);
}

#[tokio::test(start_paused = true)]
async fn a_rate_spreads_packets_and_a_short_queue_loses_them() {
    // A datagram of 4 bytes and its 28 of headers take 2.56 ms.
    let (stack, far, impairment) = stack_behind(LinkConfig::new().bandwidth(100_000).queue(5));

    let received = send(&stack, &far, 20).await;

    let counters = impairment.counters(Direction::Outbound);
    assert_eq!((received.len(), counters.lost_queue), (6, 14));
    let times: Vec<u128> = received.iter().map(|(at, _)| at.as_millis()).collect();
    assert!(times[0] >= 2 && times[5] >= 15, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_can_be_taken_down_and_up_again() {
    let (stack, far, impairment) = stack_behind(LinkConfig::new());
    impairment.set_link(impairment.link().down());
    assert_eq!(send(&stack, &far, 3).await.len(), 0);

    impairment.set_link(impairment.link().up());

    assert_eq!(send(&stack, &far, 3).await.len(), 3);
    let counters = impairment.counters(Direction::Outbound);
    assert_eq!((counters.lost_down, counters.arrived), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn device_with_checksum_offload_is_refused() {
    let (device, _far) = crate::device::join(16, Medium::Ip, 1500, true);
    let device = Impaired::new(device, LinkConfig::new(), 1);
    assert_eq!(device.capabilities().segment_bytes_max, None);
    assert!(!device.capabilities().checksum_offload);

    let refused = Builder::new().spawn(device).expect_err("it offloads");

    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

/// A link with a short queue that is policed, drops bursts and has its packets wait for theirs.
fn crowded() -> LinkConfig {
    let link = LinkConfig::new().bandwidth(1_000_000).queue_bytes(5_000).aggregate(DELAY);
    link.police(2_000_000, 10_000).burst_loss(BurstLoss::new(0.1, 0.3))
}

/// What each cause has lost, where all must have lost something.
fn assert_crowded(counters: &LinkCounters) {
    let LinkCounters { sent, arrived, lost_policer, lost_queue, lost_burst, .. } = *counters;
    assert_eq!(sent, arrived + lost_policer + lost_queue + lost_burst, "{counters:?}");
    assert!(arrived > 0 && lost_policer > 0 && lost_queue > 0 && lost_burst > 0, "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn outbound_packets_meet_policer_queue_and_burst_loss() {
    let (stack, far, impairment) = stack_behind(crowded());

    let received = send(&stack, &far, 1000).await;

    let counters = impairment.counters(Direction::Outbound);
    assert_eq!(counters.arrived, received.len() as u64);
    assert_crowded(&counters);
}

#[tokio::test(start_paused = true)]
async fn inbound_packets_meet_policer_queue_and_burst_loss() {
    let (there, from, _) = stack_behind(LinkConfig::new());
    let packets = send(&there, &from, 1000).await;
    let (_stack, far, impairment) = stack_behind(crowded());

    for (_, packet) in packets {
        assert!(far.send(packet).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_crowded(&impairment.counters(Direction::Inbound));
}

#[tokio::test(start_paused = true)]
async fn each_direction_can_have_a_link_of_its_own() {
    let (stack, far, impairment) = stack_behind(LinkConfig::new());
    impairment.set_link_of(Direction::Inbound, LinkConfig::new().down());

    let received = send(&stack, &far, 3).await;
    assert!(far.send(received[0].1.clone()).await);
    tokio::time::sleep(DELAY).await;

    assert_eq!(impairment.counters(Direction::Outbound).arrived, 3);
    assert_eq!(impairment.counters(Direction::Inbound).lost_down, 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_packets_leave_when_the_link_becomes_faster() {
    // A packet takes a quarter of an hour.
    let (stack, far, impairment) = stack_behind(LinkConfig::new().bandwidth(1));
    assert_eq!(send(&stack, &far, 3).await.len(), 0);

    impairment.set_link(LinkConfig::new());

    for _ in 0..3 {
        let packet = tokio::time::timeout(DELAY, far.recv()).await;
        assert!(packet.expect("at once").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_the_whole_mtu_pass_on_ethernet() {
    let (device, end) = ethernet_pipe(4, 1500);
    let mut device = Impaired::new(device, LinkConfig::new(), 1);
    for len in [1515, 1514] {
        assert!(end.try_send(vec![0; len].into()));
    }

    poll_fn(|cx| device.poll_receive(cx)).await.expect("open");

    assert_eq!(device.receive().map(|frame| frame.data.len()), Some(1514));
    assert_eq!(device.impairment().counters(Direction::Inbound).lost_mtu, 1);
}
