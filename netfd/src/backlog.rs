//! Listeners.

use crate::far::Far;
use netsocket::{TcpListener, TcpStream};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A listener and its connections that wait for `accept`, one unread byte at the near end for each.
///
/// [`serve`](Self::serve) is spawned as a task; `accept` of the program is [`try_accept`].
///
/// [`try_accept`]: Self::try_accept
#[derive(Debug)]
pub struct Backlog {
    far: Far,
    key: u64,
    incoming: Arc<Incoming>,
    queue: Arc<Queue>,
    taken: Notify,
}

/// Where the connections of one or more backlogs come from: each takes one when it is its turn.
#[derive(Debug)]
pub(crate) struct Incoming {
    listener: TcpListener,
    turn: tokio::sync::Mutex<()>,
}

/// What a call that waits for a connection needs: the listener itself it would keep open.
#[derive(Debug)]
struct Queue {
    /// `None` once the near end is closed.
    waiting: Mutex<Option<VecDeque<(TcpStream, SocketAddr)>>>,
    /// A connection waits, or none will any more.
    came: Arc<Notify>,
}

/// Connections taken from the listener, whose own backlog counts beside them. A pair of default
/// size holds 278 messages of one byte.
const WAITING_MAX: usize = 64;

impl Incoming {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, turn: tokio::sync::Mutex::default() }
    }

    pub(crate) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Cancel safe.
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // Who waits longest is the next.
        let _turn = self.turn.lock().await;
        self.listener.accept().await
    }
}

impl Backlog {
    pub(crate) fn new(far: Far, key: u64, incoming: Arc<Incoming>) -> Self {
        let waiting = Mutex::new(Some(VecDeque::new()));
        let queue = Arc::new(Queue { waiting, came: Arc::default() });
        Self { far, key, incoming, queue, taken: Notify::new() }
    }

    /// The [key](crate::key) of the near end.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The listener.
    pub fn listener(&self) -> &TcpListener {
        &self.incoming.listener
    }

    /// Shows waiting connections at the near end, until its last copy is closed. Connections that
    /// wait then are reset; the listener itself is closed with the last handle of this backlog, and of others that share it.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection; without it no new ones show.
    pub async fn serve(&self) -> io::Result<()> {
        let result = tokio::select! {
            () = self.far.hung_up() => Ok(()),
            result = self.show() => result,
        };
        let left = self.queue.waiting().take();
        self.queue.came.notify_waiters();
        for (stream, _) in left.into_iter().flatten() {
            stream.set_zero_linger()?;
        }
        result
    }

    async fn show(&self) -> io::Result<()> {
        loop {
            while self.queue.waiting().as_ref().is_some_and(|waiting| waiting.len() >= WAITING_MAX)
            {
                self.taken.notified().await;
            }
            let next = self.incoming.next().await?;
            if let Some(waiting) = &mut *self.queue.waiting() {
                waiting.push_back(next);
                self.send_byte();
                self.queue.came.notify_waiters();
            }
        }
    }

    /// Waits until there is a connection to accept; returns false if there will be none, because the
    /// near end is closed or the stack is gone. Needs neither this nor a copy of the near end, which
    /// would keep the listener open.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub fn acceptable(&self) -> impl Future<Output = bool> + use<> {
        let queue = self.queue.clone();
        async move {
            loop {
                let came = queue.came.notified();
                match &*queue.waiting() {
                    None => return false,
                    Some(waiting) if !waiting.is_empty() => return true,
                    Some(_) => {}
                }
                came.await;
            }
        }
    }

    /// Takes the oldest waiting connection, and its byte from the near end.
    ///
    /// A blocking `accept` waits until one is [acceptable](Self::acceptable), and calls it again:
    /// another process may have been faster.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none waits.
    pub fn try_accept(&self, near: impl AsFd) -> io::Result<(TcpStream, SocketAddr)> {
        let mut waiting = self.queue.waiting();
        let next = waiting.as_mut().and_then(VecDeque::pop_front);
        let next = next.ok_or(io::ErrorKind::WouldBlock)?;
        // With the queue locked: there are as many bytes as connections.
        let _ = recv(near, &mut [0; 1], RecvFlags::DONTWAIT);
        drop(waiting);
        self.taken.notify_one();
        Ok(next)
    }

    /// Gives a connection back that could not be handed to the program: it is the next again.
    pub fn put_back(&self, stream: TcpStream, peer: SocketAddr) {
        if let Some(waiting) = &mut *self.queue.waiting() {
            waiting.push_front((stream, peer));
            self.send_byte();
            self.queue.came.notify_waiters();
        }
    }

    fn send_byte(&self) {
        // Fails if the near end is gone, which ends the listener.
        let _ = send(&self.far, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Option<VecDeque<(TcpStream, SocketAddr)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
