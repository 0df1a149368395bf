//! Datagrams between a pair and a socket.

use crate::far::{Far, Sender, Taken};
use netsocket::UdpSocket;
use rustix::net::{RecvFlags, recv};
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A UDP socket attached to a pair.
///
/// While the socket is connected, `send` and `recv` of the program need no more than
/// [`serve`](Self::serve). Otherwise the pair has no room for addresses: the program's `sendto` is
/// [`UdpSocket::send_to`] of the [socket](Self::socket), and its `recvfrom` is
/// [`try_recv_from`](Self::try_recv_from). At most one datagram is in the pair then, so that it is
/// known from whom the next one comes; a program that does not ask, and just reads, gets them one
/// after the other.
#[derive(Debug)]
pub struct Datagrams {
    far: Far,
    key: u64,
    socket: Arc<UdpSocket>,
    state: Mutex<State>,
    arrivals: Arc<Arrivals>,
    /// A datagram of the program was discarded.
    discarded: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The sender of the datagram in the pair.
    sender: Option<SocketAddr>,
    error: Option<io::Error>,
}

/// What a call that waits for a datagram needs: the socket itself it would keep open.
#[derive(Debug, Default)]
struct Arrivals {
    /// A datagram was put into the pair, or none will be any more.
    came: Arc<Notify>,
    are_over: AtomicBool,
}

/// The longest payload of a datagram over IPv4: 65,535 bytes less two headers (RFC 791, RFC 768).
const PAYLOAD_MAX: usize = 65_507;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 1 << 16]);
}

/// What a datagram did not go through at once.
enum Left {
    Nothing,
    /// It is in the pair, and no other may be put there before it is taken.
    InPair,
    /// There was no room for this one.
    Datagram(Vec<u8>),
    /// The near end is shut down.
    End,
}

impl Datagrams {
    pub(crate) fn new(far: Far, key: u64, socket: Arc<UdpSocket>) -> Self {
        Self {
            far,
            key,
            socket,
            state: Mutex::default(),
            arrivals: Arc::default(),
            discarded: Notify::new(),
        }
    }

    /// The [key](crate::key) of the near end.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<UdpSocket> {
        &self.socket
    }

    /// Takes the error that the network reported for an earlier datagram, for `SO_ERROR`. Unlike
    /// with a kernel's socket, calls at the near end do not report it.
    pub fn take_error(&self) -> Option<io::Error> {
        self.state().error.take().or_else(|| self.socket.take_error().ok().flatten())
    }

    /// Waits until a datagram of the program has been discarded because the socket had no peer. That
    /// is a `sendmsg` with an address, which was not [sent](UdpSocket::send_to) past the pair.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn discarded(&self) {
        self.discarded.notified().await;
    }

    /// Receives a datagram with its sender: through a copy of the near end if there is one in the
    /// pair, and else of the socket. Bytes beyond `buf` are discarded.
    ///
    /// A blocking `recvfrom` gets the future of [`arrival`](Self::arrival) before, waits for it, and
    /// calls this again.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; as [`UdpSocket::recv`].
    pub fn try_recv_from(
        &self,
        near: impl AsFd,
        buf: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        // With the state locked, so that the next datagram is not put there meanwhile.
        let mut state = self.state();
        match recv(near, &mut *buf, RecvFlags::DONTWAIT) {
            Ok((n, _)) => {
                let sender = state.sender.take();
                Ok((n, sender.map_or_else(|| self.socket.peer_addr(), Ok)?))
            }
            Err(error) if io::Error::from(error).kind() == ErrorKind::WouldBlock => {
                state.sender = None;
                self.socket.try_recv_from(buf)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As [`try_recv_from`](Self::try_recv_from), and leaves the datagram to be received.
    ///
    /// # Errors
    ///
    /// As [`try_recv_from`](Self::try_recv_from).
    pub fn try_peek_from(
        &self,
        near: impl AsFd,
        buf: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        let state = self.state();
        match recv(near, &mut *buf, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((n, _)) => Ok((n, state.sender.map_or_else(|| self.socket.peer_addr(), Ok)?)),
            Err(error) if io::Error::from(error).kind() == ErrorKind::WouldBlock => {
                self.socket.try_peek_from(buf)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until a datagram is put into the pair after this call, not after the first poll; returns
    /// false if there will be none, because the near end is closed or the stack is gone. Needs
    /// neither this nor a copy of the near end, which would keep the socket open.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub fn arrival(&self) -> impl Future<Output = bool> + use<> {
        let arrivals = self.arrivals.clone();
        let came = arrivals.came.clone().notified_owned();
        async move {
            let are_over = || arrivals.are_over.load(Ordering::SeqCst);
            if !are_over() {
                came.await;
            }
            !are_over()
        }
    }

    /// Carries datagrams until the last copy of the near end is closed. To be spawned as a task.
    ///
    /// A datagram that the program sends while the socket has no peer is discarded, and so is one
    /// of 65,508 bytes, which the pair takes; for longer ones the kernel says `EMSGSIZE`.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses at most one datagram in each direction.
    pub async fn serve(&self) -> io::Result<()> {
        let closed = async {
            self.outbound().await;
            self.far.hung_up().await;
        };
        let result = tokio::select! {
            () = closed => Ok(()),
            result = self.inbound() => result,
        };
        self.arrivals.are_over.store(true, Ordering::SeqCst);
        self.arrivals.came.notify_waiters();
        result
    }

    /// From the near end to the socket.
    async fn outbound(&self) {
        loop {
            match self.far.read_with(|| SCRATCH.with_borrow_mut(|buf| self.take(buf))).await {
                Ok(Left::Nothing | Left::InPair) => {}
                Ok(Left::Datagram(datagram)) => {
                    if let Err(error) = self.socket.send(&datagram).await {
                        self.keep(error);
                    }
                }
                // Closed with datagrams unread, which is said once, and before those that were sent.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Ok(Left::End) | Err(_) => return,
            }
        }
    }

    /// Takes a datagram of the program and sends it.
    fn take(&self, buf: &mut [u8]) -> io::Result<Left> {
        let datagram = match self.far.try_recv_packet(buf)? {
            None => return Ok(Left::End),
            Some(n) if n > PAYLOAD_MAX => return Ok(Left::Nothing),
            Some(n) => &buf[..n],
        };
        match self.socket.try_send(datagram) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(Left::Datagram(datagram.to_vec()));
            }
            Err(error) => self.keep(error),
            Ok(_) => {}
        }
        Ok(Left::Nothing)
    }

    /// From the socket to the near end.
    async fn inbound(&self) -> io::Result<()> {
        let mut sender = Sender::new(&self.far);
        let (mut taken, mut is_waiting): (Option<Taken>, bool) = (None, false);
        loop {
            let is_connected = self.socket.peer_addr().is_ok();
            match &taken {
                None if !is_connected => taken = Some(Taken::new(&self.far).await?),
                Some(taken) if is_waiting => {
                    taken.next().await?;
                    self.state().sender = None;
                }
                _ => {}
            }
            self.socket.readable().await?;
            let left = SCRATCH.with_borrow_mut(|buf| self.put(buf, is_connected));
            is_waiting = matches!(left, Ok(Left::InPair));
            match left {
                Ok(Left::Nothing | Left::InPair) => {}
                Ok(Left::Datagram(datagram)) => {
                    if sender.send(&[IoSlice::new(&datagram)]).await.is_err() {
                        return self.ended().await;
                    }
                    self.arrivals.came.notify_waiters();
                }
                Ok(Left::End) => return self.ended().await,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(error),
                Err(error) => self.keep(error),
            }
        }
    }

    /// Puts the next datagram into the pair.
    fn put(&self, buf: &mut [u8], is_connected: bool) -> io::Result<Left> {
        let mut state = self.state();
        let (n, sender) = match self.socket.try_recv_from(buf) {
            // The program has taken it past the pair.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Left::Nothing),
            received => received?,
        };
        match self.far.try_send(&[IoSlice::new(&buf[..n])]) {
            Ok(_) => {
                state.sender = (!is_connected).then_some(sender);
                self.arrivals.came.notify_waiters();
                Ok(if is_connected { Left::Nothing } else { Left::InPair })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Ok(Left::Datagram(buf[..n].to_vec()))
            }
            Err(_) => Ok(Left::End),
        }
    }

    /// The program has shut its read half down, and may still send.
    async fn ended(&self) -> io::Result<()> {
        self.far.hung_up().await;
        Ok(())
    }

    fn keep(&self, error: io::Error) {
        match error.kind() {
            // Without a peer nothing was sent that could fail.
            ErrorKind::NotConnected => self.discarded.notify_one(),
            _ => self.state().error = Some(error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
