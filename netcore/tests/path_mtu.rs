//! Paths whose MTU is smaller than the link's, and ICMP errors about it.

mod harness;

use bytes::Bytes;
use harness::icmp::{Seen, narrow_hop, too_big};
use harness::{Pair, Side, addr, icmp::error_between, read};
use netcore::device::smoltcp::wire::{IpProtocol, IpRepr, Ipv4Packet, TcpPacket, TcpSeqNumber};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue, StreamQueue};
use netcore::tcp::congestion::{Acked, Algorithm, CongestionControl, CongestionController, Lost};
use netcore::{Config, Error, IpConfig, control, icmp, raw, udp};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Far's address in both families.
const TARGETS: [&str; 2] = ["10.0.0.2:80", "[fd00::2]:80"];

/// A connection from near to far.
fn connection(pair: &mut Pair, remote: &str) -> (Arc<StreamQueue>, Arc<StreamQueue>) {
    let listener = pair.listen(Side::Far, remote).expect("a free port");
    let near = pair.connect(Side::Near, remote).expect("a listener");
    let far = pair.accept(Side::Far, listener).expect("a connection");
    pair.call(Side::Far, Some(listener), netcore::tcp::Command::Close).expect("it is there");
    (near, far)
}

/// Moves so many bytes from one end to the other, and looks at each.
fn carry(pair: &mut Pair, from: &StreamQueue, to: &StreamQueue, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let (mut put, mut got) = (0, Vec::new());
    pair.advance_until(|pair| {
        if put < bytes
            && let Ok(n) = from.try_send(&sent[put..])
        {
            put += n;
        }
        pair.run();
        while let Ok(part) = read(to, 1 << 16) {
            got.extend(part);
        }
        got.len() == bytes
    });
    assert!(got == sent, "other bytes have arrived");
}

fn close(pair: &mut Pair, ends: [Arc<StreamQueue>; 2]) {
    for end in ends {
        end.close();
    }
    pair.run();
}

fn largest(seen: &Seen) -> usize {
    seen.take().iter().map(Bytes::len).max().unwrap_or(0)
}

/// Notes how large the packets on the wire are.
fn watch(pair: &mut Pair) -> Seen {
    narrow_hop(pair, usize::MAX)
}

#[test]
fn a_megabyte_goes_both_ways_through_a_narrow_hop() {
    for (is_jumbo, remote) in [false, true].into_iter().flat_map(|j| TARGETS.map(|t| (j, t))) {
        let mut pair = Pair::new();
        pair.is_jumbo = is_jumbo;
        let (near, far) = connection(&mut pair, remote);
        let seen = narrow_hop(&mut pair, 1300);
        let start = pair.now;

        carry(&mut pair, &near, &far, 1 << 20);
        carry(&mut pair, &far, &near, 1 << 20);

        assert!(pair.now - start < Duration::from_secs(30), "{remote}: {:?}", pair.now - start);
        assert_eq!(largest(&seen), 1300, "{remote}");
        close(&mut pair, [near, far]);
        // What is new begins with what is known.
        let (near, far) = connection(&mut pair, remote);
        let start = pair.now;
        carry(&mut pair, &near, &far, 1 << 16);
        assert!(pair.now - start < Duration::from_millis(200), "it has waited for a timeout");
        close(&mut pair, [near, far]);
    }
}

#[test]
fn a_connection_tries_large_segments_again_after_ten_minutes() {
    for remote in TARGETS {
        let mut pair = Pair::new();
        let (near, far) = connection(&mut pair, remote);
        narrow_hop(&mut pair, 1300);
        carry(&mut pair, &near, &far, 100_000);
        let seen = watch(&mut pair);

        carry(&mut pair, &near, &far, 100_000);
        assert_eq!(largest(&seen), 1300);
        pair.advance(Duration::from_secs(600));
        carry(&mut pair, &near, &far, 100_000);

        assert_eq!(largest(&seen), 1500);
        close(&mut pair, [near, far]);
    }
}

#[test]
fn fin_is_on_the_last_segment_after_an_mtu_change() {
    let mut pair = Pair::new();
    let (near, far) = connection(&mut pair, TARGETS[0]);
    let seen = watch(&mut pair);
    pair.call(Side::Near, None, control::Command::SetMtu(Some(1280))).expect("large enough");

    near.try_send(&[7; 1460]).expect("room");
    near.shutdown_send().expect("open");
    pair.run();

    let ends: Vec<_> = seen
        .take()
        .iter()
        .filter(|packet| harness::icmp::side_of(packet) == Side::Near)
        .map(|packet| {
            let ip = Ipv4Packet::new_checked(&packet[..]).expect("a packet");
            assert!(ip.verify_checksum() && ip.dont_frag());
            let tcp = TcpPacket::new_checked(ip.payload()).expect("a segment");
            assert!(tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
            (tcp.payload().len(), tcp.fin())
        })
        .filter(|(len, fin)| *len > 0 || *fin)
        .collect();
    assert_eq!(ends.iter().map(|(len, _)| len).sum::<usize>(), 1460);
    assert_eq!(ends.iter().filter(|(_, fin)| *fin).count(), 1, "{ends:?}");
    assert!(ends.last().is_some_and(|(_, fin)| *fin), "{ends:?}");
    assert_eq!(ends[0].0, 1228, "1280 without 52 bytes of headers and timestamps");
    assert_eq!(read(&far, 2000).map(|bytes| bytes.len()), Ok(1460));
    close(&mut pair, [near, far]);
}

#[test]
fn segments_wait_for_space_on_a_full_device() {
    let mut pair = Pair::new();
    let (near, far) = connection(&mut pair, TARGETS[0]);
    pair.call(Side::Near, None, control::Command::SetMtu(Some(1280))).expect("large enough");
    let (narrow, packets) = flume::bounded(1);
    let wide = std::mem::replace(&mut pair.near.device.pipe.tx, narrow);
    let inlet = pair.inlets()[1].clone();
    let sent = vec![7; 200_000];
    assert_eq!(near.try_send(&sent), Ok(sent.len()));

    let (mut got, mut carried) = (0, 0);
    while got < sent.len() {
        assert!(pair.now.total_secs() < 60, "{got} bytes have come of an hour");
        pair.run();
        match packets.try_recv() {
            Ok(packet) => {
                assert!(packet.len() <= 1280);
                carried += packet.len() - 52;
                inlet.send(packet).expect("the device is there");
            }
            Err(_) => pair.advance(Duration::from_millis(1)),
        }
        got += read(&far, 1 << 16).map_or(0, |bytes| bytes.len());
    }

    assert_eq!(carried, sent.len(), "something was sent twice");
    pair.near.device.pipe.tx = wide;
    close(&mut pair, [near, far]);
}

/// A segment of the connection that was on the wire, with another sequence number.
fn with_sequence(packet: &[u8], change: impl FnOnce(i32) -> i32) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let mut segment = TcpPacket::new_unchecked(&mut packet[start..]);
    let sequence = segment.seq_number().0;
    segment.set_seq_number(TcpSeqNumber(change(sequence)));
    packet
}

#[test]
fn forged_icmp_narrows_no_path_mtu() {
    for remote in TARGETS {
        let mut pair = Pair::new();
        let (near, far) = connection(&mut pair, remote);
        let lost: Seen = Rc::default();
        let sink = lost.clone();
        pair.wire = Box::new(move |packet| {
            sink.borrow_mut().push(packet);
            None
        });
        near.try_send(&[7; 3000]).expect("room");
        pair.run();
        let segments = lost.take();
        let segment = &segments[0];
        assert_eq!(segment.len(), 1500);
        let mut stranger = segment.to_vec();
        let port = if remote.starts_with('[') { 41 } else { 21 };
        stranger[port] ^= 1;
        let forged = [
            too_big(&with_sequence(segment, |sequence| sequence.wrapping_sub(1)), 1300),
            too_big(&with_sequence(segment, |sequence| sequence.wrapping_add(3000)), 1300),
            too_big(&with_sequence(segment, |sequence| sequence ^ i32::MIN), 1300),
            too_big(&stranger, 1300),
            too_big(segment, 500),
            too_big(segment, 1500),
            too_big(segment, 65_000),
            // About a packet of another host.
            error_between(
                addr(remote).ip(),
                if port == 41 { addr("[fd00::1]:0").ip() } else { addr("10.0.0.1:0").ip() },
                &{
                    let mut other = segment.to_vec();
                    other[if port == 41 { 23 } else { 15 }] = 9;
                    other
                },
                if port == 41 { 2 } else { 3 },
                if port == 41 { 0 } else { 4 },
                1300,
            ),
        ];
        for message in forged {
            pair.inject(Side::Near, message);
        }
        pair.run();
        let seen = watch(&mut pair);

        carry_rest(&mut pair, &far, 3000);
        carry(&mut pair, &near, &far, 50_000);

        assert_eq!(largest(&seen), 1500, "{remote}");
        // And the same, if it is true.
        pair.wire = Box::new(|_| None);
        near.try_send(&[7; 3000]).expect("room");
        pair.run();
        let seen = narrow_hop(&mut pair, 1300);
        carry_rest(&mut pair, &far, 3000);
        assert_eq!(largest(&seen), 1300, "{remote}");
        close(&mut pair, [near, far]);
    }
}

/// Waits for bytes that were sent before.
fn carry_rest(pair: &mut Pair, to: &StreamQueue, bytes: usize) {
    let mut got = 0;
    pair.advance_until(|_| {
        got += read(to, 1 << 16).map_or(0, |part| part.len());
        got == bytes
    });
}

#[test]
fn missing_next_hop_mtu_is_estimated_by_plateaus() {
    let mut pair = Pair::new();
    let (near, far) = connection(&mut pair, TARGETS[0]);
    let inlets = pair.inlets();
    let seen: Seen = Rc::default();
    let passed = seen.clone();
    pair.wire = Box::new(move |packet| {
        if packet.len() <= 1100 {
            passed.borrow_mut().push(packet.clone());
            return Some(packet);
        }
        inlets[0].send(too_big(&packet, 0).into()).expect("the device is there");
        None
    });

    carry(&mut pair, &near, &far, 100_000);

    assert_eq!(largest(&seen), 1006);
    close(&mut pair, [near, far]);
}

fn open(pair: &mut Pair, command: impl Into<netcore::Command>) -> Arc<DatagramQueue> {
    match pair.call(Side::Near, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn send(pair: &mut Pair, socket: &DatagramQueue, to: &str, len: usize) -> Result<(), Error> {
    let payload = Bytes::from(vec![7; len]);
    let sent = socket.try_send(Datagram::new(addr(to), payload));
    pair.run();
    sent
}

#[test]
fn datagrams_are_fragmented_to_the_path_mtu() {
    for (any, remote) in [("0.0.0.0:0", "10.0.0.2:53"), ("[::]:0", "[fd00::2]:53")] {
        let mut pair = Pair::new();
        let near = open(&mut pair, udp::Command::Bind { endpoint: addr(any) });
        let far = match pair.call(Side::Far, None, udp::Command::Bind { endpoint: addr(remote) }) {
            Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
            other => panic!("binding gave {other:?}"),
        };
        let seen = narrow_hop(&mut pair, 1300);

        send(&mut pair, &near, remote, 1400).expect("room");
        assert_eq!(far.try_recv().err(), Some(Error::WouldBlock), "the first is too large");
        send(&mut pair, &near, remote, 1400).expect("nobody has asked to be told");
        assert_eq!(far.try_recv().map(|datagram| datagram.payload.len()), Ok(1400));
        assert!(largest(&seen) <= 1300);

        near.set_options(|options| options.dont_fragment = true);
        send(&mut pair, &near, remote, 1400).expect("the next call is told");
        assert_eq!(near.take_error(), Some(Error::MessageTooLarge));
        send(&mut pair, &near, remote, 1200).expect("room");
        assert_eq!(far.try_recv().map(|datagram| datagram.payload.len()), Ok(1200));

        // The path may have become wider.
        pair.advance(Duration::from_secs(601));
        let seen = watch(&mut pair);
        send(&mut pair, &near, remote, 1400).expect("room");
        assert!(largest(&seen) > 1400);
        near.close();
        far.close();
        pair.run();
    }
}

#[test]
fn dont_fragment_socket_reports_message_too_large() {
    let mut pair = Pair::new();
    let near = open(&mut pair, udp::Command::Bind { endpoint: addr("10.0.0.1:0") });
    near.set_peer(Some(addr("10.0.0.2:53")));
    near.set_options(|options| options.dont_fragment = true);
    narrow_hop(&mut pair, 1300);

    send(&mut pair, &near, "10.0.0.2:53", 1400).expect("room");

    assert_eq!(near.take_error(), Some(Error::MessageTooLarge));
    near.close();
    pair.run();
}

#[test]
fn echo_requests_and_raw_packets_fit_the_path_mtu() {
    for (local, remote, version) in
        [("0.0.0.0:0", "10.0.0.2:1", raw::Version::V4), ("[::]:0", "[fd00::2]:1", raw::Version::V6)]
    {
        let mut pair = Pair::new();
        let ping = open(&mut pair, icmp::Command::Open { local: addr(local).ip() });
        let far = match pair.call(Side::Far, None, icmp::Command::Open { local: addr(local).ip() })
        {
            Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
            other => panic!("opening gave {other:?}"),
        };
        // The replies have to fit, too.
        narrow_hop(&mut pair, 1300);
        send(&mut pair, &far, &remote.replace('2', "1"), 1400).expect("room");
        send(&mut pair, &ping, remote, 1400).expect("room");
        let seen = narrow_hop(&mut pair, 1300);

        send(&mut pair, &ping, remote, 1400).expect("room");

        assert_eq!(ping.try_recv().map(|reply| reply.payload.len()), Ok(1400), "{remote}");
        assert!(largest(&seen) <= 1300);
        for socket in [ping, far] {
            socket.close();
        }
        pair.run();

        let mut pair = Pair::new();
        let raw = open(&mut pair, raw::Command::Open { version, protocol: 253 });
        let seen = narrow_hop(&mut pair, 1300);
        for _ in 0..2 {
            raw.try_send(Datagram::new(addr(local), raw_packet(remote, 1400))).expect("room");
            pair.run();
        }
        assert!((1290..=1300).contains(&largest(&seen)), "{remote}");
        raw.close();
        pair.run();
    }
}

/// A packet of protocol 253 from near.
fn raw_packet(remote: &str, len: usize) -> Bytes {
    let remote = addr(remote).ip();
    let near = if remote.is_ipv4() { "10.0.0.1:0" } else { "[fd00::1]:0" };
    let protocol = IpProtocol::from(253);
    let header = IpRepr::new(addr(near).ip().into(), remote.into(), protocol, len, 64);
    let mut packet = vec![7; header.header_len() + len];
    header.emit(&mut packet[..], &Default::default());
    packet.into()
}

#[test]
fn too_big_flood_is_bounded_and_narrows_only_named_paths() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { path_mtus_max: 100, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let gateway = netcore::Route::default_via(addr("10.0.0.2:0").ip());
    pair.call(Side::Near, None, control::Command::AddRoute { route: gateway }).expect("a route");
    let (near, far) = connection(&mut pair, TARGETS[0]);
    let socket = open(&mut pair, udp::Command::Bind { endpoint: addr("10.0.0.1:1000") });
    let sent: Rc<RefCell<Vec<Bytes>>> = Rc::default();
    let sink = sent.clone();
    pair.wire = Box::new(move |packet| {
        sink.borrow_mut().push(packet);
        None
    });
    send(&mut pair, &socket, "192.0.2.1:1000", 1000).expect("room");
    let datagram = sent.take()[0].to_vec();

    for number in 0..20_000_u32 {
        let mut quoted = datagram.clone();
        quoted[16..20].copy_from_slice(&(0xc600_0000 + number).to_be_bytes());
        pair.inject(Side::Near, too_big(&quoted, 600));
        if number % 100 == 0 {
            pair.run();
        }
    }
    pair.run();
    send(&mut pair, &socket, "192.0.2.1:1000", 1400).expect("room");
    assert_eq!(sent.take().iter().map(Bytes::len).collect::<Vec<_>>(), [1428]);
    // The newest is known, one from before is not any more.
    send(&mut pair, &socket, "198.0.78.31:1000", 1400).expect("room");
    assert_eq!(sent.take().len(), 3);
    send(&mut pair, &socket, "198.0.0.1:1000", 1400).expect("room");
    assert_eq!(sent.take().len(), 1);

    socket.close();
    let seen = watch(&mut pair);
    carry(&mut pair, &near, &far, 10_000);
    assert_eq!(largest(&seen), 1500);
    close(&mut pair, [near, far]);
}

#[test]
fn segment_size_of_the_sender_grows_with_the_mtu() {
    static SIZES: std::sync::Mutex<Vec<u32>> = std::sync::Mutex::new(Vec::new());
    #[derive(Debug)]
    struct Sizes;
    impl CongestionController for Sizes {
        fn window(&self) -> u64 {
            1 << 20
        }
        fn on_acked(&mut self, _: &Acked) {}
        fn on_lost(&mut self, _: &Lost) {}
        fn on_timeout(&mut self, _: &Lost) {}
        fn set_mss(&mut self, mss: u32) {
            SIZES.lock().expect("no panic").push(mss);
        }
    }
    static ALGORITHM: Algorithm = Algorithm::new("sizes", |_| Box::new(Sizes));
    let mut config = Config::default();
    config.tcp.congestion_control = CongestionControl::Custom(&ALGORITHM);
    let mut pair = Pair::with(config, 1500);
    let (near, far) = connection(&mut pair, TARGETS[0]);

    for mtu in [Some(1280), None] {
        pair.call(Side::Near, None, control::Command::SetMtu(mtu)).expect("large enough");
        near.try_send(&[7; 100]).expect("room");
        pair.advance(Duration::from_millis(100));
    }

    assert_eq!(*SIZES.lock().expect("no panic"), [1228, 1448]);
    assert_eq!(read(&far, 1000).map(|bytes| bytes.len()), Ok(200));
    close(&mut pair, [near, far]);
}
