#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! * [`Net`] makes sockets: [`TcpStream`], [`TcpListener`], [`TcpSocket`], [`UdpSocket`].
//! * [`blocking`] has the same for threads.
//! * [`Control`] changes addresses, routes and the link of a running stack.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod blocking;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "quinn")]
pub mod quinn;
#[cfg(feature = "ureq")]
pub mod ureq;

mod address;
mod control;
mod datagram_socket;
mod names;
mod net;
mod owner;
mod pending;
mod ping_socket;
mod race;
mod raw_socket;
mod readiness;
mod split;
mod stream;
mod stream_io;
mod stream_methods;
mod tcp_listener;
mod tcp_socket;
mod tcp_stream;
mod traffic_class;
mod udp_binding;
mod udp_methods;
mod udp_socket;
mod wait;

pub use address::ToSocketAddrs;
pub use control::Control;
pub use net::Net;
pub use pending::{PendingConnection, PendingListener};
pub use ping_socket::{PingAnswer, PingError, PingReply, PingSocket};
pub use raw_socket::RawSocket;
pub use readiness::{Interest, Ready};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tcp_listener::TcpListener;
pub use tcp_socket::TcpSocket;
pub use tcp_stream::TcpStream;
pub use udp_socket::UdpSocket;

pub use ipnet::IpNet;
pub use netcore;
pub use netcore::raw::Version;
pub use netcore::tcp::congestion::{self, CongestionControl};
pub use netcore::tcp::{CaState, Families, KeepAlive, ListenOptions, OnSyn, Options, Refusal};
pub use netcore::tcp::{Limit, LimitTimes, TcpInfo, TcpTimers};
pub use netcore::{LinkState, Network, NetworkWatch, Owner, Route};
