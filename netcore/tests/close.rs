//! How connections end.

mod harness;

use harness::peer::{Peer, Tap};
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::TcpControl;
use netcore::{Command, Error, HasChannel, tcp};
use std::task::Waker;
use std::time::Duration;

#[test]
fn bytes_written_before_close_arrive_before_the_fin() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let data: Vec<u8> = (0..200_000u32).map(|index| (index * 7) as u8).collect();

    assert_eq!(near.try_send(&data), Ok(data.len()));
    near.close();
    let mut received = Vec::new();
    pair.advance_until(|_| {
        while let Ok(bytes) = read(&far, 10_000) {
            if bytes.is_empty() {
                return true;
            }
            received.extend(bytes);
        }
        false
    });

    assert!(received == data, "{} bytes", received.len());
    far.close();
    close(&mut pair, listener);
}

#[test]
fn half_closed_connection_still_receives_data() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    near.try_send(b"request").expect("credit");
    near.shutdown_send().expect("open");
    pair.run();
    assert_eq!(read(&far, 20), Ok(b"request".to_vec()));
    assert_eq!(read(&far, 20), Ok(Vec::new()));
    assert_eq!(near.try_send(b"more"), Err(Error::Shutdown));
    pair.advance(Duration::from_secs(300));
    far.try_send(b"response").expect("credit");
    far.close();
    pair.run();

    assert_eq!(read(&near, 20), Ok(b"response".to_vec()));
    assert_eq!(read(&near, 20), Ok(Vec::new()));
    near.close();
    close(&mut pair, listener);
}

#[test]
fn closing_with_unread_bytes_resets() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    far.try_send(b"already there").expect("credit");
    near.try_send(b"never read").expect("credit");
    pair.run();

    far.close();
    pair.run();

    assert_eq!(read(&near, 20), Ok(b"already there".to_vec()), "what came before is still there");
    assert_eq!(read(&near, 20), Err(Error::Reset));
    assert_eq!(near.try_send(b"x"), Err(Error::Ended), "it is reported once");
    assert_eq!(pair.states(Side::Near), (vec![], 0));
    assert_eq!(pair.states(Side::Far), (vec![], 0));
    near.close();
    close(&mut pair, listener);
}

#[test]
fn data_after_the_handle_is_dropped_is_reset() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    far.close();
    pair.run();
    assert_eq!(read(&near, 20), Ok(Vec::new()));
    near.try_send(b"too late").expect("credit");
    pair.run();

    assert_eq!(near.take_error(), Some(Error::PeerClosed));
    assert_eq!(near.try_send(b"x"), Err(Error::Ended));
    assert_eq!(read(&near, 20), Ok(Vec::new()), "the end stays the end");
    near.close();
    close(&mut pair, listener);
}

#[test]
fn data_beyond_a_fin_is_ignored() {
    let mut pair = Pair::new();
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = Peer::new([10, 0, 0, 3].into(), 1000);
    peer.connect(&mut pair, &tap);
    let far = pair.accept(Side::Far, listener).expect("a connection");
    peer.send(&mut pair, TcpControl::None, b"all");
    peer.send(&mut pair, TcpControl::Fin, &[]);
    pair.run();

    // Behind the FIN, across it, and with another.
    peer.send(&mut pair, TcpControl::None, b"more");
    peer.sequence -= 4 + 2;
    peer.send(&mut pair, TcpControl::None, b"lmore");
    peer.sequence -= 5 - 2;
    peer.send(&mut pair, TcpControl::Fin, b"more");
    pair.run();

    assert_eq!(read(&far, 20), Ok(b"all".to_vec()));
    assert_eq!(read(&far, 20), Ok(Vec::new()));
    far.try_send(b"still open here").expect("credit");
    pair.run();
    let segment = peer.receive(&tap);
    assert!(segment.iter().any(|segment| segment.payload.len() == 15), "{segment:?}");
    far.abort();
    close(&mut pair, listener);
}

#[test]
fn zero_linger_resets_on_close() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    near.set_options(|options| options.linger = Some(Duration::ZERO));
    near.close();
    pair.run();

    assert_eq!(read(&far, 20), Err(Error::Reset));
    far.close();
    close(&mut pair, listener);
}

#[test]
fn active_close_enters_time_wait_without_a_socket() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    near.close();
    pair.run();
    assert_eq!(pair.states(Side::Near), (vec!["FIN-WAIT-2"], 0));
    assert_eq!(pair.states(Side::Far), (vec!["CLOSE-WAIT"], 0));
    far.close();
    pair.run();

    assert_eq!(pair.states(Side::Near), (vec![], 1));
    assert_eq!(pair.states(Side::Far), (vec![], 0));
    pair.advance(Duration::from_secs(59));
    assert_eq!(pair.states(Side::Near), (vec![], 1));
    pair.advance(Duration::from_secs(2));
    assert_eq!(pair.states(Side::Near), (vec![], 0));
    close(&mut pair, listener);
}

#[test]
fn simultaneous_close_removes_both_sockets() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    near.close();
    far.close();
    pair.run();

    assert_eq!((pair.states(Side::Near).0, pair.states(Side::Far).0), (vec![], vec![]));
    close(&mut pair, listener);
}

#[test]
fn close_times_out_if_the_peer_vanishes() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    far.close();
    pair.run();
    pair.wire = Box::new(|_| None);

    near.close();
    pair.run();
    assert_eq!(pair.states(Side::Near).0, ["LAST-ACK"]);
    assert_eq!(pair.states(Side::Far).0, ["FIN-WAIT-2"]);
    pair.advance(Duration::from_secs(61));

    assert_eq!((pair.states(Side::Near).0, pair.states(Side::Far).0), (vec![], vec![]));
    close(&mut pair, listener);
}

#[test]
fn unacked_data_to_a_vanished_peer_times_out() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    pair.wire = Box::new(|_| None);

    near.try_send(b"hello").expect("credit");
    pair.advance_until(|_| near.poll_readable(&mut Default::default(), Waker::noop()).is_ready());

    assert_eq!(read(&near, 10), Err(Error::TimedOut));
    assert_eq!(near.try_send(b"x"), Err(Error::Ended), "it is reported once");
    assert_eq!(near.error(), Some(Error::TimedOut), "and known");
    assert_eq!(near.take_error(), None);
    near.close();
    far.close();
    close(&mut pair, listener);
}

#[test]
fn idle_connection_never_times_out() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    pair.advance(Duration::from_secs(100_000));
    near.try_send(b"still there").expect("credit");
    pair.run();

    assert_eq!(read(&far, 20), Ok(b"still there".to_vec()));
    near.close();
    far.close();
    close(&mut pair, listener);
}

#[test]
fn closing_is_not_lost_when_the_command_channel_is_full() {
    let mut pair = Pair::with(netcore::Config { commands_max: 4, ..Default::default() }, 1500);
    let (near, far, listener) = pair.connected();
    let channel = pair.near.stack.command_channel();
    let full = (0..100)
        .map(|_| channel.request_nonblocking(None, netcore::control::Command::Snapshot))
        .find_map(Result::err);
    assert_eq!(full, Some(Error::WouldBlock));

    near.close();
    pair.run();

    assert_eq!(pair.states(Side::Near).0, ["FIN-WAIT-2"]);
    far.close();
    close(&mut pair, listener);
}

#[test]
fn new_connection_reuses_a_four_tuple_in_time_wait() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let connect: Command = tcp::Command::Connect {
        remote: harness::addr("10.0.0.2:80"),
        local: Some(harness::addr("10.0.0.1:5000")),
        options: tcp::Options::default(),
    }
    .into();
    for _ in 0..10 {
        let (_, queue) = pair.call(Side::Near, None, connect.clone()).expect("the ends are free");
        let Some(netcore::queue::SocketQueue::Stream(near)) = queue else { panic!("{queue:?}") };
        let far = pair.accept(Side::Far, listener).expect("a connection");
        // The listener's side closes first, and has TIME-WAIT.
        far.close();
        pair.run();
        near.close();
        pair.run();
        assert_eq!((pair.states(Side::Near).1, pair.states(Side::Far).1), (0, 1));
    }
    close(&mut pair, listener);
}

#[test]
fn handles_outlive_their_stack() {
    let mut pair = Pair::new();
    let (near, far, _) = pair.connected();
    near.try_send(b"last words").expect("credit");
    pair.run();
    let channel = pair.far.stack.command_channel();
    pair.far.stack = netcore::Netstack::new(netcore::Config::default(), pair.now);

    assert_eq!(read(&far, 20), Ok(b"last words".to_vec()));
    assert_eq!(read(&far, 20), Err(Error::StackGone));
    assert_eq!(far.try_send(b"x"), Err(Error::StackGone));
    let request = channel.request_blocking(None, netcore::control::Command::Wake);
    assert_eq!(request.err(), Some(Error::StackGone));
    far.close();
    near.close();
    pair.advance(Duration::from_secs(100));
}

fn close(pair: &mut Pair, listener: netcore::SocketId) {
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn abort_fails_local_calls_and_resets_the_peer() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    near.abort();
    pair.run();

    assert_eq!(near.try_send(b"x"), Err(Error::Aborted));
    assert_eq!(near.try_send(b"x"), Err(Error::Ended), "it is reported once");
    assert_eq!(read(&near, 10), Ok(Vec::new()));
    assert_eq!(far.take_error(), Some(Error::Reset));
    assert_eq!(read(&far, 10), Ok(Vec::new()));
    assert_eq!(far.try_send(b"x"), Err(Error::Ended));
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}
