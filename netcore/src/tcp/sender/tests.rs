use super::*;

const MSS: u64 = 1000;

fn at(ms: i64) -> Instant {
    Instant::from_millis(ms)
}

fn limits(unacknowledged: u64) -> Limits {
    Limits {
        window_end: unacknowledged + 1_000_000,
        window_max: 1_000_000,
        piece: MSS,
        packet: MSS,
        nodelay: false,
    }
}

/// A sender that has so many bytes to send, and has measured a round trip of 20 ms.
fn sender(bytes: usize) -> Sender {
    let mut sender = Sender::new(CongestionControl::Reno, MSS as u32, true, 4096, at(0));
    sender.push(Bytes::from(vec![7; MSS as usize]));
    assert_eq!(send(&mut sender, at(0)).len(), 1);
    sender.on_ack(MSS, &[], false, None, at(20));
    sender.push(Bytes::from(vec![7; bytes]));
    sender
}

/// Everything that may leave now.
fn send(sender: &mut Sender, now: Instant) -> Vec<ToSend> {
    sender.on_timer(now);
    let limits = limits(sender.unacknowledged());
    let mut sent = Vec::new();
    while let Some(segment) = sender.next(now, &limits) {
        sender.sent(&segment, &limits, now);
        sent.push(segment);
    }
    sender.watch_window(now);
    sent
}

#[test]
fn a_lost_tail_is_probed_after_two_round_trips() {
    let mut sender = sender(10 * MSS as usize);
    assert_eq!(send(&mut sender, at(20)).len(), 10);
    sender.on_ack(10 * MSS, &[], false, None, at(40));

    // One segment is in flight, whose acknowledgement may be delayed by 200 ms; but the probe comes
    // no later than the timeout would.
    let due = sender.due().expect("a timer");
    assert_eq!(due, at(40 + 220));
    let probe = send(&mut sender, due);

    assert_eq!((probe.len(), probe[0].start), (1, 10 * MSS));
    assert_eq!(probe[0].again, Some(RetransmitRule::TailLossProbe));
    sender.on_ack(11 * MSS, &[], false, None, due + Duration::from_millis(20));
    assert_eq!((sender.len(), sender.due()), (0, None));
}

#[test]
fn a_timeout_sends_one_segment_and_doubles() {
    let mut sender = sender(10 * MSS as usize);
    send(&mut sender, at(20));
    let probe = sender.due().expect("a probe");
    send(&mut sender, probe);

    let first = sender.due().expect("a timeout");
    let again = send(&mut sender, first);
    let second = sender.due().expect("another");

    assert_eq!((again.len(), again[0].start), (1, MSS));
    assert_eq!(again[0].again, Some(RetransmitRule::Timeout));
    assert_eq!(first, probe + Duration::from_millis(220));
    assert_eq!(second, first + Duration::from_millis(440));
}

#[test]
fn what_was_only_late_takes_the_reduction_back() {
    let mut sender = sender(100 * MSS as usize);
    send(&mut sender, at(20));
    let before = sender.window();

    sender.on_ack(MSS, &[(2 * MSS, 5 * MSS)], false, None, at(40));
    assert_eq!(send(&mut sender, at(40))[0].start, MSS);
    assert!(sender.controller.window() < before);
    // Sooner than a retransmission can be acknowledged.
    sender.on_ack(5 * MSS, &[], false, None, at(41));

    assert!(sender.controller.window() >= before);
}

#[test]
fn a_small_segment_waits_for_the_last_small_one() {
    let mut sender = sender(10);
    assert_eq!(send(&mut sender, at(20)).len(), 1);

    sender.push(Bytes::from_static(b"x"));
    assert_eq!(send(&mut sender, at(21)), []);
    sender.push(Bytes::from(vec![7; MSS as usize]));
    assert_eq!(send(&mut sender, at(22)).len(), 1, "the full one");
    sender.on_ack(MSS + 10, &[], false, None, at(40));

    assert_eq!(send(&mut sender, at(40)).len(), 1, "the rest");
}

#[test]
fn a_closed_window_is_probed_ever_more_seldom() {
    let mut sender = sender(3 * MSS as usize);
    let closed = Limits { window_end: MSS, ..limits(MSS) };
    assert_eq!(sender.next(at(20), &closed), None);
    sender.watch_window(at(20));

    let first = sender.due().expect("a probe");
    let probe = sender.next(first, &closed).expect("the window stays closed");
    sender.sent(&probe, &closed, first);
    let second = sender.due().expect("another");

    assert_eq!((probe.start, probe.len, probe.is_window_probe), (MSS, 1, true));
    assert_eq!(first, at(20 + 220));
    assert_eq!(second, first + Duration::from_millis(440));
    // The peer takes the byte after all.
    sender.on_ack(MSS + 1, &[], false, None, second);
    assert_eq!(send(&mut sender, second)[0].start, MSS + 1);
}

#[test]
fn a_lost_fin_is_sent_again_with_the_last_bytes() {
    let mut sender = sender(MSS as usize);
    sender.finish();
    let sent = send(&mut sender, at(20));
    assert!(sent.len() == 1 && sent[0].fin);
    let progress = sender.on_ack(2 * MSS, &[], false, None, at(40));
    assert_eq!((progress.bytes, progress.fin), (MSS as usize, false));

    let due = sender.due().expect("a probe");
    let again = send(&mut sender, due);

    assert_eq!((again.len(), again[0].len, again[0].fin), (1, 0, true));
    assert!(sender.on_ack(2 * MSS + 1, &[], false, None, due).fin);
}

#[test]
fn after_a_timeout_each_segment_is_sent_again_once() {
    // A peer without selective acknowledgements.
    let mut sender = Sender::new(CongestionControl::Reno, MSS as u32, false, 4096, at(0));
    sender.push(Bytes::from(vec![7; 4 * MSS as usize]));
    assert_eq!(send(&mut sender, at(0)).len(), 4);
    let timeout = sender.due().expect("a timeout");
    let mut again = send(&mut sender, timeout);

    for (acknowledged, ms) in [(1, 20), (2, 40), (3, 60), (4, 80)] {
        let now = timeout + Duration::from_millis(ms);
        sender.on_ack(acknowledged * MSS, &[], false, None, now);
        again.extend(send(&mut sender, now));
    }

    let starts: Vec<_> = again.iter().map(|segment| segment.start / MSS).collect();
    assert_eq!(starts, [0, 1, 2, 3]);
}

/// The rules by which segments leave again.
fn rules(sent: &[ToSend]) -> Vec<RetransmitRule> {
    sent.iter().filter_map(|segment| segment.again).collect()
}

#[test]
fn each_loss_is_repaired_by_the_rule_that_found_it() {
    let mut sender = sender(100 * MSS as usize);
    send(&mut sender, at(20));

    // Three behind the first; two lost retransmissions are found by what was sent after them.
    sender.on_ack(MSS, &[(2 * MSS, 5 * MSS)], false, None, at(40));
    assert_eq!(rules(&send(&mut sender, at(40))), [RetransmitRule::DupThresh]);
    sender.on_ack(MSS, &[(2 * MSS, 11 * MSS)], false, None, at(50));
    let sent = send(&mut sender, at(50));
    let newest = sent.last().expect("new data").start;
    sender.on_ack(MSS, &[(2 * MSS, newest + MSS)], false, None, at(71));
    assert_eq!(rules(&send(&mut sender, at(71))), [RetransmitRule::Rack]);

    sender.on_path_narrowed(MSS as u32 / 2);
    let again = send(&mut sender, at(72));
    assert_eq!(again[0].again, Some(RetransmitRule::PathMtu));
}

#[test]
fn without_sack_the_third_duplicate_is_the_rule() {
    let mut sender = Sender::new(CongestionControl::Reno, MSS as u32, false, 4096, at(0));
    sender.push(Bytes::from(vec![7; 10 * MSS as usize]));
    send(&mut sender, at(0));
    sender.on_ack(MSS, &[], false, None, at(20));

    for expected in [&[][..], &[], &[RetransmitRule::DuplicateAcks]] {
        sender.on_ack(MSS, &[], true, None, at(21));
        assert_eq!(rules(&send(&mut sender, at(21))), expected);
    }
}

#[test]
fn a_late_segment_is_lost_when_the_reordering_timer_expires() {
    let mut sender = sender(10 * MSS as usize);
    send(&mut sender, at(20));
    sender.on_ack(MSS, &[(2 * MSS, 4 * MSS)], false, None, at(40));
    assert_eq!(rules(&send(&mut sender, at(40))), []);

    let due = sender.due().expect("the reordering timer");

    assert_eq!(rules(&send(&mut sender, due)), [RetransmitRule::RackTimer]);
}

#[test]
fn timeout_answered_for_the_first_transmission_is_undone() {
    let mut sender = sender(5 * MSS as usize);
    send(&mut sender, at(20));
    let before = sender.window();
    let probe = sender.due().expect("a probe");
    send(&mut sender, probe);
    let timeout = sender.due().expect("a timeout");
    assert_eq!(send(&mut sender, timeout).len(), 1);
    assert_eq!(sender.window(), MSS);

    // The path has become slower: all of it left at 20 ms.
    let now = timeout + Duration::from_millis(30);
    let age = now.total_millis() as u32 - 20;
    sender.on_ack(2 * MSS, &[], false, Some(age), now);

    assert!(sender.window() >= before);
    assert_eq!((sender.flight.lost(), send(&mut sender, now).len()), (0, 0), "nothing again");
    assert!(sender.round_trip().is_some_and(|rtt| rtt > 50_000), "by the timestamp");
}

#[test]
fn answer_of_the_repetition_undoes_nothing() {
    let mut sender = sender(100 * MSS as usize);
    send(&mut sender, at(20));
    sender.on_ack(MSS, &[(2 * MSS, 5 * MSS)], false, Some(20), at(40));
    let reduced = sender.window();
    assert_eq!(send(&mut sender, at(40))[0].start, MSS);

    sender.on_ack(5 * MSS, &[], false, Some(20), at(60));

    assert!(sender.window() <= reduced.max(11 * MSS));
}

#[test]
fn reports_of_all_repetitions_take_the_reduction_back() {
    let mut sender = sender(100 * MSS as usize);
    send(&mut sender, at(20));
    let before = sender.window();
    sender.on_ack(MSS, &[(3 * MSS, 6 * MSS)], false, None, at(40));
    let mut again = send(&mut sender, at(40));
    sender.on_ack(MSS, &[(3 * MSS, 9 * MSS)], false, None, at(41));
    again.extend(send(&mut sender, at(41)));
    assert_eq!(again.iter().filter(|it| it.again.is_some()).count(), 2);
    let end = sender.next;
    sender.on_ack(end, &[], false, None, at(62));
    let reduced = sender.window();
    assert!(reduced < before);

    sender.on_duplicate_report(MSS, 2 * MSS);
    sender.on_ack(end, &[], true, None, at(63));
    assert!(sender.window() <= reduced, "one of two may have been needed");
    sender.on_duplicate_report(2 * MSS, 3 * MSS);
    sender.on_ack(end, &[], true, None, at(64));

    assert!(sender.window() >= before);
}
