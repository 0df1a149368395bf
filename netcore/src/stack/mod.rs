//! The stack itself: what it owns, and the order in which it looks at things.

mod commands;
mod control;
mod dispatch;
mod isolation;
mod snapshot;
mod transports;

use crate::channel::{BufferBytes, Channel, HasChannel, Request};
use crate::config::Config;
use crate::context::{Context, Part};
use crate::counters::Counters;
use crate::device::DeviceLink;
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::isolation::{isolated, wake};
use crate::link::{Link, Watched};
use crate::output::Output;
use crate::random::Random;
use crate::sync::Arc;
use crate::tcp::reservation::TcpPorts;
use crate::time::Instant;
use bytes::BytesMut;
use smoltcp::phy::Device;
use std::time::Duration;
use transports::Transports;

/// A userspace TCP/IP stack that does what commands and packets tell it, and nothing by itself.
///
/// It owns its sockets. Others reach them through its [`Channel`]. Time is what the caller says it
/// is, and packets go where the caller takes them: see the [crate documentation](crate) for how to
/// drive it.
#[derive(Debug)]
pub struct Netstack {
    requests: flume::Receiver<Request>,
    channel: Channel,
    cx: Context,
    ip: IpLayer,
    transports: Transports,
    has_woken: bool,
    /// Sockets that handles rang for and that nobody has looked at yet, the first of them last;
    /// kept to reuse its memory.
    rung: Vec<SocketId>,
    chunk: BytesMut,
}

/// Frames taken from the link in one round, so that sending and waking are not put off for ever.
const FRAMES_PER_ROUND: usize = 256;
/// The same, in bytes: what has come is read by whom it is for while it is still in the cache, and
/// before the queues are full.
const BYTES_PER_ROUND: usize = 128 * 1024;
/// Sockets served in one round, for the same reason.
const SOCKETS_PER_ROUND: usize = 256;
/// Rounds of one [`Netstack::poll_device_io`]. A device that answers what it is sent could
/// otherwise keep it for ever.
const ROUNDS_MAX: usize = 1024;

impl Netstack {
    /// A stack without addresses other than the loopback ones. `now` is where its time begins.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness to give.
    pub fn new(config: Config, now: impl Into<Instant>) -> Self {
        let now = now.into();
        let (sender, requests) = flume::bounded(config.commands_max.max(1));
        let doorbell = Arc::new(Doorbell::new(Request::waker(sender.clone())));
        let buffers =
            BufferBytes { recv: config.tcp.recv_buffer_bytes, send: config.tcp.send_buffer_bytes };
        let tcp_ports = Arc::new(TcpPorts::new(config.entropy));
        let random = Random::new(config.entropy);
        let mut cx = Context::new(config, random, doorbell.clone(), now);
        let (ip, network) = IpLayer::new(&mut cx);
        Self {
            transports: Transports::new(&mut cx, tcp_ports.clone()),
            ip,
            cx,
            channel: Channel::new(sender, doorbell, network, buffers, tcp_ports),
            requests,
            has_woken: false,
            rung: Vec::new(),
            chunk: BytesMut::new(),
        }
    }

    /// Carries out all commands that wait in the channel now.
    ///
    /// A poll is due afterwards if [`poll_at`](Self::poll_at) says so.
    pub fn process_cmds(&mut self) {
        for _ in 0..self.requests.len() {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            self.step(|stack| stack.execute(request));
        }
        self.step(|stack| {
            stack.attend();
        });
    }

    /// Carries out one command.
    ///
    /// A poll is due afterwards if [`poll_at`](Self::poll_at) says so.
    pub fn process_one_cmd(&mut self, cmd: Request) {
        self.step(|stack| stack.execute(cmd));
    }

    /// Blocks the calling thread until there is a command, for at most `timeout`; `None` if that
    /// passed without one.
    ///
    /// A read, write or close of a handle counts as a command too, and comes as one that does
    /// nothing but arrive.
    pub fn wait_for_cmd_blocking(&mut self, timeout: Option<Duration>) -> Option<Request> {
        if !self.cx.doorbell.fall_asleep() {
            return Some(Request::wake());
        }
        let request = match timeout {
            None => self.requests.recv().ok(),
            Some(timeout) => self.requests.recv_timeout(timeout).ok(),
        };
        self.cx.doorbell.wake_up();
        request
    }

    /// Waits until there is a command. Does not borrow the stack, so that it may be polled beside
    /// other things.
    ///
    /// A read, write or close of a handle counts as a command too, and comes as one that does
    /// nothing but arrive.
    ///
    /// # Cancel safety
    ///
    /// A command is taken only when the future is ready: dropping it before loses none.
    pub fn wait_for_cmd(&self) -> impl Future<Output = Request> + Send + use<> {
        let (requests, doorbell) = (self.requests.clone(), self.cx.doorbell.clone());
        async move {
            if !doorbell.fall_asleep() {
                return Request::wake();
            }
            let request = requests.recv_async().await;
            doorbell.wake_up();
            request.unwrap_or_else(|_| Request::wake())
        }
    }

    /// Moves packets both ways and does all that is due at `now`, until nothing is left to be done
    /// without waiting; returns whether anything was done.
    ///
    /// Does not look into the command channel. `now` must not go back.
    pub fn poll_device_io(&mut self, now: impl Into<Instant>, device: &mut impl Device) -> bool {
        let now = now.into();
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut worked = false;
        for _ in 0..ROUNDS_MAX {
            if !self.poll_link(now, &mut DeviceLink::new(device, now, &mut chunk)) {
                break;
            }
            worked = true;
        }
        self.chunk = chunk;
        worked
    }

    /// One round: moves a bounded number of packets both ways and does what is due at `now`;
    /// returns whether anything was done, and so another round may find more.
    ///
    /// Does not look into the command channel. `now` must not go back.
    ///
    /// # Panics
    ///
    /// If the link does. What was being sent is in an unknown state then, so all that is left to be
    /// done with the stack is to drop it. A panic of anything else ends what was being worked on: a
    /// packet or a connection.
    pub fn poll_link<L: Link>(&mut self, now: impl Into<Instant>, link: &mut L) -> bool {
        let now = now.into();
        self.cx.now = now;
        self.ip.outgoing.now = now;
        let mut link = Watched::new(link);
        let worked = match isolated(|| self.round(&mut link)) {
            Ok(worked) => worked,
            Err(panic) if link.is_inside() => {
                self.abandon();
                panic.resume()
            }
            Err(panic) => {
                self.recover(&panic);
                true
            }
        };
        self.wake();
        worked
    }

    fn round<L: Link>(&mut self, link: &mut L) -> bool {
        self.ip.set_link_capabilities(link.capabilities());
        self.ip.set_carrier(&self.cx, link.has_carrier());
        self.ip.outgoing.link_is_full = false;
        self.ip.update_link(&self.cx);
        self.settle();
        let mut worked = self.attend();
        Output { link, state: &mut self.ip.outgoing }.flush_replies();
        worked |= self.receive_frames(link);
        self.settle();
        worked |= self.expire(link);
        worked |= self.serve(link);
        if self.ip.is_on_ethernet_link() {
            worked |= self.ip.poll_ethernet(&mut self.cx, link);
            self.settle();
        }
        worked
    }

    /// When the stack wants to be polled next, if nothing else happens; not after `now` if it has
    /// work at hand.
    ///
    /// Packets that found the link full do not count: poll again when it has room.
    pub fn poll_at(&mut self, now: impl Into<Instant>) -> Option<Instant> {
        let now = now.into();
        let waits_for_room = self.ip.outgoing.link_is_full;
        if (!self.cx.run_queue.is_empty() && !waits_for_room) || self.ip.outgoing.loopback_len() > 0
        {
            return Some(now);
        }
        let timers = [
            self.cx.deadlines.next(),
            self.transports.tcp.time_wait.next(),
            self.ip.reassembly.next(),
        ];
        let due = timers.into_iter().flatten().min();
        if !self.ip.outgoing.is_on_ethernet() || waits_for_room {
            return due;
        }
        due.into_iter().chain(self.ip.ethernet_due(self.cx.now)).min()
    }

    /// How long from `now` until the stack wants to be polled next, if nothing else happens;
    /// `None` for as long as nothing happens.
    pub fn poll_delay(&mut self, now: impl Into<Instant>) -> Option<Duration> {
        let now = now.into();
        let at = self.poll_at(now)?;
        Some(at - now)
    }

    /// Whether packets wait for the link to have room.
    pub fn wants_room(&self) -> bool {
        self.ip.outgoing.link_is_full
            && (!self.cx.run_queue.is_empty()
                || self.ip.outgoing.has_replies()
                || self.ip.ethernet_due(self.cx.now).is_some())
    }

    /// Says what every pending operation fails with when the stack is dropped, instead of
    /// [`Error::StackGone`]. What was said first counts.
    pub fn set_end(&mut self, reason: Error) {
        self.cx.doorbell.stop_reason().set(reason);
    }

    /// Whether the last round or command woke somebody, who may be given a turn before the next
    /// round: queues are short then, and what arrives is handed on without a copy.
    pub fn has_woken(&self) -> bool {
        self.has_woken
    }

    /// What the stack has counted so far.
    pub fn counters(&self) -> &Counters {
        &self.ip.outgoing.counters
    }

    /// Whether a [shutdown](crate::control::Command::Shutdown) is done: no socket is left, and no
    /// packet waits for the answer of a neighbour.
    pub fn is_drained(&self) -> bool {
        self.cx.is_shut_down
            && self.cx.sockets.len() == 0
            && !self.ip.outgoing.neighbours.has_waiting()
    }

    /// Looks at the sockets that handles rang for, and takes back what nobody received.
    fn attend(&mut self) -> bool {
        // Before the list of rung sockets is taken: what is undone rings.
        for undelivered in self.cx.doorbell.take_undelivered() {
            self.take_back(undelivered);
        }
        if self.rung.is_empty() {
            self.cx.doorbell.take_ready(&mut self.rung);
            self.rung.reverse();
        }
        let worked = !self.rung.is_empty();
        while let Some(id) = self.rung.pop() {
            self.cx.at_work.socket = Some(id);
            self.transports.attend(&mut self.cx, &mut self.ip, id);
        }
        self.cx.at_work.socket = None;
        worked
    }

    /// Marks the sockets whose time has come.
    fn expire<L: Link>(&mut self, link: &mut L) -> bool {
        let mut worked = false;
        while let Some(id) = self.cx.deadlines.pop(self.cx.now) {
            worked = true;
            self.cx.at_work.socket = Some(id);
            self.transports.tcp.expire(&mut self.cx, id);
        }
        self.cx.at_work.socket = None;
        self.transports.tcp.expire_time_wait(&self.cx);
        self.cx.at_work.part = Some(Part::Fragments);
        for first in self.ip.reassembly.expire(self.cx.now) {
            self.ip.outgoing.counters.drop(crate::DropReason::FragmentExpired);
            if let Some(first) = first {
                self.ip.answer_expired(&mut self.cx, &first, link);
            }
        }
        self.cx.at_work.part = None;
        worked
    }

    /// Serves marked sockets, each once at most.
    fn serve<L: Link>(&mut self, link: &mut L) -> bool {
        let mut worked = false;
        for _ in 0..self.cx.run_queue.len().min(SOCKETS_PER_ROUND) {
            let Some((id, transport)) = self.cx.next_to_serve() else {
                break;
            };
            self.cx.at_work.socket = Some(id);
            let (cx, ip) = (&mut self.cx, &mut self.ip);
            if let Some(transport) = transport {
                worked |= self.transports.serve(cx, ip, (id, transport), link);
            }
        }
        self.cx.at_work.socket = None;
        worked
    }

    /// Wakes everybody who has something to do. No lock is held here, and the stack is whole.
    fn wake(&mut self) {
        self.has_woken = !self.cx.wakes.is_empty();
        for waker in self.cx.wakes.drain(..) {
            wake(waker);
        }
    }
}

impl HasChannel for Netstack {
    fn command_channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Netstack {
    /// Every pending operation fails with [`Error::StackGone`], or with what
    /// [`set_end`](Netstack::set_end) was given.
    fn drop(&mut self) {
        // A request that is sent from now on is seen as lost by whoever sent it; one that was sent
        // before is found here. Flume keeps what is in a channel without receivers.
        self.cx.doorbell.close();
        self.requests.drain();
        let reason = self.cx.doorbell.stop_reason().error();
        for id in self.cx.sockets.ids() {
            self.step_for(id, |stack| {
                stack.transports.end(&mut stack.cx, &mut stack.ip, id, reason);
            });
        }
        self.wake();
    }
}
