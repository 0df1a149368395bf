//! Links between two programs that meet at a path.

use crate::{end, exchange, path, stack, stack_on};
use netstack::Stack;
use netstack::device::PtpDevice;
use netstack::link::LinkDevice;
use netstack::netsocket::netcore::Network;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// After this long a test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn seqpacket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("one")
}

async fn carrier(stack: &Stack, is_there: bool) {
    let mut network = stack.net().watch_network();
    let seen = network.wait_for(|network: &Network| network.link.has_carrier == is_there);
    timeout(PATIENCE, seen).await.expect("in time").expect("a stack");
}

#[tokio::test]
async fn either_of_two_programs_may_come_first_and_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("ptp://{}", path(folder.path(), "link"));
    let (mut near, mut far) = (stack_on(1, &url), stack_on(2, &url));
    exchange(&near, &far, 200_000).await;

    // The end that listens, and then the one that has connected.
    end(near).await;
    near = stack_on(1, &url);
    exchange(&near, &far, 10_000).await;
    end(far).await;
    far = stack_on(2, &url);
    exchange(&near, &far, 10_000).await;

    end(far).await;
    carrier(&near, false).await;
    end(near).await;
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
}

#[tokio::test]
async fn a_third_is_turned_away_with_the_error_of_vde() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("link");
    let (near, far) = (
        stack(1, PtpDevice::open(&at, 1500).expect("a new path")),
        stack(2, PtpDevice::open(&at, 1500).expect("somebody")),
    );
    carrier(&near, true).await;
    carrier(&far, true).await;

    let answer = tokio::task::spawn_blocking(move || third(&at)).await.expect("no panic");

    assert_eq!(answer, [106], "EISCONN");
    exchange(&near, &far, 10_000).await;
}

/// What a third gets before the end.
fn third(at: &Path) -> Vec<u8> {
    let socket = seqpacket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(at).expect("short")).expect("it listens");
    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an end");
    answer
}

#[tokio::test]
async fn the_file_of_one_that_was_killed_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("link");
    let socket = seqpacket();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&at).expect("short")).expect("a new path");
    drop(socket);

    let (near, far) = (
        stack(1, PtpDevice::open(&at, 1500).expect("a socket")),
        stack(2, PtpDevice::open(&at, 1500).expect("a socket")),
    );

    exchange(&near, &far, 10_000).await;
}

#[tokio::test]
async fn two_programs_meet_by_datagrams() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("ptp://{}", path(folder.path(), "link"));
    let first = stack_on(1, &format!("{url}[dgram]"));

    // The second finds out by itself.
    let mut second = stack_on(2, &url);
    exchange(&first, &second, 200_000).await;

    end(second).await;
    second = stack_on(2, &format!("{url}[dgram]"));
    exchange(&first, &second, 10_000).await;
    let third = PtpDevice::open_datagrams(folder.path().join("link"), 1500);
    assert_eq!(third.expect_err("both places are taken").kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_path_that_cannot_be_a_socket_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("a".repeat(108));
    let error = PtpDevice::open(long, 1500).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    let nowhere = folder.path().join("no/link");
    let error = PtpDevice::open(nowhere, 1500).expect_err("no folder");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn the_end_of_a_pair_of_packet_descriptors_ends_the_stack() {
    let flags = SocketFlags::CLOEXEC;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (near, far) = pair.expect("a pair");
    let near = stack(1, LinkDevice::from_fd(near, None).expect("a socket"));
    let far = stack(2, LinkDevice::from_fd(far, None).expect("a socket"));
    exchange(&near, &far, 200_000).await;

    end(near).await;

    timeout(PATIENCE, far.ended()).await.expect("it ends").expect("in good order");
}
