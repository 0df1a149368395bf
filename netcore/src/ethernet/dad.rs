//! Duplicate address detection (RFC 4862 section 5.4) and announcement of new addresses.

use crate::time::Instant;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The addresses under duplicate address detection, or to be announced.
///
/// Holds an address at most once, so its size is bounded by the number of own addresses.
#[derive(Debug, Default)]
pub(crate) struct DuplicateAddressDetection {
    pending: Vec<Tentative>,
}

#[derive(Debug)]
struct Tentative {
    address: IpAddr,
    /// Probes left to send.
    probes_left: u8,
    due: Instant,
}

/// The next step for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send a probe for it (RFC 4862 section 5.4.2).
    Probe(Ipv6Addr),
    /// No duplicate was detected: assign the address and announce it.
    Announce(IpAddr),
}

/// The wait for replies to a probe (RFC 4861 section 10).
const RETRANS_TIMER: Duration = Duration::from_secs(1);

impl DuplicateAddressDetection {
    /// Starts or restarts an address, with `probes` probes before its announcement (none for IPv4).
    pub(crate) fn begin(&mut self, address: IpAddr, probes: u8, now: Instant) {
        self.cancel(address);
        let probes_left = if address.is_ipv6() { probes } else { 0 };
        self.pending.push(Tentative { address, probes_left, due: now });
    }

    /// Stops for an address.
    pub(crate) fn cancel(&mut self, address: IpAddr) {
        self.pending.retain(|tentative| tentative.address != address);
    }

    /// When the next step is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.pending.iter().map(|tentative| tentative.due).min()
    }

    /// Takes the next step that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Step> {
        let found = self.pending.iter().position(|tentative| tentative.due <= now)?;
        let tentative = &mut self.pending[found];
        if let IpAddr::V6(address) = tentative.address
            && tentative.probes_left > 0
        {
            tentative.probes_left -= 1;
            tentative.due = now + RETRANS_TIMER;
            return Some(Step::Probe(address));
        }
        let address = tentative.address;
        self.pending.remove(found);
        Some(Step::Announce(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Instant {
        Instant::from_secs(secs)
    }

    #[test]
    fn address_is_announced_after_its_last_probe() {
        let (mut tentatives, address) = (DuplicateAddressDetection::default(), Ipv6Addr::LOCALHOST);
        tentatives.begin(address.into(), 2, at(5));

        for second in [5, 6] {
            assert_eq!(tentatives.next(), Some(at(second)));
            assert_eq!(tentatives.pop(at(second)), Some(Step::Probe(address)));
            assert_eq!(tentatives.pop(at(second)), None);
        }
        assert_eq!(tentatives.pop(at(7)), Some(Step::Announce(address.into())));
        assert_eq!((tentatives.next(), tentatives.pop(at(8))), (None, None));
    }

    #[test]
    fn ipv4_is_announced_at_once_and_a_cancelled_address_never() {
        let mut tentatives = DuplicateAddressDetection::default();
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().expect("address"));
        tentatives.begin(first, 3, at(0));
        tentatives.begin(second, 3, at(0));

        tentatives.cancel(first);

        assert_eq!(tentatives.pop(at(0)), Some(Step::Announce(second)));
        assert_eq!(tentatives.pop(at(0)), None);
    }
}
