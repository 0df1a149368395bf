//! The same sockets for plain threads, with the methods of `std::net`.
//!
//! Each of them converts into its async counterpart and back with `From`. Calls that wait block the
//! calling thread; do not make them on a thread of an async runtime.

mod control;
mod net;
mod pending;
#[cfg(feature = "dns")]
mod resolver;
mod tcp_listener;
mod tcp_stream;
mod udp_socket;

pub use control::Control;
pub use net::Net;
pub use pending::{PendingConnection, PendingListener};
#[cfg(feature = "dns")]
pub use resolver::Resolver;
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_stream::TcpStream;
pub use udp_socket::UdpSocket;
