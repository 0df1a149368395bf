//! Many connections over bad links, one seed after the other.
//!
//! A seed draws what each direction of the link between two hosts is like, what buffers they have,
//! and a few connections in both directions with one congestion control or another. Whatever the link
//! does to packets, every stream must arrive as it was sent, every connection be accepted once, and
//! both stacks be empty when all is done: `netstack::sim` checks their tables, buffers and timers.
//!
//! Time is virtual and there is plenty of it: where many packets are lost the retransmission timeout
//! backs off to a minute, and a few kilobytes may take hours.
//!
//! ```sh
//! NETSTACK_SIM_SEEDS=10000 cargo test --release -p tests --test simulation
//! ```
//!
//! A failing run prints the command that repeats it.

#![expect(clippy::print_stdout, reason = "the counts of a run")]

mod connection;
mod failing;
mod limits;
mod path;
mod plan;
mod tail;
mod workload;

use netstack::sim;
use plan::Plan;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use workload::Totals;

/// How many seeds are run, from 0 on.
const SEEDS: u64 = 600;
/// The number of seeds by default.
const SEEDS_VARIABLE: &str = "NETSTACK_SIM_SEEDS";
/// Repeats one of them.
const SEED_VARIABLE: &str = "NETSTACK_SIM_SEED";
/// The name of the test, for the line that repeats a seed.
const NAME: &str = "streams_arrive_whole_whatever_the_link_does";

#[test]
fn streams_arrive_whole_over_any_link() {
    let seeds = match std::env::var(SEEDS_VARIABLE) {
        // `sim::run` uses the seed of the environment, if set.
        _ if std::env::var_os(SEED_VARIABLE).is_some() => 1,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEEDS_VARIABLE}={text}?")),
        Err(_) => SEEDS,
    };
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let work = || {
        let mut totals = Totals::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return totals;
            }
            totals += sim::run(seed, |sim| workload::live(Plan::new(sim.seed()), sim));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let totals = thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().name(NAME.into()).spawn_scoped(scope, work);
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        let mut totals = Totals::default();
        for thread in threads {
            match thread.expect("the system has threads").join() {
                Ok(share) => totals += share,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        totals
    });
    println!("{seeds} seeds in {:.1} s: {totals}", start.elapsed().as_secs_f64());
    assert_eq!(totals.seeds, seeds);
}
