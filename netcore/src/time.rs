//! The stack's time.

use smoltcp::time;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// A point in the time of a stack, in microseconds since an origin chosen by its driver.
///
/// netcore reads no clock: each poll takes the time as an argument. Converts from and to smoltcp's
/// `Instant`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Instant {
    micros: i64,
}

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self { micros: 0 };

    /// An instant `micros` microseconds after the origin.
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// An instant `millis` milliseconds after the origin.
    pub const fn from_millis(millis: i64) -> Self {
        Self { micros: millis.saturating_mul(1000) }
    }

    /// An instant `secs` seconds after the origin.
    pub const fn from_secs(secs: i64) -> Self {
        Self { micros: secs.saturating_mul(1_000_000) }
    }

    /// Whole seconds since the origin.
    pub const fn total_secs(self) -> i64 {
        self.micros / 1_000_000
    }

    /// Whole milliseconds since the origin.
    pub const fn total_millis(self) -> i64 {
        self.micros / 1000
    }

    /// Microseconds since the origin.
    pub const fn total_micros(self) -> i64 {
        self.micros
    }
}

/// Whole microseconds; without the 128 bits of `Duration::as_micros`, for work per packet.
fn micros(duration: Duration) -> i64 {
    let secs = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    secs.saturating_mul(1_000_000).saturating_add(i64::from(duration.subsec_micros()))
}

impl Instant {
    /// Microseconds since `earlier`, or 0 if that is later.
    pub(crate) fn micros_since(self, earlier: Self) -> u64 {
        self.micros.saturating_sub(earlier.micros).max(0) as u64
    }

    /// So many microseconds later.
    pub(crate) fn plus_micros(self, micros: u64) -> Self {
        Self { micros: self.micros.saturating_add_unsigned(micros) }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates 292,000 years after the origin.
    fn add(self, duration: Duration) -> Self {
        Self { micros: self.micros.saturating_add(micros(duration)) }
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self { micros: self.micros.saturating_sub(micros(duration)) }
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time since `earlier`, or zero if that is later, as with std's `Instant`.
    fn sub(self, earlier: Self) -> Duration {
        let micros = self.micros.saturating_sub(earlier.micros);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({self})")
    }
}

/// In seconds.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        write!(f, "{sign}{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}

impl From<time::Instant> for Instant {
    fn from(instant: time::Instant) -> Self {
        Self::from_micros(instant.total_micros())
    }
}

impl From<Instant> for time::Instant {
    fn from(instant: Instant) -> Self {
        Self::from_micros(instant.micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let second = Instant::from_secs(1);
        assert_eq!(second + Duration::MAX, Instant::from_micros(i64::MAX));
        assert_eq!(Instant::from_micros(i64::MIN) - Duration::MAX, Instant::from_micros(i64::MIN));
        assert_eq!(Instant::ZERO - second, Duration::ZERO);
        assert_eq!(second - Instant::from_millis(1), Duration::from_millis(999));
    }

    #[test]
    fn conversion_to_smoltcp_keeps_microseconds() {
        let instant = Instant::from_micros(1_000_001);
        assert_eq!(Instant::from(time::Instant::from(instant)), instant);
        assert_eq!(instant.to_string(), "1.000001s");
    }
}
