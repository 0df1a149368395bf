//! Sending: what leaves, when, and again if it is lost.
//!
//! smoltcp is the state machine of a connection; its data is sent from here. smoltcp is shown an
//! acknowledgement together with the bytes that it acknowledges, and so never has any to send.

mod choice;
mod counts;
mod describe;
mod flight;
mod rack;
mod recovery;
mod rtt;
mod store;
mod timers;
mod undo;

pub(crate) use self::counts::Counts;
use self::flight::{Delivery, Flight};
use self::recovery::{Cause, Recovery};
use self::rtt::RoundTrip;
use self::store::SendStore;
use crate::observer::SendCause;
use crate::tcp::RetransmitRule;
use crate::tcp::congestion::{Acked, CongestionControl, CongestionController, Lost};
use crate::tcp::limit::Limit;
use crate::tcp::wire::Flags;
use crate::time::Instant;
use bytes::Bytes;
use std::time::Duration;

/// The sending half of a connection. Positions count the bytes of the stream from 0; the FIN takes
/// one behind the last.
#[derive(Debug)]
pub(crate) struct Sender {
    store: SendStore,
    flight: Flight,
    trip: RoundTrip,
    controller: Box<dyn CongestionController>,
    mss: u32,
    /// SND.UNA.
    unacknowledged: u64,
    /// SND.NXT.
    next: u64,
    /// Nothing comes behind what is in the store.
    has_fin: bool,
    /// Whether the peer acknowledges selectively (RFC 2018).
    has_sack: bool,
    /// Acknowledgements in a row that say nothing new, of a peer that does not.
    duplicates: u32,
    recovery: Option<Box<Recovery>>,
    /// The last one that has ended, until the next: its repetitions may yet be found needless.
    past_recovery: Option<Box<Recovery>>,
    /// Counts round trips, and where the running one ends, in bytes delivered.
    round: u64,
    round_end: u64,
    /// Whether the window has kept data back since the last acknowledgement.
    is_window_limited: bool,
    /// The end of the last segment that was not full (Minshall's variant of Nagle's algorithm).
    small_end: u64,
    /// When the retransmission timer was last started, and how often it has expired in a row.
    timer_from: Instant,
    backoff: u32,
    last_sent: Instant,
    probe: Probe,
    /// As the controller has it, in bytes a second.
    pacing_rate: Option<u64>,
    /// Until when the pacing rate keeps data back, and whether it does.
    paced_until: Instant,
    is_paced: bool,
    /// When a closed window is probed, and how often that was done.
    persist: Option<(Instant, u32)>,
    /// Bytes found lost since the last acknowledgement that the controller has seen.
    lost_unreported: u64,
    /// Why nothing more may leave.
    limit: Limit,
    /// When the acknowledgement was expected in place of which a timer has expired.
    overdue: Option<Instant>,
}

/// An acknowledgement, and where the sender stood before it.
#[derive(Debug, Clone, Copy)]
struct Before {
    is_duplicate: bool,
    was_repairing: bool,
    in_flight: u64,
}

/// A tail loss probe (RFC 8985 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// May be sent when its time has come.
    Ready,
    Due,
    /// Sent, and nothing has arrived since.
    Sent,
}

/// What may leave now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The sequence number behind the window that the peer offers, as a position.
    pub(crate) window_end: u64,
    /// The largest window that it has offered, in bytes.
    pub(crate) window_max: u64,
    /// Payload of a full segment, in bytes.
    pub(crate) piece: u64,
    /// Payload of the largest packet, which the link cuts.
    pub(crate) packet: u64,
    /// Whether small segments wait for no acknowledgement (TCP_NODELAY).
    pub(crate) nodelay: bool,
}

/// A segment to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToSend {
    pub(crate) start: u64,
    /// Bytes of payload.
    pub(crate) len: usize,
    pub(crate) fin: bool,
    /// Whether nothing comes behind it for now.
    pub(crate) push: bool,
    /// By which rule, if it was sent before.
    pub(crate) again: Option<RetransmitRule>,
    /// One byte for a closed window, that is no part of what is in flight.
    is_window_probe: bool,
}

impl ToSend {
    /// Why it is sent.
    pub(crate) fn cause(&self) -> SendCause {
        match self.again {
            Some(rule) => SendCause::Retransmit(rule),
            None if self.is_window_probe => SendCause::WindowProbe,
            None => SendCause::New,
        }
    }

    pub(crate) fn flags(&self) -> Flags {
        Flags { push: self.push, fin: self.fin, is_window_probe: self.is_window_probe }
    }
}

/// What an acknowledgement has changed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Bytes of payload that are acknowledged now.
    pub(crate) bytes: usize,
    /// Whether the FIN is.
    pub(crate) fin: bool,
}

/// Pacing in bursts of at most so many microseconds: drivers wake up once a millisecond or so.
const BURST: u64 = 2000;
/// A probe waits so many microseconds longer if only one segment is in flight, whose
/// acknowledgement the peer may delay (Linux: `TCP_RTO_MIN`).
const DELAYED_ACK: u64 = 200_000;

impl Sender {
    /// One whose peer has at most so many segments in flight split.
    pub(crate) fn new(
        control: CongestionControl,
        mss: u32,
        has_sack: bool,
        split_max: usize,
        now: Instant,
    ) -> Self {
        let controller = control.controller(mss);
        let pacing_rate = controller.pacing_rate();
        Self {
            store: SendStore::default(),
            flight: Flight::new(controller.measures_rate(), split_max),
            trip: RoundTrip::default(),
            controller,
            mss,
            unacknowledged: 0,
            next: 0,
            has_fin: false,
            has_sack,
            duplicates: 0,
            recovery: None,
            past_recovery: None,
            round: 0,
            round_end: 0,
            is_window_limited: false,
            small_end: 0,
            timer_from: now,
            backoff: 0,
            last_sent: now,
            probe: Probe::Ready,
            pacing_rate,
            paced_until: now,
            is_paced: false,
            persist: None,
            lost_unreported: 0,
            limit: Limit::Idle,
            overdue: None,
        }
    }

    /// Begins anew with another algorithm.
    pub(crate) fn set_congestion_control(&mut self, control: CongestionControl) {
        self.controller = control.controller(self.mss);
        self.pacing_rate = self.controller.pacing_rate();
        self.flight.set_measures_rate(self.controller.measures_rate());
        (self.recovery, self.past_recovery) = (None, None);
    }

    /// Bytes that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }

    /// Bytes that may be unacknowledged by the congestion window: those in flight, and those that
    /// have arrived behind a gap or are lost.
    pub(crate) fn usable_window(&self) -> u64 {
        let out_of_order = (self.next - self.unacknowledged).saturating_sub(self.flight.pipe());
        self.controller.window() + out_of_order
    }

    /// The smoothed round trip, in microseconds.
    pub(crate) fn round_trip(&self) -> Option<u64> {
        self.trip.smoothed()
    }

    pub(crate) fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.store.push(bytes);
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self) {
        self.has_fin = true;
    }

    fn end(&self) -> u64 {
        self.store.end() + u64::from(self.has_fin)
    }

    /// Bytes that may be in flight now.
    fn window(&self) -> u64 {
        match &self.recovery {
            Some(recovery) => recovery.window(self.controller.as_ref()),
            None => self.controller.window(),
        }
    }

    /// What is in the network. Each duplicate acknowledgement of a peer that acknowledges nothing
    /// selectively stands for a segment that has left it.
    fn pipe(&self) -> u64 {
        self.flight.pipe().saturating_sub(u64::from(self.duplicates) * u64::from(self.mss))
    }

    /// Copies the payload of a segment.
    pub(crate) fn copy(&mut self, segment: &ToSend, out: &mut [u8]) {
        self.store.copy(segment.start, out);
    }

    /// The payload of a segment by reference, unless it stands in too many places.
    pub(crate) fn slices(&mut self, segment: &ToSend, out: &mut Vec<Bytes>) -> bool {
        self.store.slices(segment.start, segment.len, out)
    }

    /// Notes that a segment has left.
    pub(crate) fn sent(&mut self, segment: &ToSend, limits: &Limits, now: Instant) {
        let end = segment.start + segment.len as u64 + u64::from(segment.fin);
        let segments = self.count(segment, limits);
        if segment.is_window_probe {
            let timeouts = self.persist.map_or(0, |(_, timeouts)| timeouts) + 1;
            self.persist = Some((now.plus_micros(self.trip.timeout(timeouts)), timeouts));
            return;
        }
        self.persist = None;
        if self.probe == Probe::Due {
            self.probe = Probe::Sent;
            self.timer_from = now;
        }
        if self.flight.is_empty() {
            self.timer_from = now;
        }
        if segment.again.is_some() {
            self.flight.on_sent_again(segment.start, end, now);
            let counts = self.flight.counts_mut();
            counts.again = counts.again.saturating_add(segments.max(1) as u32);
            counts.again_bytes += segment.len as u64;
            if segment.start == self.unacknowledged {
                self.timer_from = now;
            }
            if let Some(recovery) = &mut self.recovery {
                recovery.on_sent_again(end - segment.start, end, now);
            }
        } else {
            self.flight.on_sent(segment.start, end, now);
            self.next = end;
            if !(segment.len as u64).is_multiple_of(limits.piece) {
                self.small_end = end;
            }
            if self.next == self.end() && self.pipe() < self.controller.window() {
                self.flight.set_app_limited();
            }
        }
        let bytes = end - segment.start;
        if let Some(recovery) = &mut self.recovery {
            recovery.sent += bytes;
        }
        self.pace(bytes, now);
        self.last_sent = now;
    }

    /// Counts the segments that a packet is cut into.
    #[inline]
    fn count(&mut self, segment: &ToSend, limits: &Limits) -> u64 {
        let len = segment.len as u64;
        let segments =
            if len > limits.piece { len.div_ceil(limits.piece) } else { u64::from(len > 0) };
        self.flight.counts_mut().segments += segments;
        segments
    }

    fn pace(&mut self, bytes: u64, now: Instant) {
        if let Some(rate) = self.pacing_rate {
            let from = self.paced_until.max(now - Duration::from_micros(BURST));
            let micros = bytes.saturating_mul(1_000_000) / rate.max(1);
            self.paced_until = from.plus_micros(micros);
        }
    }

    /// Takes an acknowledgement of everything before `ack`, and of `blocks`, all as positions.
    /// `is_duplicate` says that the segment says nothing besides (RFC 5681 section 2), and `age` how
    /// many milliseconds ago what it answers has left, if that is known (RFC 7323).
    pub(crate) fn on_ack(
        &mut self,
        ack: u64,
        blocks: &[(u64, u64)],
        is_duplicate: bool,
        age: Option<u32>,
        now: Instant,
    ) -> Progress {
        // A window probe has been taken.
        self.next = self.next.max(ack);
        let pipe_before = self.pipe();
        let advanced = ack.saturating_sub(self.unacknowledged);
        let min_rtt = self.trip.min();
        // Of interest for repetitions alone.
        let age_of_repair = age.filter(|_| self.recovery.is_some());
        let answered = age_of_repair.map(|age| now.total_millis() - i64::from(age));
        self.flight.set_answered(answered);
        let delivery = self.flight.on_ack(ack, blocks, now, min_rtt);
        if let Some((oldest, newest)) = delivery.rtt {
            self.trip.sample(oldest, newest);
        } else if let Some(age) = age.filter(|_| advanced > 0) {
            // Of what was sent again its own time of sending is ambiguous (RFC 7323 section 4).
            self.trip.sample_answer(age);
        }
        let mut progress = Progress::default();
        if advanced > 0 {
            let data_end = self.store.end();
            progress.bytes = (ack.min(data_end) - self.store.start()) as usize;
            progress.fin = ack > data_end;
            self.store.release(ack.min(data_end));
            self.unacknowledged = ack;
            (self.timer_from, self.backoff, self.duplicates) = (now, 0, 0);
            self.persist = None;
        } else if is_duplicate && !self.has_sack && !self.flight.is_empty() {
            self.duplicates += 1;
        }
        if delivery.bytes > 0 {
            self.probe = Probe::Ready;
            if delivery.delivered_before.is_some_and(|before| before >= self.round_end) {
                self.round += 1;
                self.round_end = self.flight.delivered();
            }
        }
        let was_repairing = self.is_repairing_fast();
        self.undo_needless(&delivery, answered);
        self.find_losses(advanced > 0, pipe_before, now, RetransmitRule::Rack);
        let before = Before { is_duplicate, was_repairing, in_flight: pipe_before };
        self.tell_controller(&delivery, before, now);
        self.pacing_rate = self.controller.pacing_rate();
        progress
    }

    /// Looks for losses, and at the end of the repair of earlier ones.
    fn find_losses(
        &mut self,
        is_advanced: bool,
        in_flight: u64,
        now: Instant,
        rule: RetransmitRule,
    ) {
        if self.recovery.as_ref().is_some_and(|recovery| self.unacknowledged >= recovery.end) {
            self.past_recovery = self.recovery.take();
        }
        let (srtt, min_rtt) =
            (self.trip.smoothed().unwrap_or_default(), self.trip.min().unwrap_or_default());
        let is_in_recovery = self.recovery.is_some();
        let is_fast = self.is_repairing_fast();
        let mut lost = self.flight.detect_losses(now, srtt, min_rtt, is_in_recovery, rule);
        if !self.has_sack && (self.duplicates == 3 || is_fast && is_advanced) {
            // RFC 6582: the third duplicate, or a partial acknowledgement. After a timeout everything
            // is sent again anyway.
            let is_third = self.duplicates == 3;
            lost += self.flight.mark_first_lost(match is_third {
                true => RetransmitRule::DuplicateAcks,
                false => RetransmitRule::PartialAck,
            });
        }
        self.lost_unreported += lost;
        if lost > 0 && self.recovery.is_none() {
            // The first lost segment leaves at once.
            let window = self.pipe() + u64::from(self.mss);
            self.repair(Cause::Loss, window);
            self.controller.on_lost(&Lost { now, in_flight, bytes: lost });
        }
    }

    /// Whether a loss is repaired, clocked by acknowledgements.
    fn is_repairing_fast(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| recovery.is_fast())
    }

    /// Begins to repair what is in flight.
    fn repair(&mut self, cause: Cause, window: u64) {
        let range = (self.unacknowledged, self.next);
        self.recovery = Some(Box::new(Recovery::new(cause, range, window)));
        self.past_recovery = None;
    }

    fn tell_controller(&mut self, delivery: &Delivery, before: Before, now: Instant) {
        // A duplicate acknowledgement without blocks is of a segment (RFC 6937 section 3.1).
        let mss = u64::from(self.mss);
        let delivered = if before.is_duplicate && !self.has_sack { mss } else { delivery.bytes };
        if delivered == 0 {
            return;
        }
        let in_flight = self.pipe();
        if let Some(recovery) = &mut self.recovery {
            recovery.on_delivered(delivered, in_flight, mss, self.controller.as_ref());
        }
        if delivery.bytes == 0 {
            return;
        }
        // What arrived while a loss was repaired does not let the window grow.
        let is_in_recovery = before.was_repairing || self.is_repairing_fast();
        let is_limited =
            self.is_window_limited || before.in_flight + 3 * mss >= self.controller.window() / 2;
        self.is_window_limited = false;
        let acked = Acked {
            now,
            bytes: delivery.bytes,
            lost: std::mem::take(&mut self.lost_unreported),
            in_flight_before: before.in_flight,
            in_flight,
            rtt: delivery.rtt.map(|(_, newest)| Duration::from_micros(newest)),
            min_rtt: Duration::from_micros(self.trip.min().unwrap_or_default()),
            smoothed_rtt: Duration::from_micros(self.trip.smoothed().unwrap_or_default()),
            round: self.round,
            is_window_limited: is_limited,
            delivery_rate: delivery.rate.map(|(rate, _)| rate),
            is_app_limited: delivery.rate.is_some_and(|(_, is_limited)| is_limited),
            is_in_recovery,
        };
        if !is_in_recovery || self.pacing_rate.is_some() {
            self.controller.on_acked(&acked);
        }
    }

    /// Segments have this size from now on: what limits it may have changed.
    #[inline]
    pub(crate) fn set_mss(&mut self, mss: u32) {
        if self.mss != mss {
            self.mss = mss;
            self.controller.set_mss(mss);
        }
    }

    /// The path takes only smaller segments: sends again what is in flight, which is no sign of
    /// congestion.
    pub(crate) fn on_path_narrowed(&mut self, mss: u32) {
        self.set_mss(mss);
        let lost_bytes = self.flight.counts().lost_bytes;
        self.flight.mark_all_lost(RetransmitRule::PathMtu);
        self.flight.counts_mut().lost_bytes = lost_bytes;
    }
}

#[cfg(test)]
mod tests;
