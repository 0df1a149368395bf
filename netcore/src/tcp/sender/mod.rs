//! Sending: what leaves, when, and again if it is lost.
//!
//! smoltcp is the state machine of a connection; its data is sent from here. smoltcp is shown an
//! acknowledgement together with the bytes that it acknowledges, and so never has any to send.

mod flight;
mod rack;
mod recovery;
mod rtt;
mod store;
mod timers;

use self::flight::{Delivery, Flight};
use self::recovery::{Cause, Recovery};
use self::rtt::RoundTrip;
use self::store::SendStore;
use crate::tcp::congestion::{Acked, CongestionControl, CongestionController, Lost};
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
    recovery: Option<Recovery>,
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
    /// Until when the pacing rate keeps data back, and whether it does.
    paced_until: Instant,
    is_paced: bool,
    /// When a closed window is probed, and how often that was done.
    persist: Option<(Instant, u32)>,
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
    is_again: bool,
    /// One byte for a closed window, that is no part of what is in flight.
    is_window_probe: bool,
}

impl ToSend {
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
    pub(crate) fn new(control: CongestionControl, mss: u32, has_sack: bool, now: Instant) -> Self {
        let controller = control.controller(mss);
        Self {
            store: SendStore::default(),
            flight: Flight::new(controller.measures_rate()),
            trip: RoundTrip::default(),
            controller,
            mss,
            unacknowledged: 0,
            next: 0,
            has_fin: false,
            has_sack,
            duplicates: 0,
            recovery: None,
            round: 0,
            round_end: 0,
            is_window_limited: false,
            small_end: 0,
            timer_from: now,
            backoff: 0,
            last_sent: now,
            probe: Probe::Ready,
            paced_until: now,
            is_paced: false,
            persist: None,
        }
    }

    /// Bytes that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.store.len()
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
            Some(recovery) => recovery.window(self.controller.as_ref(), self.flight.pipe()),
            None => self.controller.window(),
        }
    }

    /// What is in the network. Each duplicate acknowledgement of a peer that acknowledges nothing
    /// selectively stands for a segment that has left it.
    fn pipe(&self) -> u64 {
        self.flight.pipe().saturating_sub(u64::from(self.duplicates) * u64::from(self.mss))
    }

    /// The next segment that may leave; [`sent`](Self::sent) says that it has.
    pub(crate) fn next(&mut self, now: Instant, limits: &Limits) -> Option<ToSend> {
        self.is_paced = false;
        if self.flight.is_empty() && now > self.last_sent && self.next < self.end() {
            self.restart_after_idle(now);
        }
        let pipe = self.pipe();
        if let Some((start, end)) = self.flight.first_lost() {
            let is_first = start == self.unacknowledged;
            let has_room = pipe == 0 || pipe + limits.piece.min(end - start) <= self.window();
            if (start < limits.window_end || is_first) && has_room {
                return self.paced(now).then(|| self.again(start, end, limits));
            }
            if has_room {
                return None;
            }
        }
        let room = match self.probe {
            Probe::Due => u64::MAX,
            _ => self.window().saturating_sub(pipe),
        };
        if let Some(segment) = self.new_data(limits, room, pipe) {
            return (self.probe == Probe::Due || self.paced(now)).then_some(segment);
        }
        if self.probe == Probe::Due {
            let (start, end) = self.flight.last_outstanding()?;
            let start = start.max(end.saturating_sub(limits.piece));
            return Some(self.again(start, end, limits));
        }
        let (at, _) = self.persist?;
        (at <= now && self.flight.is_empty()).then(|| self.window_probe(limits))
    }

    fn again(&self, start: u64, end: u64, limits: &Limits) -> ToSend {
        let data_end = self.store.end();
        let most = if self.flight.pipe() == 0 { limits.piece } else { limits.packet };
        let len = (end.min(data_end) - start.min(data_end)).min(most);
        ToSend {
            start,
            len: len as usize,
            fin: end > data_end && start + len == data_end,
            push: true,
            is_again: true,
            is_window_probe: false,
        }
    }

    /// A segment of what has never left, if there is room for one.
    fn new_data(&mut self, limits: &Limits, room: u64, pipe: u64) -> Option<ToSend> {
        let data_end = self.store.end();
        let unsent = data_end.saturating_sub(self.next);
        if unsent == 0 {
            if !self.has_fin || self.next != data_end {
                return None;
            }
            return Some(self.segment(0, limits));
        }
        let offered = limits.window_end.saturating_sub(self.next);
        let room = if pipe == 0 { room.max(limits.piece) } else { room };
        let len = unsent.min(limits.packet).min(offered).min(room);
        if room < unsent.min(limits.piece) {
            self.is_window_limited = true;
            return None;
        }
        let full = len - len % limits.piece;
        if len == unsent {
            // A small segment waits for the last small one, unless the end comes with it.
            let is_small = full < len;
            let waits = is_small
                && !limits.nodelay
                && !self.has_fin
                && self.small_end > self.unacknowledged;
            let len = if waits { full } else { len };
            return (len > 0).then(|| self.segment(len, limits));
        }
        if full > 0 {
            if room < unsent.min(offered) {
                self.is_window_limited = true;
            }
            return Some(self.segment(full, limits));
        }
        // The peer's window has no room for a full segment: half of the largest one that it has
        // ever offered is worth sending (RFC 1122 section 4.2.3.4).
        (len > 0 && offered >= limits.window_max / 2 && len == offered)
            .then(|| self.segment(len, limits))
    }

    fn segment(&self, len: u64, limits: &Limits) -> ToSend {
        let end = self.next + len;
        let is_last = end == self.store.end();
        debug_assert!(len <= limits.packet);
        ToSend {
            start: self.next,
            len: len as usize,
            fin: is_last && self.has_fin,
            push: is_last,
            is_again: false,
            is_window_probe: false,
        }
    }

    /// What the window has room for, however little, or a byte behind it.
    fn window_probe(&self, limits: &Limits) -> ToSend {
        let offered = limits.window_end.saturating_sub(self.next).min(limits.piece);
        if offered > 0 {
            return self.segment(offered.min(self.store.end() - self.next), limits);
        }
        ToSend {
            start: self.next,
            len: 1,
            fin: self.has_fin && self.next + 1 == self.store.end(),
            push: true,
            is_again: false,
            is_window_probe: true,
        }
    }

    /// Whether the pacing rate lets something leave.
    fn paced(&mut self, now: Instant) -> bool {
        self.is_paced = self.controller.pacing_rate().is_some() && now < self.paced_until;
        !self.is_paced
    }

    fn restart_after_idle(&mut self, now: Instant) {
        let timeout = self.trip.timeout(0);
        let timeouts = now.micros_since(self.last_sent) / timeout.max(1);
        if timeouts > 0 {
            self.controller.on_idle(u32::try_from(timeouts).unwrap_or(u32::MAX));
        }
        self.timer_from = now;
        self.backoff = 0;
        self.probe = Probe::Ready;
    }

    /// Copies the payload of a segment.
    pub(crate) fn copy(&mut self, segment: &ToSend, out: &mut [u8]) {
        self.store.copy(segment.start, out);
    }

    /// Notes that a segment has left. Returns one past its last sequence number, as a position.
    pub(crate) fn sent(&mut self, segment: &ToSend, limits: &Limits, now: Instant) -> u64 {
        let end = segment.start + segment.len as u64 + u64::from(segment.fin);
        if segment.is_window_probe {
            let timeouts = self.persist.map_or(0, |(_, timeouts)| timeouts) + 1;
            self.persist = Some((now.plus_micros(self.trip.timeout(timeouts)), timeouts));
            return end;
        }
        self.persist = None;
        if self.probe == Probe::Due {
            self.probe = Probe::Sent;
            self.timer_from = now;
        }
        if self.flight.is_empty() {
            self.timer_from = now;
        }
        if segment.is_again {
            self.flight.on_sent_again(segment.start, end, now);
            if segment.start == self.unacknowledged {
                self.timer_from = now;
            }
            if let Some(recovery) = &mut self.recovery {
                recovery.retransmitted += 1;
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
        end
    }

    fn pace(&mut self, bytes: u64, now: Instant) {
        if let Some(rate) = self.controller.pacing_rate() {
            let from = self.paced_until.max(now - Duration::from_micros(BURST));
            let micros = bytes.saturating_mul(1_000_000) / rate.max(1);
            self.paced_until = from.plus_micros(micros);
        }
    }

    /// Takes an acknowledgement of everything before `ack`, and of `blocks`, all as positions.
    /// `is_duplicate` says that the segment says nothing besides (RFC 5681 section 2).
    pub(crate) fn on_ack(
        &mut self,
        ack: u64,
        blocks: &[(u64, u64)],
        is_duplicate: bool,
        now: Instant,
    ) -> Progress {
        // A window probe has been taken.
        self.next = self.next.max(ack);
        let pipe_before = self.pipe();
        let advanced = ack.saturating_sub(self.unacknowledged);
        let min_rtt = self.trip.min();
        let delivery = self.flight.on_ack(ack, blocks, now, min_rtt);
        if let Some((oldest, newest)) = delivery.rtt {
            self.trip.sample(oldest, newest);
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
        self.find_losses(advanced > 0, pipe_before, &delivery, now);
        self.tell_controller(&delivery, pipe_before, now);
        progress
    }

    /// Looks for losses, and at the end of the repair of earlier ones.
    fn find_losses(
        &mut self,
        is_advanced: bool,
        in_flight: u64,
        delivery: &Delivery,
        now: Instant,
    ) {
        if let Some(recovery) = &mut self.recovery {
            recovery.spurious += delivery.spurious;
            let is_disproved = self.flight.lost() == 0
                && recovery.spurious >= recovery.retransmitted
                && delivery.bytes > 0;
            if is_disproved {
                self.controller.on_spurious();
                self.flight.on_spurious();
                self.recovery = None;
            } else if self.unacknowledged >= recovery.end {
                self.recovery = None;
            }
        }
        let (srtt, min_rtt) =
            (self.trip.smoothed().unwrap_or_default(), self.trip.min().unwrap_or_default());
        let is_in_recovery = self.recovery.is_some();
        let mut lost = self.flight.detect_losses(now, srtt, min_rtt, is_in_recovery);
        if !self.has_sack && (self.duplicates == 3 || is_in_recovery && is_advanced) {
            // RFC 6582: the third duplicate, or a partial acknowledgement.
            lost += self.flight.mark_first_lost();
        }
        if lost > 0 && self.recovery.is_none() {
            self.recovery =
                Some(Recovery::new(Cause::Loss, self.next, self.next - self.unacknowledged));
            self.controller.on_lost(&Lost { now, in_flight, bytes: lost });
        }
    }

    fn tell_controller(&mut self, delivery: &Delivery, in_flight_before: u64, now: Instant) {
        if delivery.bytes == 0 {
            return;
        }
        let in_flight = self.flight.pipe();
        if let Some(recovery) = &mut self.recovery {
            recovery.on_delivered(
                delivery.bytes,
                in_flight,
                u64::from(self.mss),
                self.controller.as_ref(),
            );
        }
        let is_in_recovery = self.recovery.as_ref().is_some_and(Recovery::is_fast);
        let is_limited = self.is_window_limited
            || in_flight_before + 3 * u64::from(self.mss) >= self.controller.window() / 2;
        self.is_window_limited = false;
        let acked = Acked {
            now,
            bytes: delivery.bytes,
            in_flight_before,
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
        if !is_in_recovery || self.controller.pacing_rate().is_some() {
            self.controller.on_acked(&acked);
        }
    }

    /// The path takes only smaller segments: sends again what is in flight, which is no sign of
    /// congestion.
    pub(crate) fn on_path_narrowed(&mut self, mss: u32) {
        self.mss = mss;
        self.controller.set_mss(mss);
        self.flight.mark_all_lost();
    }
}
