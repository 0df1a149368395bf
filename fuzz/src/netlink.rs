//! Requests to a netlink server: datagrams of any bytes, and messages that are almost requests.

use arbitrary::Unstructured;
use netfd::Mode;
use netfd::netlink::{Own, Protocol, Reports, Server, Socket, netlink_pair};
use netstack::netsocket::netcore::Network;
use netstack::{Stack, UdpSocket};
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
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

/// What the stories of a thread have in common, as long as none has changed the stack.
struct World {
    server: Arc<Server<Own>>,
    stack: Stack,
    _far: Stack,
    udp: UdpSocket,
    /// As it was in the beginning.
    network: Arc<Network>,
    /// Dropped after all that is served by it.
    runtime: Runtime,
}

thread_local! {
    static WORLD: Cell<Option<World>> = const { Cell::new(None) };
}

/// Sends requests made of `data` to a server over a stack that nobody has changed: each run is one
/// socket and its story, whatever was played before.
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
    let mut datagrams = vec![any];
    let mut story = Unstructured::new(rest);
    let mut len = datagrams[0].len();
    while let Ok((request, is_apart)) = request(&mut story, protocol) {
        len += request.len();
        if story.is_empty() || len > BYTES_MAX {
            break;
        }
        let is_first = datagrams.len() == 1;
        match datagrams.last_mut() {
            // Behind any bytes it would be part of those.
            Some(last) if !is_apart && !is_first => {
                last.resize(last.len().next_multiple_of(4), 0);
                last.extend(request);
            }
            _ => datagrams.push(request),
        }
    }
    datagrams.push(message(NOOP, ACKNOWLEDGED, LAST, &[]));
    // After a panic there is none.
    let world = WORLD.take().unwrap_or_else(World::new);
    world.runtime.block_on(world.play(protocol, &datagrams));
    if world.is_unchanged() {
        WORLD.set(Some(world));
    }
}

/// A message with a header that is right, but for what the story says.
///
/// Also whether it begins a datagram: one in four does.
fn request(story: &mut Unstructured<'_>, protocol: Protocol) -> arbitrary::Result<(Vec<u8>, bool)> {
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
    let sequence = story.arbitrary::<u32>()? / 2;
    Ok((message(kind, flags, sequence, &payload), sequence.is_multiple_of(4)))
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([sequence.to_ne_bytes(), [0; 4]].concat());
    message.extend(payload);
    message
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (stack, far, udp, server) = runtime.block_on(async {
            let (stack, far) = netstack::pair().expect("a runtime");
            let udp = stack.net().udp_bind("10.0.0.1:53").await.expect("a free port");
            let server = Server::start(Own::new(stack.net(), "net0")).await.expect("a stack");
            (stack, far, udp, server)
        });
        let network = stack.net().network();
        Self { server, stack, _far: far, udp, network, runtime }
    }

    /// Whether the next story finds what the last one has found.
    fn is_unchanged(&self) -> bool {
        let is_open = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.stack.net().network().revision == self.network.revision
            && self.udp.try_recv_from(&mut [0]).is_err_and(is_open)
    }

    async fn play(&self, protocol: Protocol, datagrams: &[Vec<u8>]) {
        let (near, end) = netlink_pair(Mode::Nonblocking).expect("a pair");
        // It reads and writes packets, as any Unix socket of this type does.
        let near = UnixStream::from_std(near.into()).expect("a runtime");
        // SOCK_RAW.
        let (_socket, service) =
            Socket::open(&self.server, (3, protocol), Reports::Message, 7, end);
        let serving = tokio::spawn(service.run());
        let ended = tokio::time::timeout(PATIENCE, exchange(&near, datagrams)).await;
        ended.expect("the last request is answered").expect("the service goes on");
        drop(near);
        serving.await.expect("the service does not panic");
    }
}

/// Sends the datagrams, and reads answers up to that of the last.
async fn exchange(near: &UnixStream, datagrams: &[Vec<u8>]) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    // An empty one would be the end.
    for datagram in datagrams.iter().filter(|datagram| !datagram.is_empty()) {
        while now(near.try_write(datagram))?.is_none() {
            near.ready(Interest::READABLE | Interest::WRITABLE).await?;
            read(near, &mut buffer)?;
        }
    }
    while !read(near, &mut buffer)? {
        near.readable().await?;
    }
    Ok(())
}

/// Reads the answers that are there; returns whether that of the last request is.
fn read(near: &UnixStream, buffer: &mut [u8]) -> io::Result<bool> {
    while let Some(len) = now(near.try_read(buffer))? {
        assert!(len > 0, "the service has ended");
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            assert!(rest.len() >= HEADER, "a header is whole");
            let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|it| rest[at + it]));
            let len = word(0) as usize;
            assert!((HEADER..=rest.len()).contains(&len), "{len} of {}", rest.len());
            if word(8) == LAST && word(4) as u16 == ERROR {
                return Ok(true);
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(false)
}

/// What is there now; `None` if that is nothing.
fn now<T>(tried: io::Result<T>) -> io::Result<Option<T>> {
    match tried {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        tried => tried.map(Some),
    }
}
