//! Many connections leave nothing behind.
//!
//! `NETCORE_CYCLES=100000 cargo test --release -p netcore --test cycles` is the long run.

mod harness;

use harness::peer::{Peer, Tap};
use harness::resident::resident_bytes;
use harness::{Pair, Side};
use netcore::device::smoltcp::wire::TcpControl;
use netcore::queue::StreamQueue;
use netcore::{Config, Entropy, SocketId, TcpConfig, tcp};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Cycles between two looks at what is left: no more than ports to connect from.
const BATCH: usize = 1000;
/// By how much resident memory may differ from the start. What is freed goes back to the allocator
/// and not to the system, so the fragments that a batch leaves may grow it once; a single byte a
/// cycle would show in the long run, and a socket a batch in the short one.
const RESIDENT_TOLERANCE_BYTES: usize = 4 << 20;

/// The course of one connection.
type Cycle = fn(&mut Bench, usize);

const CYCLES: [(&str, Cycle); 12] = [
    ("open and close", open_and_close),
    ("reset by this end", reset_here),
    ("reset by the peer", reset_there),
    ("SYN only", syn_only),
    ("vanishes in SYN-SENT", syn_sent),
    ("vanishes in ESTABLISHED with data unacknowledged", unacknowledged),
    ("vanishes in CLOSE-WAIT", close_wait),
    ("vanishes in FIN-WAIT-1", fin_wait_1),
    ("vanishes in FIN-WAIT-2", fin_wait_2),
    ("vanishes in CLOSING", closing),
    ("vanishes in LAST-ACK", last_ack),
    ("vanishes in TIME-WAIT", time_wait),
];

#[test]
fn every_connection_is_gone_a_minute_after_its_end() {
    let cycles: usize = match std::env::var("NETCORE_CYCLES") {
        Ok(cycles) => cycles.parse().expect("NETCORE_CYCLES is a number"),
        Err(_) => BATCH,
    };
    for (name, cycle) in CYCLES {
        let mut bench = Bench::new();
        // What the first batch makes tables grow to, they keep.
        bench.run(cycle, 0..BATCH);
        let before = bench.measure();

        let mut done = 0;
        while done < cycles {
            let batch = BATCH.min(cycles - done);
            bench.run(cycle, done..done + batch);
            done += batch;
        }

        let after = bench.measure();
        assert_eq!(after.tables, before.tables, "{name}");
        let grown = after.resident.saturating_sub(before.resident);
        assert!(grown <= RESIDENT_TOLERANCE_BYTES, "{name}: {grown} bytes more");
        bench.end();
    }
}

/// The figures that must be the same before and after.
struct Measure {
    /// Sockets, connections in TIME-WAIT, bytes of buffers and timers of both ends.
    tables: [(usize, usize, usize, usize); 2],
    resident: usize,
}

struct Bench {
    pair: Pair,
    tap: Tap,
    listener: SocketId,
}

impl Bench {
    fn new() -> Self {
        // An established peer may be silent for longer than a minute by default.
        let config = Config {
            entropy: Entropy::Seed(5),
            tcp: TcpConfig {
                backlog_max: BATCH,
                retransmit_timeout: Duration::from_secs(50),
                connect_timeout: Duration::from_secs(50),
                recv_buffer_bytes: 64 * 1024,
                recv_buffer_bytes_max: 64 * 1024,
                send_buffer_bytes: 64 * 1024,
                send_buffer_bytes_max: 64 * 1024,
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let mut pair = Pair::with(config, 1500);
        pair.far.stack.add_gateway(Ipv4Addr::new(10, 0, 0, 1).into()).expect("a host's");
        let tap = Tap::new(&mut pair);
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        Self { pair, tap, listener }
    }

    /// Runs some cycles and lets a minute pass.
    fn run(&mut self, cycle: Cycle, indices: std::ops::Range<usize>) {
        for index in indices {
            cycle(self, index);
        }
        self.pair.run();
        self.tap.take();
        self.pair.advance(Duration::from_secs(60));
        self.tap.take();
        for side in [Side::Near, Side::Far] {
            let (states, time_wait) = self.pair.states(side);
            assert!(states.is_empty() && time_wait == 0, "{side:?}: {states:?}, {time_wait}");
        }
    }

    fn measure(&mut self) -> Measure {
        let tables = [&self.pair.near, &self.pair.far].map(|host| {
            let snapshot = host.stack.snapshot();
            let sockets = snapshot.sockets.len();
            (sockets, snapshot.time_wait.len(), snapshot.buffer_bytes, snapshot.timers)
        });
        Measure { tables, resident: resident_bytes() }
    }

    fn end(mut self) {
        let close = tcp::Command::Close;
        self.pair.call(Side::Far, Some(self.listener), close).expect("a listener");
    }

    /// A connection between the two stacks.
    fn connected(&mut self) -> (Arc<StreamQueue>, Arc<StreamQueue>) {
        let near = self.pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
        (near, self.pair.accept(Side::Far, self.listener).expect("a connection"))
    }

    /// A connection of far's with a peer that can vanish.
    fn met(&mut self, index: usize) -> (Arc<StreamQueue>, Peer) {
        let mut peer = peer(index);
        let tap = self.tap.clone();
        peer.connect(&mut self.pair, &tap);
        (self.pair.accept(Side::Far, self.listener).expect("a connection"), peer)
    }

    fn receive(&mut self, peer: &mut Peer) {
        self.pair.run();
        peer.receive(&self.tap);
    }
}

/// Unique within a batch.
fn peer(index: usize) -> Peer {
    let [.., high, low] = index.to_be_bytes();
    Peer::new(Ipv4Addr::new(10, 1, high, low), 1000)
}

fn open_and_close(bench: &mut Bench, index: usize) {
    let (near, far) = bench.connected();
    near.try_send(b"hello").expect("credit");
    bench.pair.run();
    assert_eq!(harness::read(&far, 10), Ok(b"hello".to_vec()));
    let (first, then) = if index.is_multiple_of(2) { (near, far) } else { (far, near) };
    first.close();
    bench.pair.run();
    then.close();
    bench.pair.run();
}

fn reset_here(bench: &mut Bench, _: usize) {
    let (near, far) = bench.connected();
    near.abort();
    bench.pair.run();
    far.close();
}

fn reset_there(bench: &mut Bench, index: usize) {
    let (far, mut peer) = bench.met(index);
    peer.send(&mut bench.pair, TcpControl::Rst, &[]);
    bench.pair.run();
    far.close();
}

fn syn_only(bench: &mut Bench, index: usize) {
    peer(index).send(&mut bench.pair, TcpControl::Syn, &[]);
    bench.pair.run();
}

fn syn_sent(bench: &mut Bench, index: usize) {
    let remote = (peer(index).address, 80).into();
    let options = tcp::Options::default();
    let channel = netcore::HasChannel::command_channel(&bench.pair.far.stack);
    let connect = tcp::Command::Connect { remote, local: None, options };
    let mut connecting = Box::pin(channel.call(None, connect));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    bench.pair.run();
    // The caller cancels every other one, the stack times out the rest.
    if index.is_multiple_of(2) {
        drop(connecting);
        return;
    }
    bench.pair.advance(Duration::from_secs(50));
    let outcome = connecting.as_mut().poll(&mut context);
    assert!(matches!(outcome, std::task::Poll::Ready(Err(netcore::Error::TimedOut))));
}

fn unacknowledged(bench: &mut Bench, index: usize) {
    let (far, _) = bench.met(index);
    far.try_send(b"anybody there?").expect("credit");
    bench.pair.run();
    // Times out with its handle, or without one.
    if index.is_multiple_of(2) {
        far.close();
    }
}

fn close_wait(bench: &mut Bench, index: usize) {
    let (far, mut peer) = bench.met(index);
    peer.send(&mut bench.pair, TcpControl::Fin, &[]);
    bench.pair.run();
    far.try_send(b"anybody there?").expect("credit");
    bench.pair.run();
}

fn fin_wait_1(bench: &mut Bench, index: usize) {
    let (far, _) = bench.met(index);
    far.close();
    bench.pair.run();
}

fn fin_wait_2(bench: &mut Bench, index: usize) {
    let (far, mut peer) = bench.met(index);
    far.close();
    bench.receive(&mut peer);
    peer.send(&mut bench.pair, TcpControl::None, &[]);
    bench.pair.run();
}

fn closing(bench: &mut Bench, index: usize) {
    let (far, mut peer) = bench.met(index);
    far.close();
    bench.pair.run();
    peer.send(&mut bench.pair, TcpControl::Fin, &[]);
    bench.pair.run();
}

fn last_ack(bench: &mut Bench, index: usize) {
    let (far, mut peer) = bench.met(index);
    peer.send(&mut bench.pair, TcpControl::Fin, &[]);
    bench.pair.run();
    far.close();
    bench.pair.run();
}

fn time_wait(bench: &mut Bench, index: usize) {
    let (far, mut peer) = bench.met(index);
    far.close();
    bench.receive(&mut peer);
    peer.send(&mut bench.pair, TcpControl::Fin, &[]);
    bench.pair.run();
}
