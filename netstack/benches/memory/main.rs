//! Two stacks joined in memory, beside the kernel's loopback in the same run: one stream, a round
//! trip, datagrams and connections per second, each beside many idle connections.
//!
//! ```sh
//! cargo bench -p netstack --bench memory              # less than a minute
//! cargo bench -p netstack --bench memory -- --full    # medians of five, up to 100,000 idle
//! ```
//!
//! Absolute figures move with the machine; the ratios are what counts.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod case;
mod chart;
#[path = "../common/idle.rs"]
mod idle;
mod report;

use anyhow::{Context, Result};
use case::{Case, Place, Settings};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use report::Row;
use std::path::PathBuf;
use std::time::Duration;

/// Measures two stacks joined in memory, beside the kernel's loopback
#[derive(Parser)]
struct Args {
    /// Take the time that it takes: medians of five, each figure over 0.6 s, up to 100,000 idle
    /// connections
    #[arg(long)]
    full: bool,
    /// How often everything is measured; the medians are shown
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// How long each figure is measured, in seconds
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Measure only here (repeatable)
    #[arg(long, value_name = "PLACE")]
    place: Vec<Place>,
    /// Measure only with this many idle connections (repeatable)
    #[arg(long, value_name = "N")]
    idle: Vec<usize>,
    /// Write every figure of every run to this file, or with - print that and nothing else
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the streams against the number of idle connections into this SVG
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/memory.svg"))]
    chart: PathBuf,
    /// The argument that cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

const IDLE: &[usize] = &[0, 100, 1_000, 10_000];
const IDLE_FULL: &[usize] = &[0, 100, 1_000, 10_000, 100_000];

fn main() -> Result<()> {
    let args = Args::parse();
    let (runs, seconds) = if args.full { (5, 0.6) } else { (3, 0.3) };
    let runs = args.runs.unwrap_or(runs).max(1);
    let seconds = args.seconds.unwrap_or(seconds);
    let time = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    // Few enough that no port is used twice.
    let settings = Settings { time, connections: if args.full { 3_000 } else { 1_000 } };
    let mut rows: Vec<Row> = cases(&args).into_iter().map(Row::new).collect();

    let bar = ProgressBar::new((runs * rows.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}<{eta} {msg}")?);
    // In turn, so that a machine that slows down does so for all.
    for _ in 0..runs {
        for row in &mut rows {
            bar.set_message(row.case.to_string());
            let measured = row.case.measure(&settings);
            row.runs.push(measured.with_context(|| row.case.to_string())?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let json = || serde_json::to_string_pretty(&report::json(&rows, seconds));
    match &args.json {
        Some(path) if path.as_os_str() == "-" => {
            println!("{}", json()?);
            return Ok(());
        }
        Some(path) => std::fs::write(path, json()?).with_context(|| path.display().to_string())?,
        None => {}
    }
    println!(
        "Two stacks in memory, MTU 1500, and the kernel's sockets with {}; medians of {runs} runs \
         of {seconds} s a figure.\n",
        report::congestion_control(),
    );
    println!("{}", report::table(&rows));
    if args.idle.is_empty() {
        chart::draw(&rows, &args.chart)?;
        println!("\nThe chart is {}", args.chart.display());
    }
    Ok(())
}

/// The cases. The kernel is measured without idle connections: its cost does not grow with them
/// either, and not every user may open thousands of descriptors.
fn cases(args: &Args) -> Vec<Case> {
    let idle = match (&args.idle[..], args.full) {
        ([], true) => IDLE_FULL,
        ([], false) => IDLE,
        (chosen, _) => chosen,
    };
    let mut cases = vec![Case { place: Place::Kernel, idle: 0 }];
    for place in [Place::Tasks, Place::Threads] {
        cases.extend(idle.iter().map(|idle| Case { place, idle: *idle }));
    }
    cases.push(Case { place: Place::Packets, idle: 0 });
    if !args.place.is_empty() {
        cases.retain(|case| args.place.contains(&case.place));
    }
    cases
}
