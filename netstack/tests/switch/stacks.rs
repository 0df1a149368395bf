//! Stacks that find each other on a switch.

use crate::{port, received, switch};
use netstack::device::ethernet_pipe;
use netstack::switch::{PortConfig, Switch, SwitchDropReason};
use netstack::{Builder, Config, EthernetConfig, Stack};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn stack(switch: &Switch, host: u8, jumbo: bool) -> Stack {
    let device = switch.port(PortConfig { jumbo, ..PortConfig::default() }).expect("room");
    let builder = Builder::new().address(format!("10.0.0.{host}/24").parse().expect("valid"));
    builder.spawn(device).expect("a runtime")
}

/// Sends a megabyte to an echo and has it back.
async fn exchange(near: &Stack, far: &Stack, address: &str) {
    let listener = far.net().tcp_listen(address).await.expect("free");
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await
    });
    let sent: Vec<u8> = (0..1_000_000_u32).map(|index| (index / 7) as u8).collect();
    let mut stream = near.net().tcp_connect(address).await.expect("a listener");
    let (mut from, mut to) = stream.split();
    let writing = async {
        to.write_all(&sent).await?;
        to.shutdown().await
    };
    let mut back = Vec::new();
    let (written, read) = tokio::join!(writing, from.read_to_end(&mut back));
    written.expect("written");
    read.expect("read");
    assert!(back == sent, "{} bytes came back", back.len());
    echo.await.expect("no panic").expect("echoed");
}

#[tokio::test]
async fn a_third_port_sees_no_unicast_between_two_stacks() {
    for (near_jumbo, far_jumbo) in [(true, true), (true, false), (false, true), (false, false)] {
        let switch = switch();
        let (near, far) = (stack(&switch, 1, near_jumbo), stack(&switch, 2, far_jumbo));
        let third = port(&switch);

        exchange(&near, &far, "10.0.0.2:80").await;

        let frames = received(&third);
        assert!(frames.iter().all(|frame| frame[0] & 1 == 1), "only multicast and broadcast");
        let all = switch.statistics();
        assert_eq!(
            all.dropped(SwitchDropReason::QueueFull) + all.dropped(SwitchDropReason::TooLarge),
            0
        );
        if near_jumbo && far_jumbo {
            assert!(all.received.bytes / all.received.frames > 3000, "uncut: {all:?}");
        }
    }
}

#[tokio::test]
async fn jumbo_packets_are_cut_for_an_uplink_and_whole_behind_it() {
    let (here, there) = (switch(), switch());
    let (device, wire) = ethernet_pipe(1024, 1500);
    let _uplink = here.uplink(device, PortConfig::default()).expect("Ethernet");
    let far_end = port(&there);
    let carried = tokio::spawn(async move {
        let mut largest = 0;
        loop {
            tokio::select! {
                frame = wire.recv() => match frame {
                    Some(frame) => { largest = largest.max(frame.len()); far_end.send(frame); }
                    None => return largest,
                },
                frame = far_end.recv() => match frame {
                    Some(frame) => { largest = largest.max(frame.len()); wire.send(frame).await; }
                    None => return largest,
                },
            }
        }
    });
    let (near, far) = (stack(&here, 1, true), stack(&there, 2, true));

    exchange(&near, &far, "10.0.0.2:80").await;

    drop(here);
    assert_eq!(carried.await.expect("no panic"), 1514);
}

#[tokio::test]
async fn two_switches_are_one_lan_over_a_port_of_the_other() {
    let (here, there) = (switch(), switch());
    let port = there.port(PortConfig::default()).expect("room");
    let _uplink = here.uplink(port, PortConfig::default()).expect("Ethernet");
    let (near, far) = (stack(&here, 1, true), stack(&there, 2, true));

    exchange(&near, &far, "10.0.0.2:80").await;

    let all = there.statistics();
    assert!(all.received.bytes / all.received.frames > 3000, "uncut: {all:?}");
}

#[tokio::test]
async fn a_stack_ends_without_error_with_its_switch() {
    let switch = switch();
    let stack = stack(&switch, 1, true);
    drop(switch);
    stack.ended().await.expect("an end in good order");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_until_uplinks_have_delivered() {
    let switch = switch();
    // A device that takes one frame in ten seconds.
    let (device, far) = ethernet_pipe(1, 1500);
    let _uplink = switch.uplink(device, PortConfig::default()).expect("Ethernet");
    let config = Config {
        ethernet: EthernetConfig { link_local: false, ..EthernetConfig::default() },
        ..Config::default()
    };
    let port = switch.port(PortConfig::default()).expect("room");
    let address = "10.0.0.2/24".parse().expect("a network");
    let stack = Builder::new().config(config).address(address).spawn(port).expect("a stack");
    let socket = stack.net().udp_bind("10.0.0.2:9").await.expect("free");
    socket.set_broadcast(true).expect("open");
    for _ in 0..5 {
        socket.send_to(b"last words", "10.0.0.255:9").await.expect("room");
    }
    let reading = tokio::spawn(async move {
        let mut heard = 0;
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let Some(frame) = far.try_recv() else { return heard };
            heard += usize::from(frame.ends_with(b"last words"));
        }
    });

    let start = tokio::time::Instant::now();
    stack.shutdown(Duration::from_secs(600)).await.expect("in good order");

    assert!(start.elapsed() >= Duration::from_secs(40), "{:?}", start.elapsed());
    assert_eq!(reading.await.expect("no panic"), 5);
}
