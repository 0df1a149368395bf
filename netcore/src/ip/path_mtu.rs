//! Path MTU discovery (RFC 1191, RFC 8201).

use crate::ip::Quoted;
use crate::time::Instant;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Discovered path MTUs by destination. A new one evicts the oldest.
#[derive(Debug)]
pub(crate) struct PathMtus {
    known: HashMap<IpAddr, PathMtu, ahash::RandomState>,
    /// In the order of expiry. An entry may have been replaced since.
    order: VecDeque<(Instant, IpAddr)>,
    max: usize,
}

/// The MTU of a path, in bytes, and its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathMtu {
    pub(crate) mtu: u16,
    pub(crate) until: Instant,
}

/// Lifetime of a path MTU: the path may have changed (RFC 1191 section 6.3, RFC 8201 section 4;
/// Linux: `mtu_expires`).
const LIFETIME: Duration = Duration::from_secs(600);
/// Smaller values are ignored: every host must accept packets of this size (RFC 791), and forged
/// messages aim for small segments. Linux: `min_pmtu`, 552.
const MIN_V4: u16 = 576;
/// Smaller values must be ignored (RFC 8201 section 4).
const MIN_V6: u16 = 1280;
/// Plateaus for routers that report no MTU (RFC 1191 section 7.1).
const PLATEAUS: [u16; 8] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, MIN_V4];

impl PathMtus {
    pub(crate) fn new(max: usize, hash_keys: ahash::RandomState) -> Self {
        Self { known: HashMap::with_hasher(hash_keys), order: VecDeque::new(), max }
    }

    /// The unexpired entry of `destination`.
    pub(crate) fn get(&self, destination: IpAddr, now: Instant) -> Option<PathMtu> {
        if self.known.is_empty() {
            return None;
        }
        self.known.get(&destination).copied().filter(|path| path.until > now)
    }

    /// Sets the MTU of a path; a value not below the known one changes nothing.
    pub(crate) fn learn(&mut self, destination: IpAddr, mtu: u16, now: Instant) -> PathMtu {
        let path = PathMtu { mtu, until: now + LIFETIME };
        if let Some(known) = self.get(destination, now).filter(|known| known.mtu <= mtu) {
            return known;
        }
        if self.max == 0 {
            return path;
        }
        self.known.insert(destination, path);
        self.order.push_back((path.until, destination));
        let has_expired = |(until, _): &(Instant, _)| *until <= now;
        while self.known.len() > self.max || self.order.front().is_some_and(has_expired) {
            let Some((until, oldest)) = self.order.pop_front() else { break };
            if self.known.get(&oldest).is_some_and(|path| path.until == until) {
                self.known.remove(&oldest);
            }
        }
        if self.order.len() > 2 * self.max {
            // Repeated reports of one destination must not make this list grow.
            let known = &self.known;
            self.order.retain(|(until, of)| known.get(of).is_some_and(|p| p.until == *until));
        }
        path
    }

    #[cfg(test)]
    fn sizes(&self) -> (usize, usize) {
        (self.known.len(), self.order.len())
    }
}

/// The path MTU that a Packet Too Big message means; `None` if invalid.
pub(crate) fn valid_mtu(reported: u32, quoted: &Quoted) -> Option<u16> {
    let min = if quoted.source.is_ipv4() { MIN_V4 } else { MIN_V6 };
    let mtu = match reported {
        // A router from before RFC 1191: the next plateau below the dropped packet's size (section
        // 5).
        0 if quoted.source.is_ipv4() => {
            PLATEAUS.into_iter().find(|plateau| *plateau < quoted.total_len)?
        }
        reported => u16::try_from(reported).ok()?,
    };
    (mtu >= min).then_some(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::IpProtocol;
    use std::net::Ipv4Addr;

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    fn seconds(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn path_mtu_expires_after_ten_minutes_and_never_grows() {
        let mut paths = PathMtus::new(10, ahash::RandomState::with_seed(1));

        paths.learn(host(1), 1400, seconds(0));
        paths.learn(host(1), 1450, seconds(10));
        assert_eq!(paths.get(host(1), seconds(10)).map(|path| path.mtu), Some(1400));
        paths.learn(host(1), 1300, seconds(20));
        assert_eq!(paths.get(host(1), seconds(619)).map(|path| path.mtu), Some(1300));

        assert_eq!(paths.get(host(1), seconds(620)), None);
        paths.learn(host(1), 1450, seconds(620));
        assert_eq!(paths.get(host(1), seconds(620)).map(|path| path.mtu), Some(1450));
    }

    #[test]
    fn flood_of_reports_stays_bounded() {
        let mut paths = PathMtus::new(10, ahash::RandomState::with_seed(1));
        for number in 0..1000 {
            paths.learn(host(number), 1400, seconds(0));
            paths.learn(host(5), 1399 - (number as u16 % 800), seconds(0));
            let (known, order) = paths.sizes();
            assert!(known <= 10 && order <= 21, "{known} {order}");
        }
        assert_eq!(paths.get(host(999), seconds(0)).map(|path| path.mtu), Some(1400));

        paths.learn(host(1), 1400, seconds(700));
        assert_eq!(paths.sizes(), (1, 1), "an expired entry is removed");
        let mut none = PathMtus::new(0, ahash::RandomState::with_seed(1));
        none.learn(host(1), 1400, seconds(0));
        assert_eq!(none.sizes(), (0, 0));
    }

    #[test]
    fn invalid_path_mtus_are_ignored() {
        let quoted = |source: &str, total_len| Quoted {
            source: source.parse().expect("an address"),
            destination: host(1),
            protocol: IpProtocol::Tcp,
            total_len,
            source_port: 0,
            destination_port: 0,
            echo_identifier: 0,
            echo_sequence: 0,
            sequence: 0,
        };
        for (source, reported, total_len, mtu) in [
            ("10.0.0.1", 1400, 1500, Some(1400)),
            ("10.0.0.1", 576, 1500, Some(576)),
            ("10.0.0.1", 575, 1500, None),
            ("10.0.0.1", 0, 1500, Some(1492)),
            ("10.0.0.1", 0, 1492, Some(1006)),
            ("10.0.0.1", 0, 576, None),
            ("fd00::1", 1280, 1500, Some(1280)),
            ("fd00::1", 1279, 1500, None),
            ("fd00::1", 0, 1500, None),
            ("fd00::1", u32::MAX, 1500, None),
        ] {
            assert_eq!(valid_mtu(reported, &quoted(source, total_len)), mtu, "{source} {reported}");
        }
    }
}
