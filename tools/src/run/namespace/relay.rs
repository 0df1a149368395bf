//! What the program sends, over the stack, and back.

use crate::run::names::{NameService, ask};
use netstack::Net;
use netstack::netsocket::netcore::tcp::Refusal;
use netstack::netsocket::{PendingConnection, PendingListener, TcpStream, UdpSocket};
use proxy::delivered;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::sync::watch;
use tokio::time::timeout;

/// Bytes that are under way in each direction of a connection, at most.
const BUFFER: usize = 128 << 10;
/// How long a socket of the program may be silent before its port on the stack is another's (RFC
/// 4787 section 4.3).
const SILENCE: Duration = Duration::from_secs(120);
/// Sockets of the program that are relayed at once; datagrams of further ones are lost.
const FLOWS_MAX: usize = 4096;
const DATAGRAM_MAX: usize = 65_535;
/// How long the bytes before a reset may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The relay between the stack in front of the program and the one behind.
#[derive(Debug)]
pub(crate) struct Relay {
    back: Net,
    names: NameService,
    flows: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
    /// Connections at present.
    open: watch::Sender<usize>,
}

impl Relay {
    /// Starts to relay.
    ///
    /// # Errors
    ///
    /// Those of [`Net::tcp_intercept`] and [`Net::udp_intercept`].
    pub(crate) async fn start(
        front: &Net,
        back: &Net,
        names: NameService,
    ) -> io::Result<Arc<Self>> {
        let (back, flows) = (back.clone(), Mutex::default());
        let (streams, datagrams) = (front.tcp_intercept().await?, front.udp_intercept().await?);
        let open = watch::Sender::new(0);
        let relay = Arc::new(Self { back, names, flows, open });
        tokio::spawn(relay.clone().relay_streams(streams));
        tokio::spawn(relay.clone().relay_datagrams(Arc::new(datagrams)));
        Ok(relay)
    }

    /// Answers the queries that come to a socket of the kernel's.
    pub(crate) fn serve_names(&self, socket: std::net::UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
        let back = self.back.clone();
        tokio::spawn(async move {
            let mut query = vec![0; DATAGRAM_MAX];
            while let Ok((n, from)) = socket.recv_from(&mut query).await {
                let (back, socket, query) = (back.clone(), socket.clone(), query[..n].to_vec());
                tokio::spawn(async move {
                    if let Some(answer) = ask(&back, &query).await {
                        // As for any answer: the program asks again.
                        let _ = socket.send_to(&answer, from).await;
                    }
                });
            }
        });
        Ok(())
    }

    /// The number of connections at present.
    pub(crate) fn connections(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until all connections are closed.
    pub(crate) async fn all_closed(&self) {
        // The sender is this.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    async fn relay_streams(self: Arc<Self>, listener: PendingListener) {
        while let Ok(pending) = listener.next().await {
            let relay = self.clone();
            relay.open.send_modify(|open| *open += 1);
            tokio::spawn(async move {
                relay.relay_stream(pending).await;
                relay.open.send_modify(|open| *open -= 1);
            });
        }
    }

    /// The program's SYN is answered as the destination answers the stack's.
    async fn relay_stream(&self, pending: PendingConnection) {
        let dialled = canonical(pending.local_addr());
        let target = self.names.redirect(dialled).unwrap_or(dialled);
        let outer = tokio::select! {
            outer = self.back.tcp_connect(target) => outer,
            _ = pending.ended() => return,
        };
        let (inner, outer) = match outer {
            Ok(outer) => (pending.accept().await, outer),
            // If the program has given up meanwhile, nobody is to be told.
            Err(error) => return drop(pending.reject(Refusal::from(error.kind()))),
        };
        if let Ok(inner) = inner {
            carry(inner, outer).await;
        }
    }

    async fn relay_datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buf = vec![0; DATAGRAM_MAX];
        while let Ok((n, inner, dialled)) = socket.recv_from_to(&mut buf).await {
            let dialled = canonical(dialled);
            let target = self.names.redirect(dialled).unwrap_or(dialled);
            let known = (target != dialled).then_some(dialled);
            if let Some(outer) = self.flow(&socket, canonical(inner), target, known).await {
                // Lost, as datagrams may be.
                let _ = outer.send_to(&buf[..n], target).await;
            }
        }
    }

    /// The socket behind one of the program's.
    async fn flow(
        self: &Arc<Self>,
        front: &Arc<UdpSocket>,
        inner: SocketAddr,
        target: SocketAddr,
        known: Option<SocketAddr>,
    ) -> Option<Arc<UdpSocket>> {
        let lock = || self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outer) = lock().get(&inner) {
            return Some(outer.clone());
        }
        if lock().len() >= FLOWS_MAX {
            return None;
        }
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let outer = Arc::new(self.back.udp_bind(any).await.ok()?);
        lock().insert(inner, outer.clone());
        let (relay, front, answers) = (self.clone(), front.clone(), outer.clone());
        tokio::spawn(async move {
            let mut buf = vec![0; DATAGRAM_MAX];
            while let Ok(Ok((n, from))) = timeout(SILENCE, answers.recv_from(&mut buf)).await {
                // The name service answers as the server that was asked.
                let from = if from == target { known.unwrap_or(from) } else { from };
                let _ = front.send_from_to(&buf[..n], canonical(from), inner).await;
            }
            relay.flows.lock().unwrap_or_else(PoisonError::into_inner).remove(&inner);
        });
        Some(outer)
    }
}

/// Carries bytes; a reset of one end is one of the other.
async fn carry(mut inner: TcpStream, mut outer: TcpStream) {
    let _ = (inner.set_nodelay(true), outer.set_nodelay(true));
    if copy_bidirectional_with_sizes(&mut inner, &mut outer, BUFFER, BUFFER).await.is_err() {
        // What was sent before the reset arrives before it.
        let _ =
            timeout(FAREWELL, async { tokio::join!(delivered(&inner), delivered(&outer)) }).await;
        let _ = (inner.set_zero_linger(), outer.set_zero_linger());
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
