//! A stack whose time and wire belong to the fuzzer.

use bytes::Bytes;
use netcore::Instant;
use netcore::Medium;
use netcore::queue::SocketQueue;
use netcore::{
    Command, Config, Error, Frame, FrameChecksum, HasChannel, Link, LinkCapabilities, Netstack,
    Offload, Response, Slot,
};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

/// Rounds without time passing after which the stack counts as one that never rests.
const ROUNDS_MAX: usize = 10_000;

/// A stack that is 10.0.0.2 and fd00::2.
pub(crate) struct Host {
    pub(crate) stack: Netstack,
    pub(crate) wire: Wire,
    pub(crate) now: Instant,
}

/// Frames on their way to the stack and from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) incoming: VecDeque<Bytes>,
    pub(crate) outgoing: Vec<Vec<u8>>,
    pub(crate) checksum: FrameChecksum,
}

impl Host {
    pub(crate) fn new(config: Config, checksum: FrameChecksum) -> Self {
        let mut stack = Netstack::new(config, Instant::ZERO);
        for address in ["10.0.0.2/24", "fd00::2/64"] {
            stack.add_address(address.parse().expect("a network")).expect("a host's address");
        }
        let wire = Wire { incoming: VecDeque::new(), outgoing: Vec::new(), checksum };
        Self { stack, wire, now: Instant::ZERO }
    }

    /// Runs the stack until it has no work at the current time.
    pub(crate) fn run(&mut self) {
        self.stack.process_cmds();
        let mut rounds = 0;
        while self.stack.poll_link(self.now, &mut self.wire) {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "never at rest:\n{}", self.stack.snapshot());
        }
    }

    /// Lets time pass, from one timer to the next.
    pub(crate) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        while self.now < end {
            let due = self.stack.poll_at(self.now).filter(|due| *due <= end).unwrap_or(end);
            // Time moves on even if something is due again and again.
            self.now = due.max(self.now + Duration::from_micros(1)).min(end);
            self.run();
        }
    }

    /// Sends a command and returns the answer if there is one before time passes. A command that
    /// waits is withdrawn.
    pub(crate) fn call(
        &mut self,
        handle: Option<netcore::SocketId>,
        command: impl Into<Command>,
    ) -> Option<Result<(Response, Option<SocketQueue>), Error>> {
        let channel = self.stack.command_channel();
        let mut reply = pin!(channel.call(handle, command));
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = reply.as_mut().poll(&mut context);
        if answer.is_pending() {
            self.run();
            answer = reply.as_mut().poll(&mut context);
        }
        match answer {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// Lets every closed socket end, and checks that nothing is left.
    pub(crate) fn drain(&mut self) {
        self.advance(Duration::from_secs(2000));
        let left = self.stack.snapshot();
        assert!(left.sockets.is_empty() && left.time_wait.is_empty(), "left behind:\n{left}");
        assert_eq!((left.buffer_bytes, left.timers), (0, 0), "left behind:\n{left}");
        let counters = self.stack.counters();
        assert_eq!(counters.received(), counters.accounted(), "{counters:?}");
        assert_eq!(left.counters.panics_caught, 0);
    }
}

impl Link for Wire {
    type Slot<'a> = Outgoing<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, 1500)
    }

    fn receive(&mut self) -> Option<Frame> {
        let data = self.incoming.pop_front()?;
        Some(Frame::new(data, self.checksum))
    }

    fn transmit(&mut self) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }
}

/// The slot for one outgoing frame.
pub(crate) struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl Slot for Outgoing<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut frame = vec![0; len];
        let (result, _) = fill(&mut frame);
        assert!(len <= 1500, "{len} bytes are more than the link takes");
        self.0.push(frame);
        result
    }
}
