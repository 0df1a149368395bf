//! Datagram sockets.

use crate::{end, exchange, path, stack, stack_on};
use netstack::device::UnixDatagramDevice;
use netstack::link::LinkDevice;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn two_hundred_kilobytes_cross_datagram_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (path(folder.path(), "a"), path(folder.path(), "b"));
    let near = stack_on(1, &format!("unix-dgram://{b}[local='{a}']"));
    let far = stack_on(2, &format!("unix-dgram://{a}[local='{b}']"));

    exchange(&near, &far, 200_000).await;

    end(near).await;
    end(far).await;
    assert!(!folder.path().join("a").exists(), "the file is removed with the device");
}

#[tokio::test]
async fn a_listening_datagram_socket_learns_its_peer() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "link");
    let far = stack_on(2, &format!("unix-dgram://{at}[listen]"));
    let near = stack_on(1, &format!("unix-dgram://{at}"));

    exchange(&near, &far, 200_000).await;
}

#[tokio::test]
async fn a_pair_of_datagram_descriptors_is_a_link() {
    let (near, far) = UnixDatagram::pair().expect("a pair");
    let near = stack(1, LinkDevice::from_fd(near.into(), None).expect("a socket"));
    let far = stack(2, LinkDevice::from_fd(far.into(), None).expect("a socket"));

    exchange(&near, &far, 200_000).await;
}

#[tokio::test]
async fn either_end_of_a_datagram_link_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (path(folder.path(), "a"), path(folder.path(), "b"));
    let urls = [format!("unix-dgram://{b}[local='{a}']"), format!("unix-dgram://{a}[local='{b}']")];
    let (mut near, mut far) = (stack_on(1, &urls[0]), stack_on(2, &urls[1]));
    exchange(&near, &far, 10_000).await;

    end(near).await;
    near = stack_on(1, &urls[0]);
    exchange(&near, &far, 10_000).await;

    end(far).await;
    far = stack_on(2, &urls[1]);
    exchange(&near, &far, 10_000).await;
}

#[tokio::test]
async fn frames_without_a_peer_are_dropped_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = folder.path().join("nobody");
    let device = UnixDatagramDevice::connect(nobody, None, 1500).expect("a socket");
    let counters = device.counters();
    let near = stack(1, device);

    let socket = near.net().udp_bind("10.0.0.1:9").await.expect("free");
    socket.send_to(b"hello", "10.0.0.255:9").await.expect("a broadcast leaves at once");

    let counted = async {
        while counters.dropped_outgoing() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), counted).await.expect("counted");
    assert!(near.net().snapshot().await.is_ok(), "the stack lives on");
}

#[tokio::test]
async fn datagrams_that_are_no_frames_are_dropped_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("link");
    let device = UnixDatagramDevice::listen(&at, 1500).expect("a new path");
    let counters = device.counters();
    let _near = stack(1, device);

    let peer = UnixDatagram::unbound().expect("a socket");
    peer.send_to(b"VFKT", &at).expect("room");
    for len in [0, 13, 1519, 9000] {
        peer.send_to(&vec![0; len], &at).expect("room");
    }

    let counted = async {
        while counters.dropped_incoming() < 4 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), counted).await.expect("counted");
    assert_eq!(counters.dropped_incoming(), 4, "the greeting is none of them");
}

#[tokio::test]
async fn the_greeting_is_sent_before_the_first_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("gvproxy");
    let peer = tokio::net::UnixDatagram::bind(&at).expect("a new path");

    let _near = stack_on(1, &format!("unix-dgram://{}[vfkit]", at.display()));

    let mut buffer = [0; 2000];
    let received = async {
        let first = peer.recv(&mut buffer).await.expect("a datagram");
        assert_eq!(&buffer[..first], b"VFKT");
        let second = peer.recv(&mut buffer).await.expect("a frame");
        assert!(second >= 14, "{second} bytes");
    };
    timeout(Duration::from_secs(10), received).await.expect("a stack announces itself");
}
