//! Requests that are dropped while a whole stack answers them.

use crate::channel::HasChannel;
use crate::command::{Response, tcp};
use crate::config::{Config, Entropy, TcpConfig};
use crate::device::PipeDev;
use crate::id::SocketId;
use crate::link::Medium;
use crate::models::with_a_large_stack;
use crate::pipe::Pipe;
use crate::queue::{SocketQueue, StreamQueue};
use crate::stack::Netstack;
use crate::time::Instant;
use loom::model::Builder;
use loom::thread;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const LISTENER: ([u8; 4], u16) = ([127, 0, 0, 1], 80);

#[test]
fn connection_is_accepted_once_if_request_is_dropped() {
    check(|| {
        let mut host = Host::new();
        let listener = host.listen();
        let client = host.connect();
        let dropping = send_and_drop(&host, Some(listener), tcp::Command::Accept);

        host.run();

        let first = dropping.join().expect("no panic");
        host.run();
        let accepted = first.or_else(|| host.request(Some(listener), tcp::Command::Accept));
        let Some((_, Some(SocketQueue::Stream(server)))) = accepted else {
            panic!("accepting gave {accepted:?}");
        };
        assert_eq!(server.peer_address(), client.local_address());
        assert!(host.request(Some(listener), tcp::Command::Accept).is_none(), "accepted twice");
    });
}

#[test]
fn received_bytes_stay_in_order_if_request_is_dropped() {
    check(|| {
        let mut host = Host::new();
        let listener = host.listen();
        let client = host.connect();
        let accepted = host.request(Some(listener), tcp::Command::Accept);
        let Some((Response::Tcp(tcp::Response::Accepted { handle, .. }), _)) = accepted else {
            panic!("accepting gave {accepted:?}");
        };
        assert_eq!(client.try_send(b"abcd"), Ok(4));
        host.run();
        let command = tcp::Command::Recv { max_len: Some(2) };
        let dropping = send_and_drop(&host, Some(handle), command);

        host.run();

        let first = dropping.join().expect("no panic");
        host.run();
        let rest = host.request(Some(handle), tcp::Command::Recv { max_len: None });
        let mut received = Vec::new();
        let mut answers: Vec<_> = first.into_iter().chain(rest).collect();
        // Returned bytes may be split.
        answers.extend(host.request(Some(handle), tcp::Command::Recv { max_len: None }));
        for (answer, _) in answers {
            match answer {
                Response::Tcp(tcp::Response::Received { buf }) => received.extend(buf),
                other => panic!("receiving gave {other:?}"),
            }
        }
        assert_eq!(received, b"abcd");
    });
}

#[test]
fn dropped_connect_frees_its_socket_at_once() {
    check(|| {
        let mut host = Host::new();
        host.stack.add_address("10.0.0.1/24".parse().expect("a network")).expect("a host's");
        // No node has this address.
        let remote = SocketAddr::from(([10, 0, 0, 2], 80));
        let options = tcp::Options::default();
        let command = tcp::Command::Connect { remote, local: None, options };
        let dropping = send_and_drop(&host, None, command);

        host.run();

        assert!(dropping.join().expect("no panic").is_none());
        host.run();
        let left = host.stack.snapshot();
        assert!(left.sockets.is_empty(), "left behind:\n{left}");
    });
}

type Answered = (Response, Option<SocketQueue>);

/// A stack with loopback connections.
struct Host {
    stack: Netstack,
    device: PipeDev,
}

impl Host {
    fn new() -> Self {
        let config = Config {
            entropy: Entropy::Seed(1),
            tcp: TcpConfig {
                recv_buffer_bytes: 4096,
                recv_buffer_bytes_max: 4096,
                send_buffer_bytes: 4096,
                send_buffer_bytes_max: 4096,
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let (pipe, _) = Pipe::unbounded();
        let device = PipeDev { pipe, medium: Medium::Ip.into(), mtu: 1500 };
        Self { stack: Netstack::new(config, Instant::ZERO), device }
    }

    /// Does all work that is due.
    fn run(&mut self) {
        self.stack.process_cmds();
        while self.stack.poll_device_io(Instant::ZERO, &mut self.device) {}
    }

    /// `None` if it cannot be answered now.
    fn request(&mut self, handle: Option<SocketId>, command: tcp::Command) -> Option<Answered> {
        let channel = self.stack.command_channel();
        let mut reply = Box::pin(channel.call(handle, command));
        let mut context = Context::from_waker(Waker::noop());
        assert!(reply.as_mut().poll(&mut context).is_pending(), "only the stack answers");
        self.run();
        match reply.as_mut().poll(&mut context) {
            Poll::Ready(answer) => Some(answer.expect("nothing fails here")),
            Poll::Pending => None,
        }
    }

    fn listen(&mut self) -> SocketId {
        let options = tcp::ListenOptions::default();
        let command = tcp::Command::Listen { local: LISTENER.into(), options };
        match self.request(None, command) {
            Some((Response::Tcp(tcp::Response::Listening { handle, .. }), _)) => handle,
            other => panic!("listening gave {other:?}"),
        }
    }

    fn connect(&mut self) -> Arc<StreamQueue> {
        let options = tcp::Options::default();
        let command = tcp::Command::Connect { remote: LISTENER.into(), local: None, options };
        match self.request(None, command) {
            Some((_, Some(SocketQueue::Stream(stream)))) => stream,
            other => panic!("connecting gave {other:?}"),
        }
    }
}

/// Sends a request, and on another thread drops it if it is unanswered at the second poll. It is
/// sent before that thread starts, since loom does not see the channel.
fn send_and_drop(
    host: &Host,
    handle: Option<SocketId>,
    command: tcp::Command,
) -> thread::JoinHandle<Option<Answered>> {
    let channel = host.stack.command_channel();
    let mut reply = Box::pin(async move { channel.call(handle, command).await });
    let mut context = Context::from_waker(Waker::noop());
    assert!(reply.as_mut().poll(&mut context).is_pending(), "only the stack answers");
    thread::spawn(move || match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer.expect("nothing fails here")),
        Poll::Pending => None,
    })
}

/// Two preemptions let each thread run between any two steps of the other once.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = Some(2);
    let model = Arc::new(model);
    builder.check(move || {
        let model = model.clone();
        with_a_large_stack(move || model());
    });
}
