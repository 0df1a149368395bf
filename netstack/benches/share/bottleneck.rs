//! Senders behind one bottleneck, on a simulated network.

use netstack::sim::{self, Host, LinkConfig, Sim};
use netstack::{Config, CongestionControl, Direction, Net, TcpConfig};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How long a run lasts. Its second half is measured.
pub(crate) const TIME: Duration = Duration::from_secs(20);
/// How much later than the first the second sender begins.
const LATER: Duration = Duration::from_secs(1);
/// How much later it is with each seed, or all of them would have the same.
const LATER_BY_SEED: Duration = Duration::from_millis(10);
/// Half a round trip.
pub(crate) const DELAY: Duration = Duration::from_millis(10);
/// More than fits into the pipe and the longest queue, so that no window is the limit.
const BUFFER_BYTES: usize = 4 << 20;
/// The receiver is the first host.
const RECEIVER: &str = "10.0.0.1";

/// What the second half of a run had.
pub(crate) struct Outcome {
    /// In Mbit/s, of each sender.
    pub(crate) goodputs: Vec<f64>,
    /// The share of the packets that the bottleneck lost.
    pub(crate) lost: f64,
    /// How long a packet waited in the queue of the bottleneck, in milliseconds.
    pub(crate) waited: f64,
}

/// Runs so many senders with one congestion control.
pub(crate) fn run(
    control: CongestionControl,
    senders: u16,
    bottleneck: LinkConfig,
    seed: u64,
) -> Outcome {
    sim::run(seed, |sim| async move {
        let config = || Config {
            tcp: TcpConfig {
                recv_buffer_bytes: BUFFER_BYTES,
                send_buffer_bytes: BUFFER_BYTES,
                congestion_control: control,
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let receiver = sim.host().link_of(Direction::Inbound, bottleneck).config(config());
        let receiver = receiver.spawn().expect("a valid link");
        let start = Instant::now();
        let mut receiving = tokio::task::JoinSet::new();
        for index in 0..senders {
            let port = 80 + index;
            let link = LinkConfig::new().delay(DELAY);
            let sender = sim.host().link(link).config(config()).spawn().expect("a valid link");
            receiving.spawn(receive(receiver.net().clone(), port, start));
            begin(&sim, sender, port, (LATER + LATER_BY_SEED * seed as u32) * u32::from(index));
        }
        let (before, after) = (start + TIME / 2, start + TIME);
        sleep_until(before).await;
        let first = receiver.counters(Direction::Inbound);
        sleep_until(after).await;
        let last = receiver.counters(Direction::Inbound);

        let lost = |counters: &sim::LinkCounters| {
            counters.lost
                + counters.lost_burst
                + counters.lost_queue
                + counters.lost_codel
                + counters.lost_policer
        };
        let mut goodputs: Vec<_> = receiving.join_all().await;
        goodputs.sort_by_key(|(port, _)| *port);
        let waited = (last.waited - first.waited).as_secs_f64() * 1e3;
        Outcome {
            goodputs: goodputs.into_iter().map(|(_, goodput)| goodput).collect(),
            lost: (lost(&last) - lost(&first)) as f64 / (last.sent - first.sent) as f64,
            waited: waited / (last.arrived - first.arrived) as f64,
        }
    })
}

/// Sends without end, from some time on.
fn begin(sim: &Sim, sender: Host, port: u16, later: Duration) {
    sim.spawn(async move {
        sleep(later).await;
        let mut stream = sender.net().tcp_connect((RECEIVER, port)).await.expect("a listener");
        let block = vec![7; 64 * 1024];
        while stream.write_all(&block).await.is_ok() {}
    });
}

/// Receives for the whole time; returns the goodput of the second half.
async fn receive(net: Net, port: u16, start: Instant) -> (u16, f64) {
    let listener = net.tcp_listen((RECEIVER, port)).await.expect("free");
    let (mut receiver, _) = listener.accept().await.expect("a sender");
    let (mut block, mut bytes) = (vec![0; 64 * 1024], 0);
    while let Ok(count) = timeout_at(start + TIME, receiver.read(&mut block)).await {
        let count = count.expect("open");
        if start.elapsed() >= TIME / 2 {
            bytes += count;
        }
    }
    (port, bytes as f64 * 8.0 / (TIME / 2).as_secs_f64() / 1e6)
}
