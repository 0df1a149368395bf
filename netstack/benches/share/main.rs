//! How streams share a bottleneck, and how long its queue becomes, in virtual time: two of one
//! congestion control behind queues of three lengths, and one alone behind several bottlenecks.
//!
//! ```sh
//! cargo bench -p netstack --features sim,tun --bench share
//! cargo bench -p netstack --features sim,tun --bench share -- --seeds 1
//! ```
//!
//! `docs/share.md` has the tables and their interpretation.

#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]

#[cfg(all(target_os = "linux", feature = "tun"))]
mod beside_linux;
mod bottleneck;

use bottleneck::{Outcome, TIME};
use clap::Parser;
use netstack::CongestionControl;
use netstack::sim::{BurstLoss, Codel, LinkConfig};
use std::time::Duration;

/// Measures how streams share a bottleneck
#[derive(Parser)]
struct Args {
    /// Of how many runs each figure is the mean
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const CONTROLS: [CongestionControl; 3] =
    [CongestionControl::Cubic, CongestionControl::Reno, CongestionControl::Bbr];
const BITS_PER_SECOND: u64 = 100_000_000;
/// In packets. A round trip of the whole rate has 167.
const QUEUES: [usize; 3] = [100, 250, 1000];

fn main() {
    #[cfg(all(target_os = "linux", feature = "tun"))]
    if beside_linux::is_inside() {
        return beside_linux::run();
    }
    let Args { seeds, .. } = Args::parse();
    println!(
        "100 Mbit/s, round trip of 20 ms, the last {} of {} s, mean of {seeds} seeds\n",
        TIME.as_secs() / 2,
        TIME.as_secs()
    );
    print_shares(seeds);
    println!();
    print_alone(seeds);
    #[cfg(all(target_os = "linux", feature = "tun"))]
    print_beside_linux();
}

/// A stream beside one of Linux, in real time.
#[cfg(all(target_os = "linux", feature = "tun"))]
fn print_beside_linux() {
    println!("\n| beside Linux | queue | netstack | Linux | share |");
    println!("|---|--:|--:|--:|--:|");
    match beside_linux::measure() {
        Ok(rows) => print!("{rows}"),
        Err(error) => println!("not measured: {error}"),
    }
}

/// Two streams, of which the second begins a second later.
fn print_shares(seeds: u64) {
    println!("| two streams | queue | first | second | Jain's index | lost | waiting |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for control in CONTROLS {
        for queue in QUEUES {
            let link = LinkConfig::new().bandwidth(BITS_PER_SECOND).queue(queue);
            let runs = runs(control, 2, &link, seeds);
            let name = control.name();
            let goodput = |index: usize| mean(&runs, |run| run.goodputs[index]);
            let (first, second) = (goodput(0), goodput(1));
            let fairness = mean(&runs, |run| fairness(&run.goodputs));
            let (lost, waited) =
                (mean(&runs, |run| run.lost * 100.0), mean(&runs, |run| run.waited));
            println!(
                "| {name} | {queue} | {first:.1} | {second:.1} | {fairness:.3} | {lost:.2} % \
                 | {waited:.1} ms |"
            );
        }
    }
}

/// One stream behind several bottlenecks.
fn print_alone(seeds: u64) {
    let link = LinkConfig::new().bandwidth(BITS_PER_SECOND);
    let bottlenecks = [
        ("queue of 1,000 packets", link.clone()),
        ("queue of 250 ms", link.clone().queue_delay(Duration::from_millis(250))),
        ("CoDel", link.clone().codel(Codel::default())),
        ("policer of 20 Mbit/s, 50 kB", LinkConfig::new().police(20_000_000, 50_000)),
        ("1 % lost, 5 in a row", link.burst_loss(BurstLoss::new(0.002, 0.2))),
    ];
    println!("| one stream | behind | goodput | lost | waiting |");
    println!("|---|---|--:|--:|--:|");
    for control in CONTROLS {
        for (behind, link) in &bottlenecks {
            let runs = runs(control, 1, link, seeds);
            let name = control.name();
            let goodput = mean(&runs, |run| run.goodputs[0]);
            let (lost, waited) =
                (mean(&runs, |run| run.lost * 100.0), mean(&runs, |run| run.waited));
            println!("| {name} | {behind} | {goodput:.1} | {lost:.2} % | {waited:.1} ms |");
        }
    }
}

fn runs(control: CongestionControl, senders: u16, link: &LinkConfig, seeds: u64) -> Vec<Outcome> {
    (0..seeds).map(|seed| bottleneck::run(control, senders, link.clone(), seed)).collect()
}

fn mean(runs: &[Outcome], value: impl Fn(&Outcome) -> f64) -> f64 {
    runs.iter().map(value).sum::<f64>() / runs.len() as f64
}

/// Jain's index: 1 if all have the same, `1 / n` if one of `n` has everything.
fn fairness(shares: &[f64]) -> f64 {
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    shares.iter().sum::<f64>().powi(2) / (shares.len() as f64 * squares)
}
