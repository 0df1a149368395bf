//! Overlay networks over loopback.

use super::{end, exchange, stack, stack_on};
use netstack::device::Device;
use netstack::link::{LinkDevice, LinkUrl};
use netstack::netsocket::netcore::{Link, Offload, Slot};
use netstack::overlay::{OverlayConfig, OverlayCounters, OverlayDevice};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::time::timeout;

/// A loopback address that no other process of the tests has.
fn address(host: u8) -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    // Neither the address of the network nor that of everybody.
    let [high, low] = [high | 1, low];
    IpAddr::from([127, high, low, host])
}

/// A group that no other process of the tests is in.
fn group(net: u8) -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::from([239, net, high, low])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_meet_over_vxlan_with_fixed_peers() {
    let url = |own, far| format!("vxlan:///bind={}/remote={}", address(own), address(far));
    let (near, far) = (stack_on(1, &url(11, 12)), stack_on(2, &url(12, 11)));

    exchange(&near, &far, 3 << 20).await;

    end(near).await;
    end(far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_meet_over_vxvde_with_one_fixed_peer() {
    let server = format!("vxvde:///bind={}/remote={}", address(21), address(23));
    let client = format!("vxvde:///bind={}/remote={}", address(22), address(21));
    // What is not known yet to be behind the client goes to nobody.
    let (near, far) = (stack_on(1, &client), stack_on(2, &server));

    exchange(&near, &far, 1 << 20).await;

    end(near).await;
    end(far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_of_one_machine_meet_in_a_group() {
    let url = format!("vxvde://{}/if=lo", group(254));
    let (near, far) = (stack_on(1, &url), stack_on(2, &url));

    exchange(&near, &far, 1 << 20).await;

    end(near).await;
    end(far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_meet_over_bare_frames() {
    let url = |own, far| format!("udp://{}:7001->{}:7001", address(own), address(far));
    let (near, far) = (stack_on(1, &url(31, 32)), stack_on(2, &url(32, 31)));

    exchange(&near, &far, 1 << 20).await;

    end(near).await;
    end(far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_larger_than_a_datagram_pass_in_fragments() {
    // More than loopback carries in one piece.
    let url = |own, far| format!("udp://{}:7001->{}:7001/mtu=65489", address(own), address(far));
    let (near, far) = (stack_on(1, &url(41, 42)), stack_on(2, &url(42, 41)));

    exchange(&near, &far, 1 << 20).await;

    end(near).await;
    end(far).await;
}

/// A device on loopback, and a socket that is its peer.
fn device_and_peer(
    own: u8,
    mut config: OverlayConfig,
) -> (OverlayDevice, OverlayCounters, UdpSocket) {
    let peer = UdpSocket::bind((address(own + 1), 0)).expect("free");
    config.bind = Some(address(own));
    config.remotes = vec![peer.local_addr().expect("bound")];
    let mut device = OverlayDevice::open(&config).expect("free");
    device.attach().expect("a runtime");
    let counters = device.counters();
    (device, counters, peer)
}

async fn received(device: &mut OverlayDevice) -> Vec<u8> {
    let waiting = async {
        loop {
            if let Some(frame) = device.receive() {
                return frame.data.to_vec();
            }
            poll_fn(|cx| device.poll_receive(cx)).await.expect("the socket is there");
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("it arrives")
}

const FRAME: [u8; 60] = [2; 60];

#[tokio::test]
async fn own_datagrams_to_the_group_are_not_heard() {
    let interface = Some("lo".to_owned());
    let config = OverlayConfig { group: Some(group(255)), interface, ..OverlayConfig::vxvde() };
    let open = || OverlayDevice::open(&config).expect("a group on loopback");
    let (mut near, mut far) = (open(), open());
    for device in [&mut near, &mut far] {
        device.attach().expect("a runtime");
    }

    let frame = |source: u8| [[0xff; 6], [2, 0, 0, 0, 0, source], [0x45; 6]].concat();
    for (sender, source) in [(&mut near, 1), (&mut far, 2)] {
        poll_fn(|cx| sender.poll_room(cx)).await.expect("the socket is there");
        let slot = sender.transmit().expect("room");
        slot.send(18, |room| (room.copy_from_slice(&frame(source)), Offload::default()));
        poll_fn(|cx| {
            sender.flush();
            sender.poll_room(cx)
        })
        .await
        .expect("sent");
    }

    assert_eq!(received(&mut near).await, frame(2));
    assert_eq!(received(&mut far).await, frame(1));
}

#[tokio::test]
async fn datagrams_of_other_networks_are_dropped_and_counted() {
    let (mut device, counters, peer) = device_and_peer(51, OverlayConfig::vxlan());
    let to = device.local_addr();
    let right = [&[8, 0, 0, 0, 0, 0, 1, 0], &FRAME[..]].concat();
    let other_network = [&[8, 0, 0, 0, 0, 0, 2, 0], &FRAME[..]].concat();
    for datagram in [&other_network, &right[..8], &right[..22], &right[..3], &[], &right] {
        peer.send_to(datagram, to).expect("sent");
    }

    assert_eq!(received(&mut device).await, FRAME);
    // An empty one is nothing.
    assert_eq!(counters.dropped_incoming(), 4);
}

#[tokio::test]
async fn a_stack_on_vxvde_says_goodbye() {
    let (device, _, peer) = device_and_peer(61, OverlayConfig::vxvde());
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");

    drop(device);

    let mut buffer = [0; 64];
    let len = peer.recv(&mut buffer).expect("a goodbye");
    assert_eq!(buffer[..len], [8, 0, 0, 0, 0, 0, 1, 0]);
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_its_address() {
    let (device, ..) = device_and_peer(71, OverlayConfig::vxlan());
    let url = format!("vxlan:///bind={}/remote={}", address(71), address(72));
    let url: LinkUrl = url.parse().expect("right");

    let error = url.open().expect_err("it is taken");

    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&device.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn what_the_kernel_would_not_refuse_is_refused() {
    let far: SocketAddr = "192.0.2.1:1".parse().expect("an address");
    let vxlan = OverlayConfig { remotes: vec![far], ..OverlayConfig::vxlan() };
    for (config, expected) in [
        (OverlayConfig::vxlan(), "neither a group nor a peer"),
        (OverlayConfig { vni: 1 << 24, ..vxlan.clone() }, "network 16777216 is out of range"),
        (OverlayConfig { mtu: Some(65_482), ..vxlan.clone() }, "from 68 to 65481 bytes"),
        (OverlayConfig { group: Some(far.ip()), ..vxlan.clone() }, "no multicast group"),
        (OverlayConfig { bind: Some([0; 16].into()), ..vxlan.clone() }, "of different families"),
        (OverlayConfig { interface: Some("no0".into()), ..vxlan }, "interface no0"),
    ] {
        let error = OverlayDevice::open(&config).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn the_mtu_inside_is_that_of_the_path_without_the_headers() {
    // That of loopback is larger than a packet.
    for (url, expected) in [
        (format!("vxlan:///bind={}/remote={}", address(83), address(81)), 1500),
        (format!("vxlan:///bind={}/remote={}/mtu=9000", address(84), address(81)), 9000),
    ] {
        let url: LinkUrl = url.parse().expect("right");
        let device = url.open().expect("free");
        assert_eq!(device.capabilities().mtu, expected);
        assert!(matches!(device, LinkDevice::Overlay(_)));
    }
    let remotes = vec![SocketAddr::new(address(81), 1)];
    let bind = Some(address(82));
    let config = OverlayConfig { bind, remotes, ..OverlayConfig::vxlan() };
    let device = OverlayDevice::open(&config).expect("free");
    assert_eq!(device.capabilities().mtu, 65_481);
    drop(stack(1, device));
}
