//! The sockets of all stacks, by the inode of their descriptors.

use crate::c::own_copy;
use crate::failure::{Failure, Result};
use crate::stack::Stack;
use netfd::posix::{Closing, DatagramSocket, Family, Settings, StreamSocket, released};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A socket.
#[derive(Debug, Clone)]
pub(crate) enum Socket {
    Stream(Arc<StreamSocket>),
    Datagram(Arc<DatagramSocket>),
}

/// The socket of a call.
#[derive(Debug)]
pub(crate) struct Found<'fd> {
    pub(crate) near: BorrowedFd<'fd>,
    pub(crate) socket: Socket,
    pub(crate) stack: Arc<Stack>,
}

#[derive(Debug)]
struct Entry {
    socket: Socket,
    stack: Arc<Stack>,
    /// The number that the descriptor was last seen under.
    number: RawFd,
    /// It has no far end, so nobody sees it being closed.
    is_retired: bool,
}

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<u64, Entry>,
    retired: VecDeque<u64>,
}

/// Sockets without a far end that are kept for their names and errors.
const RETIRED_MAX: usize = 1024;

static TABLE: Mutex<Table> = Mutex::new(Table { all: BTreeMap::new(), retired: VecDeque::new() });
/// Is notified when a socket leaves the table.
static CLOSED: Notify = Notify::const_new();

impl Socket {
    pub(crate) fn family(&self) -> Family {
        match self {
            Self::Stream(socket) => socket.family(),
            Self::Datagram(socket) => socket.family(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        match self {
            Self::Stream(socket) => socket.local(),
            Self::Datagram(socket) => socket.local(),
        }
    }

    fn closing(&self) -> Option<Closing> {
        match self {
            Self::Stream(socket) => socket.closing(),
            Self::Datagram(socket) => socket.closing(),
        }
    }

    pub(crate) fn settings<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        match self {
            Self::Stream(socket) => socket.settings(look),
            Self::Datagram(socket) => socket.settings(look),
        }
    }

    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Settings) -> std::result::Result<T, Errno>,
    ) -> std::result::Result<T, Errno> {
        match self {
            Self::Stream(socket) => socket.change(change),
            Self::Datagram(socket) => socket.change(change),
        }
    }
}

impl Found<'_> {
    pub(crate) fn is_blocking(&self) -> Result<bool> {
        Ok(!fcntl_getfl(self.near)?.contains(OFlags::NONBLOCK))
    }

    /// A copy of the descriptor, to be dropped soon: a socket is closed with the last one.
    pub(crate) fn copy(&self) -> Result<OwnedFd> {
        Ok(self.near.try_clone_to_owned()?)
    }
}

/// The socket behind a descriptor.
///
/// # Errors
///
/// `EBADF`; `ENOTSOCK` if it is none of a stack.
pub(crate) fn find(near: BorrowedFd<'_>) -> Result<Found<'_>> {
    let key = netfd::key(near)?;
    let mut table = table();
    let entry = table
        .all
        .get_mut(&key)
        .ok_or_else(|| Failure::new(Errno::NOTSOCK, "the descriptor is no socket of a stack"))?;
    entry.number = near.as_raw_fd();
    let (socket, stack) = (entry.socket.clone(), entry.stack.clone());
    Ok(Found { near, socket, stack })
}

/// Adds a socket, before its descriptor is given out.
pub(crate) fn add(stack: &Arc<Stack>, key: u64, socket: Socket, number: RawFd) {
    let entry = Entry { socket, stack: stack.clone(), number, is_retired: false };
    table().all.insert(key, entry);
}

/// A copy of a socket's descriptor, if this process has it.
pub(crate) fn copy(key: u64) -> Option<OwnedFd> {
    let number = table().all.get(&key)?.number;
    own_copy(key, number)
}

/// The far end of a socket is gone: keeps it for its names and errors if the descriptor is open
/// still, and else removes it.
pub(crate) fn finish(key: u64) {
    let is_open = copy(key).is_some();
    let mut table = table();
    if is_open {
        if let Some(entry) = table.all.get_mut(&key) {
            entry.is_retired = true;
            table.retired.push_back(key);
        }
        if table.retired.len() > RETIRED_MAX
            && let Some(oldest) = table.retired.pop_front()
            // Another socket may have its inode by now.
            && table.all.get(&oldest).is_some_and(|entry| entry.is_retired)
        {
            table.all.remove(&oldest);
        }
    } else {
        table.all.remove(&key);
    }
    drop(table);
    CLOSED.notify_waiters();
}

/// The number of a stack's sockets that have descriptors in this process.
pub(crate) fn open(stack: usize) -> usize {
    let all: Vec<_> = {
        let table = table();
        let of_stack = table.all.iter().filter(|(_, entry)| entry.stack.id == stack);
        of_stack.map(|(key, entry)| (*key, entry.number)).collect()
    };
    all.into_iter().filter(|(key, number)| own_copy(*key, *number).is_some()).count()
}

/// Gives a socket a local address.
pub(crate) fn bind(found: &Found<'_>, local: SocketAddr) -> Result<()> {
    let bind = || match &found.socket {
        Socket::Stream(socket) => socket.bind(local),
        Socket::Datagram(socket) => found.stack.block_on(socket.bind(local)),
    };
    let mut bound = bind();
    if bound == Err(Errno::ADDRINUSE) {
        let closing = closing(&found.stack, local.port());
        found.stack.block_on(released(&found.stack.net, closing))?;
        bound = bind();
    }
    match bound {
        // An address that the stack has not is EADDRNOTAVAIL, of whichever kind it is.
        Err(Errno::NETUNREACH) => Err(Errno::ADDRNOTAVAIL.into()),
        bound => Ok(bound?),
    }
}

/// The sockets of a stack that were closed and may have this port still.
fn closing(stack: &Stack, port: u16) -> Vec<Closing> {
    let table = table();
    let of_stack = table.all.values().filter(|it| it.stack.id == stack.id && !it.is_retired);
    let on_port = of_stack.filter(|it| it.socket.local().port() == port);
    on_port.filter_map(|it| it.socket.closing()).collect()
}

/// Waits until a stack has no sockets, for a bounded time; returns how many it has then.
pub(crate) fn wait_until_closed(stack: &Stack, patience: Duration) -> usize {
    let left = || {
        let table = table();
        let served = table.all.values().filter(|it| it.stack.id == stack.id && !it.is_retired);
        served.count()
    };
    let waiting = async {
        loop {
            let mut closed = std::pin::pin!(CLOSED.notified());
            closed.as_mut().enable();
            if left() == 0 {
                return;
            }
            closed.await;
        }
    };
    let _ = stack.block_on(async { tokio::time::timeout(patience, waiting).await });
    left()
}

/// Removes what is left of a stack's sockets.
pub(crate) fn forget(stack: usize) {
    table().all.retain(|_, entry| entry.stack.id != stack);
}

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}
