//! A SYN flood from spoofed addresses.
//!
//! `NETCORE_FLOOD=10000 cargo test --release -p netcore --test flood` is the flood in full size: so
//! many SYNs a second.

mod harness;

use harness::peer::{Peer, Tap};
use harness::resident::resident_bytes;
use harness::segment::Segment;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::TcpControl;
use netcore::{Config, DropReason, tcp};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const SECONDS: usize = 60;
const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_SECOND: usize = 100;
/// The round-trip time of the honest clients, in ticks.
const ROUND_TRIP_TICKS: usize = 10;
/// What a half-open connection may cost, besides address space.
const HALF_OPEN_BYTES_MAX: usize = 8 * 1024;
/// What the flood leaves on its way through this test: the packets of one tick and the counts of
/// the answers.
const TEST_BYTES_MAX: usize = 64 << 20;

#[test]
fn spoofed_syn_flood_is_bounded_and_does_not_lock_out_peers() {
    let syns_per_second: usize = match std::env::var("NETCORE_FLOOD") {
        Ok(rate) => rate.parse().expect("NETCORE_FLOOD is a number"),
        Err(_) => 1000,
    };
    let config = Config::default();
    let half_open_max = config.tcp.half_open_per_listener_max;
    let mut pair = Pair::with(config, 1500);
    pair.far.stack.add_gateway(Ipv4Addr::new(10, 0, 0, 1).into()).expect("a host's");
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut answers = Answers::default();
    let (mut spoofed, mut accepted) = (0, 0);
    let before = resident_bytes();
    let mut peak = before;

    for second in 0..SECONDS {
        let mut client = Peer::new(Ipv4Addr::new(10, 0, 0, 3), 1000 + second as u16);
        for tick in 0..TICKS_PER_SECOND {
            for _ in 0..syns_per_second / TICKS_PER_SECOND {
                spoof(spoofed).send(&mut pair, TcpControl::Syn, &[]);
                spoofed += 1;
            }
            if tick == 0 {
                client.send(&mut pair, TcpControl::Syn, &[]);
            }
            pair.advance(TICK);
            answers.count(client.receive(&tap));
            if tick == ROUND_TRIP_TICKS {
                client.send(&mut pair, TcpControl::None, &[]);
                client.send(&mut pair, TcpControl::None, b"hello");
            }
        }

        // Not a second has passed since this client's SYN.
        let stream = pair.accept(Side::Far, listener).expect("an honest client gets in");
        assert_eq!(stream.peer_address(), (client.address, client.port).into());
        assert_eq!(read(&stream, 10), Ok(b"hello".to_vec()));
        stream.abort();
        accepted += 1;
        let snapshot = pair.far.stack.snapshot();
        assert!(snapshot.sockets.len() <= half_open_max + 2, "{}", snapshot.sockets.len());
        peak = peak.max(resident_bytes());
    }

    assert_eq!(accepted, SECONDS);
    let used = peak.saturating_sub(before);
    let bound = half_open_max * HALF_OPEN_BYTES_MAX + TEST_BYTES_MAX;
    assert!(used <= bound, "{used} bytes");
    pair.advance(Duration::from_secs(75));
    answers.count(tap.take());
    assert!(pair.states(Side::Far).0.is_empty(), "half-open connections are gone");
    assert_eq!(answers.by_address.len(), spoofed, "every one was answered");
    let most = answers.by_address.values().copied().max();
    assert!(most <= Some(6), "{most:?} SYN|ACKs to one");
    let evicted = pair.far.stack.counters().dropped(DropReason::HalfOpenEvicted);
    assert!(evicted as usize >= spoofed - half_open_max, "{evicted}");
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

/// The number of answers to each spoofed address.
#[derive(Default)]
struct Answers {
    by_address: HashMap<IpAddr, u8>,
}

impl Answers {
    fn count(&mut self, segment: Vec<Segment>) {
        let spoofed =
            |segment: &&Segment| matches!(segment.to.ip(), IpAddr::V4(to) if to.octets()[0] == 172);
        for segment in segment.iter().filter(spoofed) {
            assert_eq!(segment.control(), TcpControl::Syn, "{segment:?}");
            *self.by_address.entry(segment.to.ip()).or_default() += 1;
        }
    }
}

/// Each from an address of its own.
fn spoof(index: usize) -> Peer {
    let [.., a, b, c] = index.to_be_bytes();
    Peer::new(Ipv4Addr::new(172, 16 + a, b, c), 1000)
}
