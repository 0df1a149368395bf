//! A UDP socket of the program.

use crate::run::descriptor::Far;
use crate::run::notices::Notices;
use netfd::posix::Family;
use netfd::posix::Settings;
use netfd::posix::errno;
use netstack::netsocket::netcore::tcp::Families;
use netstack::netsocket::{Net, UdpSocket};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) family: Family,
    net: Net,
    inner: Mutex<Inner>,
    bound: watch::Sender<Option<Arc<UdpSocket>>>,
    /// Changes when a datagram is put into the descriptor.
    arrivals: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    is_binding: bool,
    peer: Option<SocketAddr>,
    /// A service, and the address that the program knows it by.
    redirected: Option<(SocketAddr, SocketAddr)>,
    /// The senders of the datagrams in the descriptor.
    senders: VecDeque<SocketAddr>,
}

/// The longest payload of a datagram over IPv4.
pub(crate) const PAYLOAD_MAX: usize = 65_507;

impl DatagramSocket {
    pub(crate) fn new(net: &Net, family: Family) -> Arc<Self> {
        let (net, inner) = (net.clone(), Mutex::default());
        let (bound, arrivals) = (watch::Sender::new(None), watch::Sender::new(()));
        Arc::new(Self { family, net, inner, bound, arrivals })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is bound already; those of [`Net::udp_bind`].
    pub(crate) async fn bind(&self, local: SocketAddr) -> Result<Arc<UdpSocket>, Errno> {
        let settings = {
            let mut inner = self.lock();
            if std::mem::replace(&mut inner.is_binding, true) {
                return Err(Errno::INVAL);
            }
            inner.settings.clone()
        };
        let families = if settings.only_v6 { Families::V6Only } else { Families::Both };
        let bound = match self.net.udp_bind_with(local, families).await {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                self.lock().is_binding = false;
                return Err(errno(&error));
            }
        };
        settings.apply_to_datagrams(&bound, self.family).map_err(|error| errno(&error))?;
        self.bound.send_replace(Some(bound.clone()));
        Ok(bound)
    }

    /// The stack's socket, bound by the stack if the program has not done so.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub(crate) async fn socket(&self) -> Result<Arc<UdpSocket>, Errno> {
        if let Some(socket) = self.bound.borrow().clone() {
            return Ok(socket);
        }
        match self.bind(self.family.unspecified()).await {
            // Another thread binds it just now.
            Err(Errno::INVAL) => {
                let mut bound = self.bound.subscribe();
                let bound = bound.wait_for(Option::is_some).await.map_err(|_| Errno::INVAL)?;
                bound.clone().ok_or(Errno::INVAL)
            }
            bound => bound,
        }
    }

    /// Datagrams of this service are from that address, to the program.
    pub(crate) fn redirect(&self, service: SocketAddr, known: SocketAddr) {
        self.lock().redirected = Some((service, known));
    }

    /// Connects it to `target`, which the program knows as `peer`.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::connect`].
    pub(crate) async fn connect(&self, target: SocketAddr, peer: SocketAddr) -> Result<(), Errno> {
        let socket = self.socket().await?;
        socket.connect(target).await.map_err(|error| errno(&error))?;
        self.lock().peer = Some(peer);
        Ok(())
    }

    /// Undoes [`connect`](Self::connect).
    pub(crate) async fn disconnect(&self) -> Result<(), Errno> {
        if self.lock().peer.take().is_some() {
            let socket = self.socket().await?;
            socket.disconnect().await.map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    pub(crate) fn local(&self) -> SocketAddr {
        let bound = self.bound.borrow();
        let local = bound.as_ref().and_then(|socket| socket.local_addr().ok());
        local.unwrap_or_else(|| self.family.unspecified())
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.lock().peer
    }

    /// Waits until a datagram has arrived after this call.
    pub(crate) fn arrival(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut arrivals = self.arrivals.subscribe();
        async move {
            // The sender lives as long as the socket does, and that as long as its caller.
            let _ = arrivals.changed().await;
        }
    }

    /// The sender of the datagram that was taken from the descriptor.
    pub(crate) fn sender(&self, stays: bool) -> Option<SocketAddr> {
        let mut inner = self.lock();
        let sender = if stays { inner.senders.front().copied() } else { inner.senders.pop_front() };
        match (sender.or(inner.peer), inner.redirected) {
            (Some(sender), Some((service, known))) if sender == service => Some(known),
            (sender, _) => sender,
        }
    }

    /// The error that the network reported, once.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        let bound = self.bound.borrow();
        let error = bound.as_ref()?.take_error().ok()??;
        Some(errno(&error))
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
        if let Some(socket) = &*self.bound.borrow() {
            let applied = inner.settings.apply_to_datagrams(socket, self.family);
            applied.map_err(|error| errno(&error))?;
        }
        Ok(changed)
    }

    /// Serves the socket until the last copy of its descriptor is closed.
    pub(crate) async fn serve(self: Arc<Self>, far: Far, notices: &Notices) {
        let mut bound = self.bound.subscribe();
        let socket = tokio::select! {
            socket = bound.wait_for(Option::is_some) => socket.ok().and_then(|it| it.clone()),
            () = far.closed() => None,
        };
        let Some(socket) = socket else { return };
        let Ok(far) = far.rearm() else { return };
        let inward = async {
            while let Ok((payload, sender)) = socket.recv_bytes_from().await {
                self.lock().senders.push_back(sender);
                if far.send(&payload).await.is_err() {
                    return;
                }
                self.arrivals.send_replace(());
            }
        };
        let outward = async {
            let mut buf = vec![0; PAYLOAD_MAX];
            while let Some(datagram) = far.recv(&mut buf).await {
                if self.peer().is_none() {
                    notices.without_destination();
                }
                // As everywhere datagrams may be lost.
                let _ = socket.send(datagram).await;
            }
        };
        tokio::select! { () = inward => {}, () = outward => {} }
    }
}
