//! The ports of netlink sockets: `nl_pid`.

use std::collections::HashSet;

/// The ports in use.
#[derive(Debug)]
pub(crate) struct Ports {
    taken: HashSet<u32>,
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
    pub(crate) fn take(&mut self, wanted: u32) -> u32 {
        let mut port = wanted;
        while port == 0 || !self.taken.insert(port) {
            port = self.next;
            self.next = self.next.checked_sub(1).unwrap_or(FIRST);
        }
        port
    }

    /// Takes another one in place of one; false if that is another's.
    pub(crate) fn exchange(&mut self, from: u32, to: u32) -> bool {
        if from == to {
            return true;
        }
        let is_free = self.taken.insert(to);
        if is_free {
            self.taken.remove(&from);
        }
        is_free
    }

    pub(crate) fn free(&mut self, port: u32) {
        self.taken.remove(&port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_sockets_at_a_time() {
        let mut ports = Ports::default();
        assert_eq!([ports.take(7), ports.take(7)], [7, FIRST]);
        assert!(!ports.exchange(FIRST, 7) && ports.exchange(7, 7));
        assert!(ports.exchange(7, 8));
        assert_eq!([ports.take(7), ports.take(8)], [7, FIRST - 1]);
        ports.free(8);
        assert_eq!(ports.take(8), 8);
    }
}
