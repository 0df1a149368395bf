//! Two stacks joined by a pipe, driven by hand in virtual time.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod icmp;
pub mod jumbo;
pub mod peer;
pub mod raw_peer;
pub mod resident;
pub mod segment;

use bytes::Bytes;
use netcore::Instant;
use netcore::Medium;
use netcore::TcpState;
use netcore::queue::{SocketQueue, StreamQueue};
use netcore::{
    Command, Config, Error, EthernetConfig, HasChannel, MacAddr, Netstack, Pipe, PipeDev, Response,
    SocketId, tcp,
};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The bytes in front of each packet on an Ethernet link.
pub const ETHERNET_HEADER: usize = 14;

/// One stack and its end of the pipe.
pub struct Host {
    pub stack: Netstack,
    pub device: PipeDev,
}

/// Two hosts: `near` is 10.0.0.1 and fd00::1, `far` 10.0.0.2 and fd00::2.
///
/// When it is dropped, both socket tables must be empty.
pub struct Pair {
    pub near: Host,
    pub far: Host,
    pub now: Instant,
    /// The effect of the wire on a packet: `None` loses it.
    pub wire: Box<dyn FnMut(Bytes) -> Option<Bytes>>,
    /// Whether the link cuts segments itself.
    pub is_jumbo: bool,
    near_wire: Pipe,
    far_wire: Pipe,
}

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Near,
    Far,
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Pair {
    pub fn new() -> Self {
        Self::with(Config::default(), 1500)
    }

    pub fn with(config: Config, mtu: usize) -> Self {
        Self::on(Medium::Ip, config, mtu)
    }

    /// The same on an Ethernet link: near is 02:00:00:00:00:01 and far 02:00:00:00:00:02.
    pub fn ethernet(config: Config) -> Self {
        Self::on(Medium::Ethernet, config, ETHERNET_HEADER + 1500)
    }

    fn on(medium: Medium, config: Config, mtu: usize) -> Self {
        let host = |number: u8| {
            let hardware_address = Some(MacAddr([2, 0, 0, 0, 0, number]));
            let config = Config {
                ethernet: EthernetConfig { hardware_address, ..config.ethernet.clone() },
                ..config.clone()
            };
            let mut stack = Netstack::new(config, Instant::ZERO);
            for address in [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")] {
                stack.add_address(address.parse().expect("a network")).expect("a host's address");
            }
            let (pipe, wire) = Pipe::unbounded();
            (Host { stack, device: PipeDev { pipe, medium: medium.into(), mtu } }, wire)
        };
        let ((near, near_wire), (far, far_wire)) = (host(1), host(2));
        Self {
            near,
            far,
            now: Instant::ZERO,
            wire: Box::new(Some),
            is_jumbo: false,
            near_wire,
            far_wire,
        }
    }

    pub fn host(&mut self, side: Side) -> &mut Host {
        match side {
            Side::Near => &mut self.near,
            Side::Far => &mut self.far,
        }
    }

    /// Runs both stacks until neither has work at the current time.
    pub fn run(&mut self) {
        loop {
            let mut worked = false;
            for host in [&mut self.near, &mut self.far] {
                host.stack.process_cmds();
                worked |= match self.is_jumbo {
                    true => host.stack.poll_link(self.now, &mut jumbo::Cutter(&host.device)),
                    false => host.stack.poll_device_io(self.now, &mut host.device),
                };
            }
            for (from, to) in [(&self.near_wire, &self.far_wire), (&self.far_wire, &self.near_wire)]
            {
                for packet in from.rx.try_iter() {
                    worked = true;
                    if let Some(packet) = (self.wire)(packet) {
                        to.tx.send(packet).expect("the device is there");
                    }
                }
            }
            if !worked {
                return;
            }
        }
    }

    /// Senders of packets to near and to far, for use inside a wire.
    pub fn inlets(&self) -> [flume::Sender<Bytes>; 2] {
        [self.near_wire.tx.clone(), self.far_wire.tx.clone()]
    }

    /// Puts a packet on the wire to one side.
    pub fn inject(&mut self, side: Side, packet: Vec<u8>) {
        let wire = match side {
            Side::Near => &self.near_wire,
            Side::Far => &self.far_wire,
        };
        wire.tx.send(packet.into()).expect("the device is there");
    }

    /// Lets time pass, from one timer to the next.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let due = self.next_due().filter(|due| *due <= end);
            // Time moves on even if something is due again and again.
            self.now = due.map_or(end, |due| due.max(self.now + Duration::from_micros(1)));
            self.run();
            if self.now >= end {
                return;
            }
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        let due = [&mut self.near, &mut self.far].map(|host| host.stack.poll_at(self.now));
        due.into_iter().flatten().min()
    }

    /// Lets time pass until `done` returns true; panics after an hour.
    pub fn advance_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + Duration::from_secs(3600);
        while !done(self) {
            assert!(self.now < end, "nothing came of an hour");
            self.run();
            let due = self.next_due().unwrap_or(end).max(self.now + Duration::from_micros(1));
            self.now = due.min(self.now + Duration::from_secs(1));
            self.run();
        }
    }

    /// Sends a command and lets time pass until it is answered.
    pub fn call(
        &mut self,
        side: Side,
        handle: Option<SocketId>,
        command: impl Into<Command>,
    ) -> Result<(Response, Option<SocketQueue>), Error> {
        let channel = self.host(side).stack.command_channel();
        let mut reply = pin!(channel.call(handle, command));
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = None;
        self.advance_until(|pair| {
            // Once to send it, and once to see what came of that.
            for _ in 0..2 {
                if let Poll::Ready(ready) = reply.as_mut().poll(&mut context) {
                    answer = Some(ready);
                    return true;
                }
                pair.run();
            }
            false
        });
        answer.expect("advance_until waited for it")
    }

    pub fn listen(&mut self, side: Side, local: &str) -> Result<SocketId, Error> {
        self.listen_with(side, local, tcp::ListenOptions::default())
    }

    pub fn listen_with(
        &mut self,
        side: Side,
        local: &str,
        options: tcp::ListenOptions,
    ) -> Result<SocketId, Error> {
        match self.call(side, None, tcp::Command::Listen { local: addr(local), options })?.0 {
            Response::Tcp(tcp::Response::Listening { handle, .. }) => Ok(handle),
            other => panic!("listening answered {other:?}"),
        }
    }

    pub fn connect(&mut self, side: Side, remote: &str) -> Result<Arc<StreamQueue>, Error> {
        let options = tcp::Options::default();
        let command = tcp::Command::Connect { remote: addr(remote), local: None, options };
        match self.call(side, None, command)?.1 {
            Some(SocketQueue::Stream(stream)) => Ok(stream),
            other => panic!("connecting gave {other:?}"),
        }
    }

    pub fn accept(&mut self, side: Side, listener: SocketId) -> Result<Arc<StreamQueue>, Error> {
        match self.call(side, Some(listener), tcp::Command::Accept)?.1 {
            Some(SocketQueue::Stream(stream)) => Ok(stream),
            other => panic!("accepting gave {other:?}"),
        }
    }

    /// A connection from near to port 80 of far, and the listener.
    pub fn connected(&mut self) -> (Arc<StreamQueue>, Arc<StreamQueue>, SocketId) {
        let listener = self.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let near = self.connect(Side::Near, "10.0.0.2:80").expect("a listener");
        let far = self.accept(Side::Far, listener).expect("a connection");
        (near, far, listener)
    }

    /// The states of all TCP sockets of one side, without listeners, and how many are in TIME-WAIT.
    pub fn states(&mut self, side: Side) -> (Vec<&'static str>, usize) {
        let snapshot = self.host(side).stack.snapshot();
        let sockets =
            snapshot.sockets.iter().filter(|socket| socket.state != Some(TcpState::Listen));
        (
            sockets.map(|socket| socket.state.map_or("", TcpState::name)).collect(),
            snapshot.time_wait.len(),
        )
    }
}

/// Reads what is there, up to so many bytes.
pub fn read(stream: &StreamQueue, max: usize) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; max];
    let n = stream.try_recv(&mut buffer)?;
    buffer.truncate(n);
    Ok(buffer)
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Long enough for every closed connection to leave TIME-WAIT.
        self.wire = Box::new(Some);
        self.advance(Duration::from_secs(400));
        for host in [&self.near, &self.far] {
            let left = host.stack.snapshot();
            assert!(left.sockets.is_empty() && left.time_wait.is_empty(), "left behind:\n{left}");
            assert_eq!((left.buffer_bytes, left.timers), (0, 0), "left behind:\n{left}");
            let counters = host.stack.counters();
            assert_eq!(counters.received(), counters.accounted(), "{counters:?}");
            assert_eq!(left.counters.panics_caught, 0);
        }
    }
}
