//! Events of the IP layer: ICMP errors, changed routes, removed addresses.

use crate::context::Context;
use crate::error::Error;
use crate::ip::addressing::NextHop;
use crate::ip::layer::{IcmpCause, IcmpReport, IpLayer};
use crate::queue::End;
use crate::tcp::connection::{Connection, Stage};
use crate::tcp::flow_table::{Flow, FlowKey};
use crate::tcp::layer::TcpLayer;
use crate::tcp::sockets::TcpSocket;
use std::net::IpAddr;

impl TcpLayer {
    /// Takes an ICMP error about a segment.
    pub(crate) fn receive_error(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        report: &IcmpReport,
    ) {
        let (local, remote) = report.ends();
        let (flow, sequence) = (FlowKey::new(local, remote), report.quoted.sequence);
        match report.cause {
            IcmpCause::Failed(error) => self.connecting_failed(cx, ip, flow, sequence, error),
            // Only of a segment that is under way (RFC 5927 section 7).
            IcmpCause::TooBig(mtu) => {
                let now = cx.now;
                if let Some(connection) = self.sender_of(flow, sequence) {
                    let link_mtu = ip.outgoing.capabilities.mtu;
                    connection.narrow(ip.path_mtus.learn(remote.ip(), mtu, now), link_mtu);
                    if let Some(Flow::Connection(id)) = self.flows.get(&flow).copied() {
                        cx.mark(id);
                    }
                }
            }
        }
    }

    /// Ends a connect that an ICMP error is about, as Linux does, so that its requester learns at
    /// once; RFC 5461 section 4.1 is about that. Established connections pass over such errors:
    /// the path may come back (RFC 1122 section 4.2.3.9).
    fn connecting_failed(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        sequence: u32,
        error: Error,
    ) {
        let Some(Flow::Connection(id)) = self.flows.get(&flow).copied() else {
            return;
        };
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        if matches!(connection.stage, Stage::Connecting { .. }) && connection.is_under_way(sequence)
        {
            self.remove_connection(cx, ip, id, End::Failed(error));
        }
    }

    /// The connection that has sent this, and has not had it acknowledged yet.
    fn sender_of(&mut self, flow: FlowKey, sequence: u32) -> Option<&mut Connection> {
        let Some(Flow::Connection(id)) = self.flows.get(&flow).copied() else {
            return None;
        };
        self.sockets.connection_mut(id).filter(|connection| connection.is_under_way(sequence))
    }

    /// Looks the route of every connection up again.
    #[inline(never)]
    pub(crate) fn reroute(&mut self, cx: &mut Context, ip: &IpLayer) {
        let mut woken = Vec::new();
        for (id, socket) in self.sockets.iter_mut() {
            let TcpSocket::Connection(connection) = socket else { continue };
            if connection.failure.is_some() {
                // Its last word goes the way that all of it went.
                continue;
            }
            let remote = connection.wire.flow().remote().ip();
            let way = ip.addressing.next_hop(remote).unwrap_or(NextHop::Nowhere);
            if std::mem::replace(&mut connection.way, way) != way {
                woken.push(id);
            }
        }
        for id in woken {
            cx.mark(id);
        }
    }

    /// Ends the connections on an address that the stack has no more.
    pub(crate) fn address_removed(&mut self, cx: &mut Context, ip: &mut IpLayer, address: IpAddr) {
        for id in self.sockets.ids() {
            if self.sockets.held_mut(id).is_some_and(|held| held.flow.local().ip() == address) {
                self.remove_held(cx, id, Error::AddressRemoved);
            }
            let Some(connection) = self.sockets.connection_mut(id) else { continue };
            if connection.wire.flow().local().ip() != address {
                continue;
            }
            match connection.stage {
                Stage::Open(_) => {
                    connection.abort(Error::AddressRemoved);
                    cx.mark(id);
                }
                _ => self.remove_connection(cx, ip, id, End::Failed(Error::AddressRemoved)),
            }
        }
    }
}
