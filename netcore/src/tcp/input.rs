//! From a packet to the connection, listener or reset that it is for.

use crate::checksum::{pseudo_header, sum};
use crate::context::Context;
use crate::counters::DropReason;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::observer::Fate;
use crate::output::Output;
use crate::tcp::connection::Stage;
use crate::tcp::engine::State;
use crate::tcp::flow_table::{Flow, FlowKey};
use crate::tcp::guard::{Part, Segment, Verdict};
use crate::tcp::layer::TcpLayer;
use crate::tcp::options;
use crate::wire::{IpProtocol, TCP_HEADER_LEN, TcpPacket, checksum};
use std::net::SocketAddr;

impl TcpLayer {
    /// Delivers a segment to its connection or a listener, or refuses it.
    pub(crate) fn receive_tcp<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        mut packet: Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        if packet.header.has_extensions {
            packet.strip_extensions();
        }
        let segment =
            TcpPacket::new_checked(packet.payload()).map_err(|_| DropReason::Malformed)?;
        if !packet.is_checksum_good && !is_checksum_right(&packet) {
            return Err(DropReason::Checksum);
        }
        if segment.src_port() == 0 || segment.dst_port() == 0 {
            return Err(DropReason::Malformed);
        }
        let flow = FlowKey::new(
            SocketAddr::new(packet.header.destination, segment.dst_port()),
            SocketAddr::new(packet.header.source, segment.src_port()),
        );
        let has_ack = segment.ack();
        let is_first = segment.syn() && !has_ack && !segment.rst();
        if usize::from(segment.header_len()) > TCP_HEADER_LEN
            && let Some(legible) = options::legible(&packet.bytes, packet.header.payload.start)
        {
            packet.header.payload.end = legible.len();
            packet.bytes = legible.into();
        }
        let place = self.flows.get(&flow).copied();
        if !matches!(place, Some(Flow::Connection(_))) {
            packet.linearize();
        }
        match place {
            Some(Flow::Connection(id)) => self.receive_segment(cx, ip, id, &mut packet, link),
            Some(Flow::Held(id)) => self.receive_while_held(cx, ip, id, &packet, link),
            Some(Flow::TimeWait) => self.receive_late_segment(cx, ip, flow, &packet, link),
            // A segment to many has no connection (RFC 9293 section 3.9.2.3, MUST-57).
            None if !ip.addressing.is_local(packet.header.destination) => Err(DropReason::NotForUs),
            None if is_first => self.receive_syn(cx, ip, flow, &packet, link),
            // What a listener cannot take for a segment of an older connection (RFC 9293 section
            // 3.10.7.2).
            None if !has_ack && self.ports.find(flow.local(), flow.remote()).is_some() => {
                Err(DropReason::Unacceptable)
            }
            None => Err(self.answer_reset(cx, ip, &packet, DropReason::NoListener, link)),
        }
    }

    pub(super) fn receive_segment<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        packet: &mut Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        cx.at_work.socket = Some(id);
        if let Some(observer) = link.observer() {
            observer.serving(Some(id), cx.sockets.owner(id));
        }
        if self.is_backlog_full(id, packet) {
            return Err(DropReason::BacklogFull);
        }
        let connection = self.sockets.connection_mut(id).expect("the flow table has living ids");
        connection.segs_in += 1;
        let (engine, now, wakes) = (&mut self.engine, cx.now, &mut cx.wakes);
        let mut output = Output { link, state: &mut ip.outgoing };
        let is_handshake = !matches!(connection.stage, Stage::Open(_));
        let segment = Segment::new(packet.payload(), packet.rest_len());
        connection.wire.stamps.set_time(now);
        let verdict = connection.judge(&segment);
        let is_answered = match verdict {
            Verdict::Challenge(_) => {
                connection.may_challenge(now) && self.challenges.allows(&mut cx.random, now)
            }
            _ => true,
        };
        match &verdict {
            Verdict::Take => {
                let part = Part::whole(&segment);
                connection.receive(engine, now, packet, (&segment, &part), &mut output, wakes);
            }
            Verdict::TakePart(part) => {
                connection.receive(engine, now, packet, (&segment, part), &mut output, wakes);
                if part.is_to_be_acknowledged {
                    connection.acknowledge(&mut output);
                }
            }
            Verdict::Challenge(_) if is_answered && connection.is_syn_repeated(&segment) => {
                connection.repeat_syn(&mut output);
            }
            Verdict::Acknowledge(_) | Verdict::Challenge(_) if is_answered => {
                connection.note_duplicate(&segment);
                connection.acknowledge(&mut output);
            }
            _ => {}
        }
        match verdict {
            Verdict::Take | Verdict::TakePart(_) => {
                if is_handshake {
                    // The segment behind this one may be a reset, and the backlog is counted with
                    // the next SYN: a handshake that is done counts at once.
                    self.advance(cx, ip, id);
                }
                cx.mark(id);
                Ok(Fate::Delivered)
            }
            Verdict::Refuse(reason) => {
                packet.linearize();
                Err(self.refuse(cx, ip, id, packet, reason, link))
            }
            _ if !is_answered => Err(DropReason::RateLimited),
            Verdict::Acknowledge(reason) | Verdict::Challenge(reason) | Verdict::Drop(reason) => {
                Err(reason)
            }
        }
    }

    /// Tells a peer with a reset that the connection that it means is no more; returns why its segment
    /// is dropped. If it has ignored a new SYN for that, as one in TIME-WAIT does, it is told whatever
    /// the bound on resets is, as this can be so once for each connection; and the SYN is repeated at once, and not
    /// a second later (as Linux does, once).
    fn refuse<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        packet: &Packet,
        reason: DropReason,
        link: &mut L,
    ) -> DropReason {
        let connection = self.sockets.connection_mut(id);
        let is_answer_to_syn = connection.is_some_and(|connection| {
            connection.state() == State::SynSent && connection.wire.has_sent_once()
        });
        if !is_answer_to_syn {
            return self.answer_reset(cx, ip, packet, reason, link);
        }
        self.send_reset(cx, ip, packet, link);
        if let Some(connection) = self.sockets.connection_mut(id) {
            connection.repeat_syn(&mut Output { link, state: &mut ip.outgoing });
        }
        reason
    }

    /// Whether a segment would complete a handshake for which the accept queue has no room. It is
    /// not taken, so that the peer repeats it.
    #[inline]
    fn is_backlog_full(&mut self, id: SocketId, packet: &Packet) -> bool {
        let Some(connection) = self.sockets.connection_mut(id) else { return false };
        let Stage::HalfOpen { listener, .. } = connection.stage else { return false };
        let segment = TcpPacket::new_unchecked(packet.payload());
        self.sockets.listener_mut(listener).is_none_or(|listener| listener.is_full())
            && !segment.rst()
            && !segment.syn()
    }
}

/// Whether the checksum of a packet's payload is that of its bytes.
fn is_checksum_right(packet: &Packet) -> bool {
    let ends = (packet.header.source, packet.header.destination);
    let pseudo = pseudo_header(ends, IpProtocol::Tcp, packet.payload().len() as u32);
    checksum::combine(&[pseudo, sum(packet.payload())]) == u16::MAX
}

impl TcpLayer {
    /// Takes a segment of a peer whose SYN is held. It was sent nothing yet, so it can say no more
    /// than that it tries again or gives up.
    pub(crate) fn receive_while_held<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        cx.at_work.socket = Some(id);
        let held = self.sockets.held_mut(id).expect("the flow table has living ids");
        let (flow, isn) = (held.flow, held.remote_isn);
        let segment = TcpPacket::new_unchecked(packet.payload());
        let sequence = segment.seq_number().0 as u32;
        if segment.rst() {
            // As in LISTEN there is no acknowledgement to go by, and as in SYN-RECEIVED the number
            // has to be exact (RFC 9293 section 3.10.7.4, RFC 5961 section 3).
            if sequence != isn && sequence != isn.wrapping_add(1) {
                return Err(DropReason::UnexpectedReset);
            }
            self.remove_held(cx, id, Error::Reset);
            return Ok(Fate::Delivered);
        }
        if segment.ack() {
            // Of an older connection (RFC 9293 section 3.10.7.2).
            return Err(self.answer_reset(cx, ip, packet, DropReason::Unacceptable, link));
        }
        if !segment.syn() || segment.fin() {
            return Err(DropReason::Unacceptable);
        }
        if sequence == isn {
            return Err(DropReason::UnexpectedSyn);
        }
        // The peer has given up without a word, as one that never had an answer does, and tries
        // anew from the same port.
        self.remove_held(cx, id, Error::Reset);
        self.receive_syn(cx, ip, flow, packet, link)
    }
}
