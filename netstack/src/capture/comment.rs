//! What is said of a frame: its socket, what was decided, and the state of its connection.

use crate::tap::{Decision, TappedFrame};
use netcore::tcp::CaState;
use netcore::{Fate, ObservedConnection, SendCause};
use std::fmt::{self, Display, Formatter};

/// The comment on a frame: `socket 3v1 of curl (pid 7) ESTABLISHED: sent; cwnd 14600, …`.
pub(super) struct Comment<'a>(pub(super) &'a TappedFrame);

impl Display for Comment<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let connection = match &frame.decision {
            Decision::Received(_, connection) => connection.as_ref(),
            Decision::Sent(segment) => segment.as_ref().map(|segment| &segment.connection),
        };
        match frame.socket {
            Some(id) => {
                write!(f, "socket {id}")?;
                if let Some(owner) = &frame.owner {
                    write!(f, " of {owner}")?;
                }
                if let Some(connection) = connection {
                    write!(f, " {}", connection.state)?;
                }
                f.write_str(": ")?;
            }
            None => f.write_str("stack: ")?,
        }
        match &frame.decision {
            Decision::Received(None, _) => f.write_str("received")?,
            Decision::Received(Some(Err(reason)), _) => write!(f, "dropped: {reason}")?,
            Decision::Received(Some(Ok(fate)), _) => f.write_str(match fate {
                Fate::Delivered => "delivered",
                Fate::Handled => "handled by the stack",
                Fate::Kept => "kept for reassembly",
                _ => "received",
            })?,
            Decision::Sent(Some(segment)) => write_cause(f, segment.cause)?,
            Decision::Sent(None) => f.write_str("sent")?,
        }
        connection.map_or(Ok(()), |connection| write_connection(f, connection))
    }
}

fn write_cause(f: &mut Formatter<'_>, cause: SendCause) -> fmt::Result {
    f.write_str(match cause {
        SendCause::New => "sent",
        SendCause::WindowProbe => "window probe",
        SendCause::KeepAlive => "keep-alive probe",
        SendCause::Ack => "acknowledgement",
        SendCause::Retransmit(rule) => {
            return write!(f, "repeated by {rule}: {}", rule.explanation());
        }
        _ => "sent by the state machine",
    })
}

fn write_connection(f: &mut Formatter<'_>, connection: &ObservedConnection) -> fmt::Result {
    if connection.snd_cwnd > 0 {
        let ObservedConnection { snd_cwnd, in_flight, unacked, .. } = connection;
        write!(f, "; cwnd {snd_cwnd}, in flight {in_flight}, unacknowledged {unacked}")?;
        if let Some(threshold) = connection.snd_ssthresh {
            write!(f, ", ssthresh {threshold}")?;
        }
    }
    let ObservedConnection { snd_wnd, rcv_wnd, .. } = connection;
    write!(f, "; peer's window {snd_wnd}, own window {rcv_wnd}")?;
    if let Some(rtt) = connection.rtt {
        write!(f, "; rtt {rtt:?}")?;
    }
    if !connection.rto.is_zero() {
        write!(f, ", rto {:?}", connection.rto)?;
    }
    match connection.ca_state {
        CaState::Open => Ok(()),
        state => write!(f, "; {state:?}"),
    }
}
