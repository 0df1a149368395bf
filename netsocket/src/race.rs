//! Connecting to the first of several addresses that answers (RFC 8305, "happy eyeballs").

use crate::address::none_given;
use futures_core::Stream;
use std::collections::VecDeque;
use std::future::{self, Future};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long an attempt has the field to itself (RFC 8305 section 5).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The minimum attempt delay, so that an answer in flight is waited for (RFC 8305 section 5).
pub(crate) const ATTEMPT_DELAY_MIN: Duration = Duration::from_millis(10);
/// How long IPv4 addresses wait for the IPv6 ones (RFC 8305 section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The addresses of a name from its servers, family by family.
pub(crate) type Answers<'a> = Pin<Box<dyn Stream<Item = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Where the addresses come from.
pub(crate) enum Candidates<'a> {
    /// From the caller, in the order to try them.
    Given(Vec<SocketAddr>),
    /// From name servers, in no order.
    #[cfg_attr(not(feature = "dns"), allow(dead_code, reason = "there are no names"))]
    Named(Answers<'a>),
}

/// The families of which the stack has an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

/// Tries the addresses, each `delay` after the previous one or as soon as that has failed, and
/// returns the first success. The other attempts are dropped.
///
/// Outside of a tokio runtime there is no timer: an attempt then waits for the end of the previous
/// one.
///
/// # Errors
///
/// The last one that came from the network, or else the last one; with its address if there were
/// several.
pub(crate) async fn connect<T, F: Future<Output = io::Result<T>>>(
    candidates: Candidates<'_>,
    reach: Reach,
    delay: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let (given, answers) = match candidates {
        Candidates::Given(addresses) => (addresses.into(), None),
        Candidates::Named(answers) => (VecDeque::new(), Some(answers)),
    };
    let waiting = Waiting { given, reach, ..Waiting::new(reach) };
    let attempt = async |address| (address, attempt(address).await);
    let mut race = Race {
        answers,
        waiting,
        running: Vec::new(),
        pause: None,
        delay,
        has_begun: false,
        failures: Failures::default(),
    };
    future::poll_fn(|cx| race.poll(cx, &attempt)).await
}

struct Race<'a, A> {
    /// While there may be more of them.
    answers: Option<Answers<'a>>,
    waiting: Waiting,
    /// In the order in which they began. All are polled: there are few at a time.
    running: Vec<Pin<Box<A>>>,
    pause: Option<Pause>,
    delay: Duration,
    has_begun: bool,
    failures: Failures,
}

/// Until when no attempt begins.
enum Pause {
    Time(Pin<Box<Sleep>>),
    /// Until one fails.
    Failure,
}

impl Pause {
    fn new(length: Duration) -> Self {
        match tokio::runtime::Handle::try_current() {
            Ok(_) => Self::Time(Box::pin(tokio::time::sleep(length))),
            Err(_) => Self::Failure,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Time(sleep) => sleep.as_mut().poll(cx),
            Self::Failure => Poll::Pending,
        }
    }
}

impl<A, T> Race<'_, A>
where
    A: Future<Output = (SocketAddr, io::Result<T>)>,
{
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl Fn(SocketAddr) -> A,
    ) -> Poll<io::Result<T>> {
        loop {
            if let Some(winner) = self.poll_running(cx) {
                return Poll::Ready(Ok(winner));
            }
            self.learn(cx);
            if let Some(pause) = &mut self.pause {
                match pause.poll(cx) {
                    Poll::Ready(()) => self.pause = None,
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.waiting.next() {
                Some(address) => {
                    self.running.push(Box::pin(attempt(address)));
                    self.has_begun = true;
                    self.pause = Some(Pause::new(self.delay));
                }
                None if self.running.is_empty() && self.answers.is_none() => {
                    return Poll::Ready(Err(std::mem::take(&mut self.failures).into_error()));
                }
                None => return Poll::Pending,
            }
        }
    }

    /// Polls the attempts that have begun; returns the connection of the first that succeeds.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<T> {
        let mut index = 0;
        while let Some(attempt) = self.running.get_mut(index) {
            let Poll::Ready((address, outcome)) = attempt.as_mut().poll(cx) else {
                index += 1;
                continue;
            };
            drop(self.running.remove(index));
            match outcome {
                Ok(winner) => return Some(winner),
                Err(error) => self.failures.add(address, error),
            }
            // The next attempt need not wait.
            self.pause = None;
        }
        None
    }

    /// Takes the answers of the name servers so far.
    fn learn(&mut self, cx: &mut Context<'_>) {
        while let Some(answers) = &mut self.answers {
            match Pin::new(answers).poll_next(cx) {
                Poll::Ready(Some(Ok(addresses))) => self.waiting.add(addresses),
                Poll::Ready(Some(Err(error))) => self.failures.lookup = Some(error),
                Poll::Ready(None) => self.answers = None,
                Poll::Pending => break,
            }
            if self.has_begun {
                continue;
            }
            // IPv4 waits a moment for the IPv6 addresses that may still come.
            let lacks_v6 = self.answers.is_some() && self.waiting.lacks_v6();
            self.pause = match self.pause.take() {
                Some(pause) if lacks_v6 => Some(pause),
                None if lacks_v6 => Some(Pause::new(RESOLUTION_DELAY)),
                _ => None,
            };
        }
    }
}

/// The addresses that have not been tried.
#[derive(Debug)]
struct Waiting {
    given: VecDeque<SocketAddr>,
    v6: VecDeque<SocketAddr>,
    v4: VecDeque<SocketAddr>,
    /// The next address to try. The families alternate (RFC 8305 section 4), IPv6 first.
    is_v6_next: bool,
    reach: Reach,
}

impl Waiting {
    fn new(reach: Reach) -> Self {
        let (given, v6, v4) = Default::default();
        Self { given, v6, v4, is_v6_next: true, reach }
    }

    fn add(&mut self, addresses: Vec<SocketAddr>) {
        for address in addresses {
            if address.is_ipv6() { &mut self.v6 } else { &mut self.v4 }.push_back(address);
        }
    }

    /// Whether there are IPv4 addresses only, although IPv6 ones would be tried first.
    fn lacks_v6(&self) -> bool {
        self.reach.v6 && self.v6.is_empty() && !self.v4.is_empty()
    }

    fn next(&mut self) -> Option<SocketAddr> {
        if let Some(address) = self.given.pop_front() {
            return Some(address);
        }
        // A family without an address of the stack's goes last: it can only fail.
        let is_v6 = match self.reach {
            Reach { v4: false, v6: true } => true,
            Reach { v4: true, v6: false } => false,
            _ => self.is_v6_next,
        };
        let (first, second) = match is_v6 {
            true => (&mut self.v6, &mut self.v4),
            false => (&mut self.v4, &mut self.v6),
        };
        let next = first.pop_front().or_else(|| second.pop_front());
        if next.is_some() {
            self.is_v6_next = !is_v6;
        }
        next
    }
}

/// The failures so far.
#[derive(Debug, Default)]
struct Failures {
    /// The failure to report.
    attempt: Option<(SocketAddr, io::Error)>,
    attempts: usize,
    lookup: Option<io::Error>,
}

impl Failures {
    fn add(&mut self, address: SocketAddr, error: io::Error) {
        self.attempts += 1;
        let is_replaced = self.attempt.as_ref().is_none_or(|(_, known)| is_local(known.kind()));
        if is_replaced || !is_local(error.kind()) {
            self.attempt = Some((address, error));
        }
    }

    fn into_error(self) -> io::Error {
        match self.attempt {
            Some((_, error)) if self.attempts == 1 => error,
            Some((address, error)) => io::Error::new(error.kind(), format!("{address}: {error}")),
            None => self.lookup.unwrap_or_else(none_given),
        }
    }
}

/// Whether this error occurred before anything was sent: less informative than an answer.
fn is_local(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::*;
    matches!(kind, AddrNotAvailable | NetworkUnreachable | InvalidInput | Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::{self, StreamExt};
    use std::sync::{Arc, Mutex};
    use tokio::time::Instant;

    const BOTH: Reach = Reach { v4: true, v6: true };

    fn v4(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 80).into()
    }

    fn v6(host: u16) -> SocketAddr {
        ([0xfd00, 0, 0, 0, 0, 0, 0, host], 80).into()
    }

    fn answered(after: u64, addresses: Vec<SocketAddr>) -> Answers<'static> {
        stream::once(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            Ok(addresses)
        })
        .boxed()
    }

    /// The start of each attempt, in milliseconds, while none of them ends.
    async fn begun(candidates: Candidates<'_>, reach: Reach) -> Vec<(SocketAddr, u128)> {
        let (start, begun) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let race = connect(candidates, reach, ATTEMPT_DELAY, |address| {
            begun.lock().expect("whole").push((address, start.elapsed().as_millis()));
            future::pending::<io::Result<()>>()
        });
        assert!(tokio::time::timeout(Duration::from_secs(10), race).await.is_err());
        let begun = begun.lock().expect("whole");
        begun.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn given_addresses_begin_in_their_order_a_delay_apart() {
        let given = Candidates::Given(vec![v4(1), v4(2), v6(3)]);
        assert_eq!(begun(given, BOTH).await, [(v4(1), 0), (v4(2), 250), (v6(3), 500)]);
    }

    #[tokio::test(start_paused = true)]
    async fn families_take_turns_and_ipv6_begins() {
        let addresses = vec![v4(1), v4(2), v6(1), v6(2), v6(3)];
        let named = Candidates::Named(answered(0, addresses));
        let order: Vec<_> = begun(named, BOTH).await.into_iter().map(|(at, _)| at).collect();
        assert_eq!(order, [v6(1), v4(1), v6(2), v4(2), v6(3)]);
    }

    #[test]
    fn looking_before_there_is_an_address_takes_nobodys_turn() {
        let mut waiting = Waiting::new(BOTH);

        assert_eq!(waiting.next(), None);
        waiting.add(vec![v4(1), v6(1)]);

        assert_eq!(waiting.next(), Some(v6(1)));
        assert_eq!(waiting.next(), Some(v4(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_out_of_reach_goes_last_and_is_not_waited_for() {
        let answers = stream::select(answered(0, vec![v4(1)]), answered(600, vec![v6(1)])).boxed();
        let only_v4 = Reach { v4: true, v6: false };
        let begun = begun(Candidates::Named(answers), only_v4).await;
        assert_eq!(begun, [(v4(1), 0), (v6(1), 600)]);
    }

    #[tokio::test(start_paused = true)]
    async fn ipv4_waits_50_ms_for_ipv6_and_no_longer() {
        for (ipv6_after, expected) in [
            (30, [(v6(1), 30), (v4(1), 280)]),
            (90, [(v4(1), 50), (v6(1), 300)]),
            (400, [(v4(1), 50), (v6(1), 400)]),
        ] {
            let answers =
                stream::select(answered(0, vec![v4(1)]), answered(ipv6_after, vec![v6(1)]));
            let begun = begun(Candidates::Named(answers.boxed()), BOTH).await;
            assert_eq!(begun, expected, "after {ipv6_after} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_attempt_starts_the_next_and_best_error_is_returned() {
        let start = Instant::now();
        let given = || Candidates::Given(vec![v4(1), v4(2), v6(3)]);
        let attempt = |address: SocketAddr| async move {
            Err::<(), _>(match address.is_ipv4() {
                true => io::ErrorKind::ConnectionRefused.into(),
                false => io::ErrorKind::NetworkUnreachable.into(),
            })
        };

        let error = connect(given(), BOTH, ATTEMPT_DELAY, attempt).await.expect_err("all fail");

        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), "10.0.0.2:80: connection refused");
        let none = connect(Candidates::Given(vec![]), BOTH, ATTEMPT_DELAY, attempt).await;
        assert_eq!(none.expect_err("none").kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test(start_paused = true)]
    async fn lookup_error_is_returned_if_no_address_was_tried() {
        let unknown = || Err(io::Error::new(io::ErrorKind::NotFound, "unknown"));
        let refused = |_| async { Err::<(), _>(io::ErrorKind::ConnectionRefused.into()) };
        let answers = stream::once(async move { unknown() }).boxed();
        let named = connect(Candidates::Named(answers), BOTH, ATTEMPT_DELAY, refused).await;
        assert_eq!(named.expect_err("unknown").to_string(), "unknown");
        let answers = stream::iter([Ok(vec![v4(1)]), unknown()]).boxed();
        let named = connect(Candidates::Named(answers), BOTH, ATTEMPT_DELAY, refused).await;
        assert_eq!(named.expect_err("refused").kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn without_a_runtime_each_waits_for_the_end_of_the_one_before() {
        let given = Candidates::Given(vec![v4(1), v4(2)]);
        let won = pollster::block_on(connect(given, BOTH, ATTEMPT_DELAY, |address| async move {
            if address == v4(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(address) }
        }));
        assert_eq!(won.expect("the second"), v4(2));
    }
}
