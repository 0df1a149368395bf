//! Random operations on the sockets of two stacks, compared with a model.
//!
//! Futures are polled a few times and dropped, handles and halves are dropped anywhere, listeners
//! and stacks are stopped while tasks wait for them. Every stream carries a sequence that shows
//! lost, repeated or reordered bytes at once. Time is virtual, so a seed always gives the same run.
//!
//! ```sh
//! NETSTACK_MODEL_SEEDS=100 NETSTACK_MODEL_OPERATIONS=100000 cargo test --release -p tests --test model
//! ```

mod connection;
mod datagrams;
mod plan;
mod sequence;
mod waiting;
mod world;

use netstack::sim::repeat_command;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// How many seeds are run, from 0 on.
const SEEDS: u64 = 4;
/// How many operations each does.
const OPERATIONS: u64 = 25_000;

#[test]
fn random_operations_lose_nothing_and_repeat_nothing() {
    let operations = number("NETSTACK_MODEL_OPERATIONS").unwrap_or(OPERATIONS);
    let seeds = match number("NETSTACK_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NETSTACK_MODEL_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let done = Rc::new(Cell::new(0));
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, operations, done.clone())));
        let repeat = repeat_command(&[
            ("NETSTACK_MODEL_SEED", &seed),
            ("NETSTACK_MODEL_OPERATIONS", &operations),
        ]);
        assert!(
            outcome.is_ok(),
            "operation {} of seed {seed} failed; to repeat it:\n{repeat}",
            done.get(),
        );
    }
}

/// One world after the other, until this many operations are done.
fn run(seed: u64, operations: u64, done: Rc<Cell<u64>>) {
    let mut random = StdRng::seed_from_u64(seed);
    while done.get() < operations {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        random = runtime.block_on(world::live(random, operations - done.get(), &done));
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
