//! Requests to a netlink server: datagrams of any bytes, and messages that are almost requests.

use arbitrary::Unstructured;
use netfd::Mode;
use netfd::netlink::{Own, Protocol, Reports, Server, Socket, netlink_pair};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// The length of a header.
const HEADER: usize = 16;
/// `NLMSG_NOOP`, which is acknowledged after all that was asked for before it.
const NOOP: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const ACKNOWLEDGED: u16 = 5;
/// The number of the last request.
const LAST: u32 = 0xffff_fff0;
/// The most of a story that is sent: what the pair takes.
const BYTES_MAX: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// What is set in numbers of requests: `NLM_F_DUMP`, `NLM_F_CREATE` and others.
const FLAGS: [u16; 8] = [0x1, 0x5, 0x301, 0x305, 0x405, 0x605, 0x505, 0x705];

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().event_interval(1).enable_all().build().expect("a runtime");
}

/// Sends requests made of `data` to a server over a stack of their own.
///
/// Each datagram of an answer is whole messages, and the last request is answered after all others.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn netlink(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let protocol = if first & 1 == 0 { Protocol::Route } else { Protocol::SockDiag };
    let any = rest.get(..rest.len().min(BYTES_MAX)).unwrap_or_default().to_vec();
    let mut requests = vec![any];
    let mut story = Unstructured::new(rest);
    let mut len = requests[0].len();
    while let Ok(request) = request(&mut story, protocol) {
        len += request.len();
        if story.is_empty() || len > BYTES_MAX {
            break;
        }
        requests.push(request);
    }
    requests.push(message(NOOP, ACKNOWLEDGED, LAST, &[]));
    RUNTIME.with(|runtime| runtime.block_on(play(protocol, &requests)));
}

/// A message with a header that is right, but for what the story says.
fn request(story: &mut Unstructured<'_>, protocol: Protocol) -> arbitrary::Result<Vec<u8>> {
    let kinds = match protocol {
        Protocol::Route => 16..=80,
        Protocol::SockDiag => 16..=24,
    };
    let kind = story.int_in_range(kinds)?;
    let flags = *story.choose(&FLAGS)?;
    let len = story.int_in_range(0..=120)?;
    let mut payload = story.bytes(len.min(story.len()))?.to_vec();
    if let Some(family) = payload.first_mut() {
        *family = *story.choose(&[0, 2, 10, *family])?;
    }
    Ok(message(kind, flags, story.arbitrary::<u32>()? / 2, &payload))
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([sequence.to_ne_bytes(), [0; 4]].concat());
    message.extend(payload);
    message
}

async fn play(protocol: Protocol, requests: &[Vec<u8>]) {
    let (stack, _far) = netstack::pair().expect("a runtime");
    let _udp = stack.net().udp_bind("10.0.0.1:53").await.expect("a free port");
    let server = Server::start(Own::new(stack.net(), "net0")).await.expect("a stack");
    let (near, end) = netlink_pair(Mode::Nonblocking).expect("a pair");
    // It reads and writes packets, as any Unix socket of this type does.
    let mut near = UnixStream::from(near);
    // SOCK_RAW.
    let (_socket, service) = Socket::open(&server, (3, protocol), Reports::Message, 7, end);
    let serving = tokio::spawn(service.run());
    let ended = tokio::time::timeout(PATIENCE, exchange(&mut near, requests)).await;
    ended.expect("the last request is answered");
    drop(near);
    serving.await.expect("the service does not panic");
}

/// Sends the requests, and reads answers up to that of the last.
async fn exchange(near: &mut UnixStream, requests: &[Vec<u8>]) {
    let mut buffer = vec![0; 1 << 17];
    // An empty one would be the end.
    for request in requests.iter().filter(|request| !request.is_empty()) {
        while near.write(request).is_err() {
            read(near, &mut buffer);
            tokio::task::yield_now().await;
        }
    }
    while !read(near, &mut buffer) {
        tokio::task::yield_now().await;
    }
}

/// Reads the answers that are there; returns whether that of the last request is.
fn read(near: &mut UnixStream, buffer: &mut [u8]) -> bool {
    while let Ok(len) = near.read(buffer) {
        assert!(len > 0, "the service has ended");
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            assert!(rest.len() >= HEADER, "a header is whole");
            let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|it| rest[at + it]));
            let len = word(0) as usize;
            assert!((HEADER..=rest.len()).contains(&len), "{len} of {}", rest.len());
            if word(8) == LAST && word(4) as u16 == ERROR {
                return true;
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    false
}
