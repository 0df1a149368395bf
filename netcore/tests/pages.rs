//! The sockets of a stack page by page, and one of them alone.

mod harness;

use harness::{Pair, Side, read};
use netcore::control::{self, Command};
use netcore::queue::SocketQueue;
use netcore::{
    Error, HasChannel, Instant, Overview, Response, SocketId, SocketInfo, SocketKind, TcpState,
    TimeWaitPage, tcp, udp,
};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn pages_have_every_socket_once() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let streams: Vec<_> = (0..300)
        .map(|_| {
            let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
            (near, pair.accept(Side::Far, listener).expect("a connection"))
        })
        .collect();

    let read = [pages(&mut pair, 7), pages(&mut pair, 64), pages(&mut pair, usize::MAX)];

    let all = pair.far.stack.snapshot().sockets;
    let expected: HashSet<_> = all.iter().map(|socket| socket.id).collect();
    assert_eq!(expected.len(), 301);
    for sockets in read {
        assert_eq!(sockets.len(), 301);
        assert_eq!(sockets.iter().map(|socket| socket.id).collect::<HashSet<_>>(), expected);
    }
    for (near, far) in streams {
        near.close();
        far.close();
    }
    pair.run();
    // The slots are still there, and nobody is in them.
    assert_eq!(pages(&mut pair, 64).len(), 1);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
    assert_eq!(pages(&mut pair, 64).len(), 0);
}

#[test]
fn one_socket_is_read_by_its_id() {
    let mut pair = Pair::new();
    let bound = udp::Command::Bind { endpoint: harness::addr("10.0.0.1:53") };
    let (bound, queue) = pair.call(Side::Near, None, bound).expect("a free port");
    let Response::Udp(udp::Response::Bound { handle: udp, .. }) = bound else {
        panic!("binding answered {bound:?}");
    };
    let Some(SocketQueue::Datagram(queue)) = queue else { panic!("another queue") };
    let listener = pair.listen(Side::Near, "10.0.0.1:80").expect("a free port");

    let found = socket(&mut pair, listener).expect("it exists");
    assert_eq!((found.state, found.local.port()), (Some(TcpState::Listen), 80));

    pair.call(Side::Near, Some(listener), tcp::Command::Close).expect("it listens");
    assert_eq!(socket(&mut pair, listener).map(|socket| socket.local), Err(Error::Closed));
    assert_eq!(socket(&mut pair, udp).map(|socket| socket.kind), Ok(SocketKind::Udp));
    queue.close();
}

#[test]
fn time_wait_is_read_page_by_page() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    for _ in 0..20 {
        let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
        let far = pair.accept(Side::Far, listener).expect("a connection");
        near.close();
        pair.advance(Duration::from_millis(10));
        far.close();
        pair.run();
    }

    let (mut after, mut flows, mut pages) = (Instant::ZERO, Vec::new(), 0);
    loop {
        let TimeWaitPage { flows: page, next, .. } = time_wait(&mut pair, after);
        pages += 1;
        flows.extend(page);
        match next {
            Some(next) => after = next,
            None => break,
        }
    }

    assert_eq!((flows.len(), pages), (20, 7), "3 a page");
    let expected: HashSet<_> = pair.near.stack.snapshot().time_wait.into_iter().collect();
    assert_eq!(flows.into_iter().collect::<HashSet<(SocketAddr, SocketAddr)>>(), expected);
    assert_eq!(overview(&mut pair).time_wait, 20);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
}

#[test]
fn an_aborted_connection_is_reset_at_both_ends() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let id = pages(&mut pair, 64).iter().find(|it| it.peer.is_some()).expect("it is there").id;

    pair.call(Side::Far, None, Command::Abort { id }).expect("it exists");
    pair.run();

    assert_eq!(read(&far, 1), Err(Error::Aborted));
    assert_eq!(read(&near, 1), Err(Error::Reset));
    let again = pair.call(Side::Far, None, Command::Abort { id });
    assert_eq!(again.map(|_| ()), Err(Error::Closed));
    // Any other socket ends, too.
    pair.call(Side::Far, None, Command::Abort { id: listener }).expect("it listens");
    let (refused, _) = (pair.connect(Side::Near, "10.0.0.2:80"), near);
    assert_eq!(refused.map(|_| ()), Err(Error::Refused));
}

/// The far sockets, so many slots at once.
fn pages(pair: &mut Pair, slots: usize) -> Vec<SocketInfo> {
    let (mut from, mut all) = (0, Vec::new());
    loop {
        let control::Response::Sockets(page) =
            ask(pair, Side::Far, Command::Sockets { from, slots })
        else {
            panic!("another answer");
        };
        assert!(page.sockets.len() <= slots.min(256));
        all.extend(page.sockets);
        match page.next {
            Some(next) => from = next,
            None => return all,
        }
    }
}

fn socket(pair: &mut Pair, id: SocketId) -> Result<SocketInfo, Error> {
    let (response, _) = pair.call(Side::Near, None, Command::Socket { id })?;
    match response.try_into()? {
        control::Response::Socket(socket) => Ok(*socket),
        _ => Err(Error::WrongSocket),
    }
}

fn time_wait(pair: &mut Pair, after: Instant) -> TimeWaitPage {
    match ask(pair, Side::Near, Command::TimeWait { after, max: 3 }) {
        control::Response::TimeWait(page) => page,
        other => panic!("{other:?}"),
    }
}

fn overview(pair: &mut Pair) -> Overview {
    match ask(pair, Side::Near, Command::Overview) {
        control::Response::Overview(overview) => *overview,
        other => panic!("{other:?}"),
    }
}

fn ask(pair: &mut Pair, side: Side, command: Command) -> control::Response {
    // Not by `Pair::call`, which lets time pass.
    let host = pair.host(side);
    let channel = host.stack.command_channel();
    let mut reply = std::pin::pin!(channel.call(None, command));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(reply.as_mut().poll(&mut context).is_pending());
    host.stack.process_cmds();
    match reply.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok((response, _))) => response.try_into().expect("control"),
        other => panic!("{other:?}"),
    }
}
