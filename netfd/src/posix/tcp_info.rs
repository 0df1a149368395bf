//! `TCP_INFO`: the kernel's `struct tcp_info` (linux/tcp.h), filled with what the stack knows.

use crate::posix::{Phase, StreamSocket};

/// The length of the structure, which grows with kernels: programs take as much as they know.
const LEN: usize = 248;
/// Where its fields are.
const STATE: usize = 0;
/// The states of include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// The value of `TCP_INFO`.
pub fn tcp_info(socket: &StreamSocket) -> Vec<u8> {
    let mut info = vec![0; LEN];
    info[STATE] = match socket.phase() {
        Phase::Idle | Phase::Failed | Phase::Ended => CLOSE,
        Phase::Connecting => SYN_SENT,
        Phase::Connected { .. } => ESTABLISHED,
        Phase::Listening => LISTEN,
    };
    info
}
