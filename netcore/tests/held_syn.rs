//! Listeners that hold SYNs until the application admits or refuses them.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, addr, read};
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr};
use netcore::queue::{HeldSyn, SocketQueue};
use netcore::tcp::{OnSyn, Refusal};
use netcore::{Config, DropReason, Error, HasChannel, SocketId, TcpConfig, TcpState, tcp};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[test]
fn nothing_is_answered_before_the_syn_is_admitted() {
    for (listen, dialled) in [("0.0.0.0:80", "10.0.0.2:80"), ("[::]:80", "[fd00::2]:80")] {
        let mut pair = Pair::new();
        let listener = hold(&mut pair, listen);
        let channel = pair.near.stack.command_channel();
        let mut connecting = pin!(channel.call(None, connect_to(dialled)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(connecting.as_mut().poll(&mut context).is_pending());
        pair.advance(Duration::from_millis(200));
        assert_eq!(pair.far.stack.counters().frames_sent, 0);

        let held = next(&mut pair, listener);
        assert_eq!(held.local_address(), addr(dialled));
        let far = admit(&mut pair, &held).expect("the peer waits");

        let Poll::Ready(Ok((_, Some(SocketQueue::Stream(near))))) =
            connecting.as_mut().poll(&mut context)
        else {
            panic!("the peer is connected")
        };
        assert_eq!((far.peer_address(), far.id()), (near.local_address(), held.id()));
        assert_eq!(held.peer_address(), near.local_address());
        near.try_send(b"hello").expect("room");
        far.try_send(b"there").expect("room");
        pair.run();
        assert_eq!(read(&far, 10), Ok(b"hello".to_vec()));
        assert_eq!(read(&near, 10), Ok(b"there".to_vec()));
        assert_eq!(held.refuse(Refusal::Reset), Err(Error::Closed), "it is a connection now");
        near.close();
        far.close();
        close(&mut pair, listener);
    }
}

#[test]
fn connect_fails_with_the_error_of_the_refusal() {
    for (how, seen) in [
        (Refusal::Reset, Error::Refused),
        (Refusal::PortUnreachable, Error::Refused),
        (Refusal::NetworkUnreachable, Error::NetworkUnreachable),
        (Refusal::HostUnreachable, Error::HostUnreachable),
        (Refusal::Prohibited, Error::HostUnreachable),
    ] {
        for dialled in ["10.0.0.2:80", "[fd00::2]:80"] {
            let mut pair = Pair::new();
            let listener = hold(&mut pair, "[::]:80");
            let start = pair.now;
            let channel = pair.near.stack.command_channel();
            let mut connecting = pin!(channel.call(None, connect_to(dialled)));
            let mut context = Context::from_waker(Waker::noop());
            assert!(connecting.as_mut().poll(&mut context).is_pending());
            pair.run();

            let held = next(&mut pair, listener);
            held.refuse(how).expect("the peer waits");
            pair.run();

            let Poll::Ready(outcome) = connecting.as_mut().poll(&mut context) else {
                panic!("{how:?} is told at once")
            };
            assert_eq!(outcome.err(), Some(seen), "{how:?}, {dialled}");
            assert!(pair.now - start < Duration::from_millis(500));
            assert_eq!(held.end(), Some(Error::Closed));
            close(&mut pair, listener);
        }
    }
}

#[test]
fn icmp_refusals_have_the_codes_of_their_family() {
    for (how, v4, v6) in [
        (Refusal::NetworkUnreachable, 0, 0),
        (Refusal::HostUnreachable, 1, 3),
        (Refusal::PortUnreachable, 3, 4),
        (Refusal::Prohibited, 13, 1),
    ] {
        let mut pair = Pair::new();
        let listener = hold(&mut pair, "[::]:80");
        let sent: std::rc::Rc<std::cell::RefCell<Vec<(u8, u8)>>> = Default::default();
        let seen = sent.clone();
        pair.wire = Box::new(move |packet| {
            let (protocol, start) = match packet[0] >> 4 {
                4 => (packet[9], 20),
                _ => (packet[6], 40),
            };
            if matches!(protocol, 1 | 58) {
                seen.borrow_mut().push((packet[start], packet[start + 1]));
            }
            Some(packet)
        });
        for dialled in ["10.0.0.2:80", "[fd00::2]:80"] {
            pair.near
                .stack
                .command_channel()
                .request_nonblocking(None, connect_to(dialled))
                .expect("room");
            pair.run();
            next(&mut pair, listener).refuse(how).expect("the peer waits");
            pair.run();
        }

        assert_eq!(*sent.borrow(), [(3, v4), (1, v6)], "{how:?}");
        close(&mut pair, listener);
    }
}

#[test]
fn a_repeated_syn_is_neither_answered_nor_held_twice() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    for _ in 0..3 {
        peer.put_syn(&mut pair, None);
        pair.run();
    }

    assert_eq!(peer.replies(), []);
    assert_eq!(pair.states(Side::Far).0, ["SYN-RECEIVED"]);
    assert_eq!(pair.far.stack.counters().dropped(DropReason::UnexpectedSyn), 2);
    next(&mut pair, listener).close();
    pair.run();
    assert!(peer.replies()[0].rst);
    assert!(pair.states(Side::Far).0.is_empty());
    close(&mut pair, listener);
}

#[test]
fn silently_refused_syn_is_held_again_when_repeated() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    next(&mut pair, listener).refuse(Refusal::Silence).expect("it waits");
    pair.run();
    assert_eq!(peer.replies(), []);

    peer.put_syn(&mut pair, None);
    pair.run();

    next(&mut pair, listener).close();
    pair.run();
    assert!(peer.replies()[0].rst);
    close(&mut pair, listener);
}

#[test]
fn reset_in_sequence_ends_a_held_syn() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    for (sequence, is_believed) in [(0, true), (1, true), (2, false), (u32::MAX, false)] {
        peer.put_syn(&mut pair, None);
        pair.run();
        let held = next(&mut pair, listener);
        let reset =
            TcpRepr { control: TcpControl::Rst, ack_number: None, ..peer.segment(sequence, 0) };
        peer.put(&mut pair, &reset);
        pair.run();

        assert_eq!(held.end(), is_believed.then_some(Error::Reset), "{sequence}");
        if is_believed {
            assert_eq!(held.refuse(Refusal::Reset), Err(Error::Reset));
            assert_eq!(admit(&mut pair, &held).err(), Some(Error::Closed));
            assert!(pair.states(Side::Far).0.is_empty());
        }
        held.close();
        pair.run();
        peer.replies();
    }
    close(&mut pair, listener);
}

#[test]
fn newer_syn_of_the_same_port_replaces_the_held_one() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    let first = next(&mut pair, listener);

    let again = TcpRepr { control: TcpControl::Syn, ack_number: None, ..peer.segment(77_000, 0) };
    peer.put(&mut pair, &again);
    pair.run();

    assert_eq!(first.end(), Some(Error::Reset));
    let second = next(&mut pair, listener);
    assert_eq!(second.peer_address(), first.peer_address());
    second.close();
    pair.run();
    assert_eq!(peer.replies()[0].acknowledgement, Some(77_001));
    close(&mut pair, listener);
}

#[test]
fn old_acknowledgements_are_reset_and_the_syn_stays_held() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    let held = next(&mut pair, listener);

    peer.expected = 4711;
    peer.put(&mut pair, &peer.segment(1, 10));
    pair.run();

    let replies = peer.replies();
    assert_eq!((replies.len(), replies[0].rst, replies[0].sequence), (1, true, 4711));
    assert_eq!(held.end(), None);
    held.close();
    close(&mut pair, listener);
}

#[test]
fn options_of_the_held_syn_apply_to_the_connection() {
    let mut pair = Pair::new();
    let options = tcp::ListenOptions { on_syn: OnSyn::Hold, ..Default::default() };
    let listener = pair.listen_with(Side::Far, "10.0.0.2:80", options).expect("a free port");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    // Data in the SYN comes again behind the handshake, and is not kept.
    let syn = TcpRepr {
        control: TcpControl::Syn,
        ack_number: None,
        window_scale: Some(7),
        max_seg_size: Some(700),
        window_len: 100,
        ..peer.segment(0, 500)
    };
    peer.put(&mut pair, &syn);
    pair.run();
    let held = next(&mut pair, listener);
    let channel = pair.far.stack.command_channel();
    let mut admitting = pin!(channel.call(Some(held.id()), tcp::Command::Admit));
    let mut context = Context::from_waker(Waker::noop());
    assert!(admitting.as_mut().poll(&mut context).is_pending());
    pair.run();
    let answer = peer.replies();
    assert_eq!((answer.len(), answer[0].syn), (1, true));
    assert_eq!(answer[0].acknowledgement, Some(1), "the data was not taken");
    // 1000 units of 128 bytes.
    peer.put(&mut pair, &peer.segment(1, 0));
    pair.run();
    let Poll::Ready(Ok((_, Some(SocketQueue::Stream(far))))) =
        admitting.as_mut().poll(&mut context)
    else {
        panic!("the handshake is done")
    };

    far.try_send(&[1; 4900]).expect("room");
    pair.run();

    let sent: Vec<_> = peer.replies().iter().map(|reply| reply.payload.len()).collect();
    assert!(!sent.is_empty() && sent.iter().all(|len| *len == 700), "{sent:?}");
    far.abort();
    far.close();
    pair.run();
    close(&mut pair, listener);
}

#[test]
fn lost_syn_ack_is_retransmitted() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let channel = pair.near.stack.command_channel();
    let mut connecting = pin!(channel.call(None, connect_to("10.0.0.2:80")));
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    pair.run();
    let held = next(&mut pair, listener);
    let mut answers = 0;
    pair.wire = Box::new(move |packet| {
        let is_answer = packet[20 + 13] & 0x12 == 0x12;
        answers += u32::from(is_answer);
        (!is_answer || answers > 1).then_some(packet)
    });

    let far = admit(&mut pair, &held).expect("the second answer arrives");

    let Poll::Ready(Ok((_, Some(SocketQueue::Stream(near))))) =
        connecting.as_mut().poll(&mut context)
    else {
        panic!("the peer is connected")
    };
    near.close();
    far.close();
    close(&mut pair, listener);
}

#[test]
fn held_syns_count_as_half_open_and_the_oldest_is_evicted() {
    for (per_listener, in_all) in [(8, 100), (100, 8)] {
        let config = Config {
            tcp: TcpConfig {
                half_open_per_listener_max: per_listener,
                half_open_max: in_all,
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let mut pair = Pair::with(config, 1500);
        let listener = hold(&mut pair, "10.0.0.2:80");
        let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
        peer.put_syn(&mut pair, None);
        pair.run();
        let first = next(&mut pair, listener);

        for port in 2000..3000 {
            peer.local.set_port(port);
            peer.put_syn(&mut pair, None);
            pair.run();
        }

        assert_eq!(first.end(), Some(Error::Aborted));
        let counters = pair.far.stack.counters();
        assert_eq!(counters.dropped(DropReason::HalfOpenEvicted), 993);
        assert_eq!(pair.states(Side::Far).0.len(), 8);
        for port in 2992..3000 {
            let held = next(&mut pair, listener);
            assert_eq!(held.peer_address().port(), port, "the newest are there, oldest first");
            held.close();
        }
        pair.run();
        close(&mut pair, listener);
    }
}

#[test]
fn abandoned_attempts_leave_the_queue_empty() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    for port in 2000..2500 {
        peer.local.set_port(port);
        peer.put_syn(&mut pair, None);
        let reset = TcpRepr { control: TcpControl::Rst, ack_number: None, ..peer.segment(1, 0) };
        peer.put(&mut pair, &reset);
    }
    pair.run();

    let snapshot = pair.far.stack.snapshot();
    let queued = snapshot.sockets.iter().find(|socket| socket.state == Some(TcpState::Listen));
    let queued = queued.map(|listener| (listener.receive_queue, listener.send_queue));
    assert_eq!(queued, Some((1, 1)));
    assert_eq!(next(&mut pair, listener).peer_address().port(), 1000);
    close(&mut pair, listener);
}

#[test]
fn held_syn_expires_with_the_handshake_timeout() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    let held = next(&mut pair, listener);
    pair.advance(Duration::from_secs(59));
    assert_eq!(held.end(), None);

    pair.advance(Duration::from_secs(2));

    assert_eq!(held.end(), Some(Error::TimedOut));
    assert_eq!(held.refuse(Refusal::Reset), Err(Error::TimedOut));
    assert_eq!(peer.replies(), []);
    assert!(pair.states(Side::Far).0.is_empty());
    close(&mut pair, listener);
}

#[test]
fn held_syns_end_with_listener_address_or_stack() {
    type End = fn(&mut Pair, SocketId);
    let ends: [(End, Error); 4] = [
        (|pair, listener| close(pair, listener), Error::Aborted),
        (
            |pair, listener| {
                let address = "10.0.0.2".parse().expect("an address");
                pair.far.stack.remove_address(address).expect("it has it");
                close(pair, listener);
            },
            Error::AddressRemoved,
        ),
        (|pair, _| pair.far.stack.shut_down(), Error::StackGone),
        (|pair, _| pair.far.stack.abort_all(), Error::StackGone),
    ];
    for (end, reason) in ends {
        let mut pair = Pair::new();
        let listener = hold(&mut pair, "10.0.0.2:80");
        let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
        let mut held = Vec::new();
        for port in [1000, 1001] {
            peer.local.set_port(port);
            peer.put_syn(&mut pair, None);
            pair.run();
            held.push(next(&mut pair, listener));
        }
        let channel = pair.far.stack.command_channel();
        let mut admitting = pin!(channel.call(Some(held[1].id()), tcp::Command::Admit));
        let mut context = Context::from_waker(Waker::noop());
        assert!(admitting.as_mut().poll(&mut context).is_pending());
        pair.run();

        end(&mut pair, listener);
        pair.run();

        assert_eq!(held[0].end(), Some(reason));
        assert_eq!(held[0].refuse(Refusal::Reset), Err(reason));
        let Poll::Ready(admitted) = admitting.as_mut().poll(&mut context) else {
            panic!("who waits is told")
        };
        assert_eq!(admitted.err(), Some(reason));
    }
}

#[test]
fn a_cancelled_accept_gives_the_syn_to_the_next() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    {
        let channel = pair.far.stack.command_channel();
        let mut accepting = pin!(channel.call(Some(listener), tcp::Command::Accept));
        let mut context = Context::from_waker(Waker::noop());
        assert!(accepting.as_mut().poll(&mut context).is_pending());
        pair.run();
        peer.put_syn(&mut pair, None);
        pair.run();
        // The reply is ready, and its receiver is dropped.
    }

    let held = next(&mut pair, listener);

    assert_eq!((held.peer_address(), held.end()), (peer.local, None));
    held.close();
    close(&mut pair, listener);
}

#[test]
fn a_cancelled_admission_resets_the_peer() {
    // Before the stack has seen the command, and while the handshake is under way.
    for is_answered in [false, true] {
        let mut pair = Pair::new();
        let listener = hold(&mut pair, "10.0.0.2:80");
        let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
        peer.put_syn(&mut pair, None);
        pair.run();
        let held = next(&mut pair, listener);
        {
            let channel = pair.far.stack.command_channel();
            let mut admitting = pin!(channel.call(Some(held.id()), tcp::Command::Admit));
            let mut context = Context::from_waker(Waker::noop());
            assert!(admitting.as_mut().poll(&mut context).is_pending());
            if is_answered {
                pair.run();
                assert!(peer.replies()[0].syn);
            }
        }
        held.close();
        pair.run();

        let last = peer.replies().pop().expect("an answer");
        assert!(last.rst, "{last:?}");
        assert!(pair.states(Side::Far).0.is_empty());
        close(&mut pair, listener);
    }
}

#[test]
fn an_admitted_peer_that_stays_silent_times_out() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    let held = next(&mut pair, listener);

    assert_eq!(admit(&mut pair, &held).err(), Some(Error::TimedOut));

    assert!(pair.states(Side::Far).0.is_empty());
    close(&mut pair, listener);
}

#[test]
fn admit_and_refuse_require_a_held_syn() {
    let mut pair = Pair::new();
    let listener = hold(&mut pair, "10.0.0.2:80");
    let peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    let held = next(&mut pair, listener).id();

    for command in [tcp::Command::Accept, tcp::Command::Shutdown, tcp::Command::Abort] {
        assert_eq!(pair.call(Side::Far, Some(held), command).err(), Some(Error::WrongSocket));
    }
    let refuse = tcp::Command::Refuse { how: Refusal::Reset };
    for command in [tcp::Command::Admit, refuse.clone()] {
        let answer = pair.call(Side::Far, Some(listener), command);
        assert_eq!(answer.err(), Some(Error::WrongSocket));
    }
    pair.call(Side::Far, Some(held), refuse.clone()).expect("it is held");
    pair.run();
    assert_eq!(pair.call(Side::Far, Some(held), refuse).err(), Some(Error::Closed));
    close(&mut pair, listener);
}

#[test]
fn snapshot_shows_a_listener_on_every_port() {
    let mut pair = Pair::new();
    let mut listeners = Vec::new();
    for local in ["[::]:0", "10.0.0.2:22"] {
        let any_port = local.ends_with(":0");
        let options = tcp::ListenOptions { any_port, on_syn: OnSyn::Hold, ..Default::default() };
        listeners.push(pair.listen_with(Side::Far, local, options).expect("free"));
    }

    let text = pair.far.stack.snapshot().to_string();

    let lines: Vec<_> = text.lines().filter(|line| line.contains(" LISTEN ")).collect();
    assert!(lines.iter().any(|line| line.contains(" *:* ")), "{text}");
    assert!(lines.iter().any(|line| line.contains(" 10.0.0.2:22 ")), "{text}");
    for listener in listeners {
        close(&mut pair, listener);
    }
}

fn hold(pair: &mut Pair, local: &str) -> SocketId {
    let options = tcp::ListenOptions { on_syn: OnSyn::Hold, ..Default::default() };
    pair.listen_with(Side::Far, local, options).expect("a free port")
}

/// The next SYN that a listener of far's holds.
fn next(pair: &mut Pair, listener: SocketId) -> Arc<HeldSyn> {
    match pair.call(Side::Far, Some(listener), tcp::Command::Accept).expect("it listens").1 {
        Some(SocketQueue::Held(held)) => held,
        other => panic!("accepting gave {other:?}"),
    }
}

fn admit(pair: &mut Pair, held: &HeldSyn) -> Result<Arc<netcore::queue::StreamQueue>, Error> {
    match pair.call(Side::Far, Some(held.id()), tcp::Command::Admit)?.1 {
        Some(SocketQueue::Stream(stream)) => Ok(stream),
        other => panic!("admitting gave {other:?}"),
    }
}

fn connect_to(remote: &str) -> tcp::Command {
    tcp::Command::Connect { remote: addr(remote), local: None, options: tcp::Options::default() }
}

fn close(pair: &mut Pair, listener: SocketId) {
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}
