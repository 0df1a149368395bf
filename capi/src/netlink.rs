//! The calls of netlink sockets.

use crate::c::own_copy;
use crate::failure::Result;
use crate::stack::Stack;
use netfd::Mode;
use netfd::netlink::{Own, Protocol, Refusal, Reports, Server, Socket, netlink_pair};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A netlink socket of a stack.
#[derive(Debug)]
struct Entry {
    socket: Arc<Socket>,
    stack: usize,
    /// The number that the descriptor was last seen under.
    number: RawFd,
}

/// By the inodes of their descriptors.
static SOCKETS: Mutex<BTreeMap<u64, Entry>> = Mutex::new(BTreeMap::new());

/// Makes a socket.
///
/// # Errors
///
/// The kernel's, as `EMFILE`; `EPROTONOSUPPORT`; `ENETDOWN` if the stack is gone.
pub(crate) fn create(
    stack: &Arc<Stack>,
    kind: libc::c_int,
    protocol: libc::c_int,
    mode: Mode,
) -> Result<OwnedFd> {
    let protocol = Protocol::from_number(protocol).ok_or(Errno::PROTONOSUPPORT)?;
    let server = stack.netlink().map_err(|_| Errno::NETDOWN)?;
    let _context = stack.enter();
    let (near, end) = netlink_pair(mode)?;
    let key = end.key();
    let process = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
    let (socket, service) = Socket::open(&server, (kind, protocol), Reports::Message, process, end);
    sockets().insert(key, Entry { socket, stack: stack.id, number: near.as_raw_fd() });
    stack.spawn(async move {
        service.run().await;
        sockets().remove(&key);
    });
    Ok(near)
}

/// The netlink socket behind a descriptor, if it is one.
pub(crate) fn find(near: BorrowedFd<'_>) -> Option<Arc<Socket>> {
    let key = netfd::key(near).ok()?;
    let mut sockets = sockets();
    let entry = sockets.get_mut(&key)?;
    entry.number = near.as_raw_fd();
    Some(entry.socket.clone())
}

/// The number of a stack's netlink sockets that have descriptors in this process.
pub(crate) fn open(stack: usize) -> usize {
    let all: Vec<_> = {
        let sockets = sockets();
        let of_stack = sockets.iter().filter(|(_, entry)| entry.stack == stack);
        of_stack.map(|(key, entry)| (*key, entry.number)).collect()
    };
    all.into_iter().filter(|(key, number)| own_copy(*key, *number).is_some()).count()
}

impl Stack {
    /// Its netlink server, made with the first socket.
    fn netlink(&self) -> std::result::Result<Arc<Server<Own>>, Refusal> {
        let mut server = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = &*server {
            return Ok(server.clone());
        }
        let started = self.block_on(Server::start(Own::new(&self.net, &self.name)))?;
        Ok(server.insert(started).clone())
    }
}

fn sockets() -> MutexGuard<'static, BTreeMap<u64, Entry>> {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}
