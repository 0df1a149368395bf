//! The sockets behind the descriptors of this process.

use crate::backlog::Backlog;
use crate::datagrams::Datagrams;
use netsocket::TcpStream;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle;

/// A socket, as long as its descriptor is open. Its task keeps it alive.
#[derive(Debug, Clone)]
pub(crate) enum Socket {
    /// With the peer's address, which a connection that is over has not.
    Stream(Weak<TcpStream>, Option<SocketAddr>),
    Listener(Weak<Backlog>, Handle),
    Datagrams(Weak<Datagrams>, Handle),
}

/// Descriptors are the process's own, and so are their names.
static SOCKETS: Mutex<Option<HashMap<u64, Socket>>> = Mutex::new(None);

/// An entry, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry(u64);

impl Entry {
    pub(crate) fn new(key: u64, socket: Socket) -> Self {
        sockets().get_or_insert_default().insert(key, socket);
        Self(key)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(sockets) = &mut *sockets() {
            sockets.remove(&self.0);
        }
    }
}

/// The socket behind a descriptor.
///
/// # Errors
///
/// `ENOTSOCK` without one.
pub(crate) fn socket(near: impl AsFd) -> io::Result<Socket> {
    let key = crate::key(near)?;
    let socket = sockets().as_ref().and_then(|sockets| sockets.get(&key).cloned());
    Ok(socket.ok_or(Errno::NOTSOCK)?)
}

/// A socket that its task still serves.
pub(crate) fn alive<T>(socket: &Weak<T>) -> io::Result<Arc<T>> {
    Ok(socket.upgrade().ok_or(Errno::NOTCONN)?)
}

fn sockets() -> MutexGuard<'static, Option<HashMap<u64, Socket>>> {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}
