//! A UDP socket with the state that the kernel has of one.

use netfd::posix::{Family, Settings, errno};
use netfd::{DatagramEnd, Datagrams};
use netstack::netsocket::netcore::tcp::Families;
use netstack::{Net, UdpSocket};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// A UDP socket, which has a port from its first use on.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    family: Family,
    net: Net,
    orders: mpsc::UnboundedSender<Attach>,
    /// Held while it is being bound.
    binding: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    datagrams: Option<Arc<Datagrams>>,
}

/// What the far end is to have the datagrams of.
#[derive(Debug)]
struct Attach {
    socket: Arc<UdpSocket>,
    attached: oneshot::Sender<Arc<Datagrams>>,
}

/// The far end of the descriptor, and what comes for it.
#[derive(Debug)]
pub(crate) struct Service {
    end: DatagramEnd,
    orders: mpsc::UnboundedReceiver<Attach>,
}

impl DatagramSocket {
    pub(crate) fn new(net: &Net, family: Family, end: DatagramEnd) -> (Arc<Self>, Service) {
        let (sender, orders) = mpsc::unbounded_channel();
        let socket = Self {
            family,
            net: net.clone(),
            orders: sender,
            binding: tokio::sync::Mutex::default(),
            inner: Mutex::default(),
        };
        (Arc::new(socket), Service { end, orders })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Binds it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is bound; those of [`Net::udp_bind_with`].
    pub(crate) async fn bind(&self, local: SocketAddr) -> Result<(), Errno> {
        let _binding = self.binding.lock().await;
        match self.datagrams() {
            Some(_) => Err(Errno::INVAL),
            None => self.take_port(local).await.map(drop),
        }
    }

    /// It, bound by the stack if that has not been done.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub(crate) async fn bound(&self) -> Result<Arc<Datagrams>, Errno> {
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
        let only_v6 = self.settings(|settings| settings.only_v6);
        let families = if only_v6 { Families::V6Only } else { Families::Both };
        let socket = self.net.udp_bind_with(local, families).await.map_err(|it| errno(&it))?;
        let socket = Arc::new(socket);
        let (attached, datagrams) = oneshot::channel();
        let _ = self.orders.send(Attach { socket: socket.clone(), attached });
        let datagrams = datagrams.await.map_err(|_| Errno::BADF)?;
        let mut inner = self.lock();
        let applied = inner.settings.apply_to_datagrams(&socket, self.family);
        applied.map_err(|error| errno(&error))?;
        inner.datagrams = Some(datagrams.clone());
        Ok(datagrams)
    }

    pub(crate) fn datagrams(&self) -> Option<Arc<Datagrams>> {
        self.lock().datagrams.clone()
    }

    pub(crate) fn local(&self) -> SocketAddr {
        let local = self.datagrams().and_then(|it| it.socket().local_addr().ok());
        local.unwrap_or_else(|| self.family.unspecified())
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.datagrams()?.socket().peer_addr().ok()
    }

    pub(crate) fn take_error(&self) -> Option<Errno> {
        Some(errno(&self.datagrams()?.take_error()?))
    }

    /// Looks at the options.
    pub(crate) fn settings<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        look(&self.lock().settings)
    }

    /// Changes options.
    pub(crate) fn change<T>(
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
}

impl Service {
    /// Serves the socket until its last descriptor is closed.
    pub(crate) async fn run(mut self) {
        let attach = tokio::select! {
            attach = self.orders.recv() => attach,
            () = self.end.closed() => None,
        };
        if let Some(Attach { socket, attached }) = attach {
            let datagrams = self.end.attach(socket);
            let _ = attached.send(datagrams.clone());
            // Ends with the stack, too: then nothing comes any more.
            let _ = datagrams.serve().await;
        }
    }
}
