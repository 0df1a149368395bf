//! Allocations of a transfer under way.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side};
use netcore::queue::StreamQueue;
use netcore::tcp;
use std::time::Duration;

const SEGMENTS: usize = 1000;
const SEGMENT_BYTES: usize = 1460;
/// Segments at once: no more than the congestion window that a connection begins with grows to
/// while it warms up.
const BATCH: usize = 20;
static DATA: [u8; BATCH * SEGMENT_BYTES] = [7; BATCH * SEGMENT_BYTES];

/// Each packet has one allocation, which is the pipe's: it carries packets as buffers of their own.
/// What the two stacks need besides is shared by many segments: received frames are carved from
/// chunks of 64 KiB, and what waits for the reader is gathered in buffers that grow up to 32 KiB and
/// are gone when it is read. With their reference counts that is one allocation for three segments.
#[test]
fn packet_costs_one_allocation_in_the_pipe() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    // Until windows and queues have their sizes.
    for _ in 0..10 {
        transfer(&mut pair, &near, &far);
    }

    let packets = packets_sent(&pair);
    let allocations = allocation_counter::measure(|| {
        for _ in 0..SEGMENTS / BATCH {
            transfer(&mut pair, &near, &far);
        }
    });
    let packets = packets_sent(&pair) - packets;

    assert!(packets >= SEGMENTS as u64, "the transfer took {packets} packets");
    let besides = allocations.count_total - packets;
    assert!(besides < SEGMENTS as u64 / 3, "{besides} allocations besides those of the packets");
    // Nothing stays behind for each segment.
    assert!(allocations.bytes_current.unsigned_abs() < SEGMENTS as u64);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
    near.close();
    far.close();
}

/// An idle connection allocates nothing, however often the stack is polled.
#[test]
fn polling_an_idle_stack_allocates_nothing() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    transfer(&mut pair, &near, &far);

    let allocations = allocation_counter::measure(|| {
        for _ in 0..1000 {
            pair.advance(Duration::from_millis(10));
        }
    });

    assert_eq!(allocations.count_total, 0);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
    near.close();
    far.close();
}

/// Sends a batch, and reads it.
fn transfer(pair: &mut Pair, near: &StreamQueue, far: &StreamQueue) {
    let mut data = Bytes::from_static(&DATA);
    assert_eq!(near.try_send_bytes(&mut data), Ok(DATA.len()));
    // Long enough for an acknowledgement that was delayed.
    pair.advance(Duration::from_millis(20));
    let mut received = 0;
    while received < DATA.len() {
        received += far.try_recv_bytes(usize::MAX).expect("it has arrived").len();
    }
}

fn packets_sent(pair: &Pair) -> u64 {
    [&pair.near, &pair.far].iter().map(|host| host.stack.counters().frames_sent).sum()
}
