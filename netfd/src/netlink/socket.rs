//! What the kernel has of a netlink socket.

use crate::netlink::groups::{Group, Groups};
use crate::netlink::message::{AckOptions, overrun};
use crate::netlink::options::Options;
use crate::netlink::ports::Ports;
use crate::netlink::{Address, Protocol};
use crate::posix::{Done, Value};
use rustix::io::Errno;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// How a program is told that it has missed notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// By `ENOBUFS` from its next call, as by the kernel: for those whose calls are answered with
    /// [`Socket::take_missed`].
    Error,
    /// By a message of `NLMSG_OVERRUN`, for those whose calls nobody sees.
    Message,
}

/// A netlink socket, whose [service](crate::netlink::Service) has its far end.
#[derive(Debug)]
pub struct Socket {
    kind: libc::c_int,
    protocol: Protocol,
    reports: Reports,
    ports: Arc<Mutex<Ports>>,
    /// Of its server, which looks then at what it listens to.
    wake: Arc<Notify>,
    notifications: mpsc::Sender<Vec<u8>>,
    arrival: Arc<Notify>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    port: u32,
    groups: Groups,
    options: Options,
    has_missed: bool,
}

impl Socket {
    pub(crate) fn new(
        (kind, protocol): (libc::c_int, Protocol),
        reports: Reports,
        (ports, wake): (Arc<Mutex<Ports>>, Arc<Notify>),
        wanted_port: u32,
        notifications: mpsc::Sender<Vec<u8>>,
    ) -> Self {
        let port = lock(&ports).take(protocol, wanted_port);
        let inner = Mutex::new(Inner { port, ..Inner::default() });
        let arrival = Arc::default();
        Self { kind, protocol, reports, ports, wake, notifications, arrival, inner }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Its address: it has a port from the beginning.
    pub fn local(&self) -> Address {
        let inner = self.inner();
        Address { port: inner.port, groups: inner.groups.low() }
    }

    /// Binds it: gives it another port, unless that is 0, and has it join these groups alone of those
    /// from 1 to 32.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if the port is another's; `EOPNOTSUPP` for groups of a protocol without any.
    pub fn bind(&self, local: Address) -> Result<(), Errno> {
        if local.groups != 0 && self.protocol != Protocol::Route {
            return Err(Errno::OPNOTSUPP);
        }
        let mut inner = self.inner();
        if local.port != 0 {
            if !lock(&self.ports).exchange(self.protocol, inner.port, local.port) {
                return Err(Errno::ADDRINUSE);
            }
            inner.port = local.port;
        }
        inner.groups.set_low(local.groups);
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// Connects it, which is possible to the stack alone.
    ///
    /// # Errors
    ///
    /// `EPERM` for another port than 0, and groups.
    pub fn connect(&self, peer: Address) -> Result<(), Errno> {
        if peer == Address::default() { Ok(()) } else { Err(Errno::PERM) }
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` for one that there is not; `EINVAL` for a value that is too short, and a group
    /// that there is not.
    pub fn set(&self, level: libc::c_int, name: libc::c_int, value: &[u8]) -> Result<Done, Errno> {
        let Inner { options, groups, .. } = &mut *self.inner();
        let done = options.set(groups, level, name, value);
        self.wake.notify_one();
        done
    }

    /// The value of an option.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` for one that there is not.
    pub fn get(&self, level: libc::c_int, name: libc::c_int) -> Result<Value, Errno> {
        if level == libc::SOL_SOCKET {
            match name {
                libc::SO_DOMAIN => return Ok(libc::AF_NETLINK.into()),
                libc::SO_PROTOCOL => return Ok(self.protocol.number().into()),
                libc::SO_TYPE => return Ok(self.kind.into()),
                _ => {}
            }
        }
        let inner = self.inner();
        inner.options.get(inner.groups, level, name)
    }

    /// Whether it has missed notifications since it was last asked: its next call to receive fails
    /// with `ENOBUFS` then.
    pub fn take_missed(&self) -> bool {
        std::mem::take(&mut self.inner().has_missed)
    }

    /// Waits, from now on, until something was sent to it, or it has missed something.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub fn arrival(&self) -> impl Future<Output = ()> + Send + use<> {
        self.arrival.clone().notified_owned()
    }

    pub(crate) fn has_arrived(&self) {
        self.arrival.notify_waiters();
    }

    pub(crate) fn port(&self) -> u32 {
        self.inner().port
    }

    pub(crate) fn ack_options(&self) -> AckOptions {
        self.inner().options.acks()
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn is_in(&self, group: Group) -> bool {
        self.protocol == Protocol::Route && self.inner().groups.has(group)
    }

    /// Tells it, if it listens to this group.
    pub(crate) fn tell(&self, group: Group, message: &[u8]) {
        if !self.is_in(group) {
            return;
        }
        if self.reports == Reports::Message && self.inner().has_missed && self.try_tell_missed() {
            self.inner().has_missed = false;
        }
        if self.notifications.try_send(message.to_vec()).is_err() {
            self.miss();
        }
    }

    /// It has missed something, if it listens to anything and wants to know.
    pub(crate) fn miss(&self) {
        {
            let mut inner = self.inner();
            if inner.groups.is_empty() || inner.options.no_missed {
                return;
            }
            inner.has_missed = true;
        }
        self.arrival.notify_waiters();
    }

    fn try_tell_missed(&self) -> bool {
        self.notifications.try_send(overrun()).is_ok()
    }

    /// What tells it that it has missed something, once there is nothing before that.
    pub(crate) fn missed_message(&self) -> Option<Vec<u8>> {
        let is_due = self.reports == Reports::Message && self.take_missed();
        is_due.then(overrun)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let port = self.inner().port;
        lock(&self.ports).free(self.protocol, port);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
