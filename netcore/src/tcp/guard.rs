//! Acceptance of segments, decided before anything else is done with them.
//!
//! Each segment is checked against what has been on the wire, as RFC 9293 section 3.10.7 and RFC 5961
//! ask for, and what is beyond doubt is taken: the part of a segment that fits into the announced
//! window, with an acknowledgement of what was sent. smoltcp would take any reset in the window,
//! acknowledgements of bytes that never left, and panic at some segments outside the window.

use crate::counters::DropReason;
use crate::tcp::engine::State;
use crate::tcp::options;
use crate::tcp::sequence::is_after;
use crate::tcp::timestamps::Stamp;
use crate::wire::{TCP_HEADER_LEN, TcpPacket};
use std::ops::Range;

/// Where a synchronised connection stands, as seen on the wire; the names are those of RFC 9293
/// section 3.3.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequences {
    /// SND.UNA.
    pub(crate) unacknowledged: u32,
    /// SND.NXT, with the byte of a window probe.
    pub(crate) sent_end: u32,
    /// The largest window that the peer has offered, in bytes (MAX.SND.WND of RFC 5961).
    pub(crate) offered_max: u32,
    /// The window that the peer offered last, as its segment had it.
    pub(crate) offered: u16,
    /// RCV.NXT.
    pub(crate) expected: u32,
    /// The end of the receive window that was announced, not before `expected`.
    pub(crate) edge: u32,
    /// TS.Recent of RFC 7323, if timestamps are compared.
    pub(crate) recent: Option<u32>,
}

/// The fields of a segment that decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: Option<u32>,
    pub(crate) window: u16,
    pub(crate) payload_len: u32,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) stamp: Option<Stamp>,
}

/// The verdict on a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The connection takes it as it is.
    Take,
    /// The connection takes a part of it.
    TakePart(Part),
    /// Dropped, and answered with an acknowledgement: the peer repeats what has arrived, or asks
    /// about the window.
    Acknowledge(DropReason),
    /// Dropped, and answered with an acknowledgement unless there were many: a peer that meant it
    /// proves with its answer that it knows the sequence numbers (RFC 5961).
    Challenge(DropReason),
    /// Dropped, and answered with a reset: there is no such connection (RFC 9293 section 3.10.7).
    Refuse(DropReason),
    /// Dropped.
    Drop(DropReason),
}

/// The accepted part of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: Option<u32>,
    pub(crate) window: u16,
    /// Which bytes of the payload.
    pub(crate) payload: Range<usize>,
    pub(crate) fin: bool,
    /// Whether the rest deserves an acknowledgement.
    pub(crate) is_to_be_acknowledged: bool,
}

impl Sequences {
    /// Whether a segment is older than the last one by its timestamp. A clock may be read twice in one
    /// of its ticks, in another order (Linux: `TCP_PAWS_WINDOW`).
    #[inline]
    fn is_newer_than(&self, segment: &Segment) -> bool {
        match (self.recent, segment.stamp) {
            (Some(recent), Some(stamp)) => is_after(recent, stamp.value.wrapping_add(1)),
            _ => false,
        }
    }
}

impl Segment {
    /// Reads a segment that was found to be whole, but for `rest` bytes of payload that stand
    /// elsewhere.
    #[inline]
    pub(crate) fn new(segment: &[u8], rest: usize) -> Self {
        // Of a known length: each field is then read without another look at that.
        let header: &[u8; TCP_HEADER_LEN] = segment.first_chunk().expect("a whole segment");
        let header = TcpPacket::new_unchecked(header);
        let header_len = usize::from(header.header_len());
        Self {
            sequence: header.seq_number().0 as u32,
            acknowledgement: header.ack().then(|| header.ack_number().0 as u32),
            window: header.window_len(),
            payload_len: (segment.len() - header_len + rest) as u32,
            syn: header.syn(),
            fin: header.fin(),
            rst: header.rst(),
            stamp: segment.get(TCP_HEADER_LEN..header_len).and_then(options::stamp),
        }
    }

    /// Whether nothing but its acknowledgement is in it.
    fn is_empty(&self) -> bool {
        self.payload_len == 0 && !self.fin
    }
}

/// Judges a segment that comes to a connection in SYN-RECEIVED or later.
#[inline]
pub(crate) fn judge(state: State, at: &Sequences, segment: &Segment) -> Verdict {
    let is_past_fin = is_past_fin(state);
    let room = at.edge.wrapping_sub(at.expected);
    // Nearly all segments are the next one, with bytes for the window or an acknowledgement alone.
    if let Segment { syn: false, fin: false, rst: false, .. } = segment
        && segment.sequence == at.expected
        && segment.payload_len <= if is_past_fin { 0 } else { room }
        && let Some(acknowledgement) = segment.acknowledgement
        && acknowledgement.wrapping_sub(at.unacknowledged)
            <= at.sent_end.wrapping_sub(at.unacknowledged)
        && state != State::SynReceived
        && !at.is_newer_than(segment)
    {
        return Verdict::Take;
    }
    judge_unusual(state, at, segment)
}

/// Judges a segment in every way that RFC 9293 asks for.
#[inline(never)]
fn judge_unusual(state: State, at: &Sequences, segment: &Segment) -> Verdict {
    let is_past_fin = is_past_fin(state);
    // The sequence number: where the segment begins and ends in the window (RFC 9293 section
    // 3.10.7.4, first check).
    let start = i64::from(segment.sequence.wrapping_sub(at.expected) as i32);
    let room = i64::from(at.edge.wrapping_sub(at.expected));
    if segment.rst {
        return judge_reset(segment, start, room);
    }
    if segment.syn {
        // Whatever its sequence number (RFC 5961 section 4.2). In SYN-RECEIVED too: RFC 9293 would
        // let any SYN in the window end the handshake.
        return Verdict::Challenge(DropReason::UnexpectedSyn);
    }
    let is_stale = at.is_newer_than(segment);
    if is_stale && !segment.is_empty() {
        // Of an earlier turn of the sequence numbers, or a repetition that was overtaken (PAWS, RFC
        // 7323 section 5.3).
        return Verdict::Acknowledge(DropReason::OldTimestamp);
    }
    let data_end = start + i64::from(segment.payload_len);
    let end = data_end + i64::from(segment.fin);
    // Beyond the RFC's test, an acknowledgement may come from the very edge, as Linux has it: a
    // peer that has filled the window sends it from there. And if there is no window, what is at
    // its edge is looked at for its acknowledgement, and for a FIN, which needs no room.
    let is_at_edge = start == room && room > 0;
    let is_pure = segment.is_empty() && segment.acknowledgement.is_some();
    if start > room || (is_at_edge && !is_pure) || (start < 0 && end <= 0) {
        return match segment.is_empty() {
            false => Verdict::Acknowledge(DropReason::OutsideWindow),
            true => Verdict::Challenge(DropReason::OutsideWindow),
        };
    }

    // The acknowledgement (fifth check, and RFC 5961 section 5.2).
    let Some(acknowledgement) = segment.acknowledgement else {
        return Verdict::Drop(DropReason::Unacceptable);
    };
    if state == State::SynReceived && acknowledgement != at.sent_end {
        return Verdict::Refuse(DropReason::BadAcknowledgement);
    }
    let advance = i64::from(acknowledgement.wrapping_sub(at.unacknowledged) as i32);
    let in_flight = i64::from(at.sent_end.wrapping_sub(at.unacknowledged));
    if advance > in_flight || advance < -i64::from(at.offered_max) {
        return Verdict::Challenge(DropReason::BadAcknowledgement);
    }
    // An acknowledgement that others have overtaken says nothing new, but for its blocks, and is
    // answered by none (as Linux's `tcp_disordered_ack`).
    if is_stale && advance > 0 {
        return Verdict::Challenge(DropReason::OldTimestamp);
    }
    let is_old = advance < 0;
    if is_old && segment.is_empty() {
        return Verdict::Drop(DropReason::OldAcknowledgement);
    }

    // What fits (seventh and eighth checks). Nothing comes after the peer's FIN.
    let limit = if is_past_fin { 0 } else { room };
    let first = start.max(0);
    let last = data_end.min(limit).max(first);
    let fin = segment.fin && !is_past_fin && data_end <= limit;
    let is_empty = last == first;
    let part = Part {
        sequence: at.expected.wrapping_add(if is_empty && !fin { 0 } else { first as u32 }),
        acknowledgement: Some(if is_old { at.unacknowledged } else { acknowledgement }),
        window: if is_old || is_stale { at.offered } else { segment.window },
        payload: (first - start) as usize..(last - start) as usize,
        fin,
        is_to_be_acknowledged: is_empty && !fin && !segment.is_empty(),
    };
    if part.is_all_of(segment) { Verdict::Take } else { Verdict::TakePart(part) }
}

/// RFC 5961 section 3.2: only a reset with the exact sequence number ends the connection.
fn judge_reset(segment: &Segment, start: i64, room: i64) -> Verdict {
    if start == 0 {
        let part = Part {
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            window: segment.window,
            payload: 0..0,
            fin: false,
            is_to_be_acknowledged: false,
        };
        let is_whole = part.is_all_of(segment) && !segment.syn;
        return if is_whole { Verdict::Take } else { Verdict::TakePart(part) };
    }
    if 0 < start && start < room {
        return Verdict::Challenge(DropReason::UnexpectedReset);
    }
    Verdict::Drop(DropReason::UnexpectedReset)
}

/// Judges a segment that comes in SYN-SENT (RFC 9293 section 3.10.7.3). `sent_end` is one past the
/// SYN that was sent.
pub(crate) fn judge_answer(sent_end: u32, segment: &Segment) -> Verdict {
    match segment.acknowledgement {
        Some(acknowledgement) if acknowledgement != sent_end => match segment.rst {
            true => Verdict::Drop(DropReason::UnexpectedReset),
            false => Verdict::Refuse(DropReason::BadAcknowledgement),
        },
        None if segment.rst => Verdict::Drop(DropReason::UnexpectedReset),
        _ if segment.rst => judge_reset(segment, 0, 0),
        // A SYN with a FIN makes no sense; Linux drops those as well.
        _ if segment.syn && !segment.fin => Verdict::Take,
        _ => Verdict::Drop(DropReason::Unacceptable),
    }
}

/// Judges the SYN|ACK of a peer whose SYN has crossed this end's: in SYN-RECEIVED, which this end
/// has come to from SYN-SENT. `None` if the segment is none.
///
/// Its SYN was taken before, and its acknowledgement is what is waited for (RFC 9293 section 3.5,
/// figure 8). By the sequence number alone it would be answered with an acknowledgement, and only
/// the peer be connected.
#[cold]
pub(crate) fn judge_crossed(at: &Sequences, segment: &Segment, shift: u8) -> Option<Verdict> {
    let is_answer = segment.syn
        && !segment.fin
        && !segment.rst
        && segment.sequence.wrapping_add(1) == at.expected
        && segment.acknowledgement == Some(at.sent_end);
    is_answer.then(|| {
        Verdict::TakePart(Part {
            sequence: at.expected,
            acknowledgement: segment.acknowledgement,
            // That of a SYN is not scaled (RFC 7323 section 2.2).
            window: segment.window >> shift,
            payload: 0..0,
            fin: false,
            is_to_be_acknowledged: segment.payload_len > 0,
        })
    })
}

/// Whether the peer has sent its FIN, and everything before it has arrived.
pub(crate) fn is_past_fin(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}

impl Part {
    /// All of a segment.
    pub(crate) fn whole(segment: &Segment) -> Self {
        Self {
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            window: segment.window,
            payload: 0..segment.payload_len as usize,
            fin: segment.fin,
            is_to_be_acknowledged: false,
        }
    }

    fn is_all_of(&self, segment: &Segment) -> bool {
        self.sequence == segment.sequence
            && self.acknowledgement == segment.acknowledgement
            && self.window == segment.window
            && self.payload.len() == segment.payload_len as usize
            && self.fin == segment.fin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATES: [State; 8] = [
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ];

    /// Numbers near the ones that matter, and far away from them.
    fn distance() -> impl Strategy<Value = u32> {
        prop_oneof![
            (-5i32..5).prop_map(|near| near as u32),
            (0u32..200_000),
            any::<u32>(),
            (-5i32..5).prop_map(|near| (near as u32).wrapping_add(1 << 31)),
        ]
    }

    prop_compose! {
        fn sequences()(
            unacknowledged in any::<u32>(),
            in_flight in 0u32..100_000,
            expected in any::<u32>(),
            room in prop_oneof![Just(0), Just(1), 0u32..100_000],
            offered_max in 0u32..100_000,
        ) -> Sequences {
            let sent_end = unacknowledged.wrapping_add(in_flight);
            Sequences {
                unacknowledged,
                sent_end,
                offered_max,
                offered: 100,
                expected,
                edge: expected.wrapping_add(room),
                recent: None,
            }
        }
    }

    prop_compose! {
        /// A segment, by how far its numbers are from those of the connection.
        fn segment()(
            sequence in distance(),
            acknowledgement in prop::option::weighted(0.9, distance()),
            window in prop_oneof![Just(0), any::<u16>()],
            payload_len in prop_oneof![Just(0), Just(1), 0u32..65_000],
            (syn, fin, rst) in (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)),
        ) -> Segment {
            Segment { sequence, acknowledgement, window, payload_len, syn, fin, rst, stamp: None }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn only_what_fits_and_was_sent_is_taken(
            state in prop::sample::select(&STATES[..]),
            at in sequences(),
            distances in segment(),
        ) {
            let segment = Segment {
                sequence: at.expected.wrapping_add(distances.sequence),
                acknowledgement: distances
                    .acknowledgement
                    .map(|distance| at.unacknowledged.wrapping_add(distance)),
                ..distances
            };

            let part = match judge(state, &at, &segment) {
                Verdict::Take => {
                    prop_assert!(!segment.syn);
                    Part::whole(&segment)
                }
                Verdict::TakePart(part) => part,
                _ => return Ok(()),
            };

            let start = part.sequence.wrapping_sub(at.expected);
            let room = at.edge.wrapping_sub(at.expected);
            prop_assert!(start <= room);
            prop_assert!(start as usize + part.payload.len() <= room as usize);
            if !part.payload.is_empty() {
                let from = segment.sequence.wrapping_add(part.payload.start as u32);
                prop_assert_eq!(part.sequence, from);
                prop_assert!(part.payload.end <= segment.payload_len as usize);
            }
            if segment.rst {
                prop_assert_eq!(segment.sequence, at.expected);
                return Ok(());
            }
            let end = segment.sequence.wrapping_add(segment.payload_len);
            prop_assert!(!part.fin || part.sequence.wrapping_add(part.payload.len() as u32) == end);
            prop_assert!(!(is_past_fin(state) && (part.fin || !part.payload.is_empty())));
            let acknowledged = part.acknowledgement.expect("nothing is taken without");
            let in_flight = at.sent_end.wrapping_sub(at.unacknowledged);
            prop_assert!(acknowledged.wrapping_sub(at.unacknowledged) <= in_flight);
        }
    }

    /// A connection at round numbers.
    const AT: Sequences = Sequences {
        unacknowledged: 1000,
        sent_end: 2000,
        offered_max: 500,
        offered: 9,
        expected: 7000,
        edge: 8000,
        recent: None,
    };
    const NEXT: Segment = Segment {
        sequence: 7000,
        acknowledgement: Some(1000),
        window: 100,
        payload_len: 10,
        syn: false,
        fin: false,
        rst: false,
        stamp: None,
    };

    #[test]
    fn acks_are_valid_from_one_window_back_to_snd_nxt() {
        let judged = |acknowledgement| {
            let segment = Segment { acknowledgement: Some(acknowledgement), ..NEXT };
            judge(State::Established, &AT, &segment)
        };
        let as_the_newest = Verdict::TakePart(Part {
            sequence: 7000,
            acknowledgement: Some(1000),
            window: 9,
            payload: 0..10,
            fin: false,
            is_to_be_acknowledged: false,
        });

        for (acknowledgement, verdict) in [
            (499, Verdict::Challenge(DropReason::BadAcknowledgement)),
            (500, as_the_newest.clone()),
            (999, as_the_newest),
            (1000, Verdict::Take),
            (2000, Verdict::Take),
            (2001, Verdict::Challenge(DropReason::BadAcknowledgement)),
        ] {
            assert_eq!(judged(acknowledgement), verdict, "{acknowledgement}");
        }
    }

    #[test]
    fn a_handshake_takes_the_exact_acknowledgement_alone() {
        let at = Sequences { unacknowledged: 1, sent_end: 1, ..AT };
        let refused = Verdict::Refuse(DropReason::BadAcknowledgement);
        for (acknowledgement, verdict) in
            [(0, refused.clone()), (1, Verdict::Take), (2, refused.clone())]
        {
            let segment = Segment { acknowledgement: Some(acknowledgement), ..NEXT };
            assert_eq!(judge(State::SynReceived, &at, &segment), verdict, "{acknowledgement}");
            let answer = Segment { syn: true, ..segment };
            assert_eq!(judge_answer(1, &answer), verdict, "{acknowledgement}");
        }
        let dropped = Verdict::Drop(DropReason::UnexpectedReset);
        for (acknowledgement, verdict) in [
            (None, dropped.clone()),
            (Some(0), dropped.clone()),
            (Some(1), Verdict::Take),
            (Some(2), dropped),
        ] {
            let reset = Segment { acknowledgement, rst: true, payload_len: 0, ..NEXT };
            assert_eq!(judge_answer(1, &reset), verdict, "{acknowledgement:?}");
        }
    }
}
