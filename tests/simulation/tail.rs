//! What a single loss costs where no later segment shows it.

use bytes::BytesMut;
use netstack::sim::{self, LinkConfig};
use netstack::{CongestionControl, Direction};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Payload of a full segment, with its timestamps.
const SEGMENT: usize = 1448;

/// Which packet of the client is lost, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    Syn,
    /// The data segment of this number, of those behind the warm-up.
    Segment(usize),
    Fin,
}

/// Sends ten segments and closes; returns how long it took until all was read, and until the end was.
fn transfer(lost: Lost, control: CongestionControl) -> [Duration; 2] {
    sim::run(1, |sim| async move {
        let (near, far) = sim.pair(LinkConfig::new().delay(ROUND_TRIP / 2));
        let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("free");
        let segments = Arc::new(AtomicUsize::new(0));
        let mut is_lost = false;
        let count = segments.clone();
        near.set_filter(move |direction, packet| {
            let is_first = match (direction, lost) {
                (Direction::Inbound, _) | (_, Lost::Nothing) => false,
                (_, Lost::Syn) => packet[33] & 2 != 0,
                (_, Lost::Fin) => packet[33] & 1 != 0,
                (_, Lost::Segment(number)) => {
                    packet.len() > 1000 && count.fetch_add(1, Ordering::Relaxed) == 10 + number
                }
            };
            let passes = is_lost || !is_first;
            is_lost |= is_first;
            passes
        });
        let start = Instant::now();
        let mut sender = near.net().tcp_connect("10.0.0.2:80").await.expect("a listener");
        sender.set_congestion_control(Some(control)).expect("open");
        let (mut receiver, _) = listener.accept().await.expect("a sender");
        let begun = if lost == Lost::Syn {
            start
        } else {
            // A warm-up, so that the round trip is known.
            sender.write_all(&[1; 10 * SEGMENT]).await.expect("open");
            receiver.read_exact(&mut [0; 10 * SEGMENT]).await.expect("the warm-up");
            tokio::time::sleep(ROUND_TRIP * 2).await;
            Instant::now()
        };
        sender.write_all(&[2; 10 * SEGMENT]).await.expect("open");
        sender.shutdown().await.expect("open");
        let mut bytes = BytesMut::new();
        let mut read = None;
        while receiver.read_buf(&mut bytes).await.expect("the stream is whole") > 0 {
            if bytes.len() == 10 * SEGMENT {
                read = Some(begun.elapsed());
            }
        }
        assert!(bytes.iter().all(|byte| *byte == 2) && bytes.len() == 10 * SEGMENT);
        [read.expect("all was read"), begun.elapsed()]
    })
}

const CONTROLS: [CongestionControl; 2] = [CongestionControl::Cubic, CongestionControl::Bbr];

#[test]
fn the_loss_of_the_last_segment_costs_four_round_trips() {
    for control in CONTROLS {
        let [usual, _] = transfer(Lost::Nothing, control);
        for number in [0, 4, 8, 9] {
            let [time, _] = transfer(Lost::Segment(number), control);
            let extra = time - usual;
            println!("{control}: segment {number} lost: {extra:?} more than {usual:?}");
            // Pacing spreads the segments, so that the repair may overtake the last of them; but no
            // repair is there before the loss can be known.
            assert!(
                time >= ROUND_TRIP * 3 / 2 && extra <= ROUND_TRIP * 4,
                "{control}, {number}: {extra:?}"
            );
        }
    }
}

#[test]
fn the_loss_of_the_fin_costs_four_round_trips() {
    for control in CONTROLS {
        let [_, usual] = transfer(Lost::Nothing, control);
        let [_, time] = transfer(Lost::Fin, control);
        let extra = time - usual;
        println!("{control}: FIN lost: {extra:?} more than {usual:?}");
        assert!(extra > Duration::ZERO && extra <= ROUND_TRIP * 4, "{control}: {extra:?}");
    }
}

#[test]
fn the_loss_of_the_syn_costs_a_second() {
    let [_, time] = transfer(Lost::Syn, CongestionControl::Cubic);
    println!("SYN lost: all is read after {time:?}");
    assert!(time >= Duration::from_secs(1) && time <= Duration::from_millis(1150), "{time:?}");
}
