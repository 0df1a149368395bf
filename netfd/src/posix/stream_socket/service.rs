//! What serves a TCP socket of the program.

use super::{Accepted, Attempt, Order, Phase, StreamSocket};
use crate::backlog::Incoming;
use crate::posix::errno;
use crate::{Backlog, Mode, StreamEnd};
use netsocket::TcpStream;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The task behind a socket: it has the far end of the descriptor.
#[derive(Debug)]
pub struct Service {
    pub(super) socket: Arc<StreamSocket>,
    pub(super) end: StreamEnd,
    pub(super) stream: Option<Arc<TcpStream>>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
}

/// What the program has of a socket that is not served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: the descriptor is closed.
    Nothing,
    /// A descriptor without a far end, whose closing nobody sees.
    Descriptor,
}

impl Service {
    /// Serves the socket until the last copy of its descriptor is closed, or an attempt to connect
    /// has failed. `near` finds a copy of the descriptor.
    pub async fn run(self, near: impl FnOnce() -> Option<OwnedFd>) -> Left {
        let Self { socket, end, stream, orders } = self;
        let connected = match stream {
            Some(stream) => Some((end, stream)),
            None => until_connected(&socket, end, orders).await,
        };
        if let Some((end, stream)) = connected {
            let near = |error: &io::Error| {
                // Of a reset the descriptor itself knows.
                let errno = errno(error);
                if errno != Errno::CONNRESET {
                    socket.keep_error(errno);
                }
                near()
            };
            // Its error is the program's to see.
            let _ = end.carry(stream, near).await;
        }
        let has_failed = socket.phase() == Phase::Failed;
        if !has_failed {
            socket.phase.send_replace(Phase::Ended);
        }
        {
            let mut inner = socket.lock();
            (inner.bound, inner.reused, inner.backlog) = (None, None, None);
        }
        socket.has_ended.send_replace(true);
        if has_failed { Left::Descriptor } else { Left::Nothing }
    }

    /// The connection of a socket that the program did not get.
    pub fn into_accepted(self) -> Option<Accepted> {
        let stream = Arc::into_inner(self.stream?)?;
        let peer = self.socket.lock().peer?;
        Some(Accepted { stream, peer })
    }
}

/// Does what is asked of a socket, until it has a connection to carry; returns none if it never will.
async fn until_connected(
    socket: &StreamSocket,
    mut end: StreamEnd,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Option<(StreamEnd, Arc<TcpStream>)> {
    loop {
        let order = tokio::select! {
            order = orders.recv() => order?,
            () = end.closed() => return None,
        };
        match order {
            Order::Connect(attempt, begins) => match connect(socket, end, attempt, begins).await? {
                Outcome::Connected(end, stream) => return Some((end, stream)),
                Outcome::Idle(same) => end = same,
            },
            Order::Listen { near, backlog, listening } => match listen(socket, backlog).await {
                Ok(incoming) => {
                    serve_backlog(socket, end.listen_to(incoming, &near), near, listening).await;
                    return None;
                }
                Err(error) => {
                    let _ = listening.send(Err(errno(&error)));
                }
            },
        }
    }
}

/// What an attempt has come to.
enum Outcome {
    Connected(StreamEnd, Arc<TcpStream>),
    /// It may be tried again.
    Idle(StreamEnd),
}

/// Makes an attempt; returns none if the descriptor was closed meanwhile, or shows a failure now.
async fn connect(
    socket: &StreamSocket,
    end: StreamEnd,
    attempt: Attempt,
    begins: oneshot::Sender<Result<(), Errno>>,
) -> Option<Outcome> {
    let Attempt { near, mode, remote, peer } = attempt;
    let connecting = match end.connecting(&near) {
        Ok(connecting) => connecting,
        Err(error) => {
            let _ = begins.send(Err(errno(&error)));
            return None;
        }
    };
    // A copy would keep the socket open.
    drop(near);
    let _ = begins.send(Ok(()));
    let connected = tokio::select! {
        connected = async { socket.take_socket()?.connect(remote).await } => connected,
        () = connecting.closed() => return None,
    };
    match connected {
        Ok(stream) => {
            let stream = Arc::new(stream);
            {
                let mut inner = socket.lock();
                (inner.local, inner.peer) = (stream.local_addr().ok(), Some(peer));
                inner.stream = Arc::downgrade(&stream);
            }
            socket.phase.send_replace(Phase::Connected { told: false });
            Some(Outcome::Connected(connecting.finish().ok()?, stream))
        }
        Err(error) => {
            socket.keep_error(errno(&error));
            if mode == Mode::Nonblocking {
                socket.phase.send_replace(Phase::Failed);
                connecting.fail();
                return None;
            }
            socket.phase.send_replace(Phase::Idle);
            Some(Outcome::Idle(connecting.finish().ok()?))
        }
    }
}

async fn listen(socket: &StreamSocket, backlog: u32) -> io::Result<Arc<Incoming>> {
    let backlog = backlog.max(1);
    let reused = socket.lock().reused.clone();
    let incoming = match reused {
        Some(port) => {
            let make = || socket.prepared(&socket.lock().settings);
            port.listen(backlog, make).await?
        }
        None => Arc::new(Incoming::new(socket.take_socket()?.listen(backlog).await?)),
    };
    socket.lock().local = incoming.listener().local_addr().ok();
    Ok(incoming)
}

/// Shows connections to accept, until the descriptor is closed.
async fn serve_backlog(
    socket: &StreamSocket,
    backlog: io::Result<Arc<Backlog>>,
    near: OwnedFd,
    listening: oneshot::Sender<Result<(), Errno>>,
) {
    drop(near);
    let backlog = match backlog {
        Ok(backlog) => backlog,
        Err(error) => {
            let _ = listening.send(Err(errno(&error)));
            return;
        }
    };
    socket.lock().backlog = Some(backlog.clone());
    socket.phase.send_replace(Phase::Listening);
    let _ = listening.send(Ok(()));
    // Ends with the stack, too: then nothing comes any more.
    let _ = backlog.serve().await;
}
