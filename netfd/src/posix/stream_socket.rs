//! A TCP socket of the program.

mod service;

pub use service::{Left, Service};

use crate::far::Watch;
use crate::posix::Closing;
use crate::posix::Family;
use crate::posix::ReusedPorts;
use crate::posix::Settings;
use crate::posix::errno;
use crate::posix::reused_ports::ReusedPort;
use crate::{Backlog, Mode, StreamEnd};
use netsocket::{Net, TcpSocket, TcpStream};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{mpsc, oneshot, watch};

/// A TCP socket. What the program says of it is asked of this; the far end of its descriptor is
/// with the task that [serves](Service) it.
#[derive(Debug)]
pub struct StreamSocket {
    family: Family,
    net: Net,
    ports: ReusedPorts,
    phase: watch::Sender<Phase>,
    orders: mpsc::UnboundedSender<Order>,
    inner: Mutex<Inner>,
    far: Watch,
    has_ended: watch::Sender<bool>,
}

/// How far a socket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Neither connected nor listening.
    Idle,
    /// An attempt is under way.
    Connecting,
    /// The connection is made; the first call of `connect` after that is told so.
    Connected {
        /// Whether that was so.
        told: bool,
    },
    /// It is a listener.
    Listening,
    /// A non-blocking attempt failed.
    Failed,
    /// The descriptor is closed, or the listener shut down.
    Ended,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// Has the port that it was bound to.
    bound: Option<TcpSocket>,
    /// In place of that, if it shares the port.
    reused: Option<Arc<ReusedPort>>,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// What `SO_ERROR`, or the next `connect`, says once.
    error: Option<Errno>,
    /// For its options: the connection is closed with the last handle.
    stream: Weak<TcpStream>,
    backlog: Option<Arc<Backlog>>,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The address of its peer.
    pub peer: SocketAddr,
}

/// What the serving task is to do; it says when it has begun.
#[derive(Debug)]
enum Order {
    Connect(Attempt, oneshot::Sender<Result<(), Errno>>),
    Listen { near: OwnedFd, backlog: u32, listening: oneshot::Sender<Result<(), Errno>> },
}

/// An attempt to connect.
#[derive(Debug)]
pub struct Attempt {
    /// A copy of the descriptor, for the beginning.
    pub near: OwnedFd,
    /// Whether the program waits for its end.
    pub mode: Mode,
    /// Where to connect to.
    pub remote: SocketAddr,
    /// What the program knows `remote` as.
    pub peer: SocketAddr,
}

impl StreamSocket {
    /// Makes a socket that is neither connected nor listening, and what serves it. All sockets of a stack
    /// have the same `ports`.
    pub fn new(
        net: &Net,
        ports: &ReusedPorts,
        family: Family,
        end: StreamEnd,
    ) -> (Arc<Self>, Service) {
        Self::with((net, ports), family, end, Settings::default(), None)
    }

    /// Makes the socket of an accepted connection.
    pub fn connected(&self, end: StreamEnd, accepted: Accepted) -> (Arc<Self>, Service) {
        // Linux's accepted sockets, too, have the options of their listener.
        let settings = self.lock().settings.clone();
        Self::with((&self.net, &self.ports), self.family, end, settings, Some(accepted))
    }

    fn with(
        (net, ports): (&Net, &ReusedPorts),
        family: Family,
        end: StreamEnd,
        settings: Settings,
        accepted: Option<Accepted>,
    ) -> (Arc<Self>, Service) {
        let phase = match accepted {
            Some(_) => Phase::Connected { told: true },
            None => Phase::Idle,
        };
        let peer = accepted.as_ref().map(|it| it.peer);
        let stream = accepted.map(|it| Arc::new(it.stream));
        let (sender, orders) = mpsc::unbounded_channel();
        let inner = Inner {
            settings,
            bound: None,
            reused: None,
            local: stream.as_ref().and_then(|it| it.local_addr().ok()),
            peer,
            error: None,
            stream: stream.as_ref().map(Arc::downgrade).unwrap_or_default(),
            backlog: None,
        };
        let socket = Arc::new(Self {
            family,
            net: net.clone(),
            ports: ports.clone(),
            phase: watch::Sender::new(phase),
            orders: sender,
            inner: Mutex::new(inner),
            far: end.watch(),
            has_ended: watch::Sender::new(false),
        });
        (socket.clone(), Service { socket, end, stream, orders })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the socket is in such a phase, or has a connection to accept.
    pub async fn wait_for(&self, mut it_is: impl FnMut(Phase) -> bool) -> Phase {
        let mut phases = self.phase.subscribe();
        // The sender is the socket's own.
        phases.wait_for(|phase| it_is(*phase)).await.map_or(Phase::Ended, |phase| *phase)
    }

    /// Takes the local address and port.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has one; those of [`TcpSocket::bind`].
    pub fn bind(&self, local: SocketAddr) -> Result<(), Errno> {
        let mut inner = self.lock();
        if inner.bound.is_some() || inner.reused.is_some() || self.phase() != Phase::Idle {
            return Err(Errno::INVAL);
        }
        let make = || {
            let socket = self.prepared(&inner.settings)?;
            socket.bind(local)?;
            Ok(socket)
        };
        if inner.settings.reuses_port() {
            let place = (local, inner.settings.only_v6);
            let port = self.ports.bind(place, make).map_err(|error| errno(&error))?;
            (inner.local, inner.reused) = (Some(port.local()), Some(port));
        } else {
            let socket = make().map_err(|error| errno(&error))?;
            (inner.local, inner.bound) = (socket.local_addr().ok(), Some(socket));
        }
        Ok(())
    }

    fn prepared(&self, settings: &Settings) -> io::Result<TcpSocket> {
        let socket = self.fresh(settings);
        settings.prepare(&socket, self.family)?;
        Ok(socket)
    }

    /// A socket without an address.
    fn fresh(&self, settings: &Settings) -> TcpSocket {
        match self.family {
            Family::V4 => self.net.tcp_socket_v4(),
            Family::V6 => {
                let socket = self.net.tcp_socket_v6();
                // Fails for sockets with one.
                let _ = socket.set_only_v6(settings.only_v6);
                socket
            }
        }
    }

    /// The socket to listen or to connect with: the bound one, or another.
    fn take_socket(&self) -> io::Result<TcpSocket> {
        let mut inner = self.lock();
        let bound = match &inner.reused {
            // The others keep the address, with which one of them can connect.
            Some(port) => Some(port.take().ok_or(io::ErrorKind::AddrInUse)?),
            None => inner.bound.take(),
        };
        let socket = bound.unwrap_or_else(|| self.fresh(&inner.settings));
        inner.settings.prepare(&socket, self.family)?;
        Ok(socket)
    }

    /// Starts an attempt, whose end is a change of the phase. Until then the descriptor is not
    /// writable, from the end of this call on.
    ///
    /// # Errors
    ///
    /// Those of its descriptor.
    pub async fn connect(&self, attempt: Attempt) -> Result<(), Errno> {
        let (begins, begun) = oneshot::channel();
        let _ = self.orders.send(Order::Connect(attempt, begins));
        // The descriptor is closed.
        begun.await.unwrap_or(Err(Errno::BADF))
    }

    /// Begins an attempt, for which no other one must be under way; returns whether there was none.
    pub fn begin(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let is_idle = *phase == Phase::Idle;
            if is_idle {
                *phase = Phase::Connecting;
            }
            is_idle
        })
    }

    /// Marks a made connection as told; returns whether it was not.
    pub fn tell(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let untold = *phase == Phase::Connected { told: false };
            if untold {
                *phase = Phase::Connected { told: true };
            }
            untold
        })
    }

    /// Marks a made connection as not told, since the answer has reached nobody.
    pub fn keep_untold(&self) {
        self.phase.send_if_modified(|phase| {
            let told = *phase == Phase::Connected { told: true };
            if told {
                *phase = Phase::Connected { told: false };
            }
            told
        });
    }

    /// Listens; `near` is a copy of the descriptor.
    ///
    /// # Errors
    ///
    /// As [`TcpSocket::listen`].
    pub async fn listen(&self, near: OwnedFd, backlog: u32) -> Result<(), Errno> {
        let (listening, done) = oneshot::channel();
        let _ = self.orders.send(Order::Listen { near, backlog, listening });
        done.await.unwrap_or(Err(Errno::INVAL))
    }

    /// The connections of a listener.
    pub fn backlog(&self) -> Option<Arc<Backlog>> {
        self.lock().backlog.clone()
    }

    /// That it will have ended, if its last descriptor is closed, or both of its halves are shut down:
    /// until then it may still have its port, for which [`released`](crate::posix::released) waits.
    pub fn closing(&self) -> Option<Closing> {
        self.far.has_hung_up().then(|| Closing::new(&self.has_ended))
    }

    /// The error, once.
    pub fn take_error(&self) -> Option<Errno> {
        self.lock().error.take()
    }

    /// Keeps an error that was taken, since nobody was told.
    pub fn keep_error(&self, errno: Errno) {
        self.lock().error = Some(errno);
    }

    /// Its own address, unspecified before it has one.
    pub fn local(&self) -> SocketAddr {
        self.lock().local.unwrap_or_else(|| self.family.unspecified())
    }

    /// The peer of a connection that is made.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.lock().peer.filter(|_| matches!(self.phase(), Phase::Connected { .. }))
    }

    /// The connection, if there is one.
    /// Its own address and its peer's as the stack has them, and not as the program knows them.
    pub fn ends(&self) -> (SocketAddr, Option<SocketAddr>) {
        match self.stream() {
            Some(stream) => (stream.local_addr().unwrap_or(self.local()), stream.peer_addr().ok()),
            None => (self.local(), None),
        }
    }

    pub(crate) fn stream(&self) -> Option<Arc<TcpStream>> {
        self.lock().stream.upgrade()
    }

    /// Looks at the options.
    pub fn settings<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        look(&self.lock().settings)
    }

    /// Changes options, of a connection at once.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut inner = self.lock();
        let changed = change(&mut inner.settings)?;
        if let Some(stream) = inner.stream.upgrade() {
            inner.settings.apply(&stream, self.family).map_err(|error| errno(&error))?;
        }
        Ok(changed)
    }
}
