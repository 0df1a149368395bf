//! Counting instructions with callgrind.

use crate::operations::{OPERATIONS, UNITS};
use std::process::{Child, Command};
use std::{env, fs, io};

/// Argument that marks the counted process; the number of connections follows.
pub(crate) const FLOWS_FLAG: &str = "--flows";

/// glibc copies with the widest instructions that it finds. These it finds everywhere, so that the
/// counts are of the program and not of the processor.
const GLIBC_TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-SSSE3,-ERMS,-FSRM";

/// Runs this program under callgrind with each number of connections; returns the instructions for
/// one unit of each operation.
///
/// # Errors
///
/// If there is no valgrind, or what it ran failed.
pub(crate) fn count<const N: usize>(flows: [usize; N]) -> io::Result<[[u64; N]; OPERATIONS.len()]> {
    let runs: Vec<Run> = flows.into_iter().map(Run::start).collect::<io::Result<_>>()?;
    let mut counts = [[0; N]; OPERATIONS.len()];
    for (column, run) in runs.into_iter().enumerate() {
        let profile = run.finish()?;
        for (row, operation) in OPERATIONS.iter().enumerate() {
            counts[row][column] = inclusive(&profile, operation) / UNITS;
        }
    }
    Ok(counts)
}

/// This program under callgrind.
struct Run {
    child: Child,
    profile: String,
}

impl Run {
    fn start(flows: usize) -> io::Result<Self> {
        let profile = format!("{}/callgrind.{flows}.out", env!("CARGO_TARGET_TMPDIR"));
        let child = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
            .arg(format!("--callgrind-out-file={profile}"))
            .arg(env::current_exe()?)
            .args([FLOWS_FLAG, &flows.to_string()])
            .env("GLIBC_TUNABLES", GLIBC_TUNABLES)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("valgrind: {error}")))?;
        Ok(Self { child, profile })
    }

    fn finish(mut self) -> io::Result<String> {
        let status = self.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("valgrind: {status}")));
        }
        fs::read_to_string(self.profile)
    }
}

/// The instructions of all calls of `measured` that `operation` made, with all that they called.
///
/// In a profile a caller (`fn=`) is followed by those it calls (`cfn=`), how often (`calls=`), and,
/// behind the line number of the call, what that cost.
fn inclusive(profile: &str, operation: &str) -> u64 {
    let (mut is_caller, mut is_callee, mut total) = (false, false, 0);
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("fn=") {
            is_caller = name.contains(operation);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            is_callee = name.contains("measured");
        } else if line.starts_with("calls=") {
            let cost = lines.next().and_then(|line| line.split_whitespace().last());
            if is_caller && is_callee {
                total += cost.and_then(|cost| cost.parse::<u64>().ok()).unwrap_or_default();
            }
        }
    }
    total
}
