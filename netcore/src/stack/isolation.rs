//! Isolation of panics: one ends the packet or the connection in work, and nothing else.
//!
//! smoltcp panics where its own invariants fail, and so may any code; a peer that triggers such a
//! panic must not stop the stack for all others. A `catch_unwind` surrounds each round and each
//! command, and [`AtWork`] records the item in work. All other state, such as queues and lists, is
//! consistent at each point that could panic.

use super::Netstack;
use crate::context::{AtWork, Part};
use crate::counters::DropReason;
use crate::id::SocketId;
use crate::ip::fragments::Reassembly;
use crate::isolation::{Panic, isolated};

impl Netstack {
    /// Runs one step; a panic ends the item in work.
    pub(crate) fn step(&mut self, take: impl FnOnce(&mut Self)) {
        if let Err(panic) = isolated(|| take(self)) {
            self.recover(&panic);
        }
    }

    /// Runs a step for one socket.
    pub(crate) fn step_for(&mut self, id: SocketId, take: impl FnOnce(&mut Self)) {
        self.cx.at_work.socket = Some(id);
        self.step(take);
        self.cx.at_work = AtWork::default();
    }

    /// Ends the item in work.
    #[cold]
    pub(crate) fn recover(&mut self, panic: &Panic) {
        let at_work = std::mem::take(&mut self.cx.at_work);
        tracing::error!(?at_work, %panic, "a panic was caught");
        self.ip.outgoing.counters.panics_caught += 1;
        if at_work.is_packet {
            self.ip.outgoing.counters.drop(DropReason::Panicked);
        }
        if let Err(panic) = isolated(|| self.end(at_work)) {
            tracing::error!(?at_work, %panic, "another panic while ending the first");
        }
    }

    fn end(&mut self, at_work: AtWork) {
        match at_work.part {
            Some(Part::Fragments) => {
                let limits =
                    (self.cx.config.ip.fragments_bytes_max, self.cx.config.ip.fragment_timeout);
                let hash_keys = self.cx.random.hash_keys();
                self.ip.reassembly = Reassembly::new(limits.0, limits.1, hash_keys);
            }
            Some(Part::Neighbours) => self.ip.reset_ethernet(),
            None => {}
        }
        let Some(id) = at_work.socket else { return };
        let (cx, ip) = (&mut self.cx, &mut self.ip);
        self.transports.end_broken(cx, ip, id, at_work.is_sending);
    }

    /// Marks the socket in work as broken after a panic of the link, so that ending the stack does
    /// not touch its state.
    #[cold]
    pub(crate) fn abandon(&mut self) {
        let at_work = std::mem::take(&mut self.cx.at_work);
        if let Some(id) = at_work.socket {
            self.transports.tcp.mark_broken(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{tcp, udp};
    use crate::error::Error;
    use crate::link::Medium;
    use crate::models::with_a_large_stack;
    use crate::queue::{Datagram, DatagramQueue, SocketQueue, StreamQueue, WaitKey};
    use crate::sync::Arc;
    use crate::time::Instant;
    use crate::{Command, Config, HasChannel, Pipe, PipeDev, Response};
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    /// Loom's locks stand in for std's in unit tests, so even one thread runs in a model.
    fn in_model(run: impl Fn() + Clone + Send + Sync + 'static) {
        loom::model(move || with_a_large_stack(run.clone()));
    }

    /// A stack with loopback connections.
    struct Bench {
        stack: Netstack,
        device: PipeDev,
        far: Pipe,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let stack = Netstack::new(Config::default(), Instant::ZERO);
            let (pipe, far) = Pipe::unbounded();
            let device = PipeDev { pipe, medium: Medium::Ip.into(), mtu: 1500 };
            Self { stack, device, far, now: Instant::ZERO }
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
            let mut reply = pin!(channel.call(handle, command));
            let mut context = Context::from_waker(Waker::noop());
            loop {
                if let Poll::Ready(answer) = reply.as_mut().poll(&mut context) {
                    return answer.expect("it succeeds");
                }
                self.run();
            }
        }

        /// Both queues of a new connection.
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
            let connection = self.stack.transports.tcp.sockets.connection_mut(stream.id());
            connection.expect("it is open").is_to_panic = true;
        }
    }

    #[test]
    fn panic_in_a_connection_ends_only_that_connection() {
        in_model(|| {
            let mut bench = Bench::new();
            let [near, far] = bench.connected(80);
            let [other_near, other_far] = bench.connected(81);
            far.try_send(b"before").expect("room");
            bench.run();

            // Once while receiving, and once while sending.
            bench.let_panic(&far);
            near.try_send(b"lost").expect("room");
            other_near.try_send(b"kept").expect("room");
            bench.run();

            assert_eq!(bench.stack.counters().panics_caught, 1);
            let mut buffer = [0; 16];
            assert_eq!(far.try_recv(&mut buffer), Err(Error::Aborted));
            assert_eq!(far.try_send(b"x"), Err(Error::Ended));
            assert_eq!(other_far.try_recv(&mut buffer), Ok(4));
            // Its peer has the earlier data, and is reset when it sends again.
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

    impl Bench {
        /// A UDP socket on port 9 that has sent itself a datagram.
        fn with_datagram(&mut self, text: &[u8]) -> Arc<DatagramQueue> {
            let endpoint = SocketAddr::from(([127, 0, 0, 1], 9));
            let Some(SocketQueue::Datagram(queue)) =
                self.open(udp::Command::Bind { endpoint }.into())
            else {
                panic!("a UDP socket");
            };
            let datagram = Datagram::new(endpoint, text.to_vec().into());
            queue.try_send(datagram).expect("room");
            queue
        }

        fn open(&mut self, command: Command) -> Option<SocketQueue> {
            let channel = self.stack.command_channel();
            let mut reply = pin!(channel.call(None, command));
            let mut context = Context::from_waker(Waker::noop());
            loop {
                if let Poll::Ready(answer) = reply.as_mut().poll(&mut context) {
                    return answer.expect("it succeeds").1;
                }
                self.run();
            }
        }

        fn caught(&self) -> (u64, u64) {
            let counters = self.stack.counters();
            (counters.panics_caught, counters.dropped(DropReason::Panicked))
        }
    }

    #[test]
    fn panic_while_receiving_loses_only_that_datagram() {
        in_model(|| {
            let mut bench = Bench::new();
            bench.stack.cx.trap = Some("udp");
            let queue = bench.with_datagram(b"lost");
            bench.run();
            assert_eq!(bench.caught(), (1, 1));
            assert_eq!(queue.try_recv().err(), Some(Error::WouldBlock));

            let to = queue.local_address();
            queue.try_send(Datagram::new(to, b"kept".to_vec().into())).expect("room");
            bench.run();

            assert_eq!(&queue.try_recv().expect("a datagram").payload[..], b"kept");
        });
    }

    #[test]
    fn panic_while_sending_loses_the_datagram_with_an_error() {
        in_model(|| {
            let mut bench = Bench::new();
            bench.stack.cx.trap = Some("send");
            let queue = bench.with_datagram(b"lost");
            let to = queue.local_address();
            queue.try_send(Datagram::new(to, b"kept".to_vec().into())).expect("room");
            bench.run();

            assert_eq!(bench.caught(), (1, 0));
            assert_eq!(queue.try_recv().err(), Some(Error::Aborted));
            assert_eq!(&queue.try_recv().expect("a datagram").payload[..], b"kept");
        });
    }

    #[test]
    fn panic_in_a_command_fails_only_that_command() {
        in_model(|| {
            let mut bench = Bench::new();
            let channel = bench.stack.command_channel();
            let mut context = Context::from_waker(Waker::noop());
            let endpoint = SocketAddr::from(([127, 0, 0, 1], 9));
            bench.stack.cx.trap = Some("command");
            let mut reply = pin!(channel.call(None, udp::Command::Bind { endpoint }));
            assert!(reply.as_mut().poll(&mut context).is_pending());

            bench.run();

            let answer = reply.as_mut().poll(&mut context);
            assert!(matches!(answer, Poll::Ready(Err(Error::Aborted))));
            bench.with_datagram(b"works");
        });
    }

    #[test]
    fn panic_in_icmp_or_reassembly_loses_one_packet() {
        for (trap, packet) in [
            ("icmp", packet(1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0], 0)),
            ("fragments", packet(17, &[0; 8], 0x2000)),
        ] {
            in_model(move || {
                let mut bench = Bench::new();
                let address = "10.0.0.2/24".parse().expect("a network");
                bench.stack.add_address(address).expect("a host's");
                bench.stack.cx.trap = Some(trap);
                for _ in 0..2 {
                    bench.far.tx.send(packet.clone().into()).expect("a pipe");
                    bench.run();
                }

                assert_eq!(bench.caught(), (1, 1), "{trap}");
                assert_eq!(bench.stack.counters().frames_received, 2);
            });
        }
    }

    /// An IPv4 packet from 10.0.0.1 to 10.0.0.2.
    fn packet(protocol: u8, payload: &[u8], fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 1];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = !crate::wire::checksum::data(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn panicking_waker_does_not_block_other_wakers() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("panic of a test");
            }
        }
        struct Counts(std::sync::atomic::AtomicUsize);
        impl Wake for Counts {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        in_model(|| {
            let mut bench = Bench::new();
            let queue = bench.with_datagram(b"news");
            let counts = Arc::new(Counts(0.into()));
            let wakers = [Waker::from(Arc::new(Panics)), Waker::from(counts.clone())];
            for waker in &wakers {
                let mut key = WaitKey::default();
                assert!(queue.poll_readable(&mut key, waker).is_pending());
            }

            bench.run();

            assert_eq!(counts.0.load(std::sync::atomic::Ordering::Relaxed), 1);
            assert!(queue.try_recv().is_ok());
        });
    }
}
