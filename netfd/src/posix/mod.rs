//! What the calls of POSIX sockets mean for pairs: for whoever answers them in the kernel's stead.
//!
//! A [`StreamSocket`] has the state that the kernel has of a TCP socket before, during and after its
//! connection, a [`DatagramSocket`] that of a UDP socket, an [`EchoSocket`] that of a ping socket, and [`Settings`] has its options; [`Family`] encodes addresses, [`errno()`] errors.
//! Options and error numbers are Linux's.

mod address;
mod closing;
mod datagram_socket;
mod echo_socket;
mod errno;
mod kind;
mod reused_ports;
mod settings;
mod stream_socket;
pub(crate) mod tcp_info;

pub use crate::own_copy::own_number;
pub use address::{Family, Given, SOCKADDR_LEN_MAX};
pub use closing::{Closing, released};
pub use datagram_socket::{DatagramService, DatagramSocket};
pub use echo_socket::{Echo, EchoFailure, EchoService, EchoSocket, icmp_error};
pub use errno::errno;
pub use kind::kind_option;
pub use reused_ports::ReusedPorts;
pub use settings::{Done, Settings, Value};
pub use stream_socket::{Accepted, Attempt, Left, Phase, Service, StreamSocket};
pub use tcp_info::tcp_info;
