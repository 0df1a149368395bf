//! The stack's time.

use netcore::Instant as Moment;
use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{self, Instant};

/// The clock of one or several stacks.
///
/// It follows tokio's clock, so that a test that pauses tokio's time pauses the stack, and on Linux
/// it also counts the time for which the machine was suspended (`CLOCK_BOOTTIME` against
/// `CLOCK_MONOTONIC`), which tokio's does not. So leases, lifetimes and timers expire on time. A
/// stack notices a suspend with the next packet or command, at the latest half a minute after the
/// machine resumed.
///
/// A test simulates a suspend with [`skip`](Self::skip):
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # use std::time::Duration;
/// # let (device, _far) = netstack::device::pipe(16, 1500);
/// let clock = netstack::Clock::new();
/// let stack = netstack::Builder::new().clock(clock.clone()).spawn(device)?;
/// clock.skip(Duration::from_secs(8 * 3600));
/// # drop(stack);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Clock(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// How long the machine had been suspended when this clock began.
    suspended_before: Duration,
    /// The time skipped by tests, in microseconds.
    skipped: AtomicU64,
    /// How far the stack's time is ahead of tokio's, in microseconds, as it was noticed.
    ahead: AtomicU64,
    /// When the system's clocks are compared again, in microseconds since `start`.
    compare_at: AtomicU64,
    /// The same, for tasks that wait for it to change.
    jumps: watch::Sender<u64>,
}

/// The longest sleep before the clocks are compared: tokio's timers stand still while the machine
/// is suspended.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What two readings of the system's clocks may differ by without anything having happened.
const TOLERANCE: Duration = Duration::from_millis(100);
/// The shortest time between two comparisons: the stack reads the time several times for each
/// packet, and reading a clock takes a tenth of the time of a packet.
const COMPARE_EVERY: Duration = Duration::from_millis(1);

impl Clock {
    /// A clock that begins now. Make it where tokio's time is that of the stacks.
    pub fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            suspended_before: suspended(),
            skipped: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            compare_at: AtomicU64::new(0),
            jumps: watch::Sender::new(0),
        }))
    }

    /// Simulates a suspend of the machine: this much time passes, and no timer fires for it.
    pub fn skip(&self, time: Duration) {
        self.0.skipped.fetch_add(micros(time), Ordering::Relaxed);
        self.0.compare_at.store(0, Ordering::Release);
    }

    /// The time of the stack's tables.
    pub(crate) fn moment(&self) -> Moment {
        let elapsed = self.0.start.elapsed();
        let passed = elapsed + self.ahead(elapsed);
        Moment::from_micros(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX))
    }

    /// The same time as an instant of tokio's clock.
    pub(crate) fn now(&self) -> Instant {
        let now = Instant::now();
        now + self.ahead(now - self.0.start)
    }

    /// When to check again whether it is `at`, by tokio's clock.
    pub(crate) fn look_at(&self, at: Moment) -> Instant {
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        self.look(self.0.start + Duration::from_micros(micros))
    }

    fn look(&self, at: Instant) -> Instant {
        let now = Instant::now();
        at.checked_sub(self.ahead(now - self.0.start)).map_or(now, |at| at.min(now + LOOK_EVERY))
    }

    /// Waits until it is `at`.
    pub(crate) async fn sleep_until(&self, at: Instant) {
        let mut jumps = self.jumps();
        while self.now() < at {
            let mut jumped = pin!(jumps.next());
            let mut slept = pin!(time::sleep_until(self.look(at)));
            future::poll_fn(|cx| match slept.as_mut().poll(cx) {
                Poll::Pending => jumped.as_mut().poll(cx),
                ready => ready,
            })
            .await;
        }
    }

    /// The jumps from now on.
    pub(crate) fn jumps(&self) -> Jumps {
        Jumps(self.0.jumps.subscribe())
    }

    /// How far the stack's time is ahead of tokio's, `elapsed` after the start. It never goes back.
    fn ahead(&self, elapsed: Duration) -> Duration {
        let known = Duration::from_micros(self.0.ahead.load(Ordering::Relaxed));
        if micros(elapsed) < self.0.compare_at.load(Ordering::Relaxed) {
            return known;
        }
        // Exchanged, not stored: acquires the skipped time along with the zero that `skip` stores.
        self.0.compare_at.swap(micros(elapsed + COMPARE_EVERY), Ordering::AcqRel);
        let suspended = suspended().saturating_sub(self.0.suspended_before);
        let ahead = suspended + Duration::from_micros(self.0.skipped.load(Ordering::Relaxed));
        if ahead <= known + TOLERANCE {
            return known;
        }
        self.0.ahead.fetch_max(micros(ahead), Ordering::Relaxed);
        self.0.jumps.send_modify(|jumped| *jumped = micros(ahead).max(*jumped));
        tracing::info!(slept = ?(ahead - known), "the machine was suspended");
        ahead
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Notifications of suspends.
#[derive(Debug)]
pub(crate) struct Jumps(watch::Receiver<u64>);

impl Jumps {
    /// Waits until the machine was suspended. Dropping the future loses no jump.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The clock is gone, and with it its stack.
            future::pending().await
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How long the machine has been suspended since it was started: at least, never more.
#[cfg(target_os = "linux")]
fn suspended() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // Read in this order, so that the time between the two readings does not count.
    let since_boot = read(ClockId::Boottime);
    since_boot.saturating_sub(read(ClockId::Monotonic))
}

/// Other systems are taken at tokio's word.
#[cfg(not(target_os = "linux"))]
fn suspended() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleep_ends_within_half_a_minute_of_a_suspend() {
        let clock = Clock::new();
        let start = Instant::now();
        let due = clock.now() + Duration::from_secs(3600);
        let sleeping = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(due).await }
        });
        time::sleep(Duration::from_secs(45)).await;

        clock.skip(Duration::from_secs(3600));
        sleeping.await.expect("no panic");

        assert_eq!(start.elapsed().as_secs(), 60);
        assert_eq!(clock.moment().total_secs(), 3660);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reading_after_a_suspend_wakes_all_sleepers() {
        let clock = Clock::new();
        let start = Instant::now();
        let due = clock.now() + Duration::from_secs(3600);
        let sleeping = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(due).await }
        });
        time::sleep(Duration::from_secs(5)).await;

        clock.skip(Duration::from_secs(3600));
        clock.moment();
        sleeping.await.expect("no panic");

        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_tokios_without_a_suspend() {
        let clock = Clock::new();
        let due = clock.now() + Duration::from_secs(100_000);
        clock.sleep_until(due).await;
        assert_eq!((clock.moment().total_secs(), Instant::now()), (100_000, due));
    }
}
