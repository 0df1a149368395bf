//! Addresses, routes and the link, changed while sockets are open.

mod harness;

use harness::{Pair, Side, addr, read};
use netcore::Instant;
use netcore::queue::{Datagram, DatagramQueue, SocketQueue, StreamQueue};
use netcore::{Config, Error, Netstack, Network, Response, Route, control, tcp, udp};
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Two hosts whose sockets end with the test: what becomes of open ones is tested elsewhere.
struct Hosts(Pair);

impl Hosts {
    fn new() -> Self {
        Self(Pair::new())
    }
}

impl Deref for Hosts {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.0
    }
}

impl DerefMut for Hosts {
    fn deref_mut(&mut self) -> &mut Pair {
        &mut self.0
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for side in [Side::Near, Side::Far] {
            self.host(side).stack.abort_all();
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tell(pair: &mut Hosts, side: Side, command: control::Command) -> Result<(), Error> {
    pair.call(side, None, command).map(|(response, _)| assert!(matches!(response, Response::Done)))
}

fn add(pair: &mut Hosts, side: Side, address: &str) -> Result<(), Error> {
    let address = address.parse().expect("an address with its prefix");
    tell(pair, side, control::Command::AddAddress { address })
}

fn remove(pair: &mut Hosts, side: Side, address: &str) -> Result<(), Error> {
    tell(pair, side, control::Command::RemoveAddress { address: ip(address) })
}

/// A connection from `near` to `remote`, which far has to listen on.
fn connection(pair: &mut Hosts, remote: &str) -> (Arc<StreamQueue>, Arc<StreamQueue>) {
    let listener = pair.listen(Side::Far, remote).expect("a free port");
    let near = pair.connect(Side::Near, remote).expect("a listener");
    let far = pair.accept(Side::Far, listener).expect("a connection");
    (near, far)
}

fn assert_carries(pair: &mut Hosts, from: &StreamQueue, to: &StreamQueue) {
    assert_eq!(from.try_send(b"hello"), Ok(5));
    pair.run();
    assert_eq!(read(to, 16), Ok(b"hello".to_vec()));
}

#[test]
fn adding_and_removing_an_address_leaves_others_intact() {
    for (first, second) in [("10.0.0.2", "10.0.0.50"), ("fd00::2", "fd00::50")] {
        let mut pair = Hosts::new();
        let remote =
            if first.contains(':') { format!("[{first}]:80") } else { format!("{first}:80") };
        let (near, far) = connection(&mut pair, &remote);
        let prefix = if first.contains(':') { 64 } else { 24 };

        add(&mut pair, Side::Far, &format!("{second}/{prefix}")).expect("a host's address");
        let other =
            if first.contains(':') { format!("[{second}]:81") } else { format!("{second}:81") };
        let (near_other, far_other) = connection(&mut pair, &other);
        assert_carries(&mut pair, &near_other, &far_other);
        remove(&mut pair, Side::Far, second).expect("it is there");
        pair.run();

        assert_eq!(read(&far_other, 16), Err(Error::AddressRemoved), "{first}");
        assert_eq!(read(&near_other, 16), Err(Error::Reset), "{first}");
        assert_carries(&mut pair, &near, &far);
        assert_carries(&mut pair, &far, &near);
    }
}

#[test]
fn removing_the_last_address_resets_its_connections() {
    let mut pair = Hosts::new();
    let (near, far) = connection(&mut pair, "10.0.0.2:80");
    let (near_v6, far_v6) = connection(&mut pair, "[fd00::2]:80");

    remove(&mut pair, Side::Far, "10.0.0.2").expect("it is there");
    pair.run();

    assert_eq!(far.try_send(b"x"), Err(Error::AddressRemoved));
    assert_eq!(near.try_send(b"x"), Err(Error::Reset));
    assert_carries(&mut pair, &near_v6, &far_v6);
}

#[test]
fn connect_fails_when_its_local_address_is_removed() {
    let mut pair = Hosts::new();
    pair.wire = Box::new(|_| None);
    let channel = netcore::HasChannel::command_channel(&pair.near.stack);
    let command = tcp::Command::Connect {
        remote: addr("10.0.0.2:80"),
        local: None,
        options: tcp::Options::default(),
    };
    let mut connecting = std::pin::pin!(channel.call(None, command));
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    pair.run();

    remove(&mut pair, Side::Near, "10.0.0.1").expect("it is there");

    let Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut context) else {
        panic!("the connect still waits");
    };
    assert_eq!(error, Error::AddressRemoved);
}

#[test]
fn removed_address_ends_half_open_but_not_the_listener() {
    let mut pair = Hosts::new();
    let listener = pair.listen(Side::Far, "0.0.0.0:80").expect("a free port");
    // The last step of the handshake does not arrive.
    let mut packets = 0;
    pair.wire = Box::new(move |packet| {
        packets += 1;
        (packets <= 2).then_some(packet)
    });
    pair.connect(Side::Near, "10.0.0.2:80").expect("the SYN|ACK came");
    assert_eq!(pair.states(Side::Far).0, ["SYN-RECEIVED"]);

    remove(&mut pair, Side::Far, "10.0.0.2").expect("it is there");
    assert_eq!(pair.states(Side::Far).0, [""; 0]);

    add(&mut pair, Side::Far, "10.0.0.3/24").expect("a host's address");
    pair.wire = Box::new(Some);
    let near = pair.connect(Side::Near, "10.0.0.3:80").expect("the listener is there");
    let far = pair.accept(Side::Far, listener).expect("a connection");
    assert_carries(&mut pair, &near, &far);
}

#[test]
fn datagrams_never_leave_from_a_removed_address() {
    let mut pair = Hosts::new();
    let endpoint = addr("10.0.0.1:1000");
    let (_, queue) = pair.call(Side::Near, None, udp::Command::Bind { endpoint }).expect("free");
    let Some(SocketQueue::Datagram(queue)) = queue else { panic!("no datagram socket") };

    remove(&mut pair, Side::Near, "10.0.0.1").expect("it is there");
    add(&mut pair, Side::Near, "10.0.0.9/24").expect("a host's address");
    let sent = netcore::Counters::clone(pair.near.stack.counters()).frames_sent;
    let payload = bytes::Bytes::from_static(b"x");
    let datagram = Datagram::new(addr("10.0.0.2:1"), payload);
    queue.try_send(datagram).expect("room in the queue");
    pair.run();

    assert_eq!(pair.near.stack.counters().frames_sent, sent);
    assert_eq!(queue.take_error(), Some(Error::AddressNotAvailable));
}

#[test]
fn a_connection_waits_while_the_link_is_down() {
    let mut pair = Hosts::new();
    let (near, far) = connection(&mut pair, "10.0.0.2:80");

    tell(&mut pair, Side::Near, control::Command::SetLinkUp(false)).expect("nothing can fail");
    near.try_send(b"hello").expect("room");
    far.try_send(b"there").expect("room");
    pair.advance(Duration::from_secs(5));
    assert_eq!(read(&far, 16), Err(Error::WouldBlock));
    assert_eq!(read(&near, 16), Err(Error::WouldBlock));
    assert_eq!(pair.connect(Side::Near, "10.0.0.2:80").err(), Some(Error::NetworkUnreachable));
    tell(&mut pair, Side::Near, control::Command::SetLinkUp(true)).expect("nothing can fail");
    pair.advance(Duration::from_secs(60));

    assert_eq!(read(&far, 16), Ok(b"hello".to_vec()));
    assert_eq!(read(&near, 16), Ok(b"there".to_vec()));
}

#[test]
fn connection_waits_for_a_route_and_uses_a_new_one() {
    let mut pair = Hosts::new();
    add(&mut pair, Side::Far, "192.0.2.2/32").expect("a host's address");
    let gateway = Route::default_via(ip("10.0.0.2"));
    tell(&mut pair, Side::Near, control::Command::AddRoute { route: gateway }).expect("a route");
    let (near, far) = connection(&mut pair, "192.0.2.2:80");

    let destination = gateway.destination;
    tell(&mut pair, Side::Near, control::Command::RemoveRoute { destination }).expect("a route");
    assert_eq!(pair.connect(Side::Near, "192.0.2.2:80").err(), Some(Error::NetworkUnreachable));
    near.try_send(b"hello").expect("room");
    pair.advance(Duration::from_secs(5));
    assert_eq!(read(&far, 16), Err(Error::WouldBlock));
    let route = Route { destination: "192.0.2.0/24".parse().expect("a network"), ..gateway };
    tell(&mut pair, Side::Near, control::Command::AddRoute { route }).expect("a route");
    pair.advance(Duration::from_secs(60));

    assert_eq!(read(&far, 16), Ok(b"hello".to_vec()));
}

#[test]
fn invalid_control_commands_fail_and_change_nothing() {
    let mut pair = Hosts::new();
    let before = pair.near.stack.network();
    let destination = "192.0.2.0/24".parse().expect("a network");
    for (command, error) in [
        (
            control::Command::AddAddress { address: "224.0.0.1/24".parse().expect("a network") },
            Error::AddressNotAvailable,
        ),
        (control::Command::RemoveAddress { address: ip("10.0.0.77") }, Error::AddressNotAvailable),
        (control::Command::RemoveRoute { destination }, Error::NetworkUnreachable),
        (
            control::Command::AddRoute {
                route: Route { destination, gateway: Some(ip("fd00::1")) },
            },
            Error::WrongFamily,
        ),
        (control::Command::SetMtu(Some(1279)), Error::MtuTooSmall),
    ] {
        assert_eq!(tell(&mut pair, Side::Near, command.clone()), Err(error), "{command:?}");
    }
    assert_eq!(pair.near.stack.network(), before);
}

#[test]
fn segment_size_follows_the_configured_mtu() {
    let mut pair = Hosts::new();
    tell(&mut pair, Side::Near, control::Command::SetMtu(Some(1300))).expect("large enough");
    let (near, far) = connection(&mut pair, "10.0.0.2:80");
    let largest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = largest.clone();
    pair.wire = Box::new(move |packet| {
        seen.fetch_max(packet.len(), std::sync::atomic::Ordering::Relaxed);
        Some(packet)
    });

    for (from, to) in [(&near, &far), (&far, &near)] {
        from.try_send(&[7; 8000]).expect("room");
        pair.run();
        assert_eq!(read(to, 8000).map(|bytes| bytes.len()), Ok(8000));
    }

    assert_eq!(largest.load(std::sync::atomic::Ordering::Relaxed), 1300);
}

#[test]
fn mtu_change_applies_to_open_connections() {
    for (is_jumbo, remote) in [false, true]
        .into_iter()
        .flat_map(|jumbo| ["10.0.0.2:80", "[fd00::2]:80"].map(|remote| (jumbo, remote)))
    {
        let mut pair = Hosts::new();
        pair.is_jumbo = is_jumbo;
        let (near, far) = connection(&mut pair, remote);
        let largest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = largest.clone();
        pair.wire = Box::new(move |packet| {
            seen.fetch_max(packet.len(), std::sync::atomic::Ordering::Relaxed);
            Some(packet)
        });

        for (mtu, expected) in [(Some(1300), 1300), (Some(1280), 1280), (None, 1500)] {
            tell(&mut pair, Side::Near, control::Command::SetMtu(mtu)).expect("large enough");
            largest.store(0, std::sync::atomic::Ordering::Relaxed);
            near.try_send(&[7; 8000]).expect("room");
            pair.run();
            let mut got = 0;
            pair.advance_until(|_| {
                got += read(&far, 8000).map_or(0, |bytes| bytes.len());
                got == 8000
            });
            let largest = largest.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(largest, expected, "{remote}, jumbo: {is_jumbo}");
        }
    }
}

#[test]
fn a_watch_sees_every_change_and_nothing_else() {
    let mut pair = Hosts::new();
    let mut watch = pair.near.stack.watch_network();
    let mut context = Context::from_waker(Waker::noop());
    let mut change = |watch: &mut netcore::NetworkWatch| -> Option<Arc<Network>> {
        match std::pin::pin!(watch.changed()).poll(&mut context) {
            Poll::Ready(network) => Some(network.expect("the stack is there")),
            Poll::Pending => None,
        }
    };
    assert_eq!(change(&mut watch), None);

    add(&mut pair, Side::Near, "10.0.0.9/24").expect("a host's address");
    let network = change(&mut watch).expect("an address is new");
    assert!(network.addresses.contains(&"10.0.0.9/24".parse().expect("a network")));
    add(&mut pair, Side::Near, "10.0.0.9/24").expect("it is there already");
    assert_eq!(change(&mut watch), None);

    let servers = vec![ip("10.0.0.2")];
    let command = control::Command::SetNameServers {
        servers: servers.clone(),
        search_domains: vec!["test".into()],
    };
    tell(&mut pair, Side::Near, command).expect("few enough");
    assert_eq!(change(&mut watch).expect("a name server is new").name_servers, servers);

    tell(&mut pair, Side::Near, control::Command::SetLinkUp(false)).expect("nothing can fail");
    assert!(!change(&mut watch).expect("the link is down").link.is_up);
    assert_eq!(change(&mut watch), None);
}

#[test]
fn watch_ends_when_its_stack_is_dropped() {
    let stack = Netstack::new(Config::default(), Instant::ZERO);
    let mut watch = stack.watch_network();
    drop(stack);

    let mut context = Context::from_waker(Waker::noop());
    let gone = std::pin::pin!(watch.changed()).poll(&mut context);

    assert!(matches!(gone, Poll::Ready(Err(Error::StackGone))));
}

#[test]
fn any_ip_listener_accepts_connections_to_every_address() {
    let mut pair = Hosts::new();
    let route = Route::default_via(ip("10.0.0.2"));
    tell(&mut pair, Side::Near, control::Command::AddRoute { route }).expect("a route");
    let route = Route::default_via(ip("fd00::2"));
    tell(&mut pair, Side::Near, control::Command::AddRoute { route }).expect("a route");
    tell(&mut pair, Side::Far, control::Command::SetAnyIp(true)).expect("nothing can fail");
    let options = tcp::ListenOptions { any_port: true, ..Default::default() };
    let listener = pair.listen_with(Side::Far, "[::]:0", options).expect("the first");
    let own = pair.listen(Side::Far, "0.0.0.0:22").expect("a free port");

    for remote in ["192.0.2.7:80", "198.51.100.1:65535", "[2001:db8::7]:443"] {
        let near = pair.connect(Side::Near, remote).expect("somebody takes it");
        let far = pair.accept(Side::Far, listener).expect("a connection");
        let dialled = far.local_address();
        let dialled = std::net::SocketAddr::new(dialled.ip().to_canonical(), dialled.port());
        assert_eq!(dialled, addr(remote));
        assert_carries(&mut pair, &near, &far);
        assert_carries(&mut pair, &far, &near);
    }
    pair.connect(Side::Near, "192.0.2.7:22").expect("somebody takes it");
    let far = pair.accept(Side::Far, own).expect("the listener on the port has it");
    assert_eq!(far.local_address(), addr("192.0.2.7:22"));

    let again = tcp::ListenOptions { any_port: true, ..Default::default() };
    assert_eq!(pair.listen_with(Side::Far, "0.0.0.0:0", again).err(), Some(Error::AddressInUse));
    tell(&mut pair, Side::Far, control::Command::SetAnyIp(false)).expect("nothing can fail");
    let refused = pair.connect(Side::Near, "192.0.2.8:80").err();
    assert_eq!(refused, Some(Error::TimedOut), "packets to others are dropped again");
}

fn intercept(pair: &mut Hosts, address: &str) -> Result<Arc<DatagramQueue>, Error> {
    let command = udp::Command::BindAnyPort { address: ip(address) };
    match pair.call(Side::Far, None, command)?.1 {
        Some(SocketQueue::Datagram(queue)) => Ok(queue),
        other => panic!("binding gave {other:?}"),
    }
}

#[test]
fn any_port_socket_receives_all_and_replies_from_there() {
    let mut pair = Hosts::new();
    for gateway in ["10.0.0.2", "fd00::2"] {
        let route = Route::default_via(ip(gateway));
        tell(&mut pair, Side::Near, control::Command::AddRoute { route }).expect("a route");
    }
    tell(&mut pair, Side::Far, control::Command::SetAnyIp(true)).expect("nothing can fail");
    let all = intercept(&mut pair, "::").expect("the first");
    assert_eq!(intercept(&mut pair, "0.0.0.0").err(), Some(Error::AddressInUse));
    let own = addr("0.0.0.0:53");
    let (_, own) = pair.call(Side::Far, None, udp::Command::Bind { endpoint: own }).expect("free");
    let Some(SocketQueue::Datagram(own)) = own else { panic!("no datagram socket") };

    for (endpoint, remote) in [
        ("10.0.0.1:1000", "192.0.2.7:443"),
        ("10.0.0.1:1001", "198.51.100.1:65535"),
        ("[fd00::1]:1000", "[2001:db8::7]:443"),
    ] {
        let (endpoint, remote) = (addr(endpoint), addr(remote));
        let (_, near) = pair.call(Side::Near, None, udp::Command::Bind { endpoint }).expect("free");
        let Some(SocketQueue::Datagram(near)) = near else { panic!("no datagram socket") };
        near.set_peer(Some(remote));
        near.try_send(Datagram::new(remote, bytes::Bytes::from_static(b"hello"))).expect("room");
        pair.run();

        let asked = all.try_recv().expect("it is for everybody");
        let local = asked.local.expect("it was sent somewhere");
        assert_eq!((local.ip().to_canonical(), local.port()), (remote.ip(), remote.port()));
        assert_eq!(
            (asked.peer.ip().to_canonical(), asked.peer.port()),
            (endpoint.ip(), endpoint.port())
        );
        let answer = Datagram {
            local: asked.local,
            ..Datagram::new(asked.peer, bytes::Bytes::from_static(b"there"))
        };
        all.try_send(answer).expect("room");
        pair.run();
        // Its peer is connected and receives from this address only.
        assert_eq!(near.try_recv().map(|datagram| datagram.payload), Ok("there".into()));
    }

    let endpoint = addr("10.0.0.1:0");
    let (_, near) = pair.call(Side::Near, None, udp::Command::Bind { endpoint }).expect("free");
    let Some(SocketQueue::Datagram(near)) = near else { panic!("no datagram socket") };
    let to_own = Datagram::new(addr("192.0.2.7:53"), bytes::Bytes::from_static(b"hello"));
    near.try_send(to_own).expect("room");
    pair.run();
    assert_eq!(own.try_recv().map(|d| d.local), Ok(Some(addr("192.0.2.7:53"))));
    assert_eq!(all.try_recv().err(), Some(Error::WouldBlock), "who is on the port comes first");
}

#[test]
fn source_port_of_a_datagram_must_be_the_sockets() {
    let mut pair = Hosts::new();
    let all = intercept(&mut pair, "::").expect("the first");
    let endpoint = addr("10.0.0.2:53");
    let (_, own) = pair.call(Side::Far, None, udp::Command::Bind { endpoint }).expect("free");
    let Some(SocketQueue::Datagram(own)) = own else { panic!("no datagram socket") };
    let from = |local: Option<&str>| Datagram {
        local: local.map(addr),
        ..Datagram::new(addr("10.0.0.1:1000"), bytes::Bytes::from_static(b"x"))
    };

    let refused = Err(Error::AddressNotAvailable);
    assert_eq!(all.try_send(from(None)), refused);
    assert_eq!(all.try_send(from(Some("10.0.0.2:0"))), refused);
    assert_eq!(own.try_send(from(Some("10.0.0.2:54"))), refused);
    assert_eq!(own.try_send(from(Some("10.0.0.2:53"))), Ok(()));
    assert_eq!(own.try_send(from(Some("10.0.0.2:0"))), Ok(()));
    assert_eq!(all.try_send(from(Some("10.0.0.77:7"))), Ok(()), "addresses are looked at later");
    pair.run();
    assert_eq!(all.take_error(), Some(Error::AddressNotAvailable), "any-IP is off");
    all.close();
    pair.run();
    intercept(&mut pair, "::").expect("the ports are free again");
}
