//! UDP of guests, on sockets of this machine.

use super::lan::Destination;
use super::quota::Permit;
use super::service::Gateway;
use super::streams::canonical;
use netstack::netsocket::UdpSocket;
use rustix::net::SendFlags;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a socket of a guest may be silent before its port on this machine is another's (RFC 4787
/// section 4.3).
const SILENCE: Duration = Duration::from_secs(120);
/// The same before a second datagram has left after an answer, as with a question for a name (Linux:
/// `nf_conntrack_udp_timeout`).
const SILENCE_FIRST: Duration = Duration::from_secs(30);
/// Datagrams that are taken from one socket before it is another's turn.
const BATCH: usize = 64;
const DATAGRAM_MAX: usize = 65_535;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM_MAX]);
}

/// The sockets behind those of the guests: one of this machine for each address and port of a guest,
/// whatever it sends to (RFC 4787 section 4.1).
#[derive(Debug)]
pub(super) struct Datagrams {
    front: UdpSocket,
    flows: Mutex<HashMap<SocketAddr, Arc<Flow>>>,
}

#[derive(Debug)]
struct Flow {
    socket: tokio::net::UdpSocket,
    activity: Mutex<Activity>,
    _permit: Permit,
}

/// When something was sent or received last.
#[derive(Debug, Clone, Copy)]
struct Activity {
    last: Instant,
    is_answered: bool,
    /// Whether the guest has gone on after an answer.
    is_conversation: bool,
}

impl Datagrams {
    pub(super) fn new(front: UdpSocket) -> Arc<Self> {
        Arc::new(Self { front, flows: Mutex::default() })
    }

    /// Serves the datagrams of guests until the stack is gone.
    pub(super) async fn serve(self: Arc<Self>, gateway: Arc<Gateway>) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let (n, guest, dialled) = match self.front.recv_from_to(&mut buffer).await {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
                // One that was sent to a guest.
                Err(_) => continue,
            };
            let (guest, dialled) = (canonical(guest), canonical(dialled));
            match gateway.lan.destination(dialled) {
                Destination::Machine(target) => {
                    if let Some(flow) = self.flow(&gateway, guest) {
                        flow.send(&buffer[..n], target);
                    }
                }
                Destination::Names => self.ask(&gateway, buffer[..n].to_vec(), guest, dialled),
                Destination::Closed | Destination::Unreachable => {}
            }
        }
    }

    /// Has a question answered by the name servers of this machine.
    fn ask(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        query: Vec<u8>,
        guest: SocketAddr,
        server: SocketAddr,
    ) {
        let Some(permit) = gateway.names.queries.take(guest.ip()) else { return };
        let (datagrams, gateway) = (self.clone(), gateway.clone());
        tokio::spawn(async move {
            if let Some(answer) = gateway.names.ask(&query).await {
                // As for any answer: the guest asks again.
                let _ = datagrams.front.send_from_to(&answer, server, guest).await;
            }
            drop(permit);
        });
    }

    /// The socket behind one of a guest's, if the guest may have another.
    fn flow(self: &Arc<Self>, gateway: &Arc<Gateway>, guest: SocketAddr) -> Option<Arc<Flow>> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = flows.get(&guest) {
            return Some(flow.clone());
        }
        let permit = gateway.flows.take(guest.ip())?;
        let flow = Arc::new(Flow::open(guest, permit).ok()?);
        flows.insert(guest, flow.clone());
        let (datagrams, gateway, answers) = (self.clone(), gateway.clone(), flow.clone());
        tokio::spawn(async move {
            datagrams.pass_answers(&gateway, &answers, guest).await;
            let mut flows = datagrams.flows.lock().unwrap_or_else(PoisonError::into_inner);
            flows.remove(&guest);
        });
        Some(flow)
    }

    /// Carries answers to a guest until there is silence.
    async fn pass_answers(&self, gateway: &Gateway, flow: &Flow, guest: SocketAddr) {
        loop {
            match timeout_at(flow.end(), flow.socket.readable()).await {
                Ok(Ok(())) => {}
                // Sent meanwhile.
                Err(_) if flow.end() > Instant::now() => continue,
                Ok(Err(_)) | Err(_) => return,
            }
            for _ in 0..BATCH {
                match self.pass_answer(gateway, flow, guest) {
                    Ok(()) => flow.note_answered(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // That of an earlier datagram, or no room for this one.
                    Err(_) => {}
                }
            }
            tokio::task::consume_budget().await;
        }
    }

    fn pass_answer(&self, gateway: &Gateway, flow: &Flow, guest: SocketAddr) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| {
            let (n, from) = flow.socket.try_recv_from(buffer)?;
            let from = gateway.lan.sender(from);
            match self.front.try_send_from_to(&buffer[..n], from, guest) {
                // The link is full: lost, as on a wire.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                sent => sent.map(drop),
            }
        })
    }
}

impl Flow {
    fn open(guest: SocketAddr, permit: Permit) -> io::Result<Self> {
        let any: SocketAddr = match guest {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let activity =
            Activity { last: Instant::now(), is_answered: false, is_conversation: false };
        Ok(Self { socket, activity: Mutex::new(activity), _permit: permit })
    }

    fn send(&self, payload: &[u8], target: SocketAddr) {
        // Not tokio's, which does not know yet that a new socket has room. Without room it is lost, as
        // datagrams may be.
        let _ = rustix::net::sendto(&self.socket, payload, SendFlags::empty(), &target);
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.last = Instant::now();
        activity.is_conversation |= activity.is_answered;
    }

    fn note_answered(&self) {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.last = Instant::now();
        activity.is_answered = true;
    }

    /// When it has been silent for long enough, unless something happens.
    fn end(&self) -> Instant {
        let activity = *self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.last + if activity.is_conversation { SILENCE } else { SILENCE_FIRST }
    }
}
