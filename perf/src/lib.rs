//! Throughput tests between two ends, of which one at least is on a stack: streams and datagrams with
//! rates, losses and jitter, the time of requests, and connections a second.
//!
//! The protocol is iperf3's, so iperf3 is a [`client::run`]'s server and a [`server::Server`]'s client.
//! What iperf3 does not have is asked for with the parameters, and done if the server says that it has
//! it ([`parameters::Extension`]): every byte is compared, streams end where they were told to, and there
//! are requests and connections instead of streams. The same protocol runs over TLS, QUIC and HTTP
//! ([`Connector`], [`Acceptor`]), which iperf3 does not have.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod acceptor;
mod arrivals;
mod channel;
pub mod client;
mod connection;
mod connector;
pub mod control;
mod cookie;
mod datagrams;
mod failure;
mod http;
mod pacer;
pub mod parameters;
mod pattern;
mod phase;
mod progress;
mod quic;
pub mod report;
pub mod results;
mod running;
mod scheme;
pub mod server;
mod shared;
mod stream_id;
mod tally;
mod transactions;

pub use acceptor::Acceptor;
pub use connector::Connector;
pub use failure::Failure;
pub use parameters::Parameters;
pub use report::{Event, Interval, Report};
pub use results::Results;
pub use scheme::Scheme;

/// iperf3's port.
pub const PORT: u16 = 5201;
