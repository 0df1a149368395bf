//! Two ends that connect to each other at once (RFC 9293 section 3.5, figure 8).

mod harness;

use bytes::Bytes;
use harness::icmp::side_of;
use harness::raw_peer::RawPeer;
use harness::{Pair, Side, addr, read};
use netcore::Instant;
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr};
use netcore::queue::{SocketQueue, StreamQueue};
use netcore::{Error, HasChannel, tcp};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The one-way delay of the link.
const DELAY: Duration = Duration::from_millis(10);

/// Packets under way, and when they arrive.
type UnderWay = Rc<RefCell<VecDeque<(Instant, Bytes)>>>;

type Connecting = Pin<Box<dyn Future<Output = Result<Arc<StreamQueue>, Error>>>>;

/// Begins to connect from one of two ends to the other.
fn connect(pair: &mut Pair, side: Side, (local, remote): (&str, &str)) -> Connecting {
    let options = tcp::Options::default();
    let (local, remote) = (Some(addr(local)), addr(remote));
    let command = tcp::Command::Connect { remote, local, options };
    let channel = pair.host(side).stack.command_channel();
    Box::pin(async move {
        match channel.call(None, command).await? {
            (_, Some(SocketQueue::Stream(stream))) => Ok(stream),
            other => panic!("connecting gave {other:?}"),
        }
    })
}

/// Lets both connect over a link with a delay, of whose packets those are lost that `is_lost` says,
/// by how many came before; returns the two streams and how many packets were sent.
fn cross(
    pair: &mut Pair,
    ends: (&str, &str),
    is_lost: impl Fn(usize) -> bool + 'static,
) -> ([Arc<StreamQueue>; 2], usize) {
    let sent = UnderWay::default();
    let queue = sent.clone();
    pair.wire = Box::new(move |packet| {
        queue.borrow_mut().push_back((Instant::ZERO, packet));
        None
    });
    let mut connecting =
        [connect(pair, Side::Near, ends), connect(pair, Side::Far, (ends.1, ends.0))];
    let mut context = Context::from_waker(Waker::noop());
    let mut streams = [None, None];
    let mut under_way = VecDeque::new();
    let mut count = 0;
    for _ in 0..60_000 {
        for (connecting, stream) in connecting.iter_mut().zip(&mut streams) {
            if stream.is_none()
                && let Poll::Ready(connected) = connecting.as_mut().poll(&mut context)
            {
                *stream = Some(connected.expect("both are there"));
            }
        }
        pair.advance(Duration::from_millis(1));
        for (_, packet) in sent.borrow_mut().drain(..) {
            if !is_lost(count) {
                under_way.push_back((pair.now + DELAY, packet));
            }
            count += 1;
        }
        while under_way.front().is_some_and(|(at, _)| *at <= pair.now) {
            let (_, packet) = under_way.pop_front().expect("it was just there");
            let to = if side_of(&packet) == Side::Near { Side::Far } else { Side::Near };
            pair.inject(to, packet.to_vec());
        }
        if let [Some(near), Some(far)] = &streams
            && under_way.is_empty()
        {
            pair.wire = Box::new(Some);
            return ([near.clone(), far.clone()], count);
        }
    }
    panic!("never connected: {streams:?}");
}

fn talk(pair: &mut Pair, streams: [Arc<StreamQueue>; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        let bytes = vec![5; 20_000];
        let mut received = Vec::new();
        assert_eq!(streams[from].try_send(&bytes), Ok(bytes.len()));
        pair.advance_until(|_| {
            received.extend(read(&streams[to], 20_000).unwrap_or_default());
            received.len() == bytes.len()
        });
        assert_eq!(received, bytes);
    }
    for stream in streams {
        stream.close();
    }
}

const ENDS: [(&str, &str); 2] =
    [("10.0.0.1:5000", "10.0.0.2:6000"), ("[fd00::1]:5000", "[fd00::2]:6000")];

#[test]
fn crossed_syns_connect() {
    for ends in ENDS {
        let mut pair = Pair::new();

        let (streams, sent) = cross(&mut pair, ends, |_| false);

        assert_eq!(
            (streams[0].local_address(), streams[0].peer_address()),
            (addr(ends.0), addr(ends.1))
        );
        assert_eq!(
            (streams[1].local_address(), streams[1].peer_address()),
            (addr(ends.1), addr(ends.0))
        );
        assert!(sent <= 6, "{sent} segments");
        talk(&mut pair, streams);
    }
}

#[test]
fn any_lost_segment_only_delays_crossed_syns() {
    for ends in ENDS {
        for lost in 0..8 {
            for and_next in [false, true] {
                let mut pair = Pair::new();
                let (streams, _) =
                    cross(&mut pair, ends, move |n| n == lost || (and_next && n == lost + 1));
                talk(&mut pair, streams);
            }
        }
    }
}

#[test]
fn a_socket_connected_to_itself_reads_what_it_writes() {
    for end in ["10.0.0.1:5000", "[fd00::1]:5000", "127.0.0.1:5000", "[::1]:5000"] {
        let mut pair = Pair::new();
        let mut connecting = connect(&mut pair, Side::Near, (end, end));
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = None;
        pair.advance_until(|_| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(&mut context) {
                stream = Some(connected.expect("it is there"));
            }
            stream.is_some()
        });
        let stream = stream.expect("advance_until waited for it");

        assert_eq!((stream.local_address(), stream.peer_address()), (addr(end), addr(end)));
        assert_eq!(stream.try_send(b"hello"), Ok(5));
        pair.advance(Duration::from_millis(100));
        assert_eq!(read(&stream, 10), Ok(b"hello".to_vec()), "{end}");
        stream.shutdown_send().expect("it is open");
        pair.advance(Duration::from_millis(100));
        assert_eq!(read(&stream, 10), Ok(Vec::new()), "{end}");
        stream.close();
    }
}

/// A peer that has sent its SYN, got far's, and answers it as its own was answered.
#[test]
fn syn_ack_after_a_crossed_syn_connects_at_once() {
    for (local, remote) in [("10.0.0.1:80", "10.0.0.2:5000"), ("[fd00::1]:80", "[fd00::2]:5000")] {
        for is_late in [false, true] {
            let mut pair = Pair::new();
            let mut peer = RawPeer::new(&mut pair, local, remote);
            let mut connecting = connect(&mut pair, Side::Far, (remote, local));
            let mut context = Context::from_waker(Waker::noop());
            assert!(connecting.as_mut().poll(&mut context).is_pending());
            pair.run();
            let syn = peer.replies();
            assert!(syn.len() == 1 && syn[0].syn && syn[0].acknowledgement.is_none());

            peer.put_syn(&mut pair, None);
            pair.run();
            let syn_ack = peer.replies();
            assert!(syn_ack.len() == 1 && syn_ack[0].syn, "{syn_ack:?}");
            assert_eq!(
                (syn_ack[0].sequence, syn_ack[0].acknowledgement),
                (syn[0].sequence, Some(1))
            );
            assert!(connecting.as_mut().poll(&mut context).is_pending());
            if is_late {
                // A repeated SYN is answered with what stands.
                peer.put_syn(&mut pair, None);
                pair.run();
                assert_eq!(peer.replies().last().and_then(|reply| reply.acknowledgement), Some(1));
            }
            peer.put_syn(&mut pair, Some(peer.expected));
            pair.run();

            let Poll::Ready(Ok(stream)) = connecting.as_mut().poll(&mut context) else {
                panic!("not connected: {:?}", pair.states(Side::Far))
            };
            assert_eq!(stream.try_send(&[5; 4000]), Ok(4000));
            pair.run();
            let sent: usize = peer.replies().iter().map(|reply| reply.payload.len()).sum();
            assert!(sent > 500, "{sent}");
            peer.send(&mut pair, 1, 5);
            assert_eq!(read(&stream, 10), Ok(vec![7; 5]));
            stream.abort();
            stream.close();
            pair.run();
        }
    }
}

#[test]
fn reset_ends_a_handshake_of_crossed_syns() {
    let mut pair = Pair::new();
    let (local, remote) = ("10.0.0.1:80", "10.0.0.2:5000");
    let mut peer = RawPeer::new(&mut pair, local, remote);
    let mut connecting = connect(&mut pair, Side::Far, (remote, local));
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    pair.run();
    peer.collect();
    peer.put_syn(&mut pair, None);
    pair.run();
    peer.collect();

    let reset = TcpRepr { control: TcpControl::Rst, ..peer.segment(1, 0) };
    peer.put(&mut pair, &reset);
    pair.run();

    let Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut context) else {
        panic!("{:?}", pair.states(Side::Far))
    };
    assert_eq!(error, Error::Refused);
}
