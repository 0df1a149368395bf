//! The random impairments of the two directions of a link.

use netstack::CongestionControl;
use netstack::sim::{BurstLoss, Codel, LinkConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// What lies between the two hosts.
#[derive(Debug)]
pub(crate) struct Path {
    /// Outbound and inbound.
    pub(crate) links: [LinkConfig; 2],
    /// When the bandwidth changes, and to what.
    pub(crate) change: Option<(Duration, u64)>,
    random: StdRng,
}

impl Path {
    /// A path with a link that already has some impairments.
    pub(crate) fn new(link: &LinkConfig, mtu: usize, seed: u64) -> Self {
        // Numbers of its own: what else a seed has stays as it is when something is added here.
        let mut random = StdRng::seed_from_u64(seed ^ 1 << 63);
        let links = [0, 1].map(|_| {
            if random.random() { more(link.clone(), mtu, &mut random) } else { link.clone() }
        });
        let change = random
            .random_bool(0.3)
            .then(|| (Duration::from_millis(random.random_range(0..10_000)), rate(&mut random)));
        Self { links, change, random }
    }

    /// The congestion control of one connection.
    pub(crate) fn control(&mut self) -> CongestionControl {
        let controls = [CongestionControl::Cubic, CongestionControl::Reno, CongestionControl::Bbr];
        controls[self.random.random_range(0..controls.len())]
    }

    /// How many bytes one of a few connections has in each direction.
    pub(crate) fn bulk_bytes(&mut self) -> Option<usize> {
        self.random.random_bool(0.1).then(|| self.random.random_range(100_000..400_000))
    }
}

/// From 100 kbit/s to 100 Mbit/s.
fn rate(random: &mut StdRng) -> u64 {
    10_u64.pow(random.random_range(5..=8))
}

/// Adds some of the other impairments.
fn more(mut link: LinkConfig, mtu: usize, random: &mut StdRng) -> LinkConfig {
    if random.random() {
        link = link.bandwidth(rate(random));
        link = match random.random_range(0..3) {
            0 => link.queue(random.random_range(2..=100)),
            1 => link.queue_bytes(mtu * random.random_range(2..=100)),
            _ => link.queue_delay(Duration::from_millis(random.random_range(10..=500))),
        };
    }
    if random.random() {
        link = link.codel(Codel::default());
    }
    if random.random_bool(0.3) {
        link = link.ack_filter();
    }
    if random.random_bool(0.3) {
        link = link.aggregate(Duration::from_millis(random.random_range(1..=50)));
    }
    if random.random_bool(0.2) {
        link = link.police(rate(random), mtu * random.random_range(2..=50));
    }
    if random.random_bool(0.3) {
        let [enter, leave] = [0.05, 1.0].map(|most| random.random_range(0.001..=most));
        link = link.burst_loss(BurstLoss::new(enter, leave).losses(random.random(), 0.0));
    }
    link
}
