//! What an observer learns of a connection.

use super::{Connection, state_of};
use crate::observer::{ObservedConnection, ObservedSegment, SendCause};
use crate::output::Outgoing;
use crate::tcp::engine::State;
use crate::tcp::info::TcpInfo;
use crate::tcp::sender::Sender;
use crate::tcp::wire::Wire;
use crate::time::Instant;
use std::time::Duration;

impl Connection {
    /// What it is like now, on a link with this MTU.
    #[cold]
    pub(crate) fn observed(&self, link_mtu: usize, now: Instant) -> ObservedConnection {
        let sender = self.sender.as_deref();
        ObservedConnection {
            rtt: sender
                .and_then(Sender::round_trip)
                .or(self.handshake_rtt())
                .map(Duration::from_micros),
            ..observed(self.state(), &self.wire, sender, link_mtu, now)
        }
    }

    /// It is about to send a segment.
    #[cold]
    pub(super) fn segment(&self, cause: SendCause, outgoing: &Outgoing) -> ObservedSegment {
        let connection = self.observed(outgoing.capabilities.mtu, outgoing.now);
        ObservedSegment { cause, connection }
    }
}

/// What a connection is like, by its parts.
#[cold]
pub(super) fn observed(
    state: State,
    wire: &Wire,
    sender: Option<&Sender>,
    link_mtu: usize,
    now: Instant,
) -> ObservedConnection {
    let mut info = TcpInfo::default();
    wire.describe(&mut info, link_mtu);
    if let Some(sender) = sender {
        sender.describe(&mut info, now);
    }
    ObservedConnection {
        state: state_of(state),
        ca_state: info.ca_state,
        snd_cwnd: info.snd_cwnd,
        snd_ssthresh: info.snd_ssthresh,
        in_flight: info.in_flight,
        unacked: info.unacked,
        snd_wnd: info.snd_wnd,
        rcv_wnd: info.rcv_wnd,
        rtt: info.rtt,
        rto: info.rto,
    }
}
