//! Who is compared, and how each is measured.

use crate::Args;
use crate::build::{Program, Programs};
use crate::figures::Figures;
use crate::namespace;
use anyhow::{Context, Result, anyhow, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// One who is measured, and what came of it.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) group: Group,
    pub(crate) place: Place,
    pub(crate) runs: Vec<Figures>,
    /// Why it cannot be measured.
    pub(crate) failure: Option<String>,
}

/// Which candidates are compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    OnTun,
    InMemory,
}

/// What a candidate is.
pub(crate) enum Place {
    /// The kernel with itself.
    Kernel { idle: usize },
    /// `perf_server`.
    Ours { idle: usize, on_thread: bool, link: Link },
    /// Another stack, as the peers' program calls it.
    Peer { name: &'static str },
    /// Two of our stacks, as our benchmark measures them.
    OurPair { arguments: &'static [&'static str] },
    /// Two of ts_netstack_smoltcp's.
    TsPair,
}

/// What is below IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Tun,
    /// Ethernet.
    Tap,
}

/// Our rows' names begin so.
pub(crate) const OURS: &str = "netstack,";
/// The kernel's row.
pub(crate) const KERNEL: &str = "kernel loopback";
const MTU: &str = "1500";

/// All, in the order in which they are measured.
pub(crate) fn candidates(idle: usize) -> Vec<Candidate> {
    let candidate = |name: String, place: Place| {
        let group = match place {
            Place::OurPair { .. } | Place::TsPair => Group::InMemory,
            _ => Group::OnTun,
        };
        Candidate { name, group, place, runs: Vec::new(), failure: None }
    };
    let ours = |idle, on_thread| Place::Ours { idle, on_thread, link: Link::Tun };
    let on_tap = |idle| Place::Ours { idle, on_thread: false, link: Link::Tap };
    let mut all = vec![
        candidate(KERNEL.to_owned(), Place::Kernel { idle: 0 }),
        candidate(format!("{OURS} as a task"), ours(0, false)),
        candidate("netstack-smoltcp 0.2.4".to_owned(), Place::Peer { name: "netstack-smoltcp" }),
        candidate(format!("{OURS} as a task on a TAP"), on_tap(0)),
        candidate(format!("{OURS} on a thread"), ours(0, true)),
        candidate("ipstack 1.0.1".to_owned(), Place::Peer { name: "ipstack" }),
        candidate("ts_netstack_smoltcp 0.6.1".to_owned(), Place::Peer { name: "ts-tun" }),
    ];
    if idle > 0 {
        let beside = format!(" beside {idle} idle");
        all.push(candidate(format!("{KERNEL}{beside}"), Place::Kernel { idle }));
        all.push(candidate(format!("{OURS} as a task{beside}"), ours(idle, false)));
        all.push(candidate(format!("{OURS} as a task on a TAP{beside}"), on_tap(idle)));
        all.push(candidate(format!("{OURS} on a thread{beside}"), ours(idle, true)));
    }
    let pair = |arguments| Place::OurPair { arguments };
    all.extend([
        candidate(format!("{OURS} a pair of tasks"), pair(&["--place", "tasks"])),
        candidate("ts_netstack_smoltcp 0.6.1, a pair".to_owned(), Place::TsPair),
        candidate(
            format!("{OURS} a pair of tasks, packets of 1,500 bytes"),
            pair(&["--place", "packets"]),
        ),
        candidate(format!("{OURS} a pair of threads"), pair(&["--place", "threads"])),
    ]);
    all
}

impl Place {
    /// Takes its figures once.
    pub(crate) fn measure(&self, programs: &Programs, args: &Args) -> Result<Figures> {
        let seconds = args.seconds;
        let on_interface = |server: &[String], idle, is_loopback| {
            namespace::measure(server, (idle, seconds), &args.congestion_control, is_loopback)
        };
        match *self {
            Self::Kernel { idle } => {
                let flag = ["kernel", "--congestion-control", &args.congestion_control];
                let mut server = vec![text(&std::env::current_exe()?)?];
                server.extend(flag.map(str::to_owned));
                on_interface(&server, idle, true)
            }
            Self::Ours { idle, on_thread, link } => {
                let mut server = vec![path(&programs.perf_server)?];
                server.extend(["--mtu", MTU].map(str::to_owned));
                if link == Link::Tap {
                    server.extend(["--tap", "tap0"].map(str::to_owned));
                }
                server.extend(on_thread.then(|| "--thread".to_owned()));
                on_interface(&server, idle, false)
            }
            Self::Peer { name } => {
                let server = [&path(&programs.peers)?, name, "--mtu", MTU].map(str::to_owned);
                on_interface(&server, 0, false)
            }
            Self::OurPair { arguments } => {
                let seconds = seconds.to_string();
                let mut all = arguments.to_vec();
                all.extend(["--idle", "0", "--runs", "1", "--seconds", &seconds, "--json", "-"]);
                let rows = json(&path(&programs.memory)?, &all)?;
                serde_json::from_value(rows["rows"][0]["figures"].clone())
                    .context("what the benchmark has printed")
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
        // The last line of what it says is then the reason.
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| program.to_owned())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.lines().last().unwrap_or("it failed without a word"));
    }
    serde_json::from_slice(&output.stdout).context("what it has printed")
}
