//! What all netlink sockets over one stack share.

use crate::netlink::changes::{self, Told};
use crate::netlink::groups::Group;
use crate::netlink::ports::Ports;
use crate::netlink::{Refusal, Socket, Subject};
use netsocket::netcore::control::{Command, Response};
use netsocket::netcore::{NeighbourInfo, Network};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

/// A netlink server over a stack, for any number of [sockets](crate::netlink::Socket).
pub struct Server<S> {
    subject: S,
    state: Mutex<State>,
    /// One change at a time, so that each is told by itself.
    changing: tokio::sync::Mutex<()>,
    ports: Arc<Mutex<Ports>>,
    /// Wakes the task that watches the stack: a socket has joined groups, or the server ends.
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// What everybody has been told of.
    known: Arc<Network>,
    /// Likewise; nothing while nobody listens.
    neighbours: Option<Vec<NeighbourInfo>>,
    sockets: Vec<Weak<Socket>>,
}

/// How often neighbours are looked at.
const NEIGHBOURS_EVERY: Duration = Duration::from_secs(1);

impl<S: Subject + Clone> Server<S> {
    /// Makes one, which watches the stack until the last handle is dropped.
    ///
    /// # Errors
    ///
    /// The stack is gone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(subject: S) -> Result<Arc<Self>, Refusal> {
        let known = match subject.ask(Command::Network).await? {
            Some(Response::Network(network)) => network,
            _ => return Err(Refusal::unexpected()),
        };
        let state = State { known, neighbours: None, sockets: Vec::new() };
        let server = Arc::new(Self {
            subject: subject.clone(),
            state: Mutex::new(state),
            changing: tokio::sync::Mutex::default(),
            ports: Arc::default(),
            wake: Arc::default(),
        });
        tokio::spawn(watch(Arc::downgrade(&server), subject, server.wake.clone()));
        Ok(server)
    }
}

impl<S: Subject> Server<S> {
    pub(crate) fn subject(&self) -> &S {
        &self.subject
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the stack.
    pub(crate) async fn ask(&self, command: Command) -> Result<Option<Response>, Refusal> {
        self.subject.ask(command).await
    }

    pub(crate) async fn network(&self) -> Result<Arc<Network>, Refusal> {
        match self.ask(Command::Network).await? {
            Some(Response::Network(network)) => Ok(network),
            _ => Err(Refusal::unexpected()),
        }
    }

    pub(crate) async fn neighbours(&self) -> Result<Vec<NeighbourInfo>, Refusal> {
        match self.ask(Command::Neighbours).await? {
            Some(Response::Neighbours(neighbours)) => Ok(neighbours),
            _ => Err(Refusal::unexpected()),
        }
    }

    /// Changes the stack, and tells those who listen.
    pub(crate) async fn change(&self, command: Command) -> Result<(), Refusal> {
        let _changing = self.changing.lock().await;
        self.ask(command).await?;
        self.publish(self.network().await?);
        Ok(())
    }

    /// Tells those who listen what is other than they know.
    fn publish(&self, network: Arc<Network>) {
        let mut state = self.lock();
        let steps = network.revision.saturating_sub(state.known.revision);
        if steps == 0 {
            return;
        }
        if steps > 1 {
            // What came and went between these two, nobody knows.
            state.sockets().for_each(|socket| socket.miss());
        }
        let told = changes::between(self.subject.interface(), &state.known, &network);
        state.known = network;
        state.tell(&told);
    }

    pub(crate) fn ports(&self) -> &Arc<Mutex<Ports>> {
        &self.ports
    }

    pub(crate) fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    /// Has a socket be told of changes.
    pub(crate) fn add(&self, socket: &Arc<Socket>) {
        let mut state = self.lock();
        state.sockets.retain(|known| known.strong_count() > 0);
        state.sockets.push(Arc::downgrade(socket));
    }

    /// The revision that everybody has been told of, and whether somebody listens to neighbours.
    fn watched(&self) -> (u64, bool) {
        let mut state = self.lock();
        let is_listening = state.sockets().any(|socket| socket.is_in(Group::Neighbour));
        if !is_listening {
            state.neighbours = None;
        }
        (state.known.revision, is_listening)
    }

    /// Tells of neighbours what has changed since the last look.
    async fn look_at_neighbours(&self) {
        if let Ok(neighbours) = self.neighbours().await {
            let mut state = self.lock();
            if let Some(before) = state.neighbours.replace(neighbours) {
                let now = state.neighbours.as_deref().unwrap_or_default();
                state.tell(&changes::of_neighbours(&before, now));
            }
        }
    }
}

impl State {
    fn sockets(&self) -> impl Iterator<Item = Arc<Socket>> {
        self.sockets.iter().filter_map(Weak::upgrade)
    }

    fn tell(&self, told: &[Told]) {
        for socket in self.sockets() {
            told.iter().for_each(|(group, message)| socket.tell(*group, message));
        }
    }
}

/// Publishes what others change, until the stack or the server is gone.
async fn watch<S: Subject>(server: Weak<Server<S>>, subject: S, wake: Arc<Notify>) {
    let mut looks = interval(NEIGHBOURS_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // No handle is held while it waits, so that the server ends with the last one.
    while let Some((seen, is_looking)) = server.upgrade().map(|server| server.watched()) {
        tokio::select! {
            changed = subject.changed(seen) => {
                let (Ok(network), Some(server)) = (changed, server.upgrade()) else { return };
                // After a change of a socket here, which is published by itself.
                let _changing = server.changing.lock().await;
                server.publish(network);
            }
            _ = looks.tick(), if is_looking => {
                let Some(server) = server.upgrade() else { return };
                server.look_at_neighbours().await;
            }
            () = wake.notified() => {}
        }
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl<S: fmt::Debug> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("subject", &self.subject).finish_non_exhaustive()
    }
}
