//! The stacks of the process.

use crate::c::without_signals;
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::{netlink, sockets};
use netfd::netlink::{Own, Server};
use netfd::posix::ReusedPorts;
use netstack::Net;
use netstack::netsocket::netcore::Network;
use rustix::io::Errno;
use rustix::process::getpid;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::{EnterGuard, Handle, Runtime};
use tokio::time::timeout;

/// A stack with the threads that it and its sockets run on.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) id: usize,
    pub(crate) net: Net,
    pub(crate) ports: ReusedPorts,
    /// The name of its interface.
    pub(crate) name: String,
    /// Its netlink server, once there is a socket for it.
    pub(crate) netlink: Mutex<Option<Arc<Server<Own>>>>,
    handle: Handle,
    parts: Mutex<Option<Parts>>,
}

/// What a stack is ended with.
struct Parts {
    runtime: Runtime,
    stack: netstack::Stack,
}

#[derive(Debug, Default)]
struct Stacks {
    all: BTreeMap<usize, Arc<Stack>>,
    last_id: usize,
    default: Option<usize>,
}

static STACKS: Mutex<Option<Stacks>> = Mutex::new(None);
/// The process that has the threads of the stacks; 0 before the first.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// How long DHCP and SLAAC may take for an address.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long connections may take to close.
const FAREWELL: Duration = Duration::from_secs(5);
/// The threads of a stack: for itself, and for the bytes of its sockets.
const THREADS: usize = 2;

/// Fails in a child of the process that made the stacks: their threads, and the holders of locks, are
/// not there. To be called before everything else.
///
/// # Errors
///
/// `EOWNERDEAD`.
pub(crate) fn check_process() -> Result<()> {
    let owner = OWNER.load(Ordering::Acquire);
    if owner == 0 || owner == getpid().as_raw_nonzero().get() {
        return Ok(());
    }
    let text = "the stack belongs to the parent process; its sockets can still be read and written";
    Err(Failure::new(Errno::OWNERDEAD, text))
}

/// Makes a stack, and waits for the address if DHCP or SLAAC is to give one.
pub(crate) fn create(config: &Config) -> Result<usize> {
    OWNER.store(getpid().as_raw_nonzero().get(), Ordering::Release);
    let created = make(config).map(|stack| {
        let (id, mut stacks) = (stack.id, stacks());
        stacks.get_or_insert_default().all.insert(id, Arc::new(stack));
        id
    });
    disown_if_none();
    created
}

/// Without a stack a child may make its own.
fn disown_if_none() {
    if stacks().as_ref().is_none_or(|stacks| stacks.all.is_empty()) {
        OWNER.store(0, Ordering::Release);
    }
}

fn make(config: &Config) -> Result<Stack> {
    let (runtime, stack) = without_signals(|| start(config))?;
    let net = stack.net().clone();
    let handle = runtime.handle().clone();
    if config.dhcp || config.slaac {
        let addressed = async { timeout(PATIENCE, net.watch_network().wait_for(is_ready)).await };
        match handle.block_on(addressed) {
            Ok(ready) => drop(ready.map_err(io::Error::from)?),
            Err(_) => {
                let text = format!("no address by DHCP or SLAAC within {PATIENCE:?}");
                return Err(Failure::new(Errno::TIMEDOUT, text));
            }
        }
    }
    let mut stacks = stacks();
    let stacks = stacks.get_or_insert_default();
    stacks.last_id += 1;
    let id = stacks.last_id;
    let (name, parts) = (config.name.clone(), Mutex::new(Some(Parts { runtime, stack })));
    let ports = ReusedPorts::default();
    Ok(Stack { id, net, ports, name, netlink: Mutex::default(), handle, parts })
}

fn start(config: &Config) -> io::Result<(Runtime, netstack::Stack)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("netstack")
        .enable_all()
        .build()?;
    let stack = {
        let _context = runtime.enter();
        config.start()?
    };
    Ok((runtime, stack))
}

/// Whether there is an address that can be used, and nothing that is still being looked into.
fn is_ready(network: &Network) -> bool {
    let is_usable = |address: IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let all = || network.addresses.iter().map(|own| own.addr()).filter(|own| is_usable(*own));
    all().next().is_some() && !all().any(|own| network.tentative.contains(&own))
}

/// The stack of this number, or the default one for 0.
///
/// # Errors
///
/// `EINVAL` if there is none.
pub(crate) fn find(id: usize) -> Result<Arc<Stack>> {
    let stacks = stacks();
    let stacks = stacks.as_ref();
    let id = match id {
        0 => stacks
            .and_then(|stacks| stacks.default)
            .ok_or_else(|| Failure::new(Errno::INVAL, "there is no default stack"))?,
        id => id,
    };
    let stack = stacks.and_then(|stacks| stacks.all.get(&id)).cloned();
    stack.ok_or_else(|| Failure::new(Errno::INVAL, "there is no such stack"))
}

/// Makes a stack the default one, or none for 0.
pub(crate) fn set_default(id: usize) -> Result<()> {
    let default = if id == 0 { None } else { Some(find(id)?.id) };
    stacks().get_or_insert_default().default = default;
    Ok(())
}

/// Ends a stack.
///
/// # Errors
///
/// `EBUSY` while sockets of it are open.
pub(crate) fn delete(id: usize) -> Result<()> {
    let stack = find(id)?;
    let busy = |n: usize| {
        let text = format!("the stack has {n} open sockets");
        Err(Failure::new(Errno::BUSY, text))
    };
    match sockets::open(stack.id) + netlink::open(stack.id) {
        0 => {}
        n => return busy(n),
    }
    // What was written to closed sockets is still sent.
    match sockets::wait_until_closed(&stack, FAREWELL) {
        0 => {}
        n => return busy(n),
    }
    {
        let mut stacks = stacks();
        let stacks = stacks.get_or_insert_default();
        if stacks.default == Some(stack.id) {
            stacks.default = None;
        }
        stacks.all.remove(&stack.id);
    }
    sockets::forget(stack.id);
    let parts = stack.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Parts { runtime, stack }) = parts {
        // Its device may have failed long ago.
        let _ = runtime.block_on(stack.shutdown(FAREWELL));
        runtime.shutdown_timeout(FAREWELL);
    }
    disown_if_none();
    Ok(())
}

impl Stack {
    /// Waits for something.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }

    /// For what registers descriptors with the runtime.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

fn stacks() -> MutexGuard<'static, Option<Stacks>> {
    STACKS.lock().unwrap_or_else(PoisonError::into_inner)
}
