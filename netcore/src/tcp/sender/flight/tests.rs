use super::*;

const SPLIT_SEGMENTS_MAX: usize = 4096;

const MS: fn(u64) -> u64 = |ms| ms * 1000;

fn at(ms: i64) -> Instant {
    Instant::from_millis(ms)
}

fn flight(segments: u64) -> Flight {
    let mut flight = Flight::new(true, SPLIT_SEGMENTS_MAX);
    for n in 0..segments {
        flight.on_sent(n * 100, (n + 1) * 100, at(0));
    }
    flight
}

#[test]
fn three_segments_behind_a_gap_make_it_a_loss() {
    let mut flight = flight(10);

    for end in [200, 300] {
        flight.on_ack(0, &[(100, end)], at(20), Some(MS(20)));
        assert_eq!(flight.detect_losses(at(20), MS(20), MS(20), false, RetransmitRule::Rack), 0);
    }
    assert!(flight.reordering_due().is_some());
    flight.on_ack(0, &[(100, 400)], at(20), Some(MS(20)));

    assert_eq!(flight.detect_losses(at(20), MS(20), MS(20), false, RetransmitRule::Rack), 100);
    assert_eq!(flight.first_lost(), Some((0, 100, RetransmitRule::DupThresh)));
    assert_eq!((flight.pipe(), flight.lost()), (600, 100));
}

#[test]
fn late_segments_are_waited_for_once_there_was_reordering() {
    let mut flight = flight(10);
    flight.on_ack(0, &[(100, 200)], at(20), Some(MS(20)));
    flight.on_ack(200, &[], at(24), Some(MS(20)));

    flight.on_ack(200, &[(300, 700)], at(24), Some(MS(20)));

    assert_eq!(flight.detect_losses(at(24), MS(20), MS(20), false, RetransmitRule::Rack), 0);
    let due = flight.reordering_due().expect("the third segment is late");
    assert!(due > at(24));
    assert_eq!(flight.detect_losses(due, MS(20), MS(20), false, RetransmitRule::Rack), 100);
}

#[test]
fn a_block_in_the_middle_of_a_packet_splits_it() {
    let mut flight = Flight::new(false, SPLIT_SEGMENTS_MAX);
    flight.on_sent(0, 1000, at(0));

    let delivery = flight.on_ack(0, &[(200, 500)], at(10), None);

    assert_eq!(delivery.bytes, 300);
    assert_eq!(flight.pipe(), 700);
    assert_eq!(flight.detect_losses(at(11), MS(10), MS(10), true, RetransmitRule::Rack), 200);
    assert_eq!(flight.first_lost(), Some((0, 200, RetransmitRule::Rack)));
    flight.on_sent_again(0, 150, at(12));
    assert_eq!(flight.first_lost(), Some((150, 200, RetransmitRule::Rack)));
    flight.on_sent_again(150, 200, at(12));
    assert_eq!(flight.first_lost(), None);
    flight.on_ack(1000, &[], at(22), Some(MS(10)));
    assert!(flight.is_empty());
    assert_eq!((flight.pipe(), flight.lost(), flight.delivered()), (0, 0, 1000));
}

#[test]
fn what_a_peer_has_reneged_on_is_sent_again() {
    let mut flight = flight(3);
    flight.on_ack(0, &[(100, 300)], at(10), None);
    flight.on_ack(100, &[(100, 300)], at(11), None);
    assert_eq!(flight.pipe(), 0);

    flight.mark_all_lost(RetransmitRule::Timeout);

    assert_eq!(flight.first_lost(), Some((100, 200, RetransmitRule::Timeout)));
    assert_eq!((flight.pipe(), flight.lost()), (0, 200));
    flight.on_ack(300, &[], at(30), None);
    assert_eq!((flight.pipe(), flight.lost()), (0, 0));
}

#[test]
fn a_probe_may_be_the_end_of_a_packet() {
    let mut flight = Flight::new(false, SPLIT_SEGMENTS_MAX);
    flight.on_sent(0, 1000, at(0));

    flight.on_sent_again(900, 1000, at(30));
    let delivery = flight.on_ack(900, &[], at(40), None);

    assert_eq!((delivery.bytes, delivery.rtt), (900, Some((40_000, 40_000))));
    assert_eq!(flight.last_outstanding(), Some((900, 1000)));
}

#[test]
fn single_bytes_split_segments_only_so_often() {
    let mut flight = Flight::new(false, SPLIT_SEGMENTS_MAX);
    for n in 0..8 {
        flight.on_sent(n * 1460, (n + 1) * 1460, at(0));
    }

    for byte in (1..8 * 1460).step_by(2) {
        flight.on_ack(0, &[(byte, byte + 1)], at(10), None);
    }

    assert!(flight.segments.len() <= SPLIT_SEGMENTS_MAX + 2, "{}", flight.segments.len());
    flight.on_ack(8 * 1460, &[], at(20), None);
    assert_eq!((flight.pipe(), flight.lost(), flight.delivered()), (0, 0, 8 * 1460));
}

#[test]
fn an_early_acknowledgement_is_for_the_first_transmission() {
    let mut flight = flight(2);
    flight.mark_all_lost(RetransmitRule::Timeout);
    flight.on_sent_again(0, 100, at(50));

    let delivery = flight.on_ack(100, &[], at(55), Some(MS(20)));

    assert_eq!(delivery.spurious, 100);
    assert_eq!(delivery.rtt, None);
}

#[test]
fn a_rate_is_of_what_arrived_since_a_segment_left() {
    let mut flight = flight(10);
    flight.on_ack(500, &[], at(20), Some(MS(20)));
    flight.on_sent(1000, 1100, at(20));

    let delivery = flight.on_ack(1100, &[], at(40), Some(MS(20)));

    assert_eq!(delivery.delivered_before, Some(500));
    assert_eq!(delivery.rate, Some((600 * 1000 / 20, false)));
}
