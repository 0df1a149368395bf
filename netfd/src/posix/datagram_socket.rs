//! A UDP socket with the state that the kernel has of one.

use crate::far::Watch;
use crate::posix::{Closing, Family, Settings, errno};
use crate::{DatagramEnd, Datagrams};
use netsocket::{Families, Net, UdpSocket};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// A UDP socket, which has a port from its first use on. What the program says of it is asked of
/// this; the far end of its descriptor is with the task that [serves](DatagramService) it.
#[derive(Debug)]
pub struct DatagramSocket {
    family: Family,
    net: Net,
    orders: mpsc::UnboundedSender<Attach>,
    /// Held while it is being bound.
    binding: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
    far: Watch,
    /// It was bound, or has ended.
    changed: Notify,
    has_ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    datagrams: Option<Arc<Datagrams>>,
    /// As the program knows it.
    peer: Option<SocketAddr>,
    /// A service, and the address that the program knows it by.
    redirected: Option<(SocketAddr, SocketAddr)>,
}

/// What the far end is to have the datagrams of.
#[derive(Debug)]
struct Attach {
    socket: UdpSocket,
    attached: oneshot::Sender<Result<Arc<Datagrams>, Errno>>,
}

/// The task behind a UDP socket: it has the far end of the descriptor.
#[derive(Debug)]
pub struct DatagramService {
    socket: Arc<DatagramSocket>,
    end: DatagramEnd,
    orders: mpsc::UnboundedReceiver<Attach>,
}

impl DatagramSocket {
    /// Makes a socket without a port, and what serves it.
    pub fn new(net: &Net, family: Family, end: DatagramEnd) -> (Arc<Self>, DatagramService) {
        let (sender, orders) = mpsc::unbounded_channel();
        let socket = Arc::new(Self {
            family,
            net: net.clone(),
            orders: sender,
            binding: tokio::sync::Mutex::default(),
            inner: Mutex::default(),
            far: end.watch(),
            changed: Notify::new(),
            has_ended: watch::Sender::new(false),
        });
        (socket.clone(), DatagramService { socket, end, orders })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Binds it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is bound; those of [`Net::udp_bind`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it is bound or not.
    pub async fn bind(&self, local: SocketAddr) -> Result<(), Errno> {
        let _binding = self.binding.lock().await;
        match self.datagrams() {
            Some(_) => Err(Errno::INVAL),
            None => self.take_port(local).await.map(drop),
        }
    }

    /// Its datagrams; it is bound by the stack if that has not been done.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// # Cancel safety
    ///
    /// As [`bind`](Self::bind).
    pub async fn bound(&self) -> Result<Arc<Datagrams>, Errno> {
        if let Some(datagrams) = self.datagrams() {
            return Ok(datagrams);
        }
        let _binding = self.binding.lock().await;
        match self.datagrams() {
            Some(datagrams) => Ok(datagrams),
            None => self.take_port(self.family.unspecified()).await,
        }
    }

    async fn take_port(&self, local: SocketAddr) -> Result<Arc<Datagrams>, Errno> {
        let (only_v6, options) = self.settings(|it| (it.only_v6, it.datagram_options()));
        let families = if only_v6 { Families::V6Only } else { Families::Both };
        let bound = self.net.udp_bind_with_options(local, families, options).await;
        let socket = bound.map_err(|error| errno(&error))?;
        let (attached, datagrams) = oneshot::channel();
        let _ = self.orders.send(Attach { socket, attached });
        // The descriptor is closed.
        datagrams.await.map_err(|_| Errno::BADF)?
    }

    /// Its datagrams, once it is bound and until its descriptor is closed.
    pub fn datagrams(&self) -> Option<Arc<Datagrams>> {
        self.lock().datagrams.clone()
    }

    /// Waits until it is bound. Needs no copy of the descriptor, which would keep the socket open.
    ///
    /// # Errors
    ///
    /// `EBADF` if its descriptor is closed.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn wait_until_bound(&self) -> Result<Arc<Datagrams>, Errno> {
        loop {
            let changed = self.changed.notified();
            match self.datagrams() {
                Some(datagrams) => return Ok(datagrams),
                None if *self.has_ended.borrow() => return Err(Errno::BADF),
                None => changed.await,
            }
        }
    }

    /// Connects it to `target`, which the program knows as `peer`.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind), and those of [`UdpSocket::connect`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peer is the new or the old one.
    pub async fn connect(&self, target: SocketAddr, peer: SocketAddr) -> Result<(), Errno> {
        let datagrams = self.bound().await?;
        datagrams.socket().connect(target).await.map_err(|error| errno(&error))?;
        self.lock().peer = Some(peer);
        Ok(())
    }

    /// Undoes [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::disconnect`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it may have a peer or none.
    pub async fn disconnect(&self) -> Result<(), Errno> {
        let Some(datagrams) = self.datagrams() else { return Ok(()) };
        datagrams.socket().disconnect().await.map_err(|error| errno(&error))?;
        self.lock().peer = None;
        Ok(())
    }

    /// Datagrams of this service are from that address, to the program.
    pub fn redirect(&self, service: SocketAddr, known: SocketAddr) {
        self.lock().redirected = Some((service, known));
    }

    /// What the program knows the sender of a datagram as.
    pub fn known(&self, sender: SocketAddr) -> SocketAddr {
        match self.lock().redirected {
            Some((service, known)) if sender == service => known,
            _ => sender,
        }
    }

    /// Its own address, unspecified before it has one.
    pub fn local(&self) -> SocketAddr {
        let local = self.datagrams().and_then(|it| it.socket().local_addr().ok());
        local.unwrap_or_else(|| self.family.unspecified())
    }

    /// The peer that it is connected to.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.lock().peer
    }

    /// The error that the network reported, once.
    pub fn take_error(&self) -> Option<Errno> {
        Some(errno(&self.datagrams()?.take_error()?))
    }

    /// Looks at the options.
    pub fn settings<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        look(&self.lock().settings)
    }

    /// Changes options.
    ///
    /// # Errors
    ///
    /// Those of `change`, and of setting them.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut inner = self.lock();
        let changed = change(&mut inner.settings)?;
        if let Some(datagrams) = &inner.datagrams {
            let applied = inner.settings.apply_to_datagrams(datagrams.socket(), self.family);
            applied.map_err(|error| errno(&error))?;
        }
        Ok(changed)
    }

    /// As [`StreamSocket::closing`](crate::posix::StreamSocket::closing).
    pub fn closing(&self) -> Option<Closing> {
        self.far.has_hung_up().then(|| Closing::new(&self.has_ended))
    }
}

impl DatagramService {
    /// Serves the socket until the last copy of its descriptor is closed. `discarded` is called once,
    /// if a datagram of the program was [discarded](Datagrams::discarded).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub async fn run(self, discarded: impl FnOnce()) {
        let Self { socket, end, mut orders } = self;
        let attach = tokio::select! {
            attach = orders.recv() => attach,
            () = end.closed() => None,
        };
        if let Some(Attach { socket: udp, attached }) = attach {
            let datagrams = end.attach(Arc::new(udp));
            {
                let mut inner = socket.lock();
                let applied = inner.settings.apply_to_datagrams(datagrams.socket(), socket.family);
                inner.datagrams = Some(datagrams.clone());
                let applied = applied.map_err(|error| errno(&error));
                let _ = attached.send(applied.map(|()| datagrams.clone()));
            }
            let telling = async {
                datagrams.discarded().await;
                discarded();
                std::future::pending().await
            };
            socket.changed.notify_waiters();
            // Ends with the stack, too: then nothing comes any more.
            tokio::select! { _ = datagrams.serve() => {}, () = telling => {} }
        }
        // The stack's socket is closed with its last handle.
        socket.lock().datagrams = None;
        orders.close();
        socket.has_ended.send_replace(true);
        socket.changed.notify_waiters();
    }
}
