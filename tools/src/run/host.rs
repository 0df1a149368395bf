//! Programs of other processes on a stack of this one: what `--join` asks.

use crate::run::FAREWELL;
use crate::run::names::NameService;
use crate::run::notices::Notices;
use crate::run::notification::Listener;
use crate::run::shown::Shown;
use crate::run::supervisor::{Ip, Supervisor};
use crate::run::told::{Left, Told};
use crate::run::{Messages, refused, reports};
use anyhow::{Context, Result};
use netfd::netlink::Server;
use netfd::posix::ReusedPorts;
use netstack::Net;
use netstack::control::{Joining, Serve};
use rustix::io::Errno;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// What takes programs onto a stack, on the runtime of that.
#[derive(Debug)]
struct Host {
    runtime: Handle,
    /// Made with the first program.
    ip: Arc<OnceCell<Arc<Ip>>>,
    places: Arc<Semaphore>,
}

/// The most programs on a stack that others have started. Each has a thread here.
const PROGRAMS_MAX: usize = 256;

/// What takes programs onto a stack of the current runtime; nothing outside of one.
pub(crate) fn host() -> Option<Arc<dyn netstack::control::Host>> {
    let runtime = Handle::try_current().ok()?;
    let places = Arc::new(Semaphore::new(PROGRAMS_MAX));
    Some(Arc::new(Host { runtime, ip: Arc::default(), places }))
}

impl netstack::control::Host for Host {
    fn join(&self, joining: Joining) -> io::Result<Serve> {
        let place = self.places.clone().try_acquire_owned();
        let place =
            place.map_err(|_| io::Error::other("the stack has too many programs already"))?;
        let listener = Listener::of(joining.process, joining.listener).map_err(refusal)?;
        let (runtime, ip) = (self.runtime.clone(), self.ip.clone());
        Ok(Box::new(move |stream| {
            let guest = Guest { joining, listener, place };
            runtime.spawn(async move {
                if let Err(error) = guest.serve(stream, &ip).await {
                    tracing::debug!("a program of another process: {error:#}");
                }
            });
        }))
    }
}

/// Why a listener could not be taken, and what to do about it.
fn refusal(errno: Errno) -> io::Error {
    match errno {
        Errno::PERM => io::Error::other(
            "the process of the stack may not look into this one, as ptrace(2) says: it has to be of \
             the same user where kernel.yama.ptrace_scope is 0, or have CAP_SYS_PTRACE",
        ),
        errno => errno.into(),
    }
}

/// A program that another process has started.
#[derive(Debug)]
struct Guest {
    joining: Joining,
    listener: Listener,
    place: OwnedSemaphorePermit,
}

impl Guest {
    /// Answers its calls, until nothing is left of it.
    async fn serve(self, stream: StdStream, ip: &OnceCell<Arc<Ip>>) -> Result<()> {
        let Self { joining: Joining { net, interface, messages, .. }, listener, place } = self;
        let mut stream = UnixStream::from_std(stream)?;
        let ip = ip.get_or_try_init(|| make(&net)).await?.clone();
        let shown = Shown::new(&net, &interface);
        let netlink = Server::start(shown.clone()).await.map_err(refused)?;
        let messages = if messages { Messages::Notified } else { Messages::Untouched };
        let (tell, mut told) = mpsc::unbounded_channel();
        let notices = Notices::to(tell);
        let supervisor = Supervisor::start(Ok(ip), netlink, reports(messages), notices, listener)?;
        shown.has(&supervisor);
        loop {
            tokio::select! {
                biased;
                Some(notice) = told.recv() => write(&mut stream, &Told::Notice(notice)).await,
                () = supervisor.is_over() => break,
            }
        }
        // What the program has written is on its way to the stack.
        let _ = timeout(FAREWELL, supervisor.all_closed()).await;
        let left = Left { calls: supervisor.calls(), sockets: supervisor.sockets() };
        // Who is told may start another one.
        drop(place);
        write(&mut stream, &Told::Over(left)).await;
        Ok(())
    }
}

/// Tells the process that has started the program. If that has ended, the program goes on.
async fn write(stream: &mut UnixStream, told: &Told) {
    if let Ok(line) = serde_json::to_string(told) {
        let _ = stream.write_all(format!("{line}\n").as_bytes()).await;
    }
}

async fn make(net: &Net) -> Result<Arc<Ip>> {
    let names = NameService::start(net).await.context("the name service")?;
    Ok(Arc::new(Ip { net: net.clone(), ports: ReusedPorts::default(), names }))
}
