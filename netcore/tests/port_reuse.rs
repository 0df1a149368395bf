//! A pair of ends that is used again right after a transfer that was faster than the clock of the
//! initial sequence numbers (RFC 9293 section 3.4.1, RFC 6191).

mod harness;

use harness::icmp::side_of;
use harness::raw_peer::RawPeer;
use harness::segment::Segment;
use harness::{Pair, Side, addr, read};
use netcore::device::smoltcp::wire::{Ipv4Packet, TcpPacket};
use netcore::queue::{SocketQueue, StreamQueue};
use netcore::{Config, Error, HasChannel, TcpConfig, tcp};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the first connection sends. It takes hardly any time, and the clock ticks 16 million times
/// a second.
const BYTES: usize = 24 << 20;

/// A segment with SYN or FIN: who has sent it, whether it is a SYN, and where its numbers end.
type Edge = (Side, bool, u32);

fn watch(pair: &mut Pair) -> Rc<RefCell<Vec<Edge>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let edges = seen.clone();
    pair.wire = Box::new(move |packet| {
        let ip = Ipv4Packet::new_checked(&packet[..]).expect("an IPv4 packet");
        let segment = TcpPacket::new_checked(ip.payload()).expect("a segment");
        if segment.syn() || segment.fin() {
            let end = (segment.seq_number() + segment.segment_len()).0 as u32;
            edges.borrow_mut().push((side_of(&packet), segment.syn(), end));
        }
        Some(packet)
    });
    seen
}

fn connect(pair: &mut Pair) -> Result<Arc<StreamQueue>, Error> {
    let options = tcp::Options::default();
    let (remote, local) = (addr("10.0.0.2:80"), Some(addr("10.0.0.1:5000")));
    match pair.call(Side::Near, None, tcp::Command::Connect { remote, local, options })?.1 {
        Some(SocketQueue::Stream(stream)) => Ok(stream),
        other => panic!("connecting gave {other:?}"),
    }
}

fn transfer(pair: &mut Pair, from: &StreamQueue, to: &StreamQueue) {
    let chunk = vec![5; 256 * 1024];
    let (mut sent, mut received) = (0, 0);
    let start = pair.now;
    while received < BYTES {
        if sent < BYTES {
            sent += from.try_send(&chunk[..chunk.len().min(BYTES - sent)]).unwrap_or(0);
        }
        pair.run();
        let got = read(to, chunk.len()).map_or(0, |bytes| bytes.len());
        received += got;
        if got == 0 {
            pair.advance(Duration::from_millis(1));
        }
    }
    assert!(pair.now < start + Duration::from_secs(1), "{:?}", pair.now - start);
}

#[test]
fn reused_port_starts_beyond_the_last_sequence_number() {
    for sender in [Side::Near, Side::Far] {
        for closes_first in [Side::Near, Side::Far] {
            let mut pair = Pair::new();
            let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
            let seen = watch(&mut pair);
            let near = connect(&mut pair).expect("a listener");
            let far = pair.accept(Side::Far, listener).expect("a connection");
            let (from, to) = if sender == Side::Near { (&near, &far) } else { (&far, &near) };
            transfer(&mut pair, from, to);
            let (first, second) =
                if closes_first == Side::Near { (near, far) } else { (far, near) };
            first.close();
            pair.advance(Duration::from_millis(1));
            second.close();
            pair.advance(Duration::from_millis(20));
            if closes_first == Side::Near {
                // In TIME-WAIT the ends are free for a connect after a second.
                assert_eq!(connect(&mut pair).err(), Some(Error::AddressInUse));
                pair.advance(Duration::from_secs(1));
            }
            let ends = seen.take();
            let start = pair.now;

            let near = connect(&mut pair).expect("a listener");
            let far = pair.accept(Side::Far, listener).expect("a connection");

            let case = format!("{sender:?} sends and {closes_first:?} closes first");
            assert!(pair.now < start + Duration::from_millis(100), "{case}");
            for side in [Side::Near, Side::Far] {
                let fin = ends.iter().rev().find(|(from, is_syn, _)| *from == side && !is_syn);
                let edges = seen.borrow();
                let syn = edges.iter().find(|(from, is_syn, _)| *from == side && *is_syn);
                let (fin, syn) = (fin.expect("it has closed").2, syn.expect("it has answered").2);
                assert!((syn.wrapping_sub(1).wrapping_sub(fin) as i32) >= 0, "{side:?}: {case}");
            }
            near.close();
            far.close();
            pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
        }
    }
}

/// A peer whose entry in TIME-WAIT does not let the new connection in answers its SYN with an
/// acknowledgement, is told with a reset that there is no such connection any more, and takes the
/// SYN when it is repeated (RFC 9293 sections 3.10.7.3 and 3.10.7.4). One such reset for each SYN is no
/// matter of the bound on resets.
#[test]
fn syn_is_repeated_after_resetting_a_peer_in_time_wait() {
    let tcp = TcpConfig { resets_per_second: 0, ..TcpConfig::default() };
    let mut pair = Pair::with(Config { tcp, ..Config::default() }, 1500);
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:80", "10.0.0.2:5000");
    let mut connecting = Box::pin({
        let channel = pair.far.stack.command_channel();
        let (remote, local) = (peer.local, Some(peer.remote));
        let options = tcp::Options::default();
        async move { channel.call(None, tcp::Command::Connect { remote, local, options }).await }
    });
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    pair.run();
    let syn = peer.replies().remove(0);

    let old = syn.sequence.wrapping_add(1 << 20);
    peer.expected = old;
    peer.put(&mut pair, &peer.segment(77, 0));
    pair.run();
    let answers = peer.replies();
    pair.advance(Duration::from_secs(2));
    let again = peer.replies();

    let [reset, repeated] = &answers[..] else { panic!("{answers:?}") };
    assert!(reset.rst && reset.sequence == old, "{reset:?}");
    assert_eq!(repeated, &syn, "at once");
    // And later by the usual timer; but for the clock.
    let syn = Segment { stamp: again[0].stamp, ..syn };
    assert_eq!(again[0], syn);
    peer.put_syn(&mut pair, Some(peer.expected));
    pair.run();
    let Poll::Ready(Ok((_, Some(SocketQueue::Stream(stream))))) =
        connecting.as_mut().poll(&mut context)
    else {
        panic!("{:?}", pair.states(Side::Far))
    };
    stream.abort();
    stream.close();
    pair.run();
}
