//! The server of a control socket: a thread of its own, which ends with the stack.

use super::capture::CaptureSource;
use super::host::Host;
use super::protocol::{Answer, Failure};
use super::session::{Session, Shared};
use crate::control_socket::Busy;
use crate::unix_path::BoundPath;
use netsocket::Net;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};

/// The most clients of a control socket at once; another one is refused.
pub const CLIENTS_MAX: usize = 16;

/// The name of the thread.
const THREAD_NAME: &str = "netstack-control";
const BACKLOG: i32 = 16;
/// The pause after a failure to accept, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound control socket, without a server.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: StdListener,
    file: ControlFile,
}

/// What a stack and its link are called.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) interface: String,
}

/// The file of a control socket: removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ControlFile(#[expect(dead_code, reason = "it is dropped")] BoundPath);

/// The place of a client, and the number of them.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Listening {
    /// Binds a socket that only this user can open. The file of one that nobody listens on any more
    /// is replaced.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody listens there, or the file is no socket; the kernel's.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let is_alive = |path: &Path| StdStream::connect(path).is_ok();
        let (listener, file) = BoundPath::bind(path, bind_private, is_alive).map_err(|error| {
            io::Error::new(error.kind(), format!("the control socket: {error}"))
        })?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, file: ControlFile(file) })
    }

    /// Starts to serve clients, until the stack is gone.
    ///
    /// # Errors
    ///
    /// The thread cannot be made.
    pub(crate) fn serve(
        self,
        net: Net,
        busy: Arc<Busy>,
        named: Named,
        captures: CaptureSource,
        host: Option<Arc<dyn Host>>,
    ) -> io::Result<ControlFile> {
        let Self { listener, file } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            UnixListener::from_std(listener)?
        };
        let (clients, began) = (Arc::default(), Instant::now());
        let shared = Arc::new(Shared { net, busy, clients, began, named, captures, host });
        std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || {
            // With it go the clients.
            runtime.block_on(serve(&listener, &shared));
        })?;
        Ok(file)
    }
}

/// Binds with mode 0600 from the beginning.
fn bind_private(path: &Path) -> io::Result<StdListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On Linux the file gets the mode of the socket, so that it is never open to others.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

async fn serve(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut network = shared.net.watch_network();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, shared),
                Err(error) => {
                    tracing::debug!(%error, "accepting a client of the control socket");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            changed = network.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Serves a client, if it is of the same user, and not too many.
fn admit(stream: UnixStream, shared: &Arc<Shared>) {
    if let Err(failure) = check(&stream) {
        return refuse(&stream, failure);
    }
    let place = Place::new(&shared.clients);
    if shared.clients.load(Ordering::Relaxed) > CLIENTS_MAX {
        let message = format!("the control socket has {CLIENTS_MAX} clients already");
        return refuse(&stream, Failure::new(message));
    }
    let session = Session::new(stream, place, shared.clone());
    tokio::spawn(async move {
        if let Err(error) = session.run().await {
            tracing::debug!(%error, "a client of the control socket");
        }
    });
}

/// Beyond the mode of the file, which another one with its descriptor could change.
fn check(stream: &UnixStream) -> Result<(), Failure> {
    let peer = stream.peer_cred().map_err(|error| Failure::new(error.to_string()))?;
    let own = rustix::process::geteuid();
    match peer.uid() == own.as_raw() || peer.uid() == 0 {
        true => Ok(()),
        false => Err(Failure::new("the control socket is another user's")),
    }
}

/// Tells the client why, if the socket takes that at once.
fn refuse(stream: &UnixStream, failure: Failure) {
    let mut line = Vec::new();
    if Answer::Error(failure).append(&mut line).is_ok() {
        // There is nobody else to tell.
        let _ = stream.try_write(&line);
    }
}

impl Place {
    fn new(clients: &Arc<AtomicUsize>) -> Self {
        clients.fetch_add(1, Ordering::Relaxed);
        Self(clients.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
