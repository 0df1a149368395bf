//! The bound of handshakes, which cost a peer nothing and us two multiplications on a curve.

use boringtun::noise::Packet;
use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519::PublicKey;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Verifies messages, and bounds those of handshakes in each second.
pub(super) struct HandshakeLimit {
    verifier: RateLimiter,
    second: Instant,
    admitted: u32,
    by_source: HashMap<IpAddr, u32>,
}

/// What becomes of a datagram.
pub(super) enum Verdict<'a, 'b> {
    Accepted(Packet<'a>),
    /// Its sender is to prove with this cookie that it has the address.
    Answered(&'b [u8]),
    Dropped,
}

/// From this many a second on a sender must prove its address (section 5.3 of the WireGuard paper).
const UNVERIFIED_MAX: u64 = 100;
/// How many are answered in a second.
const ADMITTED_MAX: u32 = 400;
/// How many of them of one source, as in Linux: an IPv4 address, or the first 64 bits of an IPv6
/// address.
const OF_SOURCE_MAX: u32 = 20;

impl HandshakeLimit {
    pub(super) fn new(public_key: &PublicKey) -> Self {
        Self {
            verifier: RateLimiter::new(public_key, UNVERIFIED_MAX),
            second: Instant::now(),
            admitted: 0,
            by_source: HashMap::new(),
        }
    }

    /// Verifies the form of a datagram, and of a handshake's message its code and its rate. A cookie is
    /// written to `answer`.
    pub(super) fn verify<'a, 'b>(
        &mut self,
        source: IpAddr,
        datagram: &'a [u8],
        answer: &'b mut [u8],
    ) -> Verdict<'a, 'b> {
        // Data has nothing to verify here.
        if datagram.first().is_some_and(|kind| *kind <= 2) {
            self.verifier.reset_count();
        }
        match self.verifier.verify_packet(Some(source), datagram, answer) {
            Ok(Packet::HandshakeInit(_) | Packet::HandshakeResponse(_))
                if !self.admits(source, Instant::now()) =>
            {
                Verdict::Dropped
            }
            Ok(packet) => Verdict::Accepted(packet),
            Err(TunnResult::WriteToNetwork(cookie)) => Verdict::Answered(cookie),
            Err(_) => Verdict::Dropped,
        }
    }

    fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.admitted = 0;
            self.by_source.clear();
        }
        if self.admitted == ADMITTED_MAX {
            return false;
        }
        let source = match source {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
            v4 => v4,
        };
        let of_source = self.by_source.entry(source).or_default();
        if *of_source == OF_SOURCE_MAX {
            return false;
        }
        *of_source += 1;
        self.admitted += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_and_all_together_are_bounded_in_a_second() {
        let mut limit = HandshakeLimit::new(&PublicKey::from([9; 32]));
        let start = limit.second;
        let count = |limit: &mut HandshakeLimit, source: &str, now| {
            let source = source.parse().expect("an address");
            (0..1000).filter(|_| limit.admits(source, now)).count()
        };

        assert_eq!(count(&mut limit, "192.0.2.1", start), 20);
        assert_eq!(count(&mut limit, "2001:db8::1", start), 20);
        // The same site.
        assert_eq!(count(&mut limit, "2001:db8::2", start), 0);
        let others: usize =
            (0..200).map(|host| count(&mut limit, &format!("198.51.100.{host}"), start)).sum();
        assert_eq!(others, 400 - 40);
        assert!(limit.by_source.len() <= 400);

        assert_eq!(count(&mut limit, "192.0.2.1", start + Duration::from_secs(1)), 20);
    }
}
