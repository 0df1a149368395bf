//! The command channel: requests to a stack and the answers to them.

use crate::command::tcp::{self, Families};
use crate::command::{Command, Response, control};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::isolation::wake;
use crate::network::NetworkWatch;
use crate::queue::SocketQueue;
use crate::sync::{Arc, Mutex};
use crate::tcp::buffer;
use crate::tcp::reservation::{Reservation, TcpPorts};
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A command on its way to a stack.
pub struct Request {
    /// The socket that the command is for; `None` for commands that make one.
    pub handle: Option<SocketId>,
    /// What to do.
    pub command: Command,
    pub(crate) responder: Option<Responder>,
}

impl Request {
    /// A request that does nothing but arrive.
    pub(crate) fn wake() -> Self {
        Self { handle: None, command: control::Command::Wake.into(), responder: None }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("handle", &self.handle)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// The sending end of a stack's command channel. Cheap to clone; does not keep the stack alive.
#[derive(Clone)]
pub struct Channel {
    requests: flume::Sender<Request>,
    doorbell: Arc<Doorbell>,
    network: NetworkWatch,
    /// Of a connection that asks for nothing else.
    buffers: BufferBytes,
    tcp_ports: Arc<TcpPorts>,
}

/// The sizes of a connection's buffers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferBytes {
    /// The most that the peer may send ahead of the reader.
    pub recv: usize,
    /// The most that may be in flight.
    pub send: usize,
}

impl Channel {
    pub(crate) fn new(
        requests: flume::Sender<Request>,
        doorbell: Arc<Doorbell>,
        network: NetworkWatch,
        buffers: BufferBytes,
        tcp_ports: Arc<TcpPorts>,
    ) -> Self {
        Self { requests, doorbell, network, buffers, tcp_ports }
    }

    /// The buffers that a connection with these options will have: whole pages.
    pub fn buffer_bytes(&self, options: &tcp::Options) -> BufferBytes {
        let BufferBytes { recv, send } = self.buffers;
        BufferBytes {
            recv: buffer::rounded(options.recv_buffer_bytes.unwrap_or(recv)),
            send: buffer::rounded(options.send_buffer_bytes.unwrap_or(send)),
        }
    }

    /// The stack's place in the network, now and whenever it changes from now on.
    pub fn network(&self) -> NetworkWatch {
        let mut watch = self.network.clone();
        watch.current();
        watch
    }

    /// Reserves a TCP port, for a socket that is bound before it listens or connects: nobody else
    /// can listen on it or connect from it then, and a SYN to it is answered with a reset, unless a
    /// listener for every port takes it. Port 0 chooses one; on `[::]` the port is taken for IPv4
    /// too, unless `families` says otherwise. Does not wait for the stack.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if a listener or another reservation has the port;
    /// [`Error::NoFreePort`]; [`Error::AddressNotAvailable`] if the address is none of the stack's;
    /// [`Error::StackGone`] if the stack is gone.
    pub fn reserve_tcp(&self, local: SocketAddr, families: Families) -> Result<Reservation, Error> {
        if self.doorbell.is_closed() {
            return Err(Error::StackGone);
        }
        let ip = local.ip().to_canonical();
        let network = self.network.clone().current();
        let is_local = network.any_ip
            || ip.is_unspecified()
            || ip.is_loopback()
            || network.addresses.iter().any(|own| own.addr() == ip);
        match is_local {
            true => self.tcp_ports.reserve(local, families),
            false => Err(Error::AddressNotAvailable),
        }
    }

    /// Sends a command and waits for its answer, with the queue of the socket if it made one.
    ///
    /// # Errors
    ///
    /// What the command failed with; [`Error::StackGone`] if the stack is gone or goes meanwhile.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the command may have been carried out. What it made is undone
    /// then: a fresh socket is closed, an accepted connection goes back to the front of its queue,
    /// received bytes and datagrams go back to their socket, and a pending connect is aborted.
    pub async fn call(
        &self,
        handle: Option<SocketId>,
        command: impl Into<Command>,
    ) -> Result<(Response, Option<SocketQueue>), Error> {
        let (request, reply) = self.prepare(handle, command.into());
        self.requests.send_async(request).await.map_err(|_| self.doorbell.end().reason())?;
        reply.await
    }

    /// A request that still has to be sent, and what its sender then waits for.
    pub(crate) fn prepare(&self, handle: Option<SocketId>, command: Command) -> (Request, Reply) {
        let slot = Arc::new(Mutex::new(Slot::Waiting { waker: None, parked_on: None }));
        let responder = Some(Responder { slot: slot.clone(), answered: false });
        let reply = Reply { slot, handle, doorbell: self.doorbell.clone() };
        (Request { handle, command, responder }, reply)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("queued_commands", &self.requests.len()).finish()
    }
}

/// What leads to a stack's command channel: the stack itself, a channel, a handle.
pub trait HasChannel {
    /// The command channel.
    fn command_channel(&self) -> Channel;

    /// Sends a command and blocks the calling thread until the answer is there.
    ///
    /// # Errors
    ///
    /// What the command failed with; [`Error::StackGone`] if the stack is gone or goes meanwhile.
    fn request_blocking(
        &self,
        handle: Option<SocketId>,
        command: impl Into<Command>,
    ) -> Result<Response, Error> {
        let channel = self.command_channel();
        pollster::block_on(channel.call(handle, command)).map(|(response, _)| response)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the command failed with; [`Error::StackGone`] if the stack is gone or goes meanwhile.
    ///
    /// # Cancel safety
    ///
    /// As [`Channel::call`].
    fn request(
        &self,
        handle: Option<SocketId>,
        command: impl Into<Command>,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let channel = self.command_channel();
        let command = command.into();
        async move { channel.call(handle, command).await.map(|(response, _)| response) }
    }

    /// Sends a command and does not wait; its answer goes nowhere, and what it makes is undone.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if the channel is full: the command was not sent.
    /// [`Error::StackGone`] if the stack is gone.
    fn request_nonblocking(
        &self,
        handle: Option<SocketId>,
        command: impl Into<Command>,
    ) -> Result<(), Error> {
        let channel = self.command_channel();
        if channel.doorbell.is_closed() {
            return Err(channel.doorbell.end().reason());
        }
        let request = Request { handle, command: command.into(), responder: None };
        channel.requests.try_send(request).map_err(|error| match error {
            flume::TrySendError::Full(_) => Error::WouldBlock,
            flume::TrySendError::Disconnected(_) => channel.doorbell.end().reason(),
        })
    }
}

impl HasChannel for Channel {
    fn command_channel(&self) -> Channel {
        self.clone()
    }
}

impl<T: HasChannel> HasChannel for &T {
    fn command_channel(&self) -> Channel {
        (**self).command_channel()
    }
}

/// The answer to a command, and the queue of the socket that it made.
pub(crate) type Answer = Result<(Response, Option<SocketQueue>), Error>;

/// An answer that nobody received, on its way back to the stack.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) handle: Option<SocketId>,
    pub(crate) response: Response,
    pub(crate) queue: Option<SocketQueue>,
}

/// Where an answer is handed over.
#[derive(Debug)]
enum Slot {
    Waiting {
        waker: Option<Waker>,
        parked_on: Option<SocketId>,
    },
    Answered(Answer),
    /// The stack dropped the request.
    Unanswered,
    /// The requester is gone, or has its answer.
    Done,
}

/// The stack's end of a request.
#[derive(Debug)]
pub(crate) struct Responder {
    slot: Arc<Mutex<Slot>>,
    answered: bool,
}

impl Responder {
    /// Hands the answer over, or back if nobody waits for it any more.
    pub(crate) fn answer(mut self, answer: Answer) -> Result<(), Answer> {
        self.answered = true;
        let mut slot = self.slot.lock();
        if let Slot::Waiting { waker, .. } = &mut *slot {
            let waker = waker.take();
            *slot = Slot::Answered(answer);
            drop(slot);
            if let Some(waker) = waker {
                wake(waker);
            }
            Ok(())
        } else {
            Err(answer)
        }
    }

    /// Says on which socket the request waits: the socket is rung for if the requester gives up.
    /// Returns `false` if that has happened already; nobody rings then.
    pub(crate) fn park_on(&self, id: SocketId) -> bool {
        match &mut *self.slot.lock() {
            Slot::Waiting { parked_on, .. } => {
                *parked_on = Some(id);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&*self.slot.lock(), Slot::Done)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let before = {
            let mut slot = self.slot.lock();
            match &*slot {
                Slot::Waiting { .. } => std::mem::replace(&mut *slot, Slot::Unanswered),
                _ => return,
            }
        };
        if let Slot::Waiting { waker: Some(waker), .. } = before {
            wake(waker);
        }
    }
}

/// The requester's end of a request. Dropping it gives an answer that already came back to the
/// stack, and withdraws a request that the stack still holds.
pub(crate) struct Reply {
    slot: Arc<Mutex<Slot>>,
    handle: Option<SocketId>,
    doorbell: Arc<Doorbell>,
}

impl Future for Reply {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock();
        match std::mem::replace(&mut *slot, Slot::Done) {
            Slot::Answered(answer) => Poll::Ready(answer),
            // A stack that goes on has dropped it in a panic.
            Slot::Unanswered if !self.doorbell.is_closed() => Poll::Ready(Err(Error::Aborted)),
            Slot::Unanswered | Slot::Done => Poll::Ready(Err(self.doorbell.end().reason())),
            // A stack that is gone may have missed the request: see `Netstack`'s `Drop`.
            Slot::Waiting { .. } if self.doorbell.is_closed() => {
                Poll::Ready(Err(self.doorbell.end().reason()))
            }
            Slot::Waiting { parked_on, .. } => {
                *slot = Slot::Waiting { waker: Some(cx.waker().clone()), parked_on };
                Poll::Pending
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.slot.lock(), Slot::Done);
        match before {
            Slot::Answered(Ok((response, queue))) => {
                let handle = self.handle;
                self.doorbell.give_back(Undelivered { handle, response, queue });
            }
            Slot::Waiting { parked_on: Some(id), .. } => self.doorbell.ring(id),
            _ => {}
        }
    }
}
