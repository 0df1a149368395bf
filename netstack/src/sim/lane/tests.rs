use super::*;
use crate::sim::{BurstLoss, Codel};

const MILLISECOND: Duration = Duration::from_millis(1);
/// A thousand bytes take 10 ms.
const RATE: u64 = 800_000;

/// A lane without a network.
struct Line {
    lane: Lane,
    start: Instant,
    sent: u64,
    /// When each packet arrived, in milliseconds, and its first four bytes.
    arrived: Vec<(f64, u32)>,
}

impl Line {
    fn new(link: LinkConfig) -> Self {
        let start = Instant::now();
        Self { lane: Lane::new(link, 7, start), start, sent: 0, arrived: Vec::new() }
    }

    /// Sends a packet of so many bytes that begins with its number.
    fn send(&mut self, millis: u32, bytes: usize) {
        let mut packet = vec![0; bytes];
        packet[..4].copy_from_slice(&(self.sent as u32).to_be_bytes());
        self.send_packet(millis, packet);
    }

    fn send_packet(&mut self, millis: u32, packet: Vec<u8>) {
        let now = self.start + MILLISECOND * millis;
        self.sent += 1;
        let Self { lane, start, arrived, .. } = self;
        lane.carry(now, self.sent, packet.into(), |flight| arrived.push(landed(*start, &flight)));
    }

    fn advance(&mut self, millis: u32) {
        let now = self.start + MILLISECOND * millis;
        let Self { lane, start, arrived, .. } = self;
        lane.advance(now, |flight| arrived.push(landed(*start, &flight)));
    }

    fn set_link(&mut self, millis: u32, link: LinkConfig) {
        self.advance(millis);
        self.lane.set_link(link, self.start + MILLISECOND * millis);
        self.advance(millis);
    }

    /// Lets everything leave; returns when packets arrived.
    fn times(&mut self) -> Vec<f64> {
        self.advance(1 << 20);
        assert_eq!((self.lane.len(), self.lane.next()), (0, None));
        let LinkCounters { lost, lost_burst, lost_down, lost_queue, .. } = self.lane.counters;
        let LinkCounters { lost_codel, lost_ack_filter, lost_policer, lost_mtu, .. } =
            self.lane.counters;
        let lost = lost + lost_burst + lost_down + lost_queue;
        let lost = lost + lost_codel + lost_ack_filter + lost_policer + lost_mtu;
        assert_eq!(self.sent, self.arrived.len() as u64 + lost, "{:?}", self.lane.counters);
        self.arrived.iter().map(|(at, _)| *at).collect()
    }

    fn numbers(&self) -> Vec<u32> {
        self.arrived.iter().map(|(_, number)| *number).collect()
    }
}

fn landed(start: Instant, flight: &Flight) -> (f64, u32) {
    let number = flight.packet[..4].try_into().expect("four bytes");
    let micros = (flight.at - start).as_micros() as f64;
    (micros / 1000.0, u32::from_be_bytes(number))
}

#[test]
fn packets_leave_one_after_the_other() {
    let mut line = Line::new(LinkConfig::new().bandwidth(RATE).delay(MILLISECOND * 100));
    line.send(0, 1000);
    line.send(0, 500);
    line.send(12, 1000);
    line.send(50, 1000);

    assert_eq!(line.times(), [110.0, 115.0, 125.0, 160.0]);
    // The second for 10 ms, the third for 3.
    assert_eq!(line.lane.counters.waited, MILLISECOND * 13);
}

#[test]
fn queue_of_packets_holds_them_beside_the_one_in_transmission() {
    let mut line = Line::new(LinkConfig::new().bandwidth(RATE).queue(2));
    (0..5).for_each(|_| line.send(0, 1000));
    line.send(10, 1000);

    assert_eq!(line.times(), [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(line.numbers(), [0, 1, 2, 5]);
    assert_eq!(line.lane.counters.lost_queue, 2);
}

#[test]
fn queue_of_bytes_holds_small_packets_where_no_large_one_fits() {
    let mut line = Line::new(LinkConfig::new().bandwidth(RATE).queue_bytes(1_500));
    [1000, 1000, 1000, 500, 100].into_iter().for_each(|bytes| line.send(0, bytes));
    line.send(10, 1000);

    assert_eq!(line.times(), [10.0, 20.0, 25.0, 35.0]);
    assert_eq!(line.numbers(), [0, 1, 3, 5]);
    assert_eq!(line.lane.counters.lost_queue, 2);
}

#[test]
fn queue_of_a_time_lets_no_packet_wait_for_longer() {
    let mut line = Line::new(LinkConfig::new().bandwidth(RATE).queue_delay(MILLISECOND * 25));
    (0..5).for_each(|_| line.send(0, 1000));
    // One in transmission until 10 ms, two behind it.
    line.send(4, 1000);
    line.send(5, 1000);

    assert_eq!(line.times(), [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(line.numbers(), [0, 1, 2, 6]);
    assert_eq!(line.lane.counters.lost_queue, 3);
}

#[test]
fn queued_packets_follow_a_change_of_the_rate() {
    let link = LinkConfig::new().bandwidth(RATE);
    let mut line = Line::new(link.clone());
    (0..4).for_each(|_| line.send(0, 1000));
    // The second has half of its bytes to go.
    line.set_link(15, link.clone().bandwidth(RATE / 2));
    assert_eq!(line.lane.next(), Some(line.start + MILLISECOND * 25));
    line.set_link(35, link.bandwidth(RATE * 2));

    // The third has half of its bytes to go then.
    assert_eq!(line.times(), [10.0, 25.0, 37.5, 42.5]);
}

#[test]
fn queued_packets_leave_at_once_when_the_limit_is_lifted() {
    let mut line = Line::new(LinkConfig::new().bandwidth(RATE));
    (0..3).for_each(|_| line.send(0, 1000));
    line.set_link(15, LinkConfig::new());
    line.send(15, 1000);

    assert_eq!(line.times(), [10.0, 15.0, 15.0, 15.0]);
    assert_eq!(line.numbers(), [0, 1, 2, 3]);
}

#[test]
fn packets_leave_in_bursts_of_an_interval() {
    let mut line = Line::new(LinkConfig::new().aggregate(MILLISECOND * 20));
    [0, 1, 5, 20, 21, 39, 90].into_iter().for_each(|at| line.send(at, 1000));

    assert_eq!(line.times(), [0.0, 20.0, 20.0, 20.0, 40.0, 40.0, 100.0]);
}

#[test]
fn packets_of_a_burst_leave_at_the_rate() {
    let link = LinkConfig::new().aggregate(MILLISECOND * 20).bandwidth(RATE);
    let mut line = Line::new(link);
    [1, 2, 3, 4, 50].into_iter().for_each(|at| line.send(at, 500));
    line.send(60, 500);

    // The last is there when its burst begins.
    assert_eq!(line.times(), [25.0, 30.0, 35.0, 40.0, 65.0, 70.0]);
}

#[test]
fn bursts_that_are_no_more_let_waiting_packets_go() {
    let mut line = Line::new(LinkConfig::new().aggregate(MILLISECOND * 20));
    line.send(1, 1000);
    line.set_link(5, LinkConfig::new().bandwidth(RATE));
    line.send(6, 1000);

    assert_eq!(line.times(), [15.0, 25.0]);
}

#[test]
fn policer_passes_its_rate_and_delays_nothing() {
    let mut line = Line::new(LinkConfig::new().police(RATE, 3_000));
    (0..1000).for_each(|at| line.send(at, 1000));

    let times = line.times();

    assert_eq!(times, line.numbers().into_iter().map(f64::from).collect::<Vec<_>>());
    assert_eq!(times.len(), 102, "the burst, and one each 10 ms");
    assert_eq!(line.lane.counters.lost_policer, 898);
}

#[test]
fn codel_keeps_the_queue_short_under_overload() {
    let link = LinkConfig::new().bandwidth(RATE);
    // A packet takes 10 ms, and there is one each 9 ms.
    let delay_of_last = |link: LinkConfig| {
        let mut line = Line::new(link.queue(10_000));
        (0..5_000).for_each(|number| line.send(number * 9, 1000));
        let last = *line.times().last().expect("some arrive");
        let number = *line.numbers().last().expect("some arrive");
        (last - f64::from(number * 9), line.lane.counters)
    };

    let (fifo, _) = delay_of_last(link.clone());
    let (codel, counters) = delay_of_last(link.codel(Codel::default()));

    assert!(fifo > 5_000.0, "{fifo} ms");
    assert!(codel < 200.0, "{codel} ms");
    assert!((400..700).contains(&counters.lost_codel), "{counters:?}");
    assert_eq!(counters.lost_queue, 0);
}

#[test]
fn ack_filter_leaves_the_last_ack_of_a_queue() {
    let mut line = Line::new(LinkConfig::new().bandwidth(RATE).ack_filter());
    (1..=5).for_each(|number| line.send_packet(0, ack(number)));
    line.send(0, 1000);
    line.send_packet(0, ack(6));

    // The first is in transmission already.
    assert_eq!(line.times().len(), 3);
    assert_eq!(line.lane.counters.lost_ack_filter, 4);
}

#[test]
fn burst_losses_are_counted_on_their_own() {
    let link = LinkConfig::new().burst_loss(BurstLoss::new(0.1, 0.5).losses(0.8, 0.0)).loss(0.1);
    let mut line = Line::new(link);
    (0..6_000).for_each(|at| line.send(at, 100));

    line.times();

    let LinkCounters { lost, lost_burst, .. } = line.lane.counters;
    assert!((720..880).contains(&lost_burst), "{lost_burst}");
    assert!((450..590).contains(&lost), "{lost}");
}

/// A TCP segment that only acknowledges this number, without checksums.
fn ack(number: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend([0, 80, 0, 81, 0, 0, 0, 1]);
    packet.extend(number.to_be_bytes());
    packet.extend([0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet
}
