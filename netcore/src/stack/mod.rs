//! The stack: its parts, and the order of work in a round.

mod commands;
mod control;
mod dispatch;
mod isolation;
mod snapshot;
mod transports;
mod wakes;

use crate::channel::{BufferBytes, Channel, HasChannel, Request};
use crate::config::Config;
use crate::context::{Context, Part};
use crate::counters::Counters;
use crate::device::DeviceLink;
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::isolation::isolated;
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

/// A userspace TCP/IP stack, driven by commands and polls.
///
/// It owns its sockets; handles reach them through its [`Channel`]. It reads no clock and does no
/// I/O: the caller passes the time and a device or link. The [crate documentation](crate) shows how
/// to drive it.
#[derive(Debug)]
pub struct Netstack {
    requests: flume::Receiver<Request>,
    channel: Channel,
    cx: Context,
    ip: IpLayer,
    transports: Transports,
    has_woken: bool,
    /// Sockets with unhandled events, in reverse order; kept to reuse its memory.
    rung: Vec<SocketId>,
    chunk: BytesMut,
}

/// Frames received in one round, so that sending and waking are not delayed indefinitely.
const FRAMES_PER_ROUND: usize = 256;
/// The same, in bytes: readers get received data while it is still in the cache, and before the
/// queues are full.
const BYTES_PER_ROUND: usize = 128 * 1024;
/// Sockets served in one round, for the same reason.
const SOCKETS_PER_ROUND: usize = 256;
/// Rounds of one [`Netstack::poll_device_io`]. A device that answers each packet could otherwise
/// keep it busy forever.
const ROUNDS_MAX: usize = 1024;

impl Netstack {
    /// Creates a stack with loopback addresses only. `now` is the start of its time.
    ///
    /// # Panics
    ///
    /// If the operating system's random generator fails.
    pub fn new(config: Config, now: impl Into<Instant>) -> Self {
        let now = now.into();
        let (sender, requests) = flume::bounded(config.commands_max.max(1));
        let doorbell = Arc::new(Doorbell::new(sender.clone()));
        let buffers =
            BufferBytes { recv: config.tcp.recv_buffer_bytes, send: config.tcp.send_buffer_bytes };
        let tcp_ports = Arc::new(TcpPorts::new(config.entropy));
        let random = Random::new(config.entropy);
        let owners = config.socket_owners;
        let mut cx = Context::new(config, random, doorbell.clone(), now);
        let (ip, network) = IpLayer::new(&mut cx);
        Self {
            transports: Transports::new(&mut cx, tcp_ports.clone()),
            ip,
            cx,
            channel: Channel::new(sender, doorbell, network, buffers, tcp_ports)
                .with_owners(owners),
            requests,
            has_woken: false,
            rung: Vec::new(),
            chunk: BytesMut::new(),
        }
    }

    /// Executes all commands queued in the channel.
    ///
    /// [`poll_at`](Self::poll_at) afterwards returns whether a poll is due.
    pub fn process_cmds(&mut self) {
        for _ in 0..self.requests.len() {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            self.step(|stack| stack.execute(request));
        }
        self.step(|stack| {
            stack.handle_events();
        });
    }

    /// Executes one command.
    ///
    /// [`poll_at`](Self::poll_at) afterwards returns whether a poll is due.
    pub fn process_one_cmd(&mut self, cmd: Request) {
        self.step(|stack| stack.execute(cmd));
    }

    /// Blocks the calling thread until there is a command, for at most `timeout`; returns `None` at
    /// the timeout.
    ///
    /// A read, write or close of a handle ends the wait too, with a command without effect.
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

    /// Waits until there is a command. Does not borrow the stack, so that it can be polled beside
    /// other futures.
    ///
    /// A read, write or close of a handle ends the wait too, with a command without effect.
    ///
    /// # Cancel safety
    ///
    /// A command is taken only when the future is ready: dropping it earlier loses none.
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

    /// Receives and sends packets and handles all timers due at `now`, until no work is left;
    /// returns whether there was any.
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

    /// Runs one round: receives and sends a bounded number of packets and handles timers due at
    /// `now`; returns whether there was any work, in which case another round may find more.
    ///
    /// Does not look into the command channel. `now` must not go back.
    ///
    /// # Panics
    ///
    /// If the link does. The state of the socket being sent from is unknown then, so the stack can
    /// only be dropped. Any other panic ends the item in work, a packet or a connection.
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
        self.handle_ip_events();
        let mut worked = self.handle_events();
        Output { link, state: &mut self.ip.outgoing }.flush_replies();
        worked |= self.receive_frames(link);
        self.handle_ip_events();
        worked |= self.expire(link);
        worked |= self.serve(link);
        if self.ip.is_on_ethernet_link() {
            worked |= self.ip.poll_ethernet(&mut self.cx, link);
            self.handle_ip_events();
        }
        worked
    }

    /// The time of the next poll, if nothing else happens before; at most `now` if there is work at
    /// hand.
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

    /// The time from `now` to the next poll, if nothing else happens before; `None` without a
    /// timer.
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

    /// Sets the error of every pending operation when the stack is dropped, instead of
    /// [`Error::StackGone`]. The first call counts.
    pub fn set_end(&mut self, reason: Error) {
        self.cx.doorbell.stop_reason().set(reason);
    }

    /// Whether the last round or command woke a task. A driver may yield to it before the next
    /// round: queues stay short then, and received data is passed on without a copy.
    pub fn has_woken(&self) -> bool {
        self.has_woken
    }

    /// The counters of the stack.
    pub fn counters(&self) -> &Counters {
        &self.ip.outgoing.counters
    }

    /// Whether a [shutdown](crate::control::Command::Shutdown) is done: no socket is left, and no
    /// packet waits for address resolution.
    pub fn is_drained(&self) -> bool {
        self.cx.is_shut_down
            && self.cx.sockets.len() == 0
            && !self.ip.outgoing.neighbours.has_waiting()
    }

    /// Marks the sockets whose deadline has passed.
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
            if let Some(observer) = link.observer() {
                observer.serving(Some(id), self.cx.sockets.owner(id));
            }
            let (cx, ip) = (&mut self.cx, &mut self.ip);
            if let Some(transport) = transport {
                worked |= self.transports.serve(cx, ip, (id, transport), link);
            }
        }
        self.cx.at_work.socket = None;
        if let Some(observer) = link.observer() {
            observer.serving(None, None);
        }
        worked
    }
}

impl HasChannel for Netstack {
    fn command_channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Netstack {
    /// Every pending operation fails with [`Error::StackGone`], or with the error given to
    /// [`set_end`](Netstack::set_end).
    fn drop(&mut self) {
        // A request sent from now on fails at its sender; one sent before is found here. Flume
        // keeps the content of a channel without receivers.
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
