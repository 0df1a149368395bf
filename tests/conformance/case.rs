//! One case, and where it runs.

use crate::world::{self, World};
use futures::future::BoxFuture;
use libtest_mimic::{Completion, Failed, Trial};
use std::env;
use std::fmt;
use std::net::{Ipv6Addr, UdpSocket};

/// One behaviour, or a part of one.
pub(crate) struct Case {
    /// Cases of the same number are parts of one behaviour.
    pub(crate) number: u32,
    /// The behaviour, as a statement.
    pub(crate) sentence: &'static str,
    pub(crate) faces: &'static [Face],
    pub(crate) backends: Backends,
    pub(crate) run: fn(World) -> BoxFuture<'static, ()>,
}

/// `case!(24, "an empty read gives 0 at once", ALL, Both, empty_read)`
macro_rules! case {
    ($number:literal, $sentence:literal, $faces:expr, $backends:expr, $run:path) => {
        $crate::case::Case {
            number: $number,
            sentence: $sentence,
            faces: $faces,
            backends: $backends,
            run: |world| Box::pin($run(world)),
        }
    };
}

pub(crate) use case;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Kernel,
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// How sockets are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// `std::net`, and our blocking sockets.
    Sync,
    /// `tokio::net` through tokio's traits, and our asynchronous sockets.
    Tokio,
    /// The same through the traits of futures-io.
    FuturesIo,
}

pub(crate) const ALL: &[Face] = &[Face::Sync, Face::Tokio, Face::FuturesIo];
/// What blocking sockets do not have.
pub(crate) const ASYNC: &[Face] = &[Face::Tokio, Face::FuturesIo];
/// What only blocking sockets have.
pub(crate) const SYNC: &[Face] = &[Face::Sync];
/// The methods that are not in the traits of tokio and futures-io.
pub(crate) const SYNC_AND_TOKIO: &[Face] = &[Face::Sync, Face::Tokio];
/// The same, and blocking sockets do not have it.
pub(crate) const TOKIO: &[Face] = &[Face::Tokio];

/// The backends of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backends {
    Both,
    /// Not on the kernel, and why.
    Ours(&'static str),
}

/// Losing packets, or an address that never answers, takes privileges on the kernel.
pub(crate) const BAD_NETWORK: Backends = Backends::Ours("needs a network that loses packets");
/// The kernel waits for this in real time.
pub(crate) const MINUTES: Backends = Backends::Ours("takes minutes of real time");
/// It inspects the stack, or its packets.
pub(crate) const INSIDE: Backends = Backends::Ours("inspects the stack or its packets");
/// The kernel does not stop.
pub(crate) const STOPS: Backends = Backends::Ours("stops the stack");
/// On the kernel it would take what other programs need.
pub(crate) const EXHAUSTS: Backends = Backends::Ours("takes all ports");

impl Case {
    /// A run for each backend, family and face.
    pub(crate) fn trials(&'static self) -> impl Iterator<Item = Trial> {
        let backends: &[Backend] = match self.backends {
            Backends::Both => &[Backend::Kernel, Backend::Ours],
            Backends::Ours(_) => &[Backend::Ours],
        };
        let families = [Family::Ipv4, Family::Ipv6];
        backends.iter().flat_map(move |backend| {
            families.into_iter().flat_map(move |family| {
                self.faces.iter().map(move |face| self.trial(*backend, family, *face))
            })
        })
    }

    fn trial(&'static self, backend: Backend, family: Family, face: Face) -> Trial {
        let name = format!("[{backend} {family} {face}] {} {}", self.number, self.sentence);
        Trial::ignorable_test(name, move || {
            if backend == Backend::Kernel && family == Family::Ipv6 && !kernel_has_ipv6() {
                return cannot_run("this machine has no IPv6");
            }
            world::run(self, backend, family, face);
            Ok(Completion::Completed)
        })
    }
}

/// Makes tests fail that cannot run.
const REQUIRE_ALL: &str = "NETSTACK_TEST_REQUIRE_ALL";

fn cannot_run(reason: &str) -> Result<Completion, Failed> {
    if env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1") {
        return Err(format!("cannot run: {reason}").into());
    }
    Ok(Completion::ignored_with(reason))
}

fn kernel_has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Ours => "ours",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Tokio => "tokio",
            Self::FuturesIo => "futures-io",
        })
    }
}
