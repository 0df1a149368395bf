//! A proxy: clients at one side, servers at the other, where each side is a stack or this machine's sockets.
//! One port speaks HTTP (CONNECT and plain requests) and SOCKS5 (CONNECT and UDP ASSOCIATE), or
//! [forwards](Proxy::forwarding) to one server; on a stack it can also [intercept](Proxy::intercept)
//! connections to any address.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod association;
mod carry;
mod delivery;
mod http;
mod listener;
mod pending;
mod service;
mod side;
pub mod socks5;

pub use carry::carry;
pub use delivery::delivered;
pub use listener::Listener;
pub use pending::carry_pending;
pub use service::Proxy;
pub use side::Side;
