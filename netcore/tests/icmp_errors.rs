//! ICMP errors of routers and hosts, and the sockets that report them.

mod harness;

use bytes::Bytes;
use harness::icmp::{ROUTER_V4, ROUTER_V6, Seen, error};
use harness::{Pair, Side, addr, read};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::{Command, Error, HasChannel, Response, icmp, tcp, udp};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Family, type and code of an ICMP error, and the error of a socket.
const REPORTS: [(bool, u8, u8, Error); 12] = [
    (true, 3, 0, Error::NetworkUnreachable),
    (true, 3, 1, Error::HostUnreachable),
    (true, 3, 2, Error::Refused),
    (true, 3, 3, Error::Refused),
    (true, 3, 13, Error::HostUnreachable),
    (true, 11, 0, Error::TtlExceeded),
    (false, 1, 0, Error::NetworkUnreachable),
    (false, 1, 1, Error::HostUnreachable),
    (false, 1, 3, Error::HostUnreachable),
    (false, 1, 4, Error::Refused),
    (false, 3, 0, Error::TtlExceeded),
    (false, 4, 1, Error::Refused),
];

/// Keeps what is sent from its destination.
fn swallow(pair: &mut Pair) -> Seen {
    let seen = Seen::default();
    let sink = seen.clone();
    pair.wire = Box::new(move |packet| {
        sink.borrow_mut().push(packet);
        None
    });
    seen
}

fn far(is_v4: bool) -> &'static str {
    if is_v4 { "10.0.0.2:80" } else { "[fd00::2]:80" }
}

fn open(pair: &mut Pair, command: impl Into<Command>) -> Arc<DatagramQueue> {
    match pair.call(Side::Near, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn send(pair: &mut Pair, socket: &DatagramQueue, to: &str) {
    let datagram = Datagram::new(addr(to), Bytes::from_static(b"hello"));
    socket.try_send(datagram).expect("room");
    pair.run();
}

fn close(pair: &mut Pair, socket: &DatagramQueue) {
    socket.close();
    pair.run();
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

#[test]
fn icmp_error_fails_a_connect_at_once() {
    for (is_v4, kind, code, expected) in REPORTS {
        let mut pair = Pair::new();
        let sent = swallow(&mut pair);
        let channel = pair.near.stack.command_channel();
        let options = tcp::Options::default();
        let connect = tcp::Command::Connect { remote: addr(far(is_v4)), local: None, options };
        let mut connecting = std::pin::pin!(channel.call(None, connect));
        assert!(poll(connecting.as_mut()).is_none());
        pair.run();
        let syn = sent.take().remove(0);

        // A sequence number that was not sent, and a port without a connection.
        for byte in [3, 20] {
            let mut other = syn.to_vec();
            let tcp = if is_v4 { 20 } else { 40 };
            other[tcp + if byte == 3 { 5 } else { 1 }] ^= byte;
            pair.inject(Side::Near, error(&other, kind, code, 0));
        }
        pair.run();
        assert!(poll(connecting.as_mut()).is_none(), "it was not about this one");
        pair.inject(Side::Near, error(&syn, kind, code, 0));
        pair.run();

        let failed = poll(connecting.as_mut()).expect("the outcome is known").err();
        assert_eq!(failed, Some(expected), "{kind} {code}");
    }
}

#[test]
fn established_connection_ignores_icmp_errors() {
    for (is_v4, kind, code, _) in REPORTS {
        let mut pair = Pair::new();
        let listener = pair.listen(Side::Far, far(is_v4)).expect("a free port");
        let near = pair.connect(Side::Near, far(is_v4)).expect("a listener");
        let accepted = pair.accept(Side::Far, listener).expect("a connection");
        let sent = swallow(&mut pair);
        near.try_send(b"hello").expect("room");
        pair.run();

        let segment = sent.take().remove(0);
        pair.inject(Side::Near, error(&segment, kind, code, 0));
        pair.run();
        pair.wire = Box::new(Some);
        pair.advance(Duration::from_secs(10));

        assert_eq!(read(&accepted, 16), Ok(b"hello".to_vec()), "{kind} {code}");
        near.close();
        accepted.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it is there");
    }
}

#[test]
fn connected_udp_socket_reports_an_icmp_error_once() {
    for (is_v4, kind, code, expected) in REPORTS {
        let mut pair = Pair::new();
        let any = if is_v4 { "0.0.0.0:0" } else { "[::]:0" };
        let [connected, other] =
            [(); 2].map(|()| open(&mut pair, udp::Command::Bind { endpoint: addr(any) }));
        connected.set_peer(Some(addr(far(is_v4))));
        let sent = swallow(&mut pair);
        send(&mut pair, &connected, far(is_v4));
        send(&mut pair, &other, far(is_v4));

        for packet in sent.take() {
            pair.inject(Side::Near, error(&packet, kind, code, 0));
        }
        pair.run();

        assert_eq!(connected.try_recv().err(), Some(expected), "{kind} {code}");
        assert_eq!(connected.try_recv().err(), Some(Error::WouldBlock));
        assert_eq!(other.try_recv().err(), Some(Error::WouldBlock), "it has no peer");
        close(&mut pair, &connected);
        close(&mut pair, &other);
    }
}

#[test]
fn ping_socket_reports_icmp_errors_of_its_requests() {
    for (is_v4, kind, code, expected) in REPORTS {
        let mut pair = Pair::new();
        let (local, router) = if is_v4 { ("0.0.0.0:0", ROUTER_V4) } else { ("[::]:0", ROUTER_V6) };
        let local = addr(local).ip();
        let ping = open(&mut pair, icmp::Command::Open { local });
        let sent = swallow(&mut pair);
        for sequence in 1..=3 {
            send(&mut pair, &ping, &far(is_v4).replace("80", &sequence.to_string()));
        }

        for packet in sent.take() {
            pair.inject(Side::Near, error(&packet, kind, code, 0));
        }
        pair.run();

        let router: std::net::IpAddr = router.parse().expect("an address");
        for sequence in 1..=2 {
            let report = ping.try_recv().expect("all are kept");
            assert_eq!((report.peer.ip(), report.peer.port()), (router, sequence));
            assert_eq!(report.error, Some(expected), "{kind} {code}");
        }
        match pair.call(Side::Near, Some(ping.id()), icmp::Command::Recv) {
            Ok((Response::Icmp(icmp::Response::Failed { remote, sequence, error }), _)) => {
                assert_eq!((remote, sequence, error), (router, 3, expected));
            }
            other => panic!("receiving gave {other:?}"),
        }
        close(&mut pair, &ping);
    }
}

#[test]
fn icmp_error_that_quotes_a_foreign_packet_is_ignored() {
    let mut pair = Pair::new();
    let ping = open(&mut pair, icmp::Command::Open { local: addr("0.0.0.0:0").ip() });
    let sent = swallow(&mut pair);
    send(&mut pair, &ping, "10.0.0.2:1");
    let mut quoted = sent.take()[0].to_vec();
    quoted[15] = 9;

    let router = ROUTER_V4.parse().expect("an address");
    let to = addr("10.0.0.1:0").ip();
    pair.inject(Side::Near, harness::icmp::error_between(router, to, &quoted, 11, 0, 0));
    pair.run();

    assert_eq!(ping.try_recv().err(), Some(Error::WouldBlock));
    close(&mut pair, &ping);
}
