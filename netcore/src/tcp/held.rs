//! SYNs that a listener holds.

use crate::command::tcp::Refusal;
use crate::deadlines::Armed;
use crate::id::SocketId;
use crate::ip::IpHeader;
use crate::queue::HeldSyn;
use crate::reply::Responder;
use crate::sync::Arc;
use crate::tcp::flow_table::FlowKey;
use bytes::Bytes;

/// A SYN without an answer so far. It has no buffers.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) handle: Arc<HeldSyn>,
    pub(crate) flow: FlowKey,
    /// The packet without data, for its options and to be quoted.
    pub(crate) packet: Bytes,
    pub(crate) header: IpHeader,
    /// The sequence number of the SYN.
    pub(crate) remote_isn: u32,
    /// The sequence number that an answer begins with.
    pub(crate) local_isn: u32,
    pub(crate) listener: SocketId,
    /// Those of the listener's and of all half-open connections.
    pub(crate) tickets: (u64, u64),
    pub(crate) decision: Option<Decision>,
    pub(crate) armed: Armed,
}

/// Decision on a held SYN.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It was admitted; a requester waits for the connection.
    Admit(Responder),
    Refuse(Refusal),
}
