//! UDP, ping and raw sockets.

use crate::channel::Responder;
use crate::command::raw::Version;
use crate::ports::BoundTo;
use crate::queue::DatagramQueue;
use crate::sync::Arc;
use std::collections::VecDeque;
use std::net::IpAddr;

/// A socket without connections. What it receives goes straight to the handle's queue.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) queue: Arc<DatagramQueue>,
    pub(crate) kind: Kind,
    pub(crate) is_dirty: bool,
    /// The handle is gone: the socket goes once its queue is sent.
    pub(crate) is_orphan: bool,
    /// Receive commands that wait, with the length they cut at.
    pub(crate) parked: VecDeque<(Option<usize>, Responder)>,
}

/// What kind of datagrams a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp { to: BoundTo, port: u16, is_v6: bool },
    Ping { local: IpAddr, identifier: u16 },
    Raw { version: Version, protocol: u8 },
}
