//! Goodput of one stream over a link that loses or reorders packets: this stack beside bare
//! smoltcp, in virtual time, and Linux with itself and with this stack, in real time.
//!
//! ```sh
//! cargo bench -p netstack --features sim --bench loss
//! ```
//!
//! `docs/loss.md` has the table and its interpretation.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[cfg(all(target_os = "linux", feature = "tun"))]
mod linux;
mod ours;
mod smoltcp;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod with_us;

use netstack::CongestionControl;
use netstack::sim::LinkConfig;
use std::time::Duration;

/// How long each stream lasts.
const TIME: Duration = Duration::from_secs(5);
/// How many streams are averaged in virtual time: few losses make much of a difference.
const SEEDS: u64 = 10;
/// Half a round trip.
const DELAY: Duration = Duration::from_millis(10);
const BITS_PER_SECOND: u64 = 100_000_000;

/// An impairment: its name, and the probabilities of loss and of reordering.
type Luck = (&'static str, f64, f64);

const LUCK: [Luck; 5] = [
    ("no loss", 0.0, 0.0),
    ("0.1 % loss", 0.001, 0.0),
    ("1 % loss", 0.01, 0.0),
    ("3 % loss", 0.03, 0.0),
    ("1 % reordered", 0.0, 0.01),
];

fn main() {
    #[cfg(all(target_os = "linux", feature = "tun"))]
    if linux::is_inside() {
        return linux::run();
    }
    println!(
        "Goodput in Mbit/s, 100 Mbit/s, round trip of 20 ms, {} s, mean of {SEEDS} seeds\n",
        TIME.as_secs()
    );
    print!("{:<36}", "");
    LUCK.iter().for_each(|(name, ..)| print!("{name:>14}"));
    println!();
    for control in [CongestionControl::Cubic, CongestionControl::Bbr] {
        print_row(&format!("netstack, {control}"), |link, seed| ours::stream(link, seed, control));
    }
    for (name, buffer_bytes, control) in smoltcp::ROWS {
        print_row(name, |link, seed| smoltcp::stream(link, seed, buffer_bytes, control));
    }
    #[cfg(all(target_os = "linux", feature = "tun"))]
    linux::print_rows();
}

fn print_row(name: &str, stream: impl Fn(LinkConfig, u64) -> usize) {
    let goodputs = LUCK.map(|(_, loss, reorder)| {
        let link =
            LinkConfig::new().delay(DELAY).bandwidth(BITS_PER_SECOND).loss(loss).reorder(reorder);
        let bytes: usize = (0..SEEDS).map(|seed| stream(link.clone(), seed)).sum();
        megabits_per_second(bytes, TIME * SEEDS as u32)
    });
    print_goodputs(name, &goodputs);
}

fn print_goodputs(name: &str, goodputs: &[f64]) {
    print!("{name:<36}");
    goodputs.iter().for_each(|goodput| print!("{goodput:>14.1}"));
    println!();
}

fn megabits_per_second(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e6
}
