//! The programs that are compared, built in release.

use crate::candidate::{Candidate, Place};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the programs are, or why they are not there.
pub(crate) struct Programs {
    pub(crate) perf_server: Program,
    pub(crate) memory: Program,
    pub(crate) peers: Program,
}

/// A program's path, or why it could not be built.
pub(crate) type Program = std::result::Result<PathBuf, String>;

impl Programs {
    /// Builds the programs of the candidates.
    pub(crate) fn new(candidates: &[Candidate]) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let compare = folder.parent().context("the runner's folder has a parent")?;
        let project = compare.parent().context("compare has a parent")?;
        let needs = |place: fn(&Place) -> bool| candidates.iter().any(|one| place(&one.place));
        let build = |needed: bool, folder: &Path, arguments: &[&str]| match needed {
            true => build(folder, arguments).map_err(|error| format!("{error:#}")),
            false => Err("it was not needed".to_owned()),
        };
        Ok(Self {
            perf_server: build(
                needs(|place| matches!(place, Place::Ours { .. })),
                project,
                &["build", "--release", "-p", "examples", "--example", "perf_server"],
            ),
            memory: build(
                needs(|place| matches!(place, Place::OurPair { .. })),
                project,
                &["bench", "--no-run", "-p", "netstack", "--bench", "memory"],
            ),
            peers: build(
                needs(|place| matches!(place, Place::Peer { .. } | Place::TsPair)),
                compare,
                &["build", "--release", "-p", "peers"],
            ),
        })
    }
}

/// Builds one program and returns its path.
fn build(folder: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let spinner = ProgressBar::new_spinner().with_message(format!("cargo {}", arguments.join(" ")));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--locked", "--message-format=json-render-diagnostics"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("cargo")?;
    spinner.finish_and_clear();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().find(|line| line.starts_with("error"));
        bail!("cargo {}: {}", arguments.join(" "), reason.unwrap_or("it failed"));
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo has built no program")
}
