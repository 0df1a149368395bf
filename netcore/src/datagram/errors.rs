//! ICMP errors about datagrams.

use crate::context::Context;
use crate::counters::DropReason;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::DatagramSocket;
use crate::error::Error;
use crate::ip::addressing::{canonical, version_of};
use crate::ip::layer::{IcmpCause, IcmpReport, IpLayer};
use crate::queue::Datagram;
use crate::wire::IpProtocol;
use bytes::Bytes;
use std::net::SocketAddr;

impl DatagramLayer {
    /// Takes an ICMP error about a datagram.
    pub(crate) fn receive_error(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        report: &IcmpReport,
    ) {
        match report.cause {
            IcmpCause::Failed(error) => self.report_failed(cx, ip, report, error),
            IcmpCause::TooBig(mtu) => {
                if self.has_sent(cx, report) {
                    ip.path_mtus.learn(report.quoted.destination, mtu, cx.now);
                }
            }
        }
    }

    fn report_failed(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        report: &IcmpReport,
        error: Error,
    ) {
        let quoted = &report.quoted;
        match quoted.protocol {
            IpProtocol::Udp => {
                // Only a connected socket can attribute the error to a destination.
                if let (Some(socket), _, true) = self.udp_sender(report) {
                    let queue = socket.queue.clone();
                    queue.set_error(error, &mut cx.wakes);
                }
            }
            IpProtocol::Icmp | IpProtocol::Icmpv6 => {
                let key = (version_of(quoted.source), quoted.echo_identifier);
                let Some(id) = self.echoes.get(&key).copied() else {
                    return;
                };
                let sender = SocketAddr::new(report.from, quoted.echo_sequence);
                let failed = Datagram { error: Some(error), ..Datagram::new(sender, Bytes::new()) };
                if self.deliver(cx, id, failed, 0) == Err(DropReason::QueueFull) {
                    ip.outgoing.counters.copies_lost += 1;
                }
            }
            _ => {}
        }
    }

    /// Whether an existing socket may have sent the packet that was too big; sets the socket's
    /// error if it forbids fragmentation.
    fn has_sent(&mut self, cx: &mut Context, report: &IcmpReport) -> bool {
        let quoted = &report.quoted;
        let version = version_of(quoted.source);
        match quoted.protocol {
            IpProtocol::Udp => match self.udp_sender(report) {
                (Some(socket), is_unconnected, is_peer) if is_unconnected || is_peer => {
                    let queue = socket.queue.clone();
                    if is_peer && queue.options().dont_fragment {
                        queue.set_error(Error::MessageTooLarge, &mut cx.wakes);
                    }
                    true
                }
                _ => false,
            },
            IpProtocol::Icmp | IpProtocol::Icmpv6
                if self.echoes.contains_key(&(version, quoted.echo_identifier)) =>
            {
                true
            }
            protocol => self.raw.contains_key(&(version, u8::from(protocol))),
        }
    }

    /// The UDP socket that sent a packet, whether it is unconnected, and whether the packet went to
    /// its peer.
    fn udp_sender(&mut self, report: &IcmpReport) -> (Option<&mut DatagramSocket>, bool, bool) {
        let (local, remote) = report.ends();
        let found = self.ports.find(local, remote);
        let Some(socket) = found.and_then(|id| self.sockets.get_mut(id)) else {
            return (None, false, false);
        };
        let peer = socket.queue.peer().map(canonical);
        (Some(socket), peer.is_none(), peer == Some(remote))
    }
}
