//! The counted operations: one stack of two repeats each.

use bytes::Bytes;
use netcore::Instant;
use netcore::device::smoltcp::phy::Medium;
use netcore::queue::{AcceptQueue, SocketQueue, StreamQueue};
use netcore::{
    Command, Config, Entropy, Error, HasChannel, Netstack, Pipe, PipeDev, Response, tcp, udp,
};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The functions below whose calls of [`measured`] count.
pub(crate) const OPERATIONS: [&str; 6] = [
    "segment_received",
    "segment_sent",
    "ack_received",
    "datagram_command",
    "connect_command",
    "connection_accepted",
];
/// How often each function does its operation.
pub(crate) const UNITS: u64 = (BATCH * ROUNDS) as u64;

/// How many packets or commands come at once. Flows that are busy hand over more than one, and what
/// a turn costs by itself is shared among them.
const BATCH: usize = 16;
const ROUNDS: usize = 16;
/// The payload of a full segment, with its timestamps.
const SEGMENT_BYTES: usize = 1448;

/// Does every operation with so many connections open.
pub(crate) fn run(flows: usize) {
    let mut pair = Pair::new();
    let streams = pair.connect_many(flows);
    let [near, far] = streams.last().expect("at least one").clone();
    segment_received(&mut pair, &near, &far);
    segment_sent(&mut pair, &near, &far);
    ack_received(&mut pair, &near, &far);
    datagram_command(&mut pair);
    connect_command(&mut pair);
    connection_accepted(&mut pair);
}

/// Sends until the congestion window has room for a batch. A connection that was idle for a while
/// begins with the initial window again.
fn open_window(pair: &mut Pair, from: &StreamQueue, to: &StreamQueue) {
    for _ in 0..4 {
        pair.send(from);
        pair.settle();
        drain(to);
    }
}

/// Counts the instructions in here for the calling function.
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

/// A full segment in order, and its share of the acknowledgement.
#[inline(never)]
fn segment_received(pair: &mut Pair, near: &StreamQueue, far: &StreamQueue) {
    open_window(pair, far, near);
    for _ in 0..ROUNDS {
        pair.send(far);
        pair.far.turn(pair.now);
        pair.far_wire.carry(&pair.near_wire);
        let before = pair.near.stack.counters().frames_received;
        measured(|| pair.near.turn(pair.now));
        assert_eq!(pair.near.stack.counters().frames_received - before, BATCH as u64);
        drain(near);
        pair.settle();
    }
}

/// A full segment, from the handle's queue to the device.
#[inline(never)]
fn segment_sent(pair: &mut Pair, near: &StreamQueue, far: &StreamQueue) {
    open_window(pair, near, far);
    for _ in 0..ROUNDS {
        pair.send(near);
        let before = pair.near.stack.counters().frames_sent;
        measured(|| pair.near.turn(pair.now));
        assert_eq!(pair.near.stack.counters().frames_sent - before, BATCH as u64);
        pair.settle();
        drain(far);
    }
}

/// An acknowledgement of one segment, with nothing to be sent.
#[inline(never)]
fn ack_received(pair: &mut Pair, near: &StreamQueue, far: &StreamQueue) {
    far.set_options(|options| options.quickack = true);
    for _ in 0..ROUNDS {
        pair.send(near);
        pair.near.turn(pair.now);
        for segment in pair.near_wire.0.rx.try_iter() {
            pair.far_wire.0.tx.send(segment).expect("the device is there");
            pair.far.turn(pair.now);
            drain(far);
        }
        pair.far_wire.carry(&pair.near_wire);
        let before = pair.near.stack.counters().frames_received;
        measured(|| pair.near.turn(pair.now));
        assert_eq!(pair.near.stack.counters().frames_received - before, BATCH as u64);
        pair.settle();
    }
}

/// A command that sends a small datagram.
#[inline(never)]
fn datagram_command(pair: &mut Pair) {
    let endpoint = SocketAddr::from((NEAR, 53));
    let bound = pair.near.open(udp::Command::Bind { endpoint });
    pair.settle();
    let (Response::Udp(udp::Response::Bound { handle, .. }), _) = bound.answer() else {
        panic!("binding answers with the socket");
    };
    let payload = Bytes::from_static(&[7; 64]);
    for _ in 0..ROUNDS {
        for _ in 0..BATCH {
            let endpoint = SocketAddr::from((FAR, 53));
            let send = udp::Command::Send { endpoint, buf: payload.clone() };
            pair.near.stack.request_nonblocking(Some(handle), send).expect("room");
        }
        measured(|| pair.near.turn(pair.now));
        assert_eq!(pair.near_wire.0.rx.drain().len(), BATCH);
    }
}

/// A command that connects, until its SYN has left.
#[inline(never)]
fn connect_command(pair: &mut Pair) {
    for _ in 0..ROUNDS {
        let opened: Vec<_> = (0..BATCH).map(|_| pair.near.open(connect(FAR))).collect();
        let before = pair.near.stack.counters().frames_sent;
        measured(|| pair.near.turn(pair.now));
        assert_eq!(pair.near.stack.counters().frames_sent - before, BATCH as u64);
        pair.settle();
        pair.end(opened.into_iter().map(Opened::stream).collect());
    }
}

/// A connection that a peer makes: its SYN, the last step of its handshake, and its acceptance.
#[inline(never)]
fn connection_accepted(pair: &mut Pair) {
    for _ in 0..ROUNDS {
        let opened: Vec<_> = (0..BATCH).map(|_| pair.far.open(connect(NEAR))).collect();
        pair.far.turn(pair.now);
        pair.far_wire.carry(&pair.near_wire);
        measured(|| pair.near.turn(pair.now));
        pair.near_wire.carry(&pair.far_wire);
        pair.far.turn(pair.now);
        pair.far_wire.carry(&pair.near_wire);
        let mut accepted = Vec::with_capacity(BATCH);
        measured(|| {
            pair.near.turn(pair.now);
            accepted.extend(std::iter::from_fn(|| pair.near.listener.try_accept().ok()));
        });
        assert_eq!(accepted.len(), BATCH);
        pair.end(opened.into_iter().map(Opened::stream).collect());
    }
}

const NEAR: [u8; 4] = [10, 0, 0, 1];
const FAR: [u8; 4] = [10, 0, 0, 2];
const PORT: u16 = 80;

/// Two stacks and the wire between them. What is counted is near's work.
struct Pair {
    near: Host,
    far: Host,
    near_wire: Wire,
    far_wire: Wire,
    now: Instant,
}

/// A stack that listens, and its end of the wire.
struct Host {
    stack: Netstack,
    device: PipeDev,
    listener: Arc<AcceptQueue>,
}

/// The other end of a host's device.
struct Wire(Pipe);

impl Wire {
    /// Takes all that one host has sent to the other.
    fn carry(&self, to: &Self) {
        for packet in self.0.rx.try_iter() {
            to.0.tx.send(packet).expect("the device is there");
        }
    }
}

impl Pair {
    fn new() -> Self {
        let (near, near_wire) = Host::new(NEAR);
        let (far, far_wire) = Host::new(FAR);
        Self { near, far, near_wire, far_wire, now: Instant::ZERO }
    }

    /// Runs both stacks, at the current time and a moment later.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.now += Duration::from_millis(5);
            for _ in 0..4 {
                self.near.turn(self.now);
                self.far.turn(self.now);
                self.near_wire.carry(&self.far_wire);
                self.far_wire.carry(&self.near_wire);
            }
        }
    }

    /// Gives a stream a batch of segments to send.
    fn send(&mut self, stream: &StreamQueue) {
        static DATA: [u8; BATCH * SEGMENT_BYTES] = [7; BATCH * SEGMENT_BYTES];
        let mut data = Bytes::from_static(&DATA);
        assert_eq!(stream.try_send_bytes(&mut data), Ok(DATA.len()));
    }

    /// Connections from far to near: near's ends and far's.
    fn connect_many(&mut self, connections: usize) -> Vec<[Arc<StreamQueue>; 2]> {
        let mut streams = Vec::with_capacity(connections);
        while streams.len() < connections {
            let batch = (connections - streams.len()).min(256);
            let opened: Vec<_> = (0..batch).map(|_| self.far.open(connect(NEAR))).collect();
            for _ in 0..3 {
                self.far.turn(self.now);
                self.far_wire.carry(&self.near_wire);
                self.near.turn(self.now);
                self.near_wire.carry(&self.far_wire);
            }
            for far in opened.into_iter().map(Opened::stream) {
                let near = self.near.listener.try_accept().expect("as many as were made");
                // Accepted in the order in which they were made.
                assert_eq!(near.peer_address(), far.local_address());
                streams.push([near, far]);
            }
        }
        streams
    }

    /// Resets connections, so that no more are open than before.
    fn end(&mut self, streams: Vec<Arc<StreamQueue>>) {
        for stream in streams {
            stream.abort();
        }
        self.settle();
        for host in [&self.near, &self.far] {
            while host.listener.try_accept().is_ok() {}
        }
    }
}

impl Host {
    fn new(address: [u8; 4]) -> (Self, Wire) {
        let config = Config { entropy: Entropy::Seed(u64::from(address[3])), ..Config::default() };
        let mut stack = Netstack::new(config, Instant::ZERO);
        let network = ipnet::Ipv4Net::new(address.into(), 24).expect("a prefix");
        stack.add_address(network.into()).expect("a host's address");
        let (pipe, wire) = Pipe::unbounded();
        let mut device = PipeDev { pipe, medium: Medium::Ip, mtu: 1500 };
        let local = SocketAddr::from((address, PORT));
        let options = tcp::ListenOptions::default();
        let listening = Opened::new(&stack, tcp::Command::Listen { local, options });
        stack.process_cmds();
        stack.poll_device_io(Instant::ZERO, &mut device);
        let (_, Some(SocketQueue::Accept(listener))) = listening.answer() else {
            panic!("listening gives the queue");
        };
        (Self { stack, device, listener }, Wire(wire))
    }

    /// Commands, then packets.
    fn turn(&mut self, now: Instant) {
        self.stack.process_cmds();
        self.stack.poll_device_io(now, &mut self.device);
    }

    fn open(&self, command: impl Into<Command>) -> Opened {
        Opened::new(&self.stack, command)
    }
}

/// A command that was sent, and its answer when it is there.
struct Opened(Pin<Box<dyn Future<Output = Result<Answer, Error>>>>);

type Answer = (Response, Option<SocketQueue>);

impl Opened {
    fn new(stack: &Netstack, command: impl Into<Command>) -> Self {
        let (channel, command) = (stack.command_channel(), command.into());
        let mut reply = Box::pin(async move { channel.call(None, command).await });
        let mut context = Context::from_waker(Waker::noop());
        assert!(reply.as_mut().poll(&mut context).is_pending(), "the stack has yet to see it");
        Self(reply)
    }

    fn answer(mut self) -> Answer {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.expect("it succeeds"),
            Poll::Pending => panic!("no answer yet"),
        }
    }

    fn stream(self) -> Arc<StreamQueue> {
        match self.answer().1 {
            Some(SocketQueue::Stream(stream)) => stream,
            other => panic!("{other:?} is no stream"),
        }
    }
}

fn connect(to: [u8; 4]) -> tcp::Command {
    let remote = SocketAddr::from((to, PORT));
    tcp::Command::Connect { remote, local: None, options: tcp::Options::default() }
}

/// Reads all that is there.
fn drain(stream: &StreamQueue) {
    while stream.try_recv_bytes(usize::MAX).is_ok_and(|bytes| !bytes.is_empty()) {}
}
