//! Runs the stack, the kernel and other stacks under one load, and compares them.
//!
//! Absolute figures vary with the machine and its load; ratios within one run hold. So all
//! candidates are measured in turn, repeatedly, and the result is the ratios of the medians.

mod build;
mod candidate;
mod figures;
mod load;
mod loopback;
mod measure;
mod namespace;
mod report;
mod small;

use anyhow::{Context, Result};
use candidate::{Candidate, candidates};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// Compares the stack with the kernel and with other stacks, under one load
#[derive(Parser)]
struct Args {
    /// The number of rounds; the medians count
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// How long each figure is measured, in seconds
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// With how many idle connections the stack and the kernel are measured once more; 0 for not
    /// at all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    idle: usize,
    /// The congestion control of the kernel's sockets
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion_control: String,
    /// Measure only those whose name contains this (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Write every figure of every run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The part of the runner in another process.
#[derive(clap::Subcommand)]
enum Part {
    /// Serves on the kernel's sockets
    #[command(hide = true)]
    Kernel {
        #[arg(long)]
        congestion_control: String,
    },
    /// Starts a server and puts the load on it, in a namespace
    #[command(hide = true)]
    Inside(namespace::Inside),
}

fn main() -> Result<()> {
    let args = Args::parse();
    // Idle connections are descriptors, of the client's and the kernel server's.
    rlimit::increase_nofile_limit(1 << 20).context("raising the limit of descriptors")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;
    match &args.part {
        Some(Part::Kernel { congestion_control }) => {
            runtime.block_on(load::serve_kernel(congestion_control))
        }
        Some(Part::Inside(inside)) => runtime.block_on(namespace::run(inside)),
        None => compare(&args),
    }
}

fn compare(args: &Args) -> Result<()> {
    let mut candidates = candidates(args.idle);
    if !args.only.is_empty() {
        candidates.retain(|one| args.only.iter().any(|part| one.name.contains(part.as_str())));
    }
    let programs = build::Programs::new(&candidates)?;
    let bar = ProgressBar::new((args.runs * candidates.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}<{eta} {msg}")?);
    // In turn, so that a machine that slows down does so for all.
    for _ in 0..args.runs {
        for candidate in &mut candidates {
            bar.set_message(candidate.name.clone());
            candidate.measure(&programs, args);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let report = report::Report::new(&candidates, args);
    println!("{}", report.text());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()?).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.markdown {
        std::fs::write(path, report.markdown()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

impl Candidate {
    /// Takes its figures once more. A candidate that fails is not tried again.
    fn measure(&mut self, programs: &build::Programs, args: &Args) {
        if self.failure.is_some() {
            return;
        }
        match self.place.measure(programs, args) {
            Ok(figures) => self.runs.push(figures),
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
    }
}
