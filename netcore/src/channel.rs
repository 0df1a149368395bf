//! The command channel: requests to a stack and the answers to them.

use crate::binding::Families;
use crate::command::tcp;
use crate::command::{Command, Response, control};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::network::NetworkWatch;
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
}

impl Request {
    /// A request without effect, which wakes the driver.
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
    /// Default of connections without options of their own.
    buffers: BufferBytes,
    tcp_ports: Arc<TcpPorts>,
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
        Self { requests, doorbell, network, buffers, tcp_ports }
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
        self.doorbell.call(handle, command.into()).await
    }

    /// A request to send, and its reply future.
    #[cfg(test)]
    pub(crate) fn prepare(&self, handle: Option<SocketId>, command: Command) -> (Request, Reply) {
        let (responder, reply) = reply::pair(handle, self.doorbell.clone());
        (Request { handle, command, responder: Some(responder) }, reply)
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
        let request = Request { handle, command: command.into(), responder: None };
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
