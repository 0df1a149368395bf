//! A UDP socket of the program.

use crate::run::notices::Notices;
use netfd::posix::{Family, Settings, errno};
use netfd::{DatagramEnd, Datagrams};
use netstack::netsocket::netcore::tcp::Families;
use netstack::netsocket::{Net, UdpSocket};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) family: Family,
    net: Net,
    inner: Mutex<Inner>,
    bound: watch::Sender<Option<Arc<UdpSocket>>>,
    /// The same, with the descriptor.
    attached: watch::Sender<Option<Arc<Datagrams>>>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    is_binding: bool,
    peer: Option<SocketAddr>,
    /// A service, and the address that the program knows it by.
    redirected: Option<(SocketAddr, SocketAddr)>,
}

/// A received datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) payload: Vec<u8>,
    pub(crate) sender: SocketAddr,
}

/// The longest payload of a datagram over IPv4.
pub(crate) const PAYLOAD_MAX: usize = 65_507;

impl DatagramSocket {
    pub(crate) fn new(net: &Net, family: Family) -> Arc<Self> {
        let (net, inner) = (net.clone(), Mutex::default());
        let (bound, attached) = (watch::Sender::new(None), watch::Sender::new(None));
        Arc::new(Self { family, net, inner, bound, attached })
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

    /// Takes a datagram and its sender, or leaves it where it is; `near` is a copy of the descriptor.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is none; an error that the network reported.
    pub(crate) fn take(&self, near: BorrowedFd<'_>, stays: bool) -> Result<Taken, Errno> {
        let attached = self.attached.borrow().clone().ok_or(Errno::AGAIN)?;
        let mut payload = vec![0; PAYLOAD_MAX];
        let taken = match stays {
            true => attached.try_peek_from(near, &mut payload),
            false => attached.try_recv_from(near, &mut payload),
        };
        let (n, sender) = taken.map_err(|error| errno(&error))?;
        payload.truncate(n);
        let sender = match self.lock().redirected {
            Some((service, known)) if sender == service => known,
            _ => sender,
        };
        Ok(Taken { payload, sender })
    }

    /// Calls `take` for each datagram that arrives, until it has one; it finds copies of the
    /// descriptor, and keeps none.
    pub(crate) async fn retry<T>(
        &self,
        mut take: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut attached = self.attached.subscribe();
        let attached = attached.wait_for(Option::is_some).await.map_err(|_| Errno::BADF)?.clone();
        let attached = attached.ok_or(Errno::BADF)?;
        loop {
            let arrival = attached.arrival();
            match take() {
                // None comes any more once the descriptor is closed.
                Err(Errno::AGAIN) if arrival.await => {}
                Err(Errno::AGAIN) => return Err(Errno::BADF),
                taken => return taken,
            }
        }
    }

    /// The error that the network reported, once.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        let attached = self.attached.borrow();
        Some(errno(&attached.as_ref()?.take_error()?))
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
    pub(crate) async fn serve(&self, end: DatagramEnd, notices: &Notices) {
        let mut bound = self.bound.subscribe();
        let socket = tokio::select! {
            socket = bound.wait_for(Option::is_some) => socket.ok().and_then(|it| it.clone()),
            () = end.closed() => None,
        };
        if let Some(socket) = socket {
            let attached = end.attach(socket);
            self.attached.send_replace(Some(attached.clone()));
            let telling = async {
                attached.discarded().await;
                notices.without_destination();
                std::future::pending().await
            };
            // Ends with the stack, too: then nothing comes any more.
            tokio::select! { _ = attached.serve() => {}, () = telling => {} }
        }
        // The stack's socket is closed with its last handle.
        self.attached.send_replace(None);
        self.bound.send_replace(None);
    }
}
