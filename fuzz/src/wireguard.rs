//! Two devices in a tunnel, and somebody between them who may do anything but read.

use arbitrary::Unstructured;
use netcore::{FrameChecksum, Link, Offload, Slot};
use netstack::device::Device;
use netstack::wireguard::{Config, Key, Peer, WireGuardCounters, WireGuardDevice};
use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Plays what is done to the datagrams between two devices.
///
/// A packet arrives at most once and as it was sent, whatever is changed, repeated, cut, lost or sent by
/// strangers; and afterwards one arrives as if nothing had happened. Returns the number of datagrams.
///
/// A handshake takes as long as hundreds of datagrams: up to [`WIREGUARD_STORIES_MAX`] stories of a thread
/// follow each other in one tunnel, each of which begins with nothing on its way.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn wireguard(data: &[u8]) -> usize {
    let mut story = Unstructured::new(data);
    // After a panic there is none.
    let kept = SCENE.take().filter(Scene::is_good_for_another);
    let mut scene = kept.unwrap_or_else(|| Scene::new().expect("sockets on loopback"));
    let before = scene.datagrams;
    // An error is the end of the data.
    while !story.is_empty() && scene.step(&mut story).is_ok() {}
    scene.end();
    let played = scene.datagrams - before;
    SCENE.set(Some(scene));
    played
}

/// The most stories in one tunnel.
pub const WIREGUARD_STORIES_MAX: u64 = 256;
/// After this time a tunnel is not used again: long before the next handshake is due.
const AGE_MAX: Duration = Duration::from_secs(30);

thread_local! {
    static SCENE: Cell<Option<Scene>> = const { Cell::new(None) };
}

struct Scene {
    began: Instant,
    stories: u64,
    runtime: Runtime,
    ends: [End; 2],
    /// Who is between them: each end sends to one of these, and then to the one that it has last had
    /// an authentic datagram of.
    between: [UdpSocket; 2],
    /// Datagrams on their way to an end.
    caught: Vec<(usize, Vec<u8>)>,
    packets: u32,
    datagrams: usize,
}

struct End {
    device: WireGuardDevice,
    counters: WireGuardCounters,
    at: SocketAddr,
    address: Ipv4Addr,
    /// Packets that were sent to it and have not arrived.
    expected: HashSet<Vec<u8>>,
}

/// The most datagrams that are kept.
const CAUGHT_MAX: usize = 64;

impl Scene {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let socket = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let between = [socket()?, socket()?];
        let via = between[0].local_addr()?;
        let context = runtime.enter();
        let ends = [End::new(1, via)?, End::new(2, via)?];
        drop(context);
        let (began, caught) = (Instant::now(), Vec::new());
        let mut scene =
            Self { began, stories: 0, runtime, ends, between, caught, packets: 0, datagrams: 0 };
        // The handshake is left alone: a lost message of it is sent again after five seconds.
        scene.exchange(0);
        scene.exchange(1);
        Ok(scene)
    }

    fn is_good_for_another(&self) -> bool {
        self.stories < WIREGUARD_STORIES_MAX && self.began.elapsed() < AGE_MAX
    }

    fn step(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        self.datagrams += 1;
        let place = story.int_in_range(0..=CAUGHT_MAX - 1)?;
        let place = place % self.caught.len().max(1);
        let socket = usize::from(story.ratio(1u8, 8)?);
        match story.int_in_range(0..=9)? {
            0..=2 => self.send(story.int_in_range(0..=1)?),
            3 => {
                let kind = story.int_in_range(0..=5)?;
                let len = *story.choose(&[0, 1, 28, 60, 88, 144, 1400])?;
                let mut bytes = vec![kind, 0, 0, 0];
                bytes.extend(story.bytes(len.min(story.len()))?);
                self.give(story.int_in_range(0..=1)?, &bytes, socket);
            }
            _ if self.caught.is_empty() => {}
            4 | 5 => {
                let (to, datagram) = self.caught.remove(place);
                self.give(to, &datagram, socket);
            }
            6 => {
                let (to, datagram) = self.caught[place].clone();
                self.give(to, &datagram, socket);
            }
            7 => {
                let (to, mut datagram) = self.caught[place].clone();
                let at = story.int_in_range(0..=datagram.len() - 1)?;
                datagram[at] ^= story.int_in_range(1..=255)?;
                self.give(to, &datagram, socket);
            }
            8 => {
                let (to, mut datagram) = self.caught[place].clone();
                match story.arbitrary()? {
                    true => datagram.truncate(story.int_in_range(0..=datagram.len() - 1)?),
                    false => datagram.extend(story.bytes(8.min(story.len()))?),
                }
                self.give(to, &datagram, socket);
            }
            _ => {
                // Back to its sender.
                let (to, datagram) = self.caught.remove(place);
                self.give(1 - to, &datagram, socket);
            }
        }
        self.run();
        Ok(())
    }

    /// What has not arrived is not waited for; one more arrives.
    fn end(&mut self) {
        self.caught.clear();
        self.exchange(0);
        self.exchange(1);
        self.caught.clear();
        self.stories += 1;
        for end in &self.ends {
            assert_eq!(end.counters.not_allowed(), 0);
            assert_eq!(end.counters.handshakes(), 1, "nobody else can begin one");
        }
    }

    /// Sends a packet from this end and delivers all that leaves.
    fn exchange(&mut self, from: usize) {
        self.ends[1 - from].expected.clear();
        self.send(from);
        for _ in 0..10 {
            self.run();
            for (to, datagram) in std::mem::take(&mut self.caught) {
                self.give(to, &datagram, 0);
            }
            if self.ends[1 - from].expected.is_empty() {
                break;
            }
        }
        assert!(self.ends[1 - from].expected.is_empty(), "the packet has not arrived");
    }

    fn send(&mut self, from: usize) {
        self.packets += 1;
        let [source, destination] = [from, 1 - from].map(|end| self.ends[end].address);
        let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 253, 0, 0];
        packet.extend(source.octets().into_iter().chain(destination.octets()));
        packet.extend(self.packets.to_be_bytes());
        let device = &mut self.ends[from].device;
        let context = self.runtime.enter();
        device.transmit().expect("room").send(packet.len(), |room| {
            room.copy_from_slice(&packet);
            ((), Offload::default())
        });
        drop(context);
        self.ends[1 - from].expected.insert(packet);
    }

    fn give(&self, to: usize, datagram: &[u8], socket: usize) {
        // A datagram that the kernel has no room for is lost.
        let _ = self.between[socket].send_to(datagram, self.ends[to].at);
    }

    /// Has the devices send and receive, and catches what they send.
    fn run(&mut self) {
        let Self { runtime, ends, between, caught, .. } = self;
        // Readiness of the sockets is seen between two tasks.
        runtime.block_on(tokio::task::yield_now());
        let context = runtime.enter();
        for end in ends.iter_mut() {
            end.device.look();
            while let Some(frame) = end.device.receive() {
                assert!(matches!(frame.checksum, FrameChecksum::Unknown));
                assert!(end.expected.remove(&frame.data[..]), "{:?} was not sent", frame.data);
            }
            end.device.flush();
        }
        drop(context);
        let mut buffer = [0; 2048];
        for socket in between {
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let to = usize::from(from == ends[0].at);
                if caught.len() < CAUGHT_MAX {
                    caught.push((to, buffer[..len].to_vec()));
                }
            }
        }
    }
}

impl End {
    fn new(number: u8, via: SocketAddr) -> io::Result<Self> {
        let [own, other] = [number, 3 - number].map(|it| Key::from_bytes([it; 32]));
        let mut peer = Peer::new(other.public());
        peer.endpoint = Some(via.into());
        peer.allowed_ips.push(IpAddr::from([10, 8, 0, 3 - number]).into());
        let mut config = Config::new(own);
        config.peers.push(peer);
        let mut device = WireGuardDevice::open(&config)?;
        device.attach()?;
        Ok(Self {
            counters: device.counters(),
            at: SocketAddr::from(([127, 0, 0, 1], device.local_port()?)),
            device,
            address: Ipv4Addr::new(10, 8, 0, number),
            expected: HashSet::new(),
        })
    }
}
