//! What is recorded of each segment.

use super::{Record, RecordEvent, RecordPoint};
use crate::tap::{Decision, Headers, Tap, TappedFrame};
use crate::wire::{IpProtocol, TcpPacket};
use netcore::{Medium, ObservedConnection, SendCause, SocketId};
use std::net::SocketAddr;
use tokio::time::Instant;

/// Fills the record of the first connection to an address.
pub(in crate::sim) struct RecordTap {
    remote: SocketAddr,
    record: Record,
    connection: Option<Recorded>,
}

/// The connection that is recorded.
struct Recorded {
    local: SocketAddr,
    /// Its first SYN.
    began: Instant,
    /// The sequence number of the first byte.
    first: u32,
    socket: Option<SocketId>,
}

impl RecordTap {
    pub(super) fn new(remote: SocketAddr, record: Record) -> Self {
        Self { remote, record, connection: None }
    }

    fn sent(&mut self, frame: &TappedFrame, local: SocketAddr, segment: &TcpPacket<&[u8]>) {
        let Decision::Sent(Some(sent)) = frame.decision else { return };
        if segment.syn() {
            let first = (segment.seq_number() + 1).0 as u32;
            let (began, socket) = (frame.at, frame.socket);
            self.connection.get_or_insert(Recorded { local, began, first, socket });
            return;
        }
        let Some(recorded) = self.connection.as_ref().filter(|it| it.local == local) else {
            return;
        };
        let start = recorded.position(segment.seq_number().0 as u32);
        let end = start + segment.payload().len() as u64 + u64::from(segment.fin());
        let event = match sent.cause {
            SendCause::Retransmit(rule) => RecordEvent::Repeated { start, end, rule },
            SendCause::New | SendCause::WindowProbe => RecordEvent::Sent { start, end },
            _ => return,
        };
        self.push(frame.at, event, sent.connection);
    }

    fn received(&mut self, frame: &TappedFrame, local: SocketAddr, segment: &TcpPacket<&[u8]>) {
        let Decision::Received(Some(Ok(_)), Some(connection)) = frame.decision else { return };
        let Some(recorded) = self.connection.as_ref().filter(|it| it.local == local) else {
            return;
        };
        if frame.socket != recorded.socket || !segment.ack() || segment.rst() {
            return;
        }
        let number = recorded.position(segment.ack_number().0 as u32);
        let window_end = number + connection.snd_wnd;
        let blocks = segment.selective_ack_ranges().unwrap_or_default();
        let blocks = blocks.into_iter().flatten().map(|(left, right)| RecordEvent::Sacked {
            start: recorded.position(left),
            end: recorded.position(right),
        });
        let blocks: Vec<_> = blocks.collect();
        self.push(frame.at, RecordEvent::Acknowledged { number, window_end }, connection);
        for block in blocks {
            self.push(frame.at, block, connection);
        }
    }

    fn push(&self, at: Instant, event: RecordEvent, connection: ObservedConnection) {
        let Some(recorded) = &self.connection else { return };
        let at = at.saturating_duration_since(recorded.began);
        self.record.push(RecordPoint { at, event, connection });
    }
}

impl Recorded {
    /// The position of a sequence number: a recorded connection sends less than 4 GiB.
    fn position(&self, sequence: u32) -> u64 {
        sequence.wrapping_sub(self.first).into()
    }
}

impl Tap for RecordTap {
    fn frame(&mut self, frame: &TappedFrame) {
        let Some(headers) = Headers::parse(&frame.bytes, Medium::Ip) else { return };
        let Some(ports) = headers.ports.filter(|_| headers.protocol == IpProtocol::Tcp) else {
            return;
        };
        let Ok(segment) = TcpPacket::new_checked(headers.transport) else { return };
        let from = SocketAddr::new(headers.source, ports.0);
        let to = SocketAddr::new(headers.destination, ports.1);
        match frame.decision {
            Decision::Sent(_) if to == self.remote => self.sent(frame, from, &segment),
            Decision::Received(..) if from == self.remote => self.received(frame, to, &segment),
            _ => {}
        }
    }
}
