//! The behaviour of sockets, as cases that the kernel passes too.
//!
//! Each case is a statement and a function. It is written once, against the sockets of [`sockets`],
//! and run with each *backend*: the kernel's sockets on loopback in real time, and ours on two
//! stacks, whose tables must be empty in the end. Asynchronous ones run on `netstack::sim`, in
//! virtual time; blocking ones on stacks with threads of their own. Each case runs over both
//! families and through the *faces* that have its methods: blocking calls, tokio's traits, and
//! those of futures-io.
//!
//! One module is one section. A case that cannot run on the kernel without privileges has a reason
//! at its end, one of those in [`case`].
//!
//! ```sh
//! cargo test -p tests --test conformance
//! cargo test -p tests --test conformance -- 'ours ipv6 tokio'
//! ```
#![expect(clippy::print_stdout, reason = "prints the coverage and the cases left out")]

mod accept;
mod addresses;
mod binding;
mod case;
mod closing;
mod connected;
mod datagrams;
mod failures;
mod fresh;
mod options;
mod promises;
mod readiness;
mod sharing;
mod sockets;
mod streams;
mod world;

use case::{Backends, Case};
use libtest_mimic::{Arguments, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sections: [&[Case]; 13] = [
        addresses::CASES,
        binding::CASES,
        accept::CASES,
        streams::CASES,
        closing::CASES,
        options::CASES,
        datagrams::CASES,
        connected::CASES,
        sharing::CASES,
        failures::CASES,
        readiness::CASES,
        fresh::CASES,
        promises::CASES,
    ];
    let cases: Vec<&Case> = sections.into_iter().flatten().collect();
    let trials: Vec<Trial> = cases.iter().flat_map(|case| case.trials()).collect();
    if !arguments.list {
        print_coverage(&cases, trials.len());
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Prints the coverage, and how many cases do not run on the kernel for which reason.
fn print_coverage(cases: &[&Case], runs: usize) {
    let behaviours = cases.iter().map(|case| case.number).collect::<BTreeSet<_>>().len();
    println!(
        "{behaviours} behaviours in {} cases, each x 2 families x its backends x its faces: \
         {runs} runs",
        cases.len()
    );
    let mut spared: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        if let Backends::Ours(reason) = case.backends {
            *spared.entry(reason).or_default() += 1;
        }
    }
    for (reason, count) in spared {
        println!("{count} not on the kernel: {reason}");
    }
}
