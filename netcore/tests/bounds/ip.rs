//! Bounds of the IP layer: its tables, queues and reassembly.

use crate::harness::{Host, Pair, Side, addr, icmp};
use crate::{bind, dropped, peers, send};
use bytes::Bytes;
use netcore::device::smoltcp::wire::TcpControl;
use netcore::queue::Datagram;
use netcore::{
    Config, DropReason, Error, Frame, Instant, IpConfig, Link, LinkCapabilities, Medium, Netstack,
    Offload, Pipe, PipeDev, Route, Slot, control,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

#[test]
pub(crate) fn least_recently_used_path_mtu_is_evicted() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { path_mtus_max: 2, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let socket = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let inlet = pair.inlets()[0].clone();
    let sent: Rc<RefCell<Vec<Bytes>>> = Rc::default();
    let sink = sent.clone();
    pair.wire = Box::new(move |packet| {
        if packet.len() > 1300 {
            inlet.send(icmp::too_big(&packet, 1300).into()).expect("it is there");
        }
        sink.borrow_mut().push(packet);
        None
    });
    let mut packets = |to: &str| {
        let payload = Bytes::from_static(&[7; 1400]);
        socket.try_send(Datagram::new(addr(to), payload)).expect("room");
        pair.run();
        sent.take().len()
    };

    let [first, second, third] = ["10.0.0.11:1", "10.0.0.12:1", "10.0.0.13:1"];
    assert_eq!([first, second, third].map(&mut packets), [1, 1, 1], "each is learned");
    assert_eq!([second, third].map(&mut packets), [2, 2], "each is known");
    assert_eq!(packets(first), 1, "it has made room");
    assert_eq!([first, third, second].map(&mut packets), [2, 2, 1]);
    socket.close();
    pair.run();
}

#[test]
pub(crate) fn full_address_table_refuses_new_addresses() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { addresses_max: 2, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let [known, new] = ["10.0.0.1/8", "10.0.0.9/24"].map(|text| text.parse().expect("a network"));
    let mut add =
        |address| pair.call(Side::Near, None, control::Command::AddAddress { address }).map(|_| ());

    assert_eq!(add(new), Err(Error::LimitReached));
    assert_eq!(add(known), Ok(()), "one that is there may change its prefix");

    let address = addr("[fd00::1]:0").ip();
    pair.call(Side::Near, None, control::Command::RemoveAddress { address }).expect("it is there");
    let address = new;
    pair.call(Side::Near, None, control::Command::AddAddress { address }).expect("there is room");
}

#[test]
pub(crate) fn full_route_table_refuses_new_routes() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { routes_max: 1, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let default = Route::default_via(addr("10.0.0.2:0").ip());
    let other = Route { destination: "192.0.2.0/24".parse().expect("a network"), ..default };
    let mut add =
        |route| pair.call(Side::Near, None, control::Command::AddRoute { route }).map(|_| ());

    assert_eq!([add(default), add(other)], [Ok(()), Err(Error::LimitReached)]);
    assert_eq!(add(default), Ok(()), "one that is there may change");

    let destination = default.destination;
    pair.call(Side::Near, None, control::Command::RemoveRoute { destination })
        .expect("it is there");
    pair.call(Side::Near, None, control::Command::AddRoute { route: other }).expect("room");
}

#[test]
pub(crate) fn name_servers_and_search_domains_are_limited() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { name_servers_max: 2, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let server = addr("10.0.0.2:0").ip();
    let mut set = |servers: usize, domains: usize| {
        let command = control::Command::SetNameServers {
            servers: vec![server; servers],
            search_domains: vec!["test".into(); domains],
        };
        pair.call(Side::Near, None, command).map(|_| ())
    };

    assert_eq!(set(2, 2), Ok(()));
    assert_eq!([set(3, 0), set(0, 3)], [Err(Error::LimitReached); 2]);
    assert_eq!(pair.near.stack.network().name_servers.len(), 2);
}

#[test]
pub(crate) fn loopback_packets_wait_for_space_in_the_queue() {
    let mut pair = Pair::with(
        Config {
            ip: IpConfig { loopback_packets_max: 4, ..IpConfig::default() },
            ..Config::default()
        },
        1500,
    );
    let from = bind(&mut pair, Side::Near, "10.0.0.1:2000");
    let to = bind(&mut pair, Side::Near, "10.0.0.1:2001");
    for number in 0..100u8 {
        send(&from, "10.0.0.1:2001", &[number]).expect("room in the queue");
    }

    let mut rounds = 0;
    while pair.near.stack.poll_link(Instant::ZERO, &mut Nothing) {
        rounds += 1;
        assert!(pair.near.stack.counters().loopback_packets <= 4 * rounds);
    }

    let received: Vec<_> =
        std::iter::from_fn(|| to.try_recv().ok()).map(|datagram| datagram.payload[0]).collect();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
    from.close();
    to.close();
}

#[test]
pub(crate) fn full_reply_queue_drops_replies() {
    let (pipe, wire) = Pipe::bounded(1);
    let config =
        Config { ip: IpConfig { replies_max: 3, ..IpConfig::default() }, ..Config::default() };
    let mut stack = Netstack::new(config, Instant::ZERO);
    stack.add_address("10.0.0.2/24".parse().expect("a network")).expect("a host's");
    let mut host = Host { stack, device: PipeDev { pipe, medium: Medium::Ip.into(), mtu: 1500 } };
    let mut peers = peers(1000, 6).into_iter();
    // A SYN to a port without a listener.
    let mut knock = |host: &mut Host| {
        let peer = peers.next().expect("there are enough");
        wire.tx.try_send(peer.segment(TcpControl::Syn, &[]).into()).expect("room");
        host.stack.poll_device_io(Instant::ZERO, &mut host.device);
    };

    // One is in the pipe, three wait, the fifth is one too many.
    for _ in 0..5 {
        knock(&mut host);
    }
    assert_eq!(host.stack.counters().dropped(DropReason::ReplyQueueFull), 1);

    let mut answered = Vec::new();
    while let Ok(reset) = wire.rx.try_recv() {
        answered.push(u16::from_be_bytes([reset[22], reset[23]]));
        host.stack.poll_device_io(Instant::ZERO, &mut host.device);
    }
    assert_eq!(answered, [1000, 1001, 1002, 1003]);
    knock(&mut host);
    assert_eq!(wire.rx.len(), 1, "and the next is answered again");
    assert_eq!(host.stack.counters().dropped(DropReason::ReplyQueueFull), 1);
}

#[test]
pub(crate) fn full_reassembly_evicts_the_oldest_incomplete_packet() {
    for (local, remote) in
        [("10.0.0.1:2000", "10.0.0.2:2000"), ("[fd00::1]:2000", "[fd00::2]:2000")]
    {
        let config = Config {
            ip: IpConfig { fragments_bytes_max: 11 * 1024, ..IpConfig::default() },
            ..Config::default()
        };
        let mut pair = Pair::with(config, 1500);
        let near = bind(&mut pair, Side::Near, local);
        let far = bind(&mut pair, Side::Far, remote);
        // Ten datagrams of two fragments each.
        let fragments = Rc::new(RefCell::new(Vec::new()));
        let sink = fragments.clone();
        pair.wire = Box::new(move |packet| {
            sink.borrow_mut().push(packet);
            None
        });
        for number in 0..10 {
            send(&near, remote, &[number; 2000]).expect("room");
        }
        pair.run();
        let fragments = fragments.take();
        let (first, second): (Vec<_>, Vec<_>) =
            fragments.chunks(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())).unzip();
        assert_eq!(first.len(), 10);
        pair.wire = Box::new(Some);

        for fragment in first {
            pair.inject(Side::Far, fragment);
        }
        pair.run();
        let evicted = dropped(&pair, DropReason::FragmentExpired);
        // Five of about 1,500 bytes fit, with what each costs besides.
        assert_eq!(evicted, 5, "{local}");

        // The newest are whole once their other halves are there; those of the others wait.
        for fragment in second.into_iter().rev() {
            pair.inject(Side::Far, fragment);
        }
        pair.run();
        let whole: Vec<_> = std::iter::from_fn(|| far.try_recv().ok())
            .map(|datagram| datagram.payload[0])
            .collect();
        assert_eq!(whole, (5..10).rev().collect::<Vec<_>>(), "{local}");

        pair.advance(Duration::from_secs(61));
        assert_eq!(dropped(&pair, DropReason::FragmentExpired), 10);
        send(&near, remote, &[10; 2000]).expect("room");
        pair.run();
        assert_eq!(far.try_recv().map(|datagram| datagram.payload.len()), Ok(2000));
        near.close();
        far.close();
    }
}

/// A link that receives nothing and must transmit nothing.
struct Nothing;

impl Link for Nothing {
    type Slot<'a> = Nowhere;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, 1500)
    }

    fn receive(&mut self) -> Option<Frame> {
        None
    }

    fn transmit(&mut self) -> Option<Nowhere> {
        Some(Nowhere)
    }
}

struct Nowhere;

impl Slot for Nowhere {
    fn send<R>(self, _: usize, _: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        panic!("packets to oneself do not leave");
    }
}
