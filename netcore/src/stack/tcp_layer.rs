//! The state of TCP.

use super::context::Context;
use crate::buffer::Arena;
use crate::engine::Engine;
use crate::flow_table::FlowTable;
use crate::ports::Ports;
use crate::rate_limit::{Challenges, RateLimit};
use crate::reservation::TcpPorts;
use crate::sockets::listener::HalfOpen;
use crate::sockets::past_ends::PastEnds;
use crate::sockets::time_wait::TimeWait;
use crate::sync::Arc;

/// TCP above IP: demultiplexing, connections, listeners and TIME-WAIT.
#[derive(Debug)]
pub(crate) struct TcpLayer {
    pub(crate) engine: Engine,
    pub(crate) arena: Arena,
    pub(crate) flows: FlowTable,
    pub(crate) ports: Ports,
    pub(crate) half_open: HalfOpen,
    pub(crate) time_wait: TimeWait,
    pub(crate) past_ends: PastEnds,
    pub(crate) challenges: Challenges,
    pub(crate) resets: RateLimit,
}

impl TcpLayer {
    pub(crate) fn new(cx: &mut Context, reservations: Arc<TcpPorts>) -> Self {
        let config = &cx.config;
        Self {
            engine: Engine::new(cx.now),
            arena: Arena::new(config.buffer_bytes_max),
            flows: FlowTable::with_hasher(cx.random.hash_keys()),
            ports: Ports::of_tcp(reservations),
            half_open: HalfOpen::default(),
            time_wait: TimeWait::new(config.time_wait, config.time_wait_max),
            past_ends: PastEnds::new(config.time_wait_max, cx.random.hash_keys()),
            challenges: Challenges::new(config.challenge_acks_per_second, cx.now),
            resets: RateLimit::new(config.resets_per_second, cx.now),
        }
    }
}
