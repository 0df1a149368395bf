//! SYNs that wait for the application's decision.

use crate::command::Response;
use crate::command::outcome::Outcome;
use crate::command::tcp::Refusal;
use crate::context::Context;
use crate::counters::DropReason;
use crate::deadlines::Armed;
use crate::doorbell::Bell;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::mapped;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::observer::Fate;
use crate::queue::HeldSyn;
use crate::reply::Responder;
use crate::sync::Arc;
use crate::tcp::connect::new_connection;
use crate::tcp::connection::Stage;
use crate::tcp::flow_table::{Flow, FlowKey};
use crate::tcp::held::{Decision, Held};
use crate::tcp::layer::TcpLayer;
use crate::tcp::sockets::TcpSocket;
use crate::wire::TcpPacket;
use std::net::SocketAddr;

impl TcpLayer {
    /// Holds a SYN for a listener that wants to decide on each.
    pub(crate) fn hold_syn(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        listener_id: SocketId,
        packet: &Packet,
    ) -> Result<Fate, DropReason> {
        self.make_room_for_half_open(cx, ip, listener_id);
        if cx.sockets.is_full() {
            self.evict_half_open(cx, ip, self.half_open.oldest());
        }
        let local_isn = self.next_isn(cx, &flow);
        let listener = self.sockets.listener_mut(listener_id).expect("it was just looked up");
        let (accept, ticket) = (listener.queue.clone(), listener.half_open.next_ticket());
        let ends = match accept.local_address() {
            SocketAddr::V4(_) => (flow.local(), flow.remote()),
            SocketAddr::V6(_) => (mapped(flow.local()), mapped(flow.remote())),
        };
        let doorbell = cx.doorbell.clone();
        let kept = packet.without_data();
        let remote_isn = TcpPacket::new_unchecked(kept.payload()).seq_number().0 as u32;
        let inserted = self.insert_socket(cx, |id| {
            let handle = HeldSyn::new(Bell::new(id, doorbell.clone()), ticket, ends);
            Ok(TcpSocket::Held(Box::new(Held {
                handle: Arc::new(handle),
                flow,
                packet: kept.bytes,
                header: kept.header,
                remote_isn,
                local_isn,
                listener: listener_id,
                tickets: (ticket, 0),
                decision: None,
                armed: Armed::default(),
            })))
        });
        let id = inserted.map_err(|_| DropReason::TooManySockets)?;
        cx.sockets.inherit(id, listener_id);
        cx.at_work.socket = Some(id);
        self.flows.insert(flow, Flow::Held(id));
        if let Some(listener) = self.sockets.listener_mut(listener_id) {
            listener.half_open.insert(id);
        }
        let held = self.sockets.held_mut(id).expect("it was just inserted");
        held.tickets.1 = self.half_open.insert(id);
        let due = cx.now + cx.config.tcp.handshake_timeout;
        held.armed.set(&mut cx.deadlines, id, Some(due));
        accept.hold(held.handle.clone(), &mut cx.wakes);
        self.retry_accept(cx, ip, listener_id);
        Ok(Fate::Delivered)
    }

    /// Carries out the command to answer a held SYN.
    pub(crate) fn admit_held(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let held = match self.find_held(cx, handle) {
            Ok(held) => held,
            Err(error) => return Outcome::Now(Err(error)),
        };
        if held.decision.is_some() {
            return Outcome::Now(Err(Error::Closed));
        }
        let id = held.handle.id();
        held.decision = Some(match responder.take().filter(|responder| responder.park_on(id)) {
            Some(responder) => Decision::Admit(responder),
            // Without a requester the connection would be reset at once.
            None => Decision::Refuse(Refusal::Reset),
        });
        cx.mark(id);
        Outcome::Later
    }

    /// Carries out the command to turn the peer of a held SYN away.
    pub(crate) fn refuse_held(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        how: Refusal,
    ) -> Outcome {
        let refused = self.find_held(cx, handle).and_then(|held| held.handle.refuse(how));
        Outcome::from(refused.map(|()| Response::Done))
    }

    fn find_held(&mut self, cx: &Context, handle: Option<SocketId>) -> Result<&mut Held, Error> {
        match handle.and_then(|id| self.sockets.get_mut(id)) {
            Some(TcpSocket::Held(held)) => Ok(held),
            Some(_) => Err(Error::WrongSocket),
            None => Err(cx.sockets.absence(handle)),
        }
    }

    /// Looks at what the handle of a held SYN rang for.
    pub(crate) fn attend_held(&mut self, cx: &mut Context, id: SocketId) {
        let Some(held) = self.sockets.held_mut(id) else {
            return;
        };
        held.handle.bell().take();
        if let Some(how) = held.handle.refusal() {
            // Dropping the responder fails the request that admitted it.
            held.decision = Some(Decision::Refuse(how));
        } else if let Some(Decision::Admit(responder)) = &held.decision
            && responder.is_abandoned()
        {
            held.decision = Some(Decision::Refuse(Refusal::Reset));
        }
        cx.mark(id);
    }

    /// Carries the decision on a held SYN out.
    pub(crate) fn serve_held<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        link: &mut L,
    ) -> bool {
        let Some(held) = self.sockets.held_mut(id) else {
            return false;
        };
        let Some(decision) = held.decision.take() else {
            return false;
        };
        let packet = Packet {
            bytes: held.packet.clone(),
            rest: Vec::new(),
            buffer_bytes: held.packet.len(),
            header: held.header.clone(),
            is_checksum_good: true,
        };
        match decision {
            Decision::Admit(responder) => self.admit(cx, ip, id, responder, &packet, link),
            Decision::Refuse(how) => {
                self.remove_held(cx, id, Error::Closed);
                match how {
                    // The application has decided on it, so it is not rate-limited.
                    Refusal::Reset => self.send_reset(cx, ip, &packet, link),
                    how => ip.answer_refusal(cx, &packet, how, link),
                }
            }
        }
        true
    }

    /// Makes a connection of a held SYN, and answers it.
    fn admit<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        responder: Responder,
        packet: &Packet,
        link: &mut L,
    ) {
        let Some(held) = self.sockets.held_mut(id) else {
            return;
        };
        let (flow, isn) = (held.flow, held.local_isn);
        let (listener, tickets) = (held.listener, held.tickets);
        let options = self.sockets.listener_mut(listener).map(|listener| listener.options.clone());
        let made = ip.addressing.next_hop(flow.remote().ip()).and_then(|way| {
            let options = options.ok_or(Error::Aborted)?;
            let stage = Stage::HalfOpen { listener, tickets, responder: None };
            Ok(new_connection(cx, ip, flow, way, options, stage))
        });
        let mut connection = match made {
            Ok(connection) => connection,
            Err(error) => {
                self.remove_held(cx, id, error);
                self.reply(cx, ip, None, Some(responder), Err(error));
                return;
            }
        };
        connection.stage = Stage::HalfOpen { listener, tickets, responder: Some(responder) };
        let connection = TcpSocket::Connection(connection);
        if let Some(TcpSocket::Held(mut held)) = self.sockets.insert(id, connection) {
            held.armed.set(&mut cx.deadlines, id, None);
            held.handle.finish(Error::Closed, &mut cx.wakes);
        }
        self.flows.insert(flow, Flow::Connection(id));
        self.begin_handshake(cx, ip, id, isn, packet, link);
    }
}
