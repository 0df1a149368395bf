//! UDP sockets that share a port.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, addr};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::{Error, udp};
use std::collections::HashMap;
use std::sync::Arc;

#[test]
fn options_that_are_set_later_count_for_the_next_bind() {
    let mut pair = Pair::new();
    let first = bind(&mut pair, "10.0.0.2:2000", false, false).expect("free");
    assert_eq!(bind(&mut pair, "0.0.0.0:2000", true, false).err(), Some(Error::AddressInUse));

    first.set_options(|options| options.reuse_address = true);
    let second = bind(&mut pair, "0.0.0.0:2000", true, false).expect("both share it");
    second.set_options(|options| options.reuse_address = false);
    assert_eq!(bind(&mut pair, "10.0.0.2:2000", true, false).err(), Some(Error::AddressInUse));
    second.set_options(|options| options.reuse_port = true);
    assert_eq!(bind(&mut pair, "10.0.0.2:2000", false, true).err(), Some(Error::AddressInUse));
    first.set_options(|options| options.reuse_port = true);
    let third = bind(&mut pair, "10.0.0.2:2000", false, true).expect("all share it");

    close(&mut pair, [first, second, third]);
    let alone = bind(&mut pair, "10.0.0.2:2000", false, false).expect("nobody is left");
    close(&mut pair, [alone]);
}

#[test]
fn a_server_may_have_a_socket_for_each_client_on_one_port() {
    let mut pair = Pair::new();
    let listener = bind(&mut pair, "0.0.0.0:2000", true, false).expect("free");
    let clients: Vec<_> = (1..=50).map(|n| client(&mut pair, 1000 + n)).collect();
    let mut connected = Vec::new();
    for client in &clients {
        send(client, "10.0.0.2:2000", b"hello");
        pair.run();
        let peer = listener.try_recv().expect("the first one is for all clients").peer;
        let own = bind(&mut pair, "0.0.0.0:2000", true, false).expect("shared");
        let connect = udp::Command::Connect { peer: Some(peer) };
        pair.call(Side::Far, Some(own.id()), connect).expect("a route");
        connected.push(own);
    }

    for client in &clients {
        send(client, "10.0.0.2:2000", b"again");
    }
    pair.run();

    for (own, client) in connected.iter().zip(&clients) {
        let received = own.try_recv().expect("its client's");
        assert_eq!(received.peer, client.local_address());
        assert_eq!(own.try_recv().err(), Some(Error::WouldBlock));
    }
    assert_eq!(listener.try_recv().err(), Some(Error::WouldBlock));
    // The client of a closed socket is a new one.
    let gone = connected.remove(0);
    close(&mut pair, [gone]);
    send(&clients[0], "10.0.0.2:2000", b"once more");
    pair.run();
    assert_eq!(listener.try_recv().expect("its").peer, clients[0].local_address());
    close(&mut pair, connected.into_iter().chain([listener]));
    for client in clients {
        client.close();
    }
}

#[test]
fn an_error_of_a_shared_port_is_for_the_connected_socket() {
    let mut pair = Pair::new();
    let others = bind(&mut pair, "0.0.0.0:2000", true, false).expect("free");
    let own = bind(&mut pair, "0.0.0.0:2000", true, false).expect("shared");
    let last = bind(&mut pair, "0.0.0.0:2000", true, false).expect("shared");
    let connect = udp::Command::Connect { peer: Some(addr("10.0.0.1:9")) };
    pair.call(Side::Far, Some(own.id()), connect).expect("a route");

    send(&own, "10.0.0.1:9", b"to a closed port");
    pair.run();

    assert_eq!(own.take_error(), Some(Error::Refused));
    assert_eq!((others.take_error(), last.take_error()), (None, None));
    close(&mut pair, [others, own, last]);
}

#[test]
fn a_group_on_one_port_divides_the_clients() {
    let mut pair = Pair::new();
    let group: Vec<_> =
        (0..4).map(|_| bind(&mut pair, "0.0.0.0:2000", false, true).expect("shared")).collect();
    let clients: Vec<_> = (1..=64).map(|n| client(&mut pair, 1000 + n)).collect();
    for _ in 0..3 {
        for client in &clients {
            send(client, "10.0.0.2:2000", b"x");
        }
        pair.run();
    }

    let mut owners = HashMap::new();
    for (at, socket) in group.iter().enumerate() {
        while let Ok(datagram) = socket.try_recv() {
            let (owner, count) = owners.entry(datagram.peer).or_insert((at, 0));
            assert_eq!(*owner, at, "{} has two sockets", datagram.peer);
            *count += 1;
        }
    }

    assert_eq!(owners.len(), clients.len());
    assert!(owners.values().all(|(_, count)| *count == 3), "{owners:?}");
    let used = (0..4).filter(|at| owners.values().any(|(owner, _)| owner == at)).count();
    assert_eq!(used, 4, "{owners:?}");
    close(&mut pair, group);
    for client in clients {
        client.close();
    }
}

fn bind(
    pair: &mut Pair,
    endpoint: &str,
    reuse_address: bool,
    reuse_port: bool,
) -> Result<Arc<DatagramQueue>, Error> {
    let (endpoint, families) = (addr(endpoint), Default::default());
    let options = udp::Options { reuse_address, reuse_port, ..Default::default() };
    match pair.call(Side::Far, None, udp::Command::BindWith { endpoint, families, options })? {
        (_, Some(SocketQueue::Datagram(queue))) => Ok(queue),
        other => panic!("binding {endpoint} gave {other:?}"),
    }
}

fn client(pair: &mut Pair, port: u16) -> Arc<DatagramQueue> {
    let endpoint = addr(&format!("10.0.0.1:{port}"));
    match pair.call(Side::Near, None, udp::Command::Bind { endpoint }) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("binding {endpoint} gave {other:?}"),
    }
}

fn send(socket: &DatagramQueue, to: &str, payload: &'static [u8]) {
    let datagram = Datagram::new(addr(to), Bytes::from_static(payload));
    socket.try_send(datagram).expect("room");
}

fn close(pair: &mut Pair, sockets: impl IntoIterator<Item = Arc<DatagramQueue>>) {
    for socket in sockets {
        socket.close();
    }
    pair.run();
}
