//! What the user is told, each once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    told: Mutex<HashSet<Notice>>,
    /// Who is told instead of this process's standard error; of [`TOLD_MAX`] notices at most.
    user: Option<UnboundedSender<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Notice {
    Option { level: libc::c_int, name: libc::c_int },
    WithoutDestination,
    NetlinkAlone,
    NoCalls,
}

/// Beyond this many the program has made them up.
const TOLD_MAX: usize = 64;

impl Notices {
    /// Tells a user who is elsewhere.
    pub(crate) fn to(user: UnboundedSender<String>) -> Self {
        Self { told: Mutex::default(), user: Some(user) }
    }

    /// The program has asked for a socket option that there is not.
    pub(crate) fn unknown_option(&self, level: libc::c_int, name: libc::c_int) {
        self.tell(Notice::Option { level, name }, || {
            format!("socket option {name} of level {level} is not supported: ENOPROTOOPT")
        });
    }

    /// A datagram has come without a destination.
    pub(crate) fn without_destination(&self) {
        self.tell(Notice::WithoutDestination, || {
            "a datagram has no destination, and is dropped: programs that send with sendmsg need \
             --udp-msg"
                .into()
        });
    }

    /// The program has asked for a socket of a stack that is another process's, and refuses that.
    pub(crate) fn netlink_alone(&self, why: &str) {
        self.tell(Notice::NetlinkAlone, || {
            format!("the program has netlink sockets alone, as ip and ss need (EPERM): {why}")
        });
    }

    /// No more calls of the program are answered.
    pub(crate) fn no_calls(&self, error: &std::io::Error) {
        self.tell(Notice::NoCalls, || format!("receiving system calls: {error}"));
    }

    fn tell(&self, notice: Notice, text: impl FnOnce() -> String) {
        let is_new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.len() < TOLD_MAX && told.insert(notice)
        };
        match &self.user {
            _ if !is_new => {}
            // Who has left is not told.
            Some(user) => drop(user.send(text())),
            None => print(&text()),
        }
    }
}

/// Prints a notice.
pub(crate) fn print(notice: &str) {
    cli::eprintln!("netstack run: {notice}");
}
