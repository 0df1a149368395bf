//! The stacks that are compared.

use crate::figures::Figures;
use crate::namespace::Load;

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
    /// On a TUN too.
    Small,
    InMemory,
}

/// The kind of a candidate.
pub(crate) enum Place {
    /// The kernel with itself.
    Kernel { load: Load },
    /// `perf_server`.
    Ours { load: Load, on_thread: bool, link: Link },
    /// Another stack, as the peers' program calls it.
    Peer { name: &'static str, load: Load },
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
            Place::Kernel { load: Load::Small }
            | Place::Ours { load: Load::Small, .. }
            | Place::Peer { load: Load::Small, .. } => Group::Small,
            _ => Group::OnTun,
        };
        Candidate { name, group, place, runs: Vec::new(), failure: None }
    };
    let ours = |load, on_thread| Place::Ours { load, on_thread, link: Link::Tun };
    let on_tap = |load| Place::Ours { load, on_thread: false, link: Link::Tap };
    let mut all = Vec::new();
    for (load, what) in [(Load::Streams { idle: 0 }, ""), (Load::Small, ", small packets")] {
        let peer = |name| Place::Peer { name, load };
        all.extend([
            candidate(format!("{KERNEL}{what}"), Place::Kernel { load }),
            candidate(format!("{OURS} as a task{what}"), ours(load, false)),
            candidate(format!("netstack-smoltcp 0.2.4{what}"), peer("netstack-smoltcp")),
            candidate(format!("{OURS} as a task on a TAP{what}"), on_tap(load)),
            candidate(format!("{OURS} on a thread{what}"), ours(load, true)),
            candidate(format!("ipstack 1.0.1{what}"), peer("ipstack")),
            candidate(format!("ts_netstack_smoltcp 0.6.1{what}"), peer("ts-tun")),
        ]);
    }
    if idle > 0 {
        let (load, beside) = (Load::Streams { idle }, format!(" beside {idle} idle"));
        all.push(candidate(format!("{KERNEL}{beside}"), Place::Kernel { load }));
        all.push(candidate(format!("{OURS} as a task{beside}"), ours(load, false)));
        all.push(candidate(format!("{OURS} as a task on a TAP{beside}"), on_tap(load)));
        all.push(candidate(format!("{OURS} on a thread{beside}"), ours(load, true)));
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
