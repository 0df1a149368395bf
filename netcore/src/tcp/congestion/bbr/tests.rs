use super::*;

const MSS: u32 = 1000;

/// A path with a rate, a propagation delay and a queue, on which segments of 1,000 bytes travel; it
/// loses every `lost_every`th of them.
struct Path {
    bytes_per_second: u64,
    delay: Duration,
    queue_bytes: u64,
    lost_every: Option<u64>,
    now: Instant,
    idle_at: Instant,
    flight: std::collections::VecDeque<Sent>,
    delivered: (u64, Instant),
    sent: u64,
    lost: u64,
    unreported: u64,
    round: (u64, u64),
    paced_until: Instant,
}

struct Sent {
    at: Instant,
    /// When its acknowledgement comes; `None` if it is lost.
    acked_at: Option<Instant>,
    delivered: (u64, Instant),
}

impl Path {
    fn new(bytes_per_second: u64, delay_ms: u64, queue_bytes: u64) -> Self {
        Self {
            bytes_per_second,
            delay: Duration::from_millis(delay_ms),
            queue_bytes,
            lost_every: None,
            now: Instant::ZERO,
            idle_at: Instant::ZERO,
            flight: std::collections::VecDeque::new(),
            delivered: (0, Instant::ZERO),
            sent: 0,
            lost: 0,
            unreported: 0,
            round: (0, 0),
            paced_until: Instant::ZERO,
        }
    }

    /// How long a segment that leaves now waits in the queue.
    fn queueing(&self) -> Duration {
        self.idle_at.max(self.now) - self.now
    }

    fn in_flight(&self) -> u64 {
        self.flight.len() as u64 * u64::from(MSS)
    }

    /// Sends for so long whatever the controller allows; returns the bytes that arrived.
    fn run(&mut self, bbr: &mut Bbr, time: Duration) -> u64 {
        let (end, before) = (self.now + time, self.delivered.0);
        while self.now < end {
            while self.in_flight() + u64::from(MSS) <= bbr.window() && self.paced_until <= self.now
            {
                self.send(bbr.pacing_rate());
            }
            while self.is_acknowledged() {
                self.acknowledge(bbr);
            }
            self.now += Duration::from_micros(100);
        }
        self.delivered.0 - before
    }

    /// Whether the first segment in flight is acknowledged, or found to be lost by a later one.
    fn is_acknowledged(&self) -> bool {
        let next = self.flight.iter().find_map(|sent| sent.acked_at);
        let Some(first) = self.flight.front() else { return false };
        next.unwrap_or(first.at + self.delay * 4) <= self.now
    }

    fn send(&mut self, pacing_rate: Option<u64>) {
        self.sent += 1;
        let queued = self.queueing().as_micros() as u64 * self.bytes_per_second / 1_000_000;
        let is_unlucky = self.lost_every.is_some_and(|every| self.sent.is_multiple_of(every));
        let acked_at = if is_unlucky || queued > self.queue_bytes {
            self.lost += 1;
            None
        } else {
            let micros = u64::from(MSS) * 1_000_000 / self.bytes_per_second;
            self.idle_at = self.idle_at.max(self.now) + Duration::from_micros(micros);
            Some(self.idle_at + self.delay)
        };
        self.flight.push_back(Sent { at: self.now, acked_at, delivered: self.delivered });
        let micros = u64::from(MSS) * 1_000_000 / pacing_rate.expect("it paces").max(1);
        self.paced_until = self.paced_until.max(self.now) + Duration::from_micros(micros);
    }

    fn acknowledge(&mut self, bbr: &mut Bbr) {
        let in_flight_before = self.in_flight();
        let sent = self.flight.pop_front().expect("in flight");
        if sent.acked_at.is_none() {
            self.unreported += u64::from(MSS);
            return;
        }
        self.delivered = (self.delivered.0 + u64::from(MSS), self.now);
        if sent.delivered.0 >= self.round.1 {
            self.round = (self.round.0 + 1, self.delivered.0);
        }
        let rtt = self.now - sent.at;
        let interval = (self.now - sent.delivered.1).max(rtt).as_secs_f64();
        let rate = (self.delivered.0 - sent.delivered.0) as f64 / interval;
        bbr.on_acked(&Acked {
            now: self.now,
            bytes: MSS.into(),
            lost: std::mem::take(&mut self.unreported),
            in_flight_before,
            in_flight: self.in_flight(),
            rtt: Some(rtt),
            min_rtt: self.delay,
            smoothed_rtt: rtt,
            round: self.round.0,
            is_window_limited: true,
            delivery_rate: Some(rate as u64),
            is_app_limited: false,
            is_in_recovery: false,
        });
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// 80 Mbit/s, of which 20 ms hold 200 segments.
const RATE: u64 = 10_000_000;

#[test]
fn the_path_is_full_within_a_second_and_no_queue_stands() {
    let (mut path, mut bbr) = (Path::new(RATE, 20, 10_000_000), Bbr::new(MSS));
    path.run(&mut bbr, SECOND);

    let arrived = path.run(&mut bbr, SECOND * 4);

    assert!(arrived > RATE * 4 * 95 / 100, "{arrived} bytes in 4 s");
    let mut queue = Duration::ZERO;
    for _ in 0..400 {
        path.run(&mut bbr, Duration::from_millis(10));
        queue += path.queueing() / 400;
    }
    assert!(queue < Duration::from_millis(4), "{queue:?} wait in the queue on average");
    assert_eq!(path.lost, 0);
}

#[test]
fn random_loss_of_three_percent_costs_little_more_than_itself() {
    let (mut path, mut bbr) = (Path::new(RATE, 20, 10_000_000), Bbr::new(MSS));
    path.lost_every = Some(33);
    path.run(&mut bbr, SECOND);

    let arrived = path.run(&mut bbr, SECOND * 4);

    assert!(arrived > RATE * 4 * 88 / 100, "{arrived} bytes in 4 s");
}

#[test]
fn a_short_queue_bounds_what_is_in_flight() {
    // An eighth of what the path holds.
    let (mut path, mut bbr) = (Path::new(RATE, 20, 25_000), Bbr::new(MSS));
    path.run(&mut bbr, SECOND);
    let (sent, lost) = (path.sent, path.lost);

    let arrived = path.run(&mut bbr, SECOND * 9);

    let (sent, lost) = (path.sent - sent, path.lost - lost);
    assert!(lost * 100 < sent * 3, "{lost} of {sent} segments are lost");
    assert!(arrived > RATE * 9 * 85 / 100, "{arrived} bytes in 9 s");
}

#[test]
fn a_path_that_has_become_longer_is_measured_anew() {
    let (mut path, mut bbr) = (Path::new(RATE, 20, 10_000_000), Bbr::new(MSS));
    path.run(&mut bbr, SECOND * 2);
    path.delay *= 2;
    let mut least = u64::MAX;
    for _ in 0..1200 {
        path.run(&mut bbr, Duration::from_millis(10));
        least = least.min(path.in_flight());
    }

    // ProbeRTT: half of what the path held.
    assert!(least <= 110_000, "{least} bytes");
    let rtt = bbr.min_rtt.get().expect("known");
    assert!((40..45).contains(&rtt.as_millis()), "{rtt:?}");
}

#[test]
fn a_slower_path_is_noticed() {
    let (mut path, mut bbr) = (Path::new(RATE, 20, 400_000), Bbr::new(MSS));
    path.run(&mut bbr, SECOND * 3);
    path.bytes_per_second = RATE / 4;
    path.run(&mut bbr, SECOND * 3);
    let (sent, lost) = (path.sent, path.lost);

    let arrived = path.run(&mut bbr, SECOND * 3);

    assert!(arrived > RATE / 4 * 3 * 85 / 100, "{arrived} bytes in 3 s");
    let (sent, lost) = (path.sent - sent, path.lost - lost);
    assert!(lost * 100 < sent * 3, "{lost} of {sent} segments are lost");
}

#[test]
fn a_timeout_leaves_four_segments_until_it_was_spurious() {
    let (mut path, mut bbr) = (Path::new(RATE, 20, 10_000_000), Bbr::new(MSS));
    path.run(&mut bbr, SECOND);
    let before = bbr.window();

    bbr.on_timeout(&Lost { now: path.now, in_flight: 0, bytes: 0 });
    assert_eq!(bbr.window(), 4000);
    bbr.on_spurious();

    assert_eq!(bbr.window(), before);
}
