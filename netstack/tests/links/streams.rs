//! Stream sockets and streams of the program.

use crate::{end, exchange, path, stack, stack_on};
use netstack::device::{StreamDevice, UnixStreamDevice};
use netstack::link::{LinkDevice, LinkUrl};
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn a_megabyte_crosses_a_stream_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "link");
    let near = stack_on(1, &format!("unix-stream://{at}[listen]"));
    let far = stack_on(2, &format!("unix-stream://{at}[mtu=9000]"));

    exchange(&near, &far, 1_000_000).await;

    end(far).await;
    end(near).await;
    assert!(!folder.path().join("link").exists(), "the file is removed with the device");
}

#[tokio::test]
async fn a_megabyte_crosses_a_pair_of_descriptors() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let near = stack_on(1, &format!("fd://{}", near.as_raw_fd()));
    let far = stack(2, LinkDevice::from_fd(far.into(), None).expect("a socket"));

    exchange(&near, &far, 1_000_000).await;
}

#[tokio::test]
async fn a_megabyte_crosses_a_stream_of_the_program() {
    // Smaller than a frame, so that each arrives in pieces.
    let (near, far) = tokio::io::duplex(1000);
    let near = stack(1, StreamDevice::new(near, 1500));
    let far = stack(2, StreamDevice::new(far, 1500));

    exchange(&near, &far, 1_000_000).await;

    end(near).await;
    far.ended().await.expect("the end of the stream is a good one");
}

#[tokio::test]
async fn either_end_of_a_stream_socket_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "link");
    let (listen, connect) = (format!("unix-stream://{at}[listen]"), format!("unix-stream://{at}"));
    let (mut near, mut far) = (stack_on(1, &listen), stack_on(2, &connect));
    exchange(&near, &far, 10_000).await;

    end(far).await;
    far = stack_on(2, &connect);
    exchange(&near, &far, 10_000).await;

    end(near).await;
    near = stack_on(1, &listen);
    exchange(&near, &far, 10_000).await;
}

#[tokio::test]
async fn at_the_start_somebody_must_listen_and_later_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("link");
    let url: LinkUrl = format!("unix-stream://{}", at.display()).parse().expect("right");
    let error = url.open().expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&format!("connecting to {}: ", at.display())), "{error}");
    let listener = UnixListener::bind(&at).expect("a new path");
    drop(listener);
    assert_eq!(url.open().expect_err("nobody").kind(), ErrorKind::ConnectionRefused);
    std::fs::remove_file(&at).expect("a file");

    let listener = UnixListener::bind(&at).expect("free again");
    let near = stack(1, url.open().expect("somebody"));
    let mut watch = near.net().watch_network();
    drop((listener.accept().expect("the stack"), listener));
    let is_gone = watch.wait_for(|now| !now.link.has_carrier);
    timeout(Duration::from_secs(10), is_gone).await.expect("no carrier").expect("it runs");
    std::fs::remove_file(&at).expect("a file");
    let far = stack_on(2, &format!("{url}[listen]"));
    exchange(&near, &far, 10_000).await;
}

#[tokio::test]
async fn without_a_peer_the_link_has_no_carrier() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "link");
    let near = stack_on(1, &format!("unix-stream://{at}[listen]"));
    let mut watch = near.net().watch_network();

    for has_carrier in [true, false] {
        let peer = has_carrier.then(|| UnixStream::connect(&at).expect("it listens"));
        let is_so = watch.wait_for(|now| now.link.has_carrier == has_carrier);
        let seen = timeout(Duration::from_secs(10), is_so).await;
        assert!(seen.is_ok_and(|seen| seen.is_ok()), "carrier: {has_carrier}");
        drop(peer);
    }
}

#[tokio::test]
async fn with_once_the_end_of_the_peer_ends_the_stack() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "link");
    let near = stack_on(1, &format!("unix-stream://{at}[listen/once]"));

    drop(UnixStream::connect(&at).expect("it listens"));

    near.ended().await.expect("a good end");
}

#[tokio::test]
async fn a_hostile_length_ends_the_stack_with_one_error() {
    for length in [0_u32, 13, 65_554, u32::MAX] {
        let (near, mut hostile) = UnixStream::pair().expect("a pair");
        let near = stack(1, UnixStreamDevice::from_stream(near, 1500).expect("a socket"));

        hostile.write_all(&length.to_be_bytes()).expect("room");

        let ended = timeout(Duration::from_secs(10), near.ended()).await.expect("it ends");
        let error = ended.expect_err("no good end");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains(&format!("a frame of {length} bytes")), "{error}");
    }
}

#[tokio::test]
async fn a_stack_behind_a_stream_socket_is_on_the_switch() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "link");
    let switch = Switch::new(SwitchConfig::default());
    let guest = UnixStreamDevice::listen(&at, 1500).expect("a new path");
    let uplink = switch.uplink(guest, PortConfig::default()).expect("room");
    let near = stack(1, switch.port(PortConfig::default()).expect("room"));
    let far = stack_on(2, &format!("unix-stream://{at}"));

    exchange(&near, &far, 1_000_000).await;
    drop(uplink);
}

#[tokio::test]
async fn a_socket_file_is_replaced_only_if_nobody_is_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("link");
    let url: LinkUrl = format!("unix-stream://{}[listen]", at.display()).parse().expect("right");

    let first = url.open().expect("a new path");
    assert_eq!(url.open().expect_err("in use").kind(), ErrorKind::AddrInUse);
    drop(first);
    drop(UnixListener::bind(&at).expect("free again"));
    url.open().expect("nobody is behind the file");

    std::fs::write(&at, "a file").expect("a folder");
    assert_eq!(url.open().expect_err("no socket").kind(), ErrorKind::AddrInUse);
    assert!(at.exists());
}
