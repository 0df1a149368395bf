//! The kernel's TCP as the other end, over links that do something wrong.
//!
//! Every byte is compared, and every segment of the capture at the stack's device is judged twice:
//! by [`rules`], and by tshark.

mod case;
mod doctored;
mod rules;
mod segment;
mod stamps;
mod transfer;
mod verdict;

pub(crate) use case::covers_pairs;
pub(crate) use doctored::{findings_of_rules, findings_of_tshark};

use crate::namespace::{Outcome, program, skip};
use crate::wire::{builder, open_tun};
use case::Case;
use netstack::Direction;
use netstack::capture::Capture;
use netstack::device::InterfaceOffload;
use netstack::sim::{BurstLoss, Impaired, Impairment, LinkConfig, LinkCounters};
use rules::Rules;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Loss,
    Burst,
    Reordering,
    Duplication,
    /// All of them at once.
    All,
}

const DELAY: Duration = Duration::from_millis(5);
const BITS_PER_SECOND: u64 = 100_000_000;
/// For all connections of a link.
const PATIENCE: Duration = Duration::from_secs(90);
/// Another seed of the links.
const SEED: &str = "NETSTACK_PEER_SEED";

impl Fault {
    pub(crate) const EACH: [Self; 6] =
        [Self::None, Self::Loss, Self::Burst, Self::Reordering, Self::Duplication, Self::All];

    fn link(self) -> LinkConfig {
        let link = LinkConfig::new().delay(DELAY).bandwidth(BITS_PER_SECOND);
        // Five packets in a row of 500.
        let burst = BurstLoss::new(0.002, 0.2);
        match self {
            Self::None => link,
            Self::Loss => link.loss(0.01),
            Self::Burst => link.burst_loss(burst),
            Self::Reordering => link.reorder(0.02),
            Self::Duplication => link.duplicate(0.05),
            Self::All => link.loss(0.005).burst_loss(burst).reorder(0.02).duplicate(0.05),
        }
    }

    /// How many packets it has met.
    fn count(self, counters: &LinkCounters) -> u64 {
        match self {
            Self::None => counters.arrived,
            Self::Loss => counters.lost,
            Self::Burst => counters.lost_burst,
            Self::Reordering => counters.reordered,
            Self::Duplication => counters.duplicated,
            Self::All => {
                let faults = [Self::Loss, Self::Burst, Self::Reordering, Self::Duplication];
                faults.iter().map(|fault| fault.count(counters)).min().unwrap_or(0)
            }
        }
    }
}

/// Runs the cases of a link, all at once, and judges what they sent.
pub(crate) fn transfers(fault: Fault) -> Outcome {
    program("tshark")?;
    let name = format!("kernel-peer-{fault:?}.pcapng").to_lowercase();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let tun = match open_tun(InterfaceOffload::Off) {
        Ok(tun) => tun,
        Err(error) => return skip(&error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cases = runtime.block_on(async {
        let seed = std::env::var(SEED).map_or(Ok(1), |seed| seed.parse())?;
        let device = Impaired::new(tun, fault.link(), seed);
        let impairment = device.impairment();
        let device = Capture::new(device, File::create(&path)?);
        let recorder = device.recorder();
        let stack = builder().spawn(device)?;
        let transfers = transfer::all(&stack, case::all(fault));
        let cases = tokio::select! {
            cases = tokio::time::timeout(PATIENCE, transfers) => cases,
            others = transfer::others(&stack) => return Err(others.unwrap_err()),
        };
        stack.shutdown(Duration::from_secs(1)).await?;
        recorder.flush()?;
        met(fault, &impairment)?;
        cases.map_err(|_| "the transfers took too long")?
    });
    let judged = cases.and_then(|cases| judge(fault, &path, &cases));
    judged.map_err(|error| format!("{fault:?}: {error}\nthe capture is {}", path.display()))?;
    fs::remove_file(path)?;
    Ok(())
}

/// The link has done what its name says, in both directions.
fn met(fault: Fault, impairment: &Impairment) -> Outcome {
    for direction in [Direction::Outbound, Direction::Inbound] {
        let counters = impairment.counters(direction);
        if fault.count(&counters) == 0 {
            return Err(format!("{direction:?}: {counters:?}").into());
        }
    }
    Ok(())
}

fn judge(fault: Fault, path: &Path, cases: &HashMap<u16, Case>) -> Outcome {
    let mut violations = Vec::new();
    let connections = verdict::connections(path)?;
    for (port, case) in cases {
        let rules = connections.get(port).ok_or("a connection that is not in the capture")?;
        eprintln!("{fault:?}, {case}: {}", rules.seen);
        violations.extend(rules.violations.iter().map(|it| format!("{case}: {it}")));
        violations.extend(case.contradiction(rules));
    }
    for finding in verdict::tshark(path)? {
        let rules = &connections[&finding.port];
        // tshark takes every acknowledgment for taken.
        let is_excused =
            finding.is_spurious_retransmission && rules.excused.contains(&finding.frame);
        if !is_excused {
            violations.push(format!("{}: {finding:?}", cases[&finding.port]));
        }
    }
    if !violations.is_empty() {
        let few = violations.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
        return Err(format!("{} violations:\n{few}", violations.len()).into());
    }
    was_put_to_the_test(fault, &connections)
}

/// The rules had something to find.
fn was_put_to_the_test(fault: Fault, connections: &HashMap<u16, Rules>) -> Outcome {
    let sum = |count: fn(&rules::Seen) -> usize| -> usize {
        connections.values().map(|it| count(&it.seen)).sum()
    };
    let (again, blocks) = (sum(|seen| seen.sent_again), sum(|seen| seen.blocks));
    let is_lossy = matches!(fault, Fault::Loss | Fault::Burst | Fault::All);
    if (is_lossy && again == 0) || (fault != Fault::None && blocks == 0) {
        return Err(format!("{again} retransmissions, {blocks} SACK blocks").into());
    }
    Ok(())
}
