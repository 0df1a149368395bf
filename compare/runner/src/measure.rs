//! How a candidate is measured.

use crate::Args;
use crate::build::{Program, Programs};
use crate::candidate::{Link, Place};
use crate::figures::Figures;
use crate::namespace;
use anyhow::{Context, Result, anyhow, bail};
use std::path::Path;
use std::process::{Command, Stdio};

const MTU: &str = "1500";

impl Place {
    /// Takes its figures once.
    pub(crate) fn measure(&self, programs: &Programs, args: &Args) -> Result<Figures> {
        let seconds = args.seconds;
        let on_interface = |server: &[String], load, is_loopback| {
            namespace::measure(server, (load, seconds), &args.congestion_control, is_loopback)
        };
        match *self {
            Self::Kernel { load } => {
                let flag = ["kernel", "--congestion-control", &args.congestion_control];
                let mut server = vec![text(&std::env::current_exe()?)?];
                server.extend(flag.map(str::to_owned));
                on_interface(&server, load, true)
            }
            Self::Ours { load, on_thread, link } => {
                let mut server = vec![path(&programs.perf_server)?];
                server.extend(["--mtu", MTU].map(str::to_owned));
                if link == Link::Tap {
                    server.extend(["--tap", "tap0"].map(str::to_owned));
                }
                server.extend(on_thread.then(|| "--thread".to_owned()));
                on_interface(&server, load, false)
            }
            Self::Peer { name, load } => {
                let server = [&path(&programs.peers)?, name, "--mtu", MTU].map(str::to_owned);
                on_interface(&server, load, false)
            }
            Self::OurPair { arguments } => {
                let seconds = seconds.to_string();
                let mut all = arguments.to_vec();
                all.extend(["--idle", "0", "--runs", "1", "--seconds", &seconds, "--json", "-"]);
                let rows = json(&path(&programs.memory)?, &all)?;
                serde_json::from_value(rows["rows"][0]["figures"].clone())
                    .context("the output of the benchmark")
            }
            Self::TsPair => {
                let mut figures = Figures::default();
                for test in ["bulk", "rr", "conn"] {
                    let buffer = (1 << 20).to_string();
                    let seconds = seconds.to_string();
                    let arguments =
                        ["ts-pair", test, "--mtu", MTU, "--buffer", &buffer, "--seconds", &seconds];
                    let values = json(&path(&programs.peers)?, &arguments)?;
                    let values: Figures = serde_json::from_value(values)?;
                    figures.0.extend(values.0);
                }
                Ok(figures)
            }
        }
    }
}

fn path(program: &Program) -> Result<String> {
    text(program.as_ref().map_err(|reason| anyhow!(reason.clone()))?)
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is not Unicode")?.to_owned())
}

/// Runs a program and reads the JSON that it prints.
fn json(program: &str, arguments: &[&str]) -> Result<serde_json::Value> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // The last line of its output is then the reason.
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| program.to_owned())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.lines().last().unwrap_or("it failed without a message"));
    }
    serde_json::from_slice(&output.stdout).context("the output")
}
