//! The memory of a stack under hostile input, compared with the bounds of `Config`.
//!
//! `cargo test -p netcore --test memory -- --nocapture` prints the table. Each case runs in a process
//! of its own. The memory of the heap is counted by the allocator; that of the buffers of
//! connections, which are maps, shows in what is resident.

#![allow(clippy::print_stdout, reason = "the table is what the test is run for")]

mod datagrams;
mod entries;
mod fragments;
mod neighbours;
mod streams;
mod wire;

#[allow(unreachable_pub, reason = "it is part of the harness of other tests, too")]
#[path = "../harness/resident.rs"]
mod resident;

use resident::resident_bytes;
use std::any::Any;
use std::env;
use std::process::Command;

/// One kind of input, and the bound that it is to stay within.
struct Case {
    /// The field of `Config`, or the fields.
    bound: &'static str,
    bytes: usize,
    input: String,
    /// Floods a stack and returns what is to stay alive while the memory is measured.
    flood: Box<dyn FnOnce() -> Box<dyn Any>>,
}

/// What the allocator and tables need besides, whatever is bounded.
const SLACK_BYTES: usize = 8 << 20;
/// The same for what is counted byte by byte: a bound that is small beside the slack above is not
/// to be met by that alone.
const HEAP_SLACK_BYTES: usize = 256 << 10;
/// Environment variable with the case for a child process of this test.
const CASE: &str = "NETCORE_MEMORY_CASE";
/// What such a process prints in front of its two figures.
const MARK: &str = "heap and resident:";

#[test]
fn memory_stays_within_the_bounds_by_name() {
    let mut cases = streams::cases();
    cases.extend(datagrams::cases());
    cases.extend(fragments::cases());
    cases.extend(neighbours::cases());
    if let Ok(index) = env::var(CASE) {
        let case = cases.swap_remove(index.parse().expect("the number of a case"));
        let (heap, resident) = measure(case);
        println!("{MARK} {heap} {resident}");
        return;
    }

    let mut failures = Vec::new();
    println!("{:40} {:>9} {:36} {:>9} {:>9} ratios", "bound", "bytes", "input", "heap", "resident");
    for (index, Case { bound, bytes, input, .. }) in cases.iter().enumerate() {
        let (heap, resident) = measure_apart(index);
        let ratios = [heap, resident].map(|found| found as f64 / *bytes as f64);
        println!(
            "{bound:40} {bytes:9} {input:36} {heap:9} {resident:9} {:.2} {:.2}",
            ratios[0], ratios[1]
        );
        let max = if *bound == "memory_bytes_max" { bytes / 10 * 11 } else { bytes / 2 * 3 };
        if heap > max + HEAP_SLACK_BYTES || resident > max + SLACK_BYTES {
            failures.push(format!("{bound}, {input}: {heap} and {resident} of {bytes}"));
        }
        if heap < bytes / 4 && resident < bytes / 4 {
            failures.push(format!("{bound}, {input}: the flood found no way in"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn entries_stay_within_the_bounds_that_count_them() {
    let mut failures = Vec::new();
    println!(
        "{:28} {:>7} {:>7} {:36} {:>9} {:>6} {:>6}",
        "bound", "max", "entries", "input", "heap", "each", "most"
    );
    for table in entries::tables() {
        let (entries, heap) = table.fill();
        let (max, most, each) = (table.max, table.entry_bytes_max, heap / entries.max(1));
        let (bound, input) = (table.bound, table.input);
        println!("{bound:28} {max:7} {entries:7} {input:36} {heap:9} {each:6} {most:6}");
        if entries != max {
            failures.push(format!("{bound}, {input}: {entries} entries of {max}"));
        }
        if each > most {
            failures.push(format!("{bound}, {input}: {each} bytes each, {most} at most"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The heap bytes and the resident bytes after a case.
fn measure(case: Case) -> (usize, usize) {
    let before = resident_bytes();
    let mut held: Option<Box<dyn Any>> = None;
    let counted = allocation_counter::measure(|| held = Some((case.flood)()));
    let resident = resident_bytes().saturating_sub(before);
    (usize::try_from(counted.bytes_current).expect("something is held"), resident)
}

/// The same in a process of its own.
fn measure_apart(index: usize) -> (usize, usize) {
    let program = env::current_exe().expect("this test is a file");
    let output = Command::new(program)
        .args(["--exact", "memory_stays_within_the_bounds_by_name", "--nocapture"])
        .env(CASE, index.to_string())
        .output()
        .expect("this test can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.split_once(MARK).unwrap_or_else(|| {
        panic!("case {index} ended early:\n{}", String::from_utf8_lossy(&output.stderr))
    });
    let mut figures = figures.1.split_whitespace().map(|figure| figure.parse().expect("a number"));
    (figures.next().expect("the heap"), figures.next().expect("what is resident"))
}
