//! Segments with odd options, flags, lengths and urgent pointers.

mod harness;

use harness::raw_peer::RawPeer;
use harness::segment::Segment;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr};
use netcore::queue::StreamQueue;
use netcore::{DropReason, SocketId, tcp};
use std::sync::Arc;

/// The ends of a connection of either family.
const ENDS: [(&str, &str); 2] =
    [("10.0.0.1:1000", "10.0.0.2:80"), ("[fd00::1]:1000", "[fd00::2]:80")];

/// Option bytes that are odd in a way of their own.
const ODD: &[&[u8]] = &[
    // Another length than theirs: MSS, window scale, SACK permitted, SACK, timestamp.
    &[2, 3, 5],
    &[2, 2],
    &[2, 6, 5, 5, 5, 5],
    &[3, 4, 7, 7],
    &[3, 2],
    &[4, 3, 0],
    &[5, 2],
    &[5, 3, 0],
    &[5, 9, 0, 0, 0, 0, 0, 0, 0],
    &[5, 34, 0, 0, 0],
    &[8, 2],
    &[8, 9, 0, 0, 0, 0, 0, 0, 0],
    // A length that cannot be.
    &[2, 0, 5, 5],
    &[2, 1, 5, 5],
    &[0xfd, 0, 1, 1],
    &[0xfd, 1, 1, 1],
    &[2, 4, 5],
    &[2],
    &[1, 1, 1, 3],
    &[3, 255, 7],
    &[0xfe, 40, 1, 1],
    // Unknown to this stack: experiments, Fast Open, TCP-AO, MD5 signature, the largest header.
    &[0xfd, 4, 1, 1],
    &[0xfe, 8, 0xf9, 0x89, 1, 2, 3, 4],
    &[34, 2],
    &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    &[29, 16, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    &[19, 18, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    &[0xfd, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[77; 40],
    &[1; 40],
    &[0; 40],
];

struct Bench {
    pair: Pair,
    peer: RawPeer,
    listener: SocketId,
    far: Option<Arc<StreamQueue>>,
}

impl Bench {
    /// A peer of a listener.
    fn new((local, remote): (&str, &str)) -> Self {
        let mut pair = Pair::new();
        let listener = pair.listen(Side::Far, remote).expect("a free port");
        let peer = RawPeer::new(&mut pair, local, remote);
        Self { pair, peer, listener, far: None }
    }

    /// The same with a connection.
    fn connected(ends: (&str, &str)) -> Self {
        let mut bench = Self::new(ends);
        bench.peer.shake_hands(&mut bench.pair);
        bench.accept();
        bench
    }

    fn accept(&mut self) {
        self.far = Some(self.pair.accept(Side::Far, self.listener).expect("a connection"));
    }

    fn read(&self) -> Vec<u8> {
        read(self.far.as_ref().expect("it is connected"), 100).unwrap_or_default()
    }

    /// Far's drops of the segments that `put` sends, and its answers.
    fn put(&mut self, put: impl FnOnce(&RawPeer, &mut Pair)) -> (Vec<DropReason>, Vec<Segment>) {
        let before = self.pair.far.stack.counters().clone();
        put(&self.peer, &mut self.pair);
        self.pair.run();
        let after = self.pair.far.stack.counters();
        let new = after.drops().filter(|(reason, count)| *count > before.dropped(*reason));
        (new.map(|(reason, _)| reason).collect(), self.peer.replies())
    }

    fn end(mut self) {
        if let Some(far) = self.far.take() {
            far.abort();
            far.close();
        }
        let closed = self.pair.call(Side::Far, Some(self.listener), tcp::Command::Close);
        closed.expect("a listener");
    }
}

fn syn(peer: &RawPeer) -> TcpRepr<'static> {
    TcpRepr { control: TcpControl::Syn, ack_number: None, ..peer.segment(0, 0) }
}

#[test]
fn a_syn_with_odd_options_is_answered() {
    for ends in ENDS {
        for options in ODD {
            let mut bench = Bench::new(ends);

            let (drops, replies) =
                bench.put(|peer, pair| peer.put_options(pair, &syn(peer), options));

            assert_eq!((drops, replies.len()), (vec![], 1), "{options:?}");
            assert!(replies[0].syn && replies[0].acknowledgement == Some(1), "{options:?}");
            bench.peer.send(&mut bench.pair, 1, 5);
            bench.accept();
            assert_eq!(bench.read(), [7; 5], "{options:?}");
            bench.end();
        }
    }
}

#[test]
fn syn_ack_with_odd_options_is_accepted() {
    for options in ODD {
        let mut pair = Pair::new();
        let mut peer = RawPeer::new(&mut pair, "10.0.0.1:80", "10.0.0.2:5000");
        let mut connecting = Box::pin({
            let channel = netcore::HasChannel::command_channel(&pair.far.stack);
            let (remote, local) = (peer.local, Some(peer.remote));
            let options = tcp::Options::default();
            async move { channel.call(None, tcp::Command::Connect { remote, local, options }).await }
        });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(connecting.as_mut().poll(&mut context).is_pending());
        pair.run();
        peer.collect();

        let answer = TcpRepr { control: TcpControl::Syn, ..peer.segment(0, 0) };
        peer.put_options(&mut pair, &answer, options);
        pair.run();

        let connected = connecting.as_mut().poll(&mut context);
        let std::task::Poll::Ready(Ok((_, Some(netcore::queue::SocketQueue::Stream(stream))))) =
            connected
        else {
            panic!("{options:?}: {connected:?}")
        };
        stream.abort();
        stream.close();
        pair.run();
    }
}

#[test]
fn data_with_odd_options_is_delivered() {
    for ends in ENDS {
        let mut bench = Bench::connected(ends);
        for (index, options) in ODD.iter().enumerate() {
            let sequence = 1 + 5 * index as u32;

            let (drops, _) = bench.put(|peer, pair| {
                peer.put_options(pair, &peer.segment(sequence, 5), options);
            });

            assert_eq!((drops, bench.read()), (vec![], vec![7; 5]), "{options:?}");
        }
        bench.end();
    }
}

#[test]
fn fin_and_reset_with_odd_options_are_accepted() {
    for options in ODD {
        let mut bench = Bench::connected(ENDS[0]);

        let fin = TcpRepr { control: TcpControl::Fin, ..bench.peer.segment(1, 0) };
        bench.put(|peer, pair| peer.put_options(pair, &fin, options));
        assert_eq!(bench.pair.states(Side::Far).0, ["CLOSE-WAIT"], "{options:?}");
        let reset = TcpRepr { control: TcpControl::Rst, ..bench.peer.segment(2, 0) };
        bench.put(|peer, pair| peer.put_options(pair, &reset, options));

        assert_eq!(bench.pair.states(Side::Far).0, [""; 0], "{options:?}");
        bench.end();
    }
}

#[test]
fn invalid_data_offset_is_malformed() {
    for offset in [0, 4, 8, 16, 24, 40, 60] {
        let mut bench = Bench::connected(ENDS[0]);

        let (drops, replies) = bench.put(|peer, pair| {
            peer.put_altered(pair, &peer.segment(1, 0), |segment| segment.set_header_len(offset));
        });

        assert_eq!((drops, replies.len()), (vec![DropReason::Malformed], 0), "{offset}");
        bench.end();
    }
}

#[test]
fn reserved_bits_and_ecn_flags_are_ignored() {
    for (byte, bits) in [(12, 0x01), (12, 0x0f), (13, 0x40), (13, 0x80), (13, 0xc8)] {
        let mut bench = Bench::connected(ENDS[0]);

        let (drops, _) = bench.put(|peer, pair| {
            peer.put_bytes(pair, &peer.segment(1, 5), |segment| segment[byte] |= bits);
        });

        assert_eq!((drops, bench.read()), (vec![], vec![7; 5]), "{byte} {bits:#x}");
        bench.end();
    }
}

/// Linux takes the urgent byte out of the stream unless it is asked not to; RFC 6093 section 6 has
/// every program ask for that, and so it stays here.
#[test]
fn urgent_data_stays_in_the_stream() {
    for pointer in [0, 1, 3, 5, 6, u16::MAX] {
        let mut bench = Bench::connected(ENDS[0]);

        let (drops, _) = bench.put(|peer, pair| {
            peer.put_altered(pair, &peer.segment(1, 5), |segment| {
                segment.set_urg(true);
                segment.set_urgent_at(pointer);
            });
        });

        assert_eq!((drops, bench.read()), (vec![], vec![7; 5]), "{pointer}");
        bench.end();
    }
}
