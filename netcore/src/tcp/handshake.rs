//! The first SYN of a connection.

use crate::command::tcp::OnSyn;
use crate::context::Context;
use crate::counters::DropReason;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::observer::Fate;
use crate::tcp::connection::Stage;
use crate::tcp::flow_table::FlowKey;
use crate::tcp::layer::TcpLayer;
use crate::wire::TcpPacket;

impl TcpLayer {
    /// Takes a SYN for a pair of ends that has no connection.
    pub(crate) fn receive_syn<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let found = self.ports.find(flow.local(), flow.remote());
        let Some((listener_id, listener)) =
            found.and_then(|id| Some((id, self.sockets.listener_mut(id)?)))
        else {
            return Err(self.answer_reset(cx, ip, packet, DropReason::NoListener, link));
        };
        if TcpPacket::new_unchecked(packet.payload()).fin() {
            // Such a segment makes no sense; Linux drops it as well.
            return Err(DropReason::Unacceptable);
        }
        if listener.on_syn == OnSyn::Hold {
            return self.hold_syn(cx, ip, flow, listener_id, packet);
        }
        if listener.is_full() {
            return Err(DropReason::BacklogFull);
        }
        let options = listener.options.clone();
        let way =
            ip.addressing.next_hop(flow.remote().ip()).map_err(|_| DropReason::NoRouteBack)?;
        self.make_room_for_half_open(cx, ip, listener_id);
        let stage = Stage::HalfOpen { listener: listener_id, tickets: (0, 0), responder: None };
        let id = self.insert_connection(cx, ip, flow, way, options, stage).map_err(|_| match cx
            .sockets
            .is_full()
        {
            true => DropReason::TooManySockets,
            false => DropReason::NoBuffers,
        })?;
        cx.sockets.inherit(id, listener_id);
        cx.at_work.socket = Some(id);
        if let Some(observer) = link.observer() {
            observer.serving(Some(id), cx.sockets.owner(id));
        }
        let ticket = self.sockets.listener_mut(listener_id).map_or(0, |l| l.half_open.insert(id));
        let tickets = (ticket, self.half_open.insert(id));
        let isn = self.next_isn(cx, &flow);
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        connection.stage = Stage::HalfOpen { listener: listener_id, tickets, responder: None };
        self.begin_handshake(cx, ip, id, isn, packet, link);
        Ok(Fate::Delivered)
    }
}
