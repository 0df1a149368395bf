//! The supervisor: has the program's sockets, and answers its calls.

use crate::run::call::Call;
use crate::run::calls;
use crate::run::names::NameService;
use crate::run::notices::Notices;
use crate::run::notification::Listener;
use crate::run::parked::Parked;
use crate::run::shown::Shown;
use crate::run::tasks::{Identity, Tasks};
use netfd::Mode;
use netfd::netlink::{self, Ends, Inodes, Reports, Server};
use netfd::posix::{
    Closing, DatagramService, DatagramSocket, EchoService, EchoSocket, Family, Left, ReusedPorts,
    Service, StreamSocket,
};
use netstack::Net;
use netstack::netsocket::netcore::SocketKind;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Something of the program that is not the kernel's.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Ip(Socket),
    Netlink(Arc<netlink::Socket>),
    Echo(Arc<EchoSocket>),
}

/// A socket of the program.
#[derive(Debug, Clone)]
pub(crate) enum Socket {
    Stream(Arc<StreamSocket>),
    Datagram(Arc<DatagramSocket>),
}

/// The descriptor of a call: a duplicate, to be dropped soon, since a socket is closed with the
/// last one.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) near: OwnedFd,
    pub(crate) identity: Identity,
}

/// Who has a socket, and under which number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) task: u32,
    pub(crate) number: RawFd,
}

/// What programs' sockets of IP are made of.
#[derive(Debug)]
pub(crate) struct Ip {
    pub(crate) net: Net,
    pub(crate) ports: ReusedPorts,
    pub(crate) names: NameService,
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// Or why the program has no such sockets.
    pub(crate) ip: Result<Arc<Ip>, String>,
    pub(crate) netlink: Arc<Server<Shown>>,
    /// How its netlink sockets are told that they have missed something.
    pub(crate) reports: Reports,
    listener: Arc<Listener>,
    runtime: Handle,
    tasks: Tasks,
    pub(crate) notices: Notices,
    parked: Parked,
    sockets: Mutex<HashMap<Identity, Entry>>,
    retired: Mutex<VecDeque<Identity>>,
    /// The number of sockets, without those.
    open: watch::Sender<usize>,
    calls: AtomicU64,
    /// Whether calls are answered no more.
    is_over: watch::Sender<bool>,
}

#[derive(Debug)]
struct Entry {
    held: Held,
    holder: Option<Holder>,
    is_retired: bool,
    /// The address that it was bound to by a call that was gone before its answer: the kernel repeats
    /// that, or the program does.
    bound_untold: Option<SocketAddr>,
}

/// Sockets that are kept for their error.
const RETIRED_MAX: usize = 1024;

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

    /// What the stack knows it by; `None` while it has no socket of the stack.
    fn ends(&self) -> Option<Ends> {
        let (kind, local, peer) = match self {
            Self::Stream(socket) => {
                let (local, peer) = socket.ends();
                (SocketKind::Tcp, local, peer)
            }
            Self::Datagram(socket) => {
                let datagrams = socket.datagrams()?;
                let udp = datagrams.socket();
                (SocketKind::Udp, udp.local_addr().ok()?, udp.peer_addr().ok())
            }
        };
        Some(Ends { kind, local, peer })
    }

    fn closing(&self) -> Option<Closing> {
        match self {
            Self::Stream(socket) => socket.closing(),
            Self::Datagram(socket) => socket.closing(),
        }
    }
}

impl Descriptor {
    pub(crate) fn mode(&self) -> Mode {
        match fcntl_getfl(&self.near) {
            Ok(flags) if flags.contains(OFlags::NONBLOCK) => Mode::Nonblocking,
            _ => Mode::Blocking,
        }
    }
}

impl Supervisor {
    /// Starts to answer the calls, on a thread of its own.
    pub(crate) fn start(
        ip: Result<Arc<Ip>, String>,
        netlink: Arc<Server<Shown>>,
        reports: Reports,
        notices: Notices,
        listener: Listener,
    ) -> io::Result<Arc<Self>> {
        let supervisor = Arc::new(Self {
            ip,
            netlink,
            reports,
            listener: Arc::new(listener),
            runtime: Handle::current(),
            tasks: Tasks::default(),
            notices,
            parked: Parked::default(),
            sockets: Mutex::default(),
            retired: Mutex::default(),
            open: watch::Sender::new(0),
            calls: AtomicU64::new(0),
            is_over: watch::Sender::new(false),
        });
        let answering = supervisor.clone();
        thread::Builder::new().name("calls".into()).spawn(move || answering.answer_all())?;
        Ok(supervisor)
    }

    fn answer_all(self: Arc<Self>) {
        // Descriptors are registered with it.
        let _context = self.runtime.enter();
        if let Err(error) = self.answer_each() {
            self.notices.no_calls(&error);
        }
        self.is_over.send_replace(true);
    }

    fn answer_each(self: &Arc<Self>) -> io::Result<()> {
        while let Some(notification) = self.listener.next()? {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.parked.interrupt(notification.task);
            let call = Call::new(self.listener.clone(), notification);
            // A defect of one call fails that, and not all others.
            let _ = catch_unwind(AssertUnwindSafe(|| calls::handle(self, call)));
        }
        Ok(())
    }

    /// Where the program gets to instead of to this address: a service of names.
    pub(crate) fn redirect(&self, target: SocketAddr) -> Option<SocketAddr> {
        self.ip.as_ref().ok()?.names.redirect(target)
    }

    /// The number of calls until now.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The number of sockets.
    pub(crate) fn sockets(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until nothing is left behind the filter.
    pub(crate) async fn is_over(&self) {
        let mut is_over = self.is_over.subscribe();
        // The sender is this.
        let _ = is_over.wait_for(|is_over| *is_over).await;
    }

    /// Waits until all sockets are closed, and what was written to them is with the stack.
    pub(crate) async fn all_closed(&self) {
        let mut open = self.open.subscribe();
        // The sender is this.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Identity, Entry>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket that a call is about; `None` if its descriptor is of another kind.
    pub(crate) fn find(&self, call: &Call) -> Option<(Descriptor, Held)> {
        let near = self.tasks.duplicate(call.task(), call.int(0)).ok()?;
        let identity = Identity::of(&near).ok()?;
        let held = self.table().get(&identity)?.held.clone();
        // The task may have ended, and its number be another's.
        call.is_waiting().then_some((Descriptor { near, identity }, held))
    }

    /// The family that the kernel knows the socket of a call by; `None` if it is none.
    pub(crate) fn domain(&self, call: &Call) -> Option<AddressFamily> {
        let descriptor = self.tasks.duplicate(call.task(), call.int(0)).ok()?;
        let domain = socket_domain(&descriptor).ok()?;
        call.is_waiting().then_some(domain)
    }

    /// Serves a socket with this descriptor until that is closed, and removes it then.
    pub(crate) fn serve_stream(self: &Arc<Self>, identity: Identity, service: Service) {
        let supervisor = self.clone();
        self.runtime.spawn(async move {
            match service.run(|| supervisor.near(identity)).await {
                Left::Nothing => supervisor.remove(identity),
                Left::Descriptor => supervisor.retire(identity),
            }
        });
    }

    /// As [`serve_stream`](Self::serve_stream).
    pub(crate) fn serve_datagrams(self: &Arc<Self>, identity: Identity, service: DatagramService) {
        let supervisor = self.clone();
        self.runtime.spawn(async move {
            service.run(|| supervisor.notices.without_destination()).await;
            supervisor.remove(identity);
        });
    }

    /// As [`serve_stream`](Self::serve_stream).
    pub(crate) fn serve_netlink(
        self: &Arc<Self>,
        identity: Identity,
        service: netlink::Service<Shown>,
    ) {
        let supervisor = self.clone();
        self.runtime.spawn(async move {
            service.run().await;
            supervisor.remove(identity);
        });
    }

    /// As [`serve_stream`](Self::serve_stream).
    pub(crate) fn serve_echo(self: &Arc<Self>, identity: Identity, service: EchoService) {
        let supervisor = self.clone();
        self.runtime.spawn(async move {
            service.run().await;
            supervisor.remove(identity);
        });
    }

    /// Adds a socket with this descriptor.
    pub(crate) fn add(&self, identity: Identity, held: Held) {
        self.table()
            .insert(identity, Entry { held, holder: None, is_retired: false, bound_untold: None });
        self.open.send_modify(|open| *open += 1);
    }

    /// Removes the socket with this descriptor.
    pub(crate) fn remove(&self, identity: Identity) {
        if self.table().remove(&identity).is_some() {
            self.open.send_modify(|open| *open -= 1);
        }
    }

    /// Keeps a socket for its error only. Nobody sees the program close it: the oldest of many such
    /// are forgotten.
    fn retire(&self, identity: Identity) {
        let mut sockets = self.table();
        if let Some(entry) = sockets.get_mut(&identity) {
            entry.is_retired = true;
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.push_back(identity);
            if retired.len() > RETIRED_MAX
                && let Some(oldest) = retired.pop_front()
                // Another socket may have its identity by now.
                && sockets.get(&oldest).is_some_and(|entry| entry.is_retired)
            {
                sockets.remove(&oldest);
            }
            self.open.send_modify(|open| *open -= 1);
        }
    }

    /// The inodes of the sockets' descriptors.
    pub(crate) fn inodes(&self) -> Inodes {
        let sockets = self.table();
        let of = |(identity, entry): (&Identity, &Entry)| match &entry.held {
            Held::Ip(socket) => Some((socket.ends()?, identity.inode())),
            Held::Netlink(_) | Held::Echo(_) => None,
        };
        sockets.iter().filter_map(of).collect()
    }

    /// The sockets that the program has closed and that may have this port still.
    pub(crate) fn closing(&self, port: u16) -> Vec<Closing> {
        let sockets = self.table();
        let served = sockets.values().filter(|entry| !entry.is_retired);
        let sockets = served.filter_map(|entry| match &entry.held {
            Held::Ip(socket) => Some(socket),
            Held::Netlink(_) | Held::Echo(_) => None,
        });
        let on_port = sockets.filter(|socket| socket.local().port() == port);
        on_port.filter_map(Socket::closing).collect()
    }

    /// Keeps that the program was not told that a socket is bound to this address.
    pub(crate) fn keep_bound(&self, identity: Identity, local: SocketAddr) {
        if let Some(entry) = self.table().get_mut(&identity) {
            entry.bound_untold = Some(local);
        }
    }

    /// Whether that is so, once.
    pub(crate) fn take_bound(&self, identity: Identity, local: SocketAddr) -> bool {
        let mut sockets = self.table();
        let untold = sockets.get_mut(&identity).and_then(|entry| entry.bound_untold.take());
        untold == Some(local)
    }

    /// Keeps where the program has a socket.
    pub(crate) fn held(&self, identity: Identity, holder: Holder) {
        if let Some(entry) = self.table().get_mut(&identity) {
            entry.holder = Some(holder);
        }
    }

    /// A copy of a socket's descriptor, if somebody has it under the number that was last seen.
    fn near(&self, identity: Identity) -> Option<OwnedFd> {
        let holder = self.table().get(&identity)?.holder?;
        self.tasks.find(holder.task, holder.number, identity)
    }

    /// Runs something to its end.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Answers a call later. It is given up when the next one of the same task arrives.
    pub(crate) fn park(&self, task: u32, answering: impl Future<Output = ()> + Send + 'static) {
        self.parked.insert(task, self.runtime.spawn(answering).abort_handle());
    }
}

/// Waits no longer than the descriptor's `SO_RCVTIMEO` or `SO_SNDTIMEO`; `None` if that has passed.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    waiting: impl Future<Output = T>,
) -> Option<T> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, waiting).await.ok(),
        None => Some(waiting.await),
    }
}
