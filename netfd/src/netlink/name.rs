//! The pair of a netlink socket, and the name of its far end.

use crate::Mode;
use crate::far::Far;
use crate::netlink::NetlinkEnd;
use crate::pair::pair;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SocketAddrUnix, SocketType, bind};
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The longest request, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How many names are tried: that another socket has one of 2⁴⁰ is an accident.
const ATTEMPTS: u64 = 16;

/// Makes the pair of a netlink socket: the near end, close-on-exec, is the program's. The senders'
/// address at the near end is the length of `sockaddr_nl`, with port 0.
///
/// # Errors
///
/// The kernel's, as `EMFILE`.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub fn netlink_pair(mode: Mode) -> io::Result<(OwnedFd, NetlinkEnd)> {
    let (near, far) = pair(SocketType::SEQPACKET, mode)?;
    set_socket_send_buffer_size(&near, REQUEST_BYTES_MAX / 2)?;
    name(&far)?;
    let key = crate::key(&near)?;
    let far = Far::new(far)?;
    far.mark_packets()?;
    Ok((near, NetlinkEnd::new(far, key)))
}

/// Binds the far end to an abstract name in the form of `sockaddr_nl` with port 0. What is left of it
/// (the padding and the groups, at which nobody looks) makes it another's than any other.
fn name(far: impl AsFd) -> io::Result<()> {
    let random = std::hash::RandomState::new();
    for attempt in 0..ATTEMPTS {
        let [padding, a, b, c, d, ..] = random.hash_one(attempt).to_ne_bytes();
        // The first byte, a zero, is that of an abstract name.
        let name = SocketAddrUnix::new_abstract_name(&[padding, 0, 0, 0, 0, a, b, c, d])?;
        match bind(&far, &name) {
            Err(Errno::ADDRINUSE) => {}
            bound => return Ok(bound?),
        }
    }
    Err(Errno::ADDRINUSE.into())
}
