//! The stack's time.

use netcore::smoltcp::time::Instant;
use tokio::time;

/// Tells a stack the time, which begins with it. Follows tokio's clock, so that a test that pauses
/// that one pauses the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// When the stack's time will be `at`.
    pub(crate) fn when(&self, at: Instant) -> time::Instant {
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        self.start + std::time::Duration::from_micros(micros)
    }
}
