//! A panic that ends one connection, and nothing else.

use super::Netstack;
use crate::engine::Engine;
use crate::error::Error;
use crate::id::SocketId;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What somebody panicked with.
pub(super) type Panic = Box<dyn Any + Send>;

/// Runs what serves one connection, and catches a panic.
///
/// smoltcp panics where its own invariants fail, and a peer that finds such a place must not stop
/// the stack for all others. What the closure reaches is either thrown away afterwards (the
/// connection, the engine) or whole at each point where it could panic (the queues, the way out).
/// In a program that is built to abort at a panic this changes nothing.
pub(super) fn isolated<R>(serve: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(serve))
}

impl Netstack {
    /// Ends a connection that panicked. Its peer is told nothing now, and answered with a reset
    /// when it sends something.
    pub(super) fn end_broken(&mut self, id: SocketId, panic: Panic) {
        self.outgoing.counters.panics_caught += 1;
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or_default();
        tracing::error!(?id, message, "a connection was ended by a panic");
        self.engine = Engine::new(self.now);
        if let Some(connection) = self.sockets.connection_mut(id) {
            connection.is_broken = true;
        }
        self.remove_connection(id, Error::Aborted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tcp;
    use crate::queue::{SocketQueue, StreamQueue};
    use crate::sync::Arc;
    use crate::{Config, HasChannel, Pipe, PipeDev, Response};
    use smoltcp::phy::Medium;
    use smoltcp::time::{Duration, Instant};
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// A stack that talks to itself.
    struct Bench {
        stack: Netstack,
        device: PipeDev,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let stack = Netstack::new(Config::default(), Instant::ZERO);
            let device = PipeDev { pipe: Pipe::unbounded().0, medium: Medium::Ip, mtu: 1500 };
            Self { stack, device, now: Instant::ZERO }
        }

        fn run(&mut self) {
            for _ in 0..10 {
                self.now += Duration::from_millis(20);
                self.stack.process_cmds();
                self.stack.poll_device_io(self.now, &mut self.device);
            }
        }

        fn call(
            &mut self,
            handle: Option<SocketId>,
            command: tcp::Command,
        ) -> (Response, Option<SocketQueue>) {
            let channel = self.stack.command_channel();
            let mut reply = pin!(channel.open(handle, command));
            let mut context = Context::from_waker(Waker::noop());
            loop {
                if let Poll::Ready(answer) = reply.as_mut().poll(&mut context) {
                    return answer.expect("it succeeds");
                }
                self.run();
            }
        }

        /// The two ends of a new connection.
        fn connected(&mut self, port: u16) -> [Arc<StreamQueue>; 2] {
            let local = SocketAddr::from(([127, 0, 0, 1], port));
            let options = tcp::ListenOptions::default();
            let listening = self.call(None, tcp::Command::Listen { local, options }).0;
            let Response::Tcp(tcp::Response::Listening { handle, .. }) = listening else {
                panic!("{listening:?}");
            };
            let options = tcp::Options::default();
            let connect = tcp::Command::Connect { remote: local, local: None, options };
            let client = self.call(None, connect).1;
            let server = self.call(Some(handle), tcp::Command::Accept).1;
            [client, server].map(|end| match end {
                Some(SocketQueue::Stream(stream)) => stream,
                other => panic!("{other:?}"),
            })
        }

        fn let_panic(&mut self, stream: &StreamQueue) {
            let connection = self.stack.sockets.connection_mut(stream.id());
            connection.expect("it is open").is_to_panic = true;
        }
    }

    #[test]
    fn a_panic_ends_its_own_connection_alone() {
        // Loom's locks stand in for std's in unit tests, so even one thread runs in a model.
        loom::model(|| {
            let mut bench = Bench::new();
            let [near, far] = bench.connected(80);
            let [other_near, other_far] = bench.connected(81);
            far.try_send(b"before").expect("room");
            bench.run();

            // While it receives, and with the second while it sends.
            bench.let_panic(&far);
            near.try_send(b"lost").expect("room");
            other_near.try_send(b"kept").expect("room");
            bench.run();

            assert_eq!(bench.stack.counters().panics_caught, 1);
            let mut buffer = [0; 16];
            assert_eq!(far.try_recv(&mut buffer), Err(Error::Aborted));
            assert_eq!(far.try_send(b"x"), Err(Error::Aborted));
            assert_eq!(other_far.try_recv(&mut buffer), Ok(4));
            // Its peer has what came before, and learns of the end when it sends again.
            assert_eq!(near.try_recv(&mut buffer), Ok(6));
            bench.now += Duration::from_secs(3);
            bench.run();
            assert_eq!(near.try_recv(&mut buffer), Err(Error::Reset));

            bench.let_panic(&other_far);
            other_far.try_send(b"lost").expect("room");
            bench.run();

            assert_eq!(bench.stack.counters().panics_caught, 2);
            assert_eq!(other_far.try_recv(&mut buffer), Err(Error::Aborted));
            assert!(bench.connected(82)[0].try_send(b"works").is_ok());
        });
    }
}
