//! The command channel: requests to a stack and the answers to them.

use crate::binding::Families;
use crate::command::tcp;
use crate::command::{Command, Response, control};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::network::NetworkWatch;
use crate::owner::{Maker, Owner, SharedOwner};
use crate::queue::SocketQueue;
use crate::reply::Responder;
#[cfg(test)]
use crate::reply::{self, Reply};
use crate::sync::Arc;

use crate::tcp::reservation::{Reservation, TcpPorts};
use std::fmt;
use std::net::SocketAddr;

/// A command sent to a stack.
pub struct Request {
    /// The socket that the command is for; `None` for commands that create one.
    pub handle: Option<SocketId>,
    /// The command.
    pub command: Command,
    pub(crate) responder: Option<Responder>,
    /// Who makes a socket with it.
    pub(crate) owner: Option<SharedOwner>,
}

impl Request {
    /// A request without effect, which wakes the driver.
    pub(crate) fn wake() -> Self {
        let command = control::Command::Wake.into();
        Self { handle: None, command, responder: None, owner: None }
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
    /// Default of connections without options of their own.
    buffers: BufferBytes,
    tcp_ports: Arc<TcpPorts>,
    maker: Maker,
    /// Whether sockets keep the thread and the task that made them.
    keeps_owners: bool,
}

/// The sizes of a connection's buffers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferBytes {
    /// The receive buffer.
    pub recv: usize,
    /// The send buffer, the most that is unacknowledged.
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
        let maker = Maker::default();
        Self { requests, doorbell, network, buffers, tcp_ports, maker, keeps_owners: false }
    }

    pub(crate) fn with_owners(self, keeps_owners: bool) -> Self {
        Self { keeps_owners, ..self }
    }

    /// Whether the stack keeps the owners of its sockets:
    /// [`Config::socket_owners`](crate::Config::socket_owners).
    pub fn keeps_owners(&self) -> bool {
        self.keeps_owners
    }

    /// Has the sockets that are made over this channel and its clones be this owner's.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Self {
        self.maker.set_owner(owner);
        self
    }

    /// Sets what finds the thread and the task that make a socket, for a stack with
    /// [`Config::socket_owners`](crate::Config::socket_owners).
    #[must_use]
    pub fn with_current_owner(mut self, current: fn() -> Owner) -> Self {
        self.maker.set_current(current);
        self
    }

    /// The buffer sizes that a connection with these options begins with.
    pub fn buffer_bytes(&self, options: &tcp::Options) -> BufferBytes {
        let BufferBytes { recv, send } = self.buffers;
        BufferBytes {
            recv: options.recv_buffer_bytes.unwrap_or(recv),
            send: options.send_buffer_bytes.unwrap_or(send),
        }
    }

    /// A watch of the stack's network configuration.
    pub fn network(&self) -> NetworkWatch {
        let mut watch = self.network.clone();
        watch.current();
        watch
    }

    /// Reserves a TCP port, for a socket that is bound before it listens or connects: no other
    /// socket can listen on it or connect from it, and a SYN to it is answered with a reset, unless
    /// a listener for every port accepts it. Port 0 chooses a free port; on `[::]` the port is
    /// reserved for IPv4 too, depending on `families`. Does not wait for the stack.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if a listener or another reservation has the port;
    /// [`Error::NoFreePort`]; [`Error::AddressNotAvailable`] if the address is not one of the
    /// stack's; [`Error::StackGone`] if the stack is gone.
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

    /// Sends a command and waits for its answer, with the queue of a created socket.
    ///
    /// # Errors
    ///
    /// The error of the command; [`Error::StackGone`] if the stack is gone or stops meanwhile.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the command may have been executed. Its effect is then undone: a
    /// new socket is closed, an accepted connection goes back to the front of its queue, received
    /// bytes and datagrams go back to their socket, and a pending connect is aborted.
    pub async fn call(
        &self,
        handle: Option<SocketId>,
        command: impl Into<Command>,
    ) -> Result<(Response, Option<SocketQueue>), Error> {
        let command = command.into();
        let owner = self.owner(handle, &command);
        self.doorbell.call(handle, command, owner).await
    }

    /// The owner of the socket that a command makes.
    fn owner(&self, handle: Option<SocketId>, command: &Command) -> Option<SharedOwner> {
        match (handle, command) {
            (Some(_), _) | (_, Command::Control(_)) => None,
            _ => self.maker.owner(self.keeps_owners),
        }
    }

    /// A request to send, and its reply future.
    #[cfg(test)]
    pub(crate) fn prepare(&self, handle: Option<SocketId>, command: Command) -> (Request, Reply) {
        let (responder, reply) = reply::pair(handle, self.doorbell.clone());
        (Request { handle, command, responder: Some(responder), owner: None }, reply)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("queued_commands", &self.requests.len()).finish()
    }
}

/// A type with access to a stack's command channel: the stack itself, a channel, a handle.
pub trait HasChannel {
    /// The command channel.
    fn command_channel(&self) -> Channel;

    /// Sends a command and blocks the calling thread until it is answered.
    ///
    /// # Errors
    ///
    /// The error of the command; [`Error::StackGone`] if the stack is gone or stops meanwhile.
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
    /// The error of the command; [`Error::StackGone`] if the stack is gone or stops meanwhile.
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

    /// Sends a command without waiting; its answer is discarded, and a created socket is closed
    /// again.
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
            return Err(channel.doorbell.stop_reason().error());
        }
        let command = command.into();
        let owner = channel.owner(handle, &command);
        let request = Request { handle, command, responder: None, owner };
        channel.requests.try_send(request).map_err(|error| match error {
            flume::TrySendError::Full(_) => Error::WouldBlock,
            flume::TrySendError::Disconnected(_) => channel.doorbell.stop_reason().error(),
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
