//! A TCP socket of the program.

use crate::run::address::Family;
use crate::run::descriptor::Far;
use crate::run::errno;
use crate::run::settings::Settings;
use netstack::netsocket::{Net, TcpListener, TcpSocket, TcpStream, blocking};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// A TCP socket. What the program says of it is asked of this; the far end of its descriptor is
/// with the task that [serves](Service) it.
#[derive(Debug)]
pub(crate) struct StreamSocket {
    family: Family,
    net: Net,
    phase: watch::Sender<Phase>,
    orders: mpsc::UnboundedSender<Order>,
    inner: Mutex<Inner>,
}

/// How far a socket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Neither connected nor listening.
    Idle,
    Connecting,
    /// The connection is made; the first call of `connect` after that is told so.
    Connected {
        told: bool,
    },
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
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// What `SO_ERROR`, or the next `connect`, says once.
    error: Option<Errno>,
    stream: Option<TcpStream>,
    accepted: VecDeque<Accepted>,
}

/// A connection that waits to be accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
}

/// What the serving task is to do.
#[derive(Debug)]
enum Order {
    Connect {
        remote: SocketAddr,
        fills: Fills,
    },
    Listen {
        backlog: u32,
        listening: oneshot::Sender<Result<(), Errno>>,
    },
    /// There is room for another connection.
    Accepted,
}

/// Whether the descriptor was made not writable for the time of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fills {
    No,
    Yes,
}

/// The task behind a socket: it has the far end of the descriptor.
#[derive(Debug)]
pub(crate) struct Service {
    socket: Arc<StreamSocket>,
    far: Far,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl StreamSocket {
    /// Makes a socket that is neither connected nor listening, and what serves it.
    pub(crate) fn new(net: &Net, family: Family, far: Far) -> (Arc<Self>, Service) {
        Self::with(net, family, far, Settings::default(), None)
    }

    /// Makes the socket of an accepted connection.
    pub(crate) fn connected(&self, far: Far, accepted: Accepted) -> (Arc<Self>, Service) {
        // Linux's accepted sockets, too, have the options of their listener.
        let settings = self.lock().settings.clone();
        Self::with(&self.net, self.family, far, settings, Some(accepted))
    }

    fn with(
        net: &Net,
        family: Family,
        far: Far,
        settings: Settings,
        accepted: Option<Accepted>,
    ) -> (Arc<Self>, Service) {
        let phase = match accepted {
            Some(_) => Phase::Connected { told: true },
            None => Phase::Idle,
        };
        let (sender, orders) = mpsc::unbounded_channel();
        let inner = Inner {
            settings,
            bound: None,
            local: accepted.as_ref().and_then(|it| it.stream.local_addr().ok()),
            peer: accepted.as_ref().map(|it| it.peer),
            error: None,
            stream: accepted.map(|it| it.stream),
            accepted: VecDeque::new(),
        };
        let socket = Arc::new(Self {
            family,
            net: net.clone(),
            phase: watch::Sender::new(phase),
            orders: sender,
            inner: Mutex::new(inner),
        });
        (socket.clone(), Service { socket, far, orders })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the socket is in such a phase, or has a connection to accept.
    pub(crate) async fn wait_for(&self, mut it_is: impl FnMut(Phase) -> bool) -> Phase {
        let mut phases = self.phase.subscribe();
        // The sender is the socket's own.
        phases.wait_for(|phase| it_is(*phase)).await.map_or(Phase::Ended, |phase| *phase)
    }

    /// Takes the local address and port.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has one; those of [`TcpSocket::bind`].
    pub(crate) fn bind(&self, local: SocketAddr) -> Result<(), Errno> {
        let mut inner = self.lock();
        if inner.bound.is_some() || self.phase() != Phase::Idle {
            return Err(Errno::INVAL);
        }
        let socket = self.fresh(&inner.settings);
        inner.settings.prepare(&socket, self.family).map_err(|error| errno::of(&error))?;
        socket.bind(local).map_err(|error| errno::of(&error))?;
        inner.local = socket.local_addr().ok();
        inner.bound = Some(socket);
        Ok(())
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
        let socket = inner.bound.take().unwrap_or_else(|| self.fresh(&inner.settings));
        inner.settings.prepare(&socket, self.family)?;
        Ok(socket)
    }

    /// Starts an attempt, whose end is a change of the phase.
    pub(crate) fn connect(&self, remote: SocketAddr, fills: Fills) {
        self.phase.send_replace(Phase::Connecting);
        // Fails if the descriptor is closed: nobody is there to be told.
        let _ = self.orders.send(Order::Connect { remote, fills });
    }

    /// Marks a made connection as told; returns whether it was not.
    pub(crate) fn tell(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let untold = *phase == Phase::Connected { told: false };
            if untold {
                *phase = Phase::Connected { told: true };
            }
            untold
        })
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// As [`TcpSocket::listen`].
    pub(crate) async fn listen(&self, backlog: u32) -> Result<(), Errno> {
        let (listening, done) = oneshot::channel();
        let _ = self.orders.send(Order::Listen { backlog, listening });
        done.await.unwrap_or(Err(Errno::INVAL))
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Option<Accepted> {
        let accepted = self.lock().accepted.pop_front();
        if accepted.is_some() {
            let _ = self.orders.send(Order::Accepted);
        }
        accepted
    }

    /// Gives a connection back that nobody got: it is the next one.
    pub(crate) fn put_back(&self, accepted: Accepted) {
        self.lock().accepted.push_front(accepted);
        // Wakes those that wait in accept.
        self.phase.send_modify(|_| {});
    }

    /// The connection of a socket that the program did not get.
    pub(crate) fn into_accepted(self: Arc<Self>) -> Option<Accepted> {
        let mut inner = self.lock();
        Some(Accepted { stream: inner.stream.take()?, peer: inner.peer? })
    }

    pub(crate) fn has_accepted(&self) -> bool {
        !self.lock().accepted.is_empty()
    }

    /// The error, once.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        self.lock().error.take()
    }

    /// Keeps an error that was taken, since nobody was told.
    pub(crate) fn keep_error(&self, errno: Errno) {
        self.lock().error = Some(errno);
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.lock().local.unwrap_or_else(|| self.family.unspecified())
    }

    /// The peer of a connection that is made.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.lock().peer.filter(|_| matches!(self.phase(), Phase::Connected { .. }))
    }

    /// Looks at the options.
    pub(crate) fn settings<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        look(&self.lock().settings)
    }

    /// Changes options, of a connection at once.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut inner = self.lock();
        let changed = change(&mut inner.settings)?;
        if let Some(stream) = &inner.stream {
            inner.settings.apply(stream, self.family).map_err(|error| errno::of(&error))?;
        }
        Ok(changed)
    }
}

/// What the program has of a socket that is not served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// A descriptor without a far end, whose closing nobody sees.
    Descriptor,
}

impl Service {
    /// Serves the socket until the last copy of its descriptor is closed, or an attempt to connect
    /// has failed.
    pub(crate) async fn run(mut self, reset: impl FnOnce()) -> Left {
        let stream = match self.own_stream() {
            Some(stream) => Some(stream),
            None => self.until_connected().await,
        };
        if let Some(stream) = stream {
            self.far.pump(stream, reset).await;
        }
        let has_failed = self.socket.phase() == Phase::Failed;
        if !has_failed {
            self.socket.phase.send_replace(Phase::Ended);
        }
        let mut inner = self.socket.lock();
        (inner.stream, inner.bound) = (None, None);
        inner.accepted.clear();
        if has_failed { Left::Descriptor } else { Left::Nothing }
    }

    /// Another handle of the connection, if there is one.
    fn own_stream(&self) -> Option<TcpStream> {
        let mut inner = self.socket.lock();
        let (kept, given) = shared(inner.stream.take()?)?;
        inner.stream = Some(kept);
        Some(given)
    }

    async fn until_connected(&mut self) -> Option<TcpStream> {
        loop {
            let order = tokio::select! {
                order = self.orders.recv() => order?,
                () = self.far.closed() => return None,
            };
            match order {
                Order::Connect { remote, fills } => {
                    let connected = tokio::select! {
                        connected = self.attempt(remote) => connected,
                        () = self.far.closed() => return None,
                    };
                    let stream = self.settle(connected, remote, fills);
                    if stream.is_some() || self.socket.phase() == Phase::Failed {
                        return stream;
                    }
                }
                Order::Listen { backlog, listening } => match self.listener(backlog).await {
                    Ok(listener) => {
                        self.socket.phase.send_replace(Phase::Listening);
                        let _ = listening.send(Ok(()));
                        self.accept_all(listener, backlog).await;
                        return None;
                    }
                    Err(error) => drop(listening.send(Err(errno::of(&error)))),
                },
                Order::Accepted => {}
            }
        }
    }

    async fn attempt(&self, remote: SocketAddr) -> io::Result<TcpStream> {
        self.socket.take_socket()?.connect(remote).await
    }

    /// Records the end of an attempt; returns the connection to serve.
    fn settle(
        &self,
        connected: io::Result<TcpStream>,
        remote: SocketAddr,
        fills: Fills,
    ) -> Option<TcpStream> {
        let connected = connected.map_err(|error| errno::of(&error));
        let mut inner = self.socket.lock();
        let (phase, given) = match connected.map(shared) {
            Ok(Some((kept, given))) => {
                (inner.local, inner.peer) = (kept.local_addr().ok(), Some(remote));
                inner.stream = Some(kept);
                (Phase::Connected { told: false }, Some(given))
            }
            Ok(None) => (Phase::Ended, None),
            Err(errno) => {
                inner.error = Some(errno);
                (if fills == Fills::Yes { Phase::Failed } else { Phase::Idle }, None)
            }
        };
        drop(inner);
        self.socket.phase.send_replace(phase);
        if fills == Fills::Yes && given.is_some() {
            self.far.drain();
        }
        given
    }

    async fn listener(&self, backlog: u32) -> io::Result<TcpListener> {
        let listener = self.socket.take_socket()?.listen(backlog.max(1)).await?;
        self.socket.lock().local = listener.local_addr().ok();
        Ok(listener)
    }

    async fn accept_all(&mut self, listener: TcpListener, backlog: u32) {
        let backlog = backlog.max(1) as usize;
        loop {
            let has_room = self.socket.lock().accepted.len() < backlog;
            tokio::select! {
                () = self.far.closed() => return,
                _ = self.orders.recv() => {}
                next = listener.accept(), if has_room => {
                    let Ok((stream, peer)) = next else { return };
                    self.socket.lock().accepted.push_back(Accepted { stream, peer });
                    self.far.announce();
                    // Wakes those that wait in accept.
                    self.socket.phase.send_modify(|_| {});
                }
            }
        }
    }
}

/// Two handles of a connection.
fn shared(stream: TcpStream) -> Option<(TcpStream, TcpStream)> {
    let stream = blocking::TcpStream::from(stream);
    let other = stream.try_clone().ok()?;
    Some((stream.into(), other.into()))
}
