//! Instructions per packet, command and connection, with 10 and with 10,000 connections.
//!
//! ```sh
//! cargo bench -p netcore --bench instructions
//! cargo bench -p netcore --bench instructions -- --save
//! ```
//!
//! Time moves with the machine and with what else it does; instructions, as callgrind counts them,
//! do not. The first command prints the counts and fails if one has grown by more than 5 % against
//! `baseline.txt`, or by more than a tenth with the number of connections. The second makes what
//! it finds the new baseline. Both need valgrind.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod callgrind;
mod operations;

use operations::OPERATIONS;
use std::process::ExitCode;
use std::{env, fs, io};

/// Connections that are open while something is counted.
const FLOWS: [usize; 2] = [10, 10_000];
/// How much more a count may be with many connections than with few.
const RATIO_MAX: f64 = 1.1;
/// How much more it may be than in the baseline.
const GROWTH_MAX: f64 = 1.05;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.txt");

/// Instructions for each of [`OPERATIONS`], with each of [`FLOWS`].
type Counts = [[u64; FLOWS.len()]; OPERATIONS.len()];

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, flag, flows] = &arguments[..]
        && flag == callgrind::FLOWS_FLAG
    {
        operations::run(flows.parse().map_err(io::Error::other)?);
        return Ok(ExitCode::SUCCESS);
    }
    let counts = callgrind::count(FLOWS)?;
    if arguments.iter().any(|argument| argument == "--save") {
        fs::write(BASELINE, write(&counts))?;
    }
    let baseline = read(&fs::read_to_string(BASELINE)?)?;
    Ok(if compare(&counts, &baseline) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the table; returns whether all is as it should be.
fn compare(counts: &Counts, baseline: &Counts) -> bool {
    println!(
        "{:<22} {:>9} {:>9} {:>6}  {:>8}",
        "instructions", FLOWS[0], FLOWS[1], "ratio", "baseline"
    );
    let mut is_good = true;
    for ((operation, [few, many]), before) in OPERATIONS.iter().zip(counts).zip(baseline) {
        let ratio = *many as f64 / *few as f64;
        let growth = (*few as f64 / before[0] as f64).max(*many as f64 / before[1] as f64);
        let verdict = match () {
            () if ratio > RATIO_MAX => "grows with the number of connections",
            () if growth > GROWTH_MAX => "more than the baseline",
            () => "",
        };
        is_good &= verdict.is_empty();
        let (name, change) = (operation.replace('_', " "), (growth - 1.0) * 100.0);
        println!("{name:<22} {few:>9} {many:>9} {ratio:>6.3}  {change:>+6.1} %  {verdict}");
    }
    is_good
}

/// A baseline as a file has it: one line for each operation.
fn write(counts: &Counts) -> String {
    let lines = OPERATIONS.iter().zip(counts);
    lines.map(|(operation, [few, many])| format!("{operation} {few} {many}\n")).collect()
}

fn read(baseline: &str) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for (operation, row) in OPERATIONS.iter().zip(&mut counts) {
        let find = |line: &str| -> Option<[u64; FLOWS.len()]> {
            let mut words = line.strip_prefix(operation)?.split_whitespace();
            Some([words.next()?.parse().ok()?, words.next()?.parse().ok()?])
        };
        let missing = || io::Error::other(format!("the baseline has no line for {operation}"));
        *row = baseline.lines().find_map(find).ok_or_else(missing)?;
    }
    Ok(counts)
}
