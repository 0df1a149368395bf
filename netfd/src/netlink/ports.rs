//! The ports of netlink sockets: `nl_pid`.

use crate::netlink::Protocol;
use std::collections::HashSet;

/// The ports in use: each protocol has its own.
#[derive(Debug)]
pub(crate) struct Ports {
    taken: HashSet<(Protocol, u32)>,
    next: u32,
}

/// The first port of a socket beyond the first of a process (`netlink_autobind`).
const FIRST: u32 = u32::MAX - 4096;

impl Default for Ports {
    fn default() -> Self {
        Self { taken: HashSet::new(), next: FIRST }
    }
}

impl Ports {
    /// Takes this one, or if it is another's some other one.
    pub(crate) fn take(&mut self, protocol: Protocol, wanted: u32) -> u32 {
        let mut port = wanted;
        while port == 0 || !self.taken.insert((protocol, port)) {
            port = self.next;
            self.next = self.next.checked_sub(1).unwrap_or(FIRST);
        }
        port
    }

    /// Takes another one in place of one; false if that is another's.
    pub(crate) fn exchange(&mut self, protocol: Protocol, from: u32, to: u32) -> bool {
        if from == to {
            return true;
        }
        let is_free = self.taken.insert((protocol, to));
        if is_free {
            self.taken.remove(&(protocol, from));
        }
        is_free
    }

    pub(crate) fn free(&mut self, protocol: Protocol, port: u32) {
        self.taken.remove(&(protocol, port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_sockets_at_a_time() {
        const ROUTE: Protocol = Protocol::Route;
        let mut ports = Ports::default();
        assert_eq!([ports.take(ROUTE, 7), ports.take(ROUTE, 7)], [7, FIRST]);
        assert_eq!(ports.take(Protocol::SockDiag, 7), 7);
        assert!(!ports.exchange(ROUTE, FIRST, 7) && ports.exchange(ROUTE, 7, 7));
        assert!(ports.exchange(ROUTE, 7, 8));
        assert_eq!([ports.take(ROUTE, 7), ports.take(ROUTE, 8)], [7, FIRST - 1]);
        ports.free(ROUTE, 8);
        assert_eq!(ports.take(ROUTE, 8), 8);
    }
}
