//! Goodput of one stream over a link that loses or reorders packets: this stack beside bare
//! smoltcp, in virtual time, and Linux with itself and with this stack, in real time.
//!
//! ```sh
//! cargo bench -p netstack --features sim --bench loss
//! ```
//!
//! `docs/loss.md` has the table and its interpretation.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod chart;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod linux;
mod ours;
mod smoltcp;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod with_us;

use clap::Parser;
use netstack::CongestionControl;
use netstack::sim::LinkConfig;
use std::path::PathBuf;
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

/// The goodput of one stream over links with faults
#[derive(Parser)]
struct Args {
    /// Draw the goodputs in this file (SVG), without those of both stacks together
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row of the table: its name, and the goodput of each column in Mbit/s.
type Row = (String, Vec<f64>);

fn main() {
    #[cfg(all(target_os = "linux", feature = "tun"))]
    if linux::is_inside() {
        return linux::run();
    }
    let args = Args::parse();
    println!(
        "Goodput in Mbit/s, 100 Mbit/s, round trip of 20 ms, {} s, mean of {SEEDS} seeds\n",
        TIME.as_secs()
    );
    print!("{:<36}", "");
    LUCK.iter().for_each(|(name, ..)| print!("{name:>14}"));
    println!();
    let mut rows = Vec::new();
    for control in [CongestionControl::Cubic, CongestionControl::Bbr] {
        let name = format!("netstack, {control}");
        rows.push(row(&name, |link, seed| ours::stream(link, seed, control)));
    }
    for (name, buffer_bytes, control) in smoltcp::ROWS {
        rows.push(row(name, |link, seed| smoltcp::stream(link, seed, buffer_bytes, control)));
    }
    #[cfg(all(target_os = "linux", feature = "tun"))]
    rows.extend(linux::rows());
    if let Some(path) = args.chart {
        // The best of bare smoltcp is enough.
        rows.retain(|(name, _)| !name.contains("to ") && !name.contains("no congestion control"));
        rows.sort_by_key(|(name, _)| name.starts_with("smoltcp"));
        if let Err(error) = chart::draw(&rows, &path) {
            println!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
}

/// Measures and prints a row in virtual time.
fn row(name: &str, stream: impl Fn(LinkConfig, u64) -> usize) -> Row {
    let goodputs = LUCK.map(|(_, loss, reorder)| {
        let link =
            LinkConfig::new().delay(DELAY).bandwidth(BITS_PER_SECOND).loss(loss).reorder(reorder);
        let bytes: usize = (0..SEEDS).map(|seed| stream(link.clone(), seed)).sum();
        megabits_per_second(bytes, TIME * SEEDS as u32)
    });
    print_goodputs(name, &goodputs);
    (name.to_owned(), goodputs.to_vec())
}

fn print_goodputs(name: &str, goodputs: &[f64]) {
    print!("{name:<36}");
    goodputs.iter().for_each(|goodput| print!("{goodput:>14.1}"));
    println!();
}

fn megabits_per_second(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e6
}
