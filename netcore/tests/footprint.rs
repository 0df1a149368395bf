//! The memory of an idle connection.

mod harness;

use harness::resident::resident_bytes;
use harness::{Pair, Side, read};
use netcore::queue::StreamQueue;
use netcore::{Config, TcpConfig, tcp};
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS: usize = 2_000;
/// Both ends are in this process.
const ENDS: usize = 2 * CONNECTIONS;
const WINDOW: usize = 256 * 1024;
/// Heap bytes allowed per socket, its share of the tables included.
const ALLOCATED_MAX: usize = 2_400;
/// Heap bytes that all of them may keep of what their first bytes took: those of the stack.
const KEPT_MAX: i64 = 64 * 1024;
/// Resident bytes that the first bytes may add, with all that the connection counts.
const USED_MAX: usize = 1536;

// One test, so that nothing else is in the process meanwhile.
#[test]
fn idle_connection_is_small_before_and_after_its_use() {
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes: WINDOW,
            recv_buffer_bytes_max: WINDOW,
            send_buffer_bytes: WINDOW,
            send_buffer_bytes_max: WINDOW,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut streams: Vec<[Arc<StreamQueue>; 2]> = Vec::with_capacity(CONNECTIONS);

    let allocated = allocation_counter::measure(|| {
        for _ in 0..CONNECTIONS {
            let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
            streams.push([near, pair.accept(Side::Far, listener).expect("a connection")]);
        }
    });
    let each = allocated.bytes_current / ENDS as i64;
    assert!((1..=ALLOCATED_MAX as i64).contains(&each), "{each} bytes for each end");

    let new = resident_bytes();
    let kept = allocation_counter::measure(|| {
        for [near, far] in &streams {
            exchange(&mut pair, near, far);
        }
        let used = resident_bytes();
        assert!(used.saturating_sub(new) <= ENDS * USED_MAX, "{} bytes", used - new);
        pair.advance(Duration::from_secs(15));
    });
    assert!(kept.bytes_current <= KEPT_MAX, "{} bytes for all", kept.bytes_current);
    let idle = resident_bytes();
    // The allocator keeps what it had handed out for the bytes in flight.
    assert!(idle.saturating_sub(new) <= ENDS * USED_MAX, "{new}, then {idle}");

    // And they go on.
    for [near, far] in &streams[..10] {
        exchange(&mut pair, near, far);
    }
    for stream in streams.iter().flatten() {
        stream.close();
    }
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
}

/// Sends a byte there and back.
fn exchange(pair: &mut Pair, near: &StreamQueue, far: &StreamQueue) {
    for (from, to) in [(near, far), (far, near)] {
        assert_eq!(from.try_send(&[7]), Ok(1));
        pair.run();
        assert_eq!(read(to, 2), Ok(vec![7]));
    }
}
