//! The state of a connection, and what it makes of a segment.

use super::{Connection, Stage};
use crate::counters::DropReason;
use crate::tcp::engine::State;
use crate::tcp::guard::{self, Segment, Verdict};

impl Connection {
    /// The state of RFC 9293 section 3.3.2. smoltcp learns of the FIN with its acknowledgement.
    pub(crate) fn state(&self) -> State {
        let state = self.solo.tcp().state();
        if !self.is_send_done {
            return state;
        }
        match state {
            State::Established => State::FinWait1,
            State::CloseWait if self.is_simultaneous_close => State::Closing,
            State::CloseWait => State::LastAck,
            State::Closed if self.is_in_time_wait() => State::TimeWait,
            state => state,
        }
    }

    /// Whether it has closed in a way that smoltcp does not know to end in TIME-WAIT.
    pub(super) fn is_in_time_wait(&self) -> bool {
        let tcp = self.solo.tcp();
        self.is_simultaneous_close
            && self.failure.is_none()
            && tcp.state() == State::Closed
            && tcp.remote_endpoint().is_none()
    }

    /// Whether the connection is over, and nothing is left to be sent for it.
    pub(crate) fn is_finished(&self) -> bool {
        self.has_ended() && !self.is_in_time_wait()
    }

    /// Whether smoltcp has forgotten the connection, and has nothing left to send for it.
    pub(super) fn has_ended(&self) -> bool {
        let tcp = self.solo.tcp();
        match tcp.state() {
            State::Closed => tcp.remote_endpoint().is_none(),
            // A reset during the handshake sends the socket back to where it came from.
            State::Listen => true,
            _ => false,
        }
    }

    /// Judges a segment before anything is done with it.
    #[inline]
    pub(crate) fn judge(&self, segment: &Segment) -> Verdict {
        let tcp = self.solo.tcp();
        match self.state() {
            // Given up, and about to be removed.
            _ if matches!(tcp.state(), State::Closed | State::Listen) => {
                Verdict::Drop(DropReason::Unacceptable)
            }
            State::SynSent => match self.wire.sent_end() {
                Some(sent_end) => guard::judge_answer(sent_end, segment),
                None => Verdict::Drop(DropReason::Unacceptable),
            },
            state => match self.wire.sequences() {
                Some(at) if segment.syn && state == State::SynReceived && self.is_connecting() => {
                    let shift = self.wire.remote_shift();
                    guard::judge_crossed(&at, segment, shift)
                        .unwrap_or_else(|| guard::judge(state, &at, segment))
                }
                Some(at) => guard::judge(state, &at, segment),
                None => Verdict::Drop(DropReason::Unacceptable),
            },
        }
    }

    /// Whether a segment repeats the SYN that has begun the connection: its answer is lost, or late.
    pub(crate) fn is_syn_repeated(&self, segment: &Segment) -> bool {
        let is_first = segment.syn && segment.acknowledgement.is_none() && !segment.fin;
        let is_half_open = matches!(self.stage, Stage::HalfOpen { .. });
        is_half_open
            && is_first
            && self.state() == State::SynReceived
            && self.wire.expected() == Some(segment.sequence.wrapping_add(1))
    }

    /// Whether this end has begun the handshake, and it is not done.
    fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting { .. })
    }

    /// Whether the peer has sent its last byte and all of it was moved to the handle.
    pub(crate) fn is_receive_finished(&self) -> bool {
        self.has_received_fin() && !self.has_unqueued()
    }

    fn has_received_fin(&self) -> bool {
        matches!(self.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
    }
}
