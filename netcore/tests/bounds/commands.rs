//! Bounds of commands and of sockets.

use crate::harness::peer::{Peer, Tap};
use crate::harness::{Pair, Side, addr};
use crate::{bind, close, dropped, would_block};
use bytes::Bytes;
use netcore::device::smoltcp::wire::TcpControl;
use netcore::queue::SocketQueue;
use netcore::{
    Command, Config, DropReason, Error, HasChannel, Response, control, icmp, raw, tcp, udp,
};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[test]
pub(crate) fn full_command_queue_returns_would_block() {
    let mut pair = Pair::with(Config { commands_max: 3, ..Config::default() }, 1500);
    let channel = pair.far.stack.command_channel();
    let send = || channel.request_nonblocking(None, control::Command::Snapshot);

    for _ in 0..2 {
        assert_eq!([send(), send(), send(), send()], [Ok(()), Ok(()), Ok(()), would_block()]);
        pair.run();
    }
}

#[test]
pub(crate) fn pending_commands_of_a_socket_are_limited() {
    let config = Config { commands_per_socket_max: 3, ..Config::default() };
    let mut pair = Pair::with(config, 1500);
    let (near, far, listener) = pair.connected();
    let socket = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    while near.try_send(&[7; 1000]).is_ok() {
        pair.run();
    }
    let receive: Command = tcp::Command::Recv { max_len: None }.into();
    let send = tcp::Command::Send { buf: Bytes::from_static(b"more") };
    for (side, handle, command) in [
        (Side::Far, socket.id(), udp::Command::Recv { max_len: None }.into()),
        (Side::Far, listener, tcp::Command::Accept.into()),
        (Side::Near, near.id(), receive.clone()),
        (Side::Near, near.id(), send.into()),
    ] {
        let channel = pair.host(side).stack.command_channel();
        let mut waiting = Vec::new();
        for number in 1..=5 {
            let mut reply = Box::pin(channel.call(Some(handle), command.clone()));
            let refused = (number > 3).then_some(Error::LimitReached);
            assert_eq!(failure(&mut pair, reply.as_mut()), refused, "{command:?}, the {number}.");
            waiting.push(reply);
        }
        // A cancelled command frees one slot, and not two.
        drop(waiting.remove(0));
        for refused in [None, Some(Error::LimitReached)] {
            let mut reply = Box::pin(channel.call(Some(handle), command.clone()));
            assert_eq!(failure(&mut pair, reply.as_mut()), refused, "{command:?}");
            waiting.push(reply);
        }
    }
    // A command that completes at once needs no slot.
    pair.call(Side::Far, Some(far.id()), receive).expect("there is data");
    near.close();
    far.close();
    socket.close();
    close(&mut pair, listener);
}

/// The error of a command; `None` while it is pending.
fn failure(
    pair: &mut Pair,
    mut reply: Pin<&mut impl Future<Output = Result<(Response, Option<SocketQueue>), Error>>>,
) -> Option<Error> {
    let mut context = Context::from_waker(Waker::noop());
    // Once to send it, and once to see what came of that.
    assert!(reply.as_mut().poll(&mut context).is_pending());
    pair.run();
    match reply.poll(&mut context) {
        Poll::Ready(answer) => Some(answer.expect_err("nothing answers it")),
        Poll::Pending => None,
    }
}

#[test]
pub(crate) fn full_socket_table_refuses_sockets_and_drops_syns() {
    let mut pair = Pair::with(Config { sockets_max: 2, ..Config::default() }, 1500);
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("room");
    let socket = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let any = addr("10.0.0.2:0");
    let commands: [Command; 5] = [
        udp::Command::Bind { endpoint: any }.into(),
        tcp::Command::Listen { local: any, options: Default::default() }.into(),
        tcp::Command::Connect {
            remote: addr("10.0.0.1:80"),
            local: None,
            options: Default::default(),
        }
        .into(),
        icmp::Command::Open { local: any.ip() }.into(),
        raw::Command::Open { version: raw::Version::V4, protocol: 253 }.into(),
    ];

    for command in commands {
        let answer = pair.call(Side::Far, None, command.clone());
        assert_eq!(answer.err(), Some(Error::LimitReached), "{command:?}");
    }
    let mut peer = Peer::new(Ipv4Addr::new(10, 0, 0, 3), 1000);
    let syn = peer.segment(TcpControl::Syn, &[]);
    pair.inject(Side::Far, syn);
    pair.run();
    assert_eq!(dropped(&pair, DropReason::TooManySockets), 1);

    socket.close();
    pair.run();
    peer.connect(&mut pair, &tap);
    pair.accept(Side::Far, listener).expect("there is room again").abort();
    close(&mut pair, listener);
}
