//! The stacks that are compared.

use crate::figures::Figures;

/// A stack that is measured, and its figures.
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

/// The kind of a candidate.
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

/// The link.
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
