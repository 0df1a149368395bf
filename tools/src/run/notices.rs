//! What the user is told on standard error, each once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<HashSet<Notice>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Notice {
    Option { level: libc::c_int, name: libc::c_int },
    WithoutDestination,
    NetlinkAlone,
}

/// Beyond this many the program has made them up.
const TOLD_MAX: usize = 64;

impl Notices {
    /// The program has asked for a socket option that there is not.
    pub(crate) fn unknown_option(&self, level: libc::c_int, name: libc::c_int) {
        if self.is_new(Notice::Option { level, name }) {
            cli::eprintln!(
                "netstack run: socket option {name} of level {level} is not supported: ENOPROTOOPT"
            );
        }
    }

    /// A datagram has come without a destination.
    pub(crate) fn without_destination(&self) {
        if self.is_new(Notice::WithoutDestination) {
            cli::eprintln!(
                "netstack run: a datagram has no destination, and is dropped: \
                 programs that send with sendmsg need --udp-msg"
            );
        }
    }

    /// The program has asked for a socket of a stack that is another process's.
    pub(crate) fn netlink_alone(&self) {
        if self.is_new(Notice::NetlinkAlone) {
            cli::eprintln!(
                "netstack run: with --join a program has netlink sockets alone, as ip and ss need: \
                 EPERM"
            );
        }
    }

    fn is_new(&self, notice: Notice) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_MAX && told.insert(notice)
    }
}
