#![doc = include_str!("../README.md")]
#![cfg(target_os = "linux")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod backlog;
mod connecting;
mod datagram_end;
mod datagrams;
mod descriptor;
mod far;
#[cfg(feature = "netlink")]
pub mod netlink;
mod own_copy;
mod pair;
pub mod posix;
mod pump;
mod registry;
mod stream_end;

pub use backlog::Backlog;
pub use connecting::Connecting;
pub use datagram_end::DatagramEnd;
pub use datagrams::Datagrams;
pub use descriptor::{
    accept, from_listener, from_stream, from_udp, local_addr, peek_from, peer_addr, recv_from,
    send_to, take_error, tcp_stream, udp_socket,
};
pub use pair::{Mode, datagram_pair, key, stream_pair};
pub use stream_end::StreamEnd;
