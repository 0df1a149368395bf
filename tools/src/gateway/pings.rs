//! Echo requests of guests, by the ICMP sockets that this machine has for every user (ping(7) of
//! Linux: `net.ipv4.ping_group_range`).

use super::echo::Echo;
use super::lan::Destination;
use super::quota::{Permit, Quota};
use super::service::Gateway;
use netstack::netsocket::RawSocket;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, socket_with};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Identifiers of one guest at once, and of all; further requests are lost.
const PINGS_MAX: usize = 64;
const PINGS_TOTAL_MAX: usize = 1024;
/// How long an identifier may be silent (RFC 5508 section 3.2: at least 60 s).
const SILENCE: Duration = Duration::from_secs(60);

/// The echo requests of one IP version.
#[derive(Debug)]
pub(super) struct Pings {
    raw: RawSocket,
    flows: Mutex<HashMap<(IpAddr, u16), Arc<Flow>>>,
    quota: Arc<Quota>,
}

#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    _permit: Permit,
}

impl Pings {
    pub(super) fn new(raw: RawSocket) -> Arc<Self> {
        let quota = Quota::new(PINGS_MAX, PINGS_TOTAL_MAX);
        Arc::new(Self { raw, flows: Mutex::default(), quota })
    }

    /// Serves the echo requests of guests until the stack is gone. The stack answers those to itself.
    pub(super) async fn serve(self: Arc<Self>, gateway: Arc<Gateway>) -> io::Result<()> {
        loop {
            let packet = match self.raw.recv().await {
                Ok(packet) => packet,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
                // That of an earlier reply.
                Err(_) => continue,
            };
            let Some(request) = Echo::read(&packet) else { continue };
            let target = SocketAddr::new(request.destination, 0);
            if gateway.lan.destination(target) != Destination::Machine(target) {
                continue;
            }
            if let Some(flow) = self.flow(&request) {
                // The kernel sets the identifier and the checksum. Not tokio's, which does not know yet
                // that a new socket has room.
                let message = request.message();
                let _ = rustix::net::sendto(&flow.socket, &message, SendFlags::empty(), &target);
            }
        }
    }

    /// The socket for an identifier of a guest, if there may be another.
    fn flow(self: &Arc<Self>, request: &Echo<'_>) -> Option<Arc<Flow>> {
        let key = (request.source, request.identifier);
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = flows.get(&key) {
            return Some(flow.clone());
        }
        let permit = self.quota.take(request.source)?;
        let socket = match open(request.destination) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::info!(%error, "no ICMP socket: see net.ipv4.ping_group_range");
                return None;
            }
        };
        let flow = Arc::new(Flow { socket, _permit: permit });
        flows.insert(key, flow.clone());
        let (pings, answers) = (self.clone(), flow.clone());
        tokio::spawn(async move {
            pings.pass_replies(&answers.socket, key).await;
            pings.flows.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
        Some(flow)
    }

    /// Carries replies to a guest until there is silence.
    async fn pass_replies(&self, socket: &UdpSocket, (guest, identifier): (IpAddr, u16)) {
        let mut message = Vec::new();
        while let Ok(Ok(())) = timeout(SILENCE, socket.readable()).await {
            message.clear();
            message.reserve(usize::from(u16::MAX));
            match socket.try_recv_buf_from(&mut message) {
                Ok((_, from)) => {
                    let reply = Echo::reply(&message, from.ip(), guest, identifier);
                    if let Some(reply) = reply
                        && self.raw.send(&reply.packet()).await.is_err_and(is_end)
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // No way leads there: the guest hears nothing.
                Err(_) => {}
            }
            message = Vec::new();
        }
    }
}

fn is_end(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn open(destination: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match destination {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    UdpSocket::from_std(socket.into())
}
