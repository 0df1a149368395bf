//! What the commands answer, and what they change.

use super::{World, ask, stack};
use netstack::control::{Answer, Change, Command, Failure, Flow};
use netstack::netsocket::netcore::{Error, SocketInfo, SocketKind, TcpState};
use std::collections::HashSet;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn every_socket_is_listed_once() {
    let world = World::new();
    let (_listener, connections) = world.connections(200).await;
    let _udp = world.near.net().udp_bind("10.0.0.1:53").await.expect("a free port");
    let mut client = world.client();

    let sockets = sockets(&mut client);
    let flows: Vec<Flow> = ask(&mut client, &Command::Flows {})
        .expect("an answer")
        .into_iter()
        .flat_map(|answer| match answer {
            Answer::Flows(flows) => flows,
            other => panic!("{other:?}"),
        })
        .collect();

    let ids: HashSet<_> = sockets.iter().map(|socket| socket.id).collect();
    assert_eq!((sockets.len(), ids.len()), (202, 202));
    assert_eq!(sockets.iter().filter(|socket| socket.kind == SocketKind::Udp).count(), 1);
    assert_eq!(flows.len(), connections.len());
    assert!(flows.iter().all(|flow| flow.state == TcpState::Established));
    assert_eq!(client.skipped(), 0);
}

#[tokio::test]
async fn one_socket_has_the_numbers_of_its_connection() {
    let world = World::new();
    let (_listener, mut connections) = world.connections(1).await;
    let [near, far] = &mut connections[0];
    near.write_all(b"hello").await.expect("open");
    far.read_exact(&mut [0; 5]).await.expect("five bytes");
    let mut client = world.client();

    let found = sockets(&mut client).into_iter().find(|socket| socket.peer.is_some());
    let id = found.expect("a connection").id;
    let socket = match client.ask_one(&Command::Socket { id }).expect("an answer") {
        Some(Answer::Socket(socket)) => socket,
        other => panic!("{other:?}"),
    };

    let info = socket.tcp.expect("its numbers");
    assert_eq!((info.bytes_sent, &*info.congestion_control), (5, "cubic"));
    assert_eq!(info.limited.total(), info.age);
}

#[tokio::test]
async fn an_aborted_connection_fails_and_its_peer_gets_a_reset() {
    let world = World::new();
    let (_listener, mut connections) = world.connections(1).await;
    let [near, far] = &mut connections[0];
    let mut client = world.client();
    let found = sockets(&mut client).into_iter().find(|socket| socket.peer.is_some());
    let id = found.expect("a connection").id;

    assert_eq!(client.ask_one(&Command::Abort { id }).expect("it exists"), None);

    // Whether its reset has left or not.
    for answer in client.ask(&Command::Flows {}).expect("an answer") {
        let Ok(Answer::Flows(flows)) = answer else { panic!("{answer:?}") };
        assert!(flows.iter().all(|flow| flow.id != id), "{flows:?}");
    }
    let failed = near.read(&mut [0; 1]).await.expect_err("it was aborted");
    assert_eq!(failed.kind(), ErrorKind::ConnectionAborted);
    let reset = far.read(&mut [0; 1]).await.expect_err("it was reset");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    let again = client.ask_one(&Command::Abort { id }).expect_err("it is gone");
    assert_eq!(again.to_string(), "unknown or closed socket");
}

#[tokio::test]
async fn a_change_is_made_or_refused_with_its_reason() {
    let world = World::new();
    let mut client = world.client();
    let mut set = |change| client.ask_one(&Command::Set { change });

    set(Change::AddAddress("10.0.7.1/24".parse().expect("a network"))).expect("a host's");
    set(Change::Mtu(Some(1400))).expect("enough");
    let refused = set(Change::RemoveAddress("10.0.8.1".parse().expect("an address")));

    let network = world.near.net().network();
    assert!(network.addresses.contains(&"10.0.7.1/24".parse().expect("a network")));
    assert_eq!(network.link.mtu, 1400);
    let refused = refused.expect_err("it has no such address").to_string();
    assert!(refused.contains("address"), "{refused}");
    let Some(Answer::Network(seen)) = client.ask_one(&Command::Network {}).expect("an answer")
    else {
        panic!("another answer");
    };
    assert_eq!(seen, *network);
}

#[tokio::test]
async fn a_refusal_names_the_error_of_the_stack() {
    let world = World::new();
    let mut client = world.client();
    let address = "10.0.8.1".parse().expect("an address");

    let refused = client.ask_one(&Command::Set { change: Change::RemoveAddress(address) });

    let refused = refused.expect_err("it has no such address");
    let failure = refused.get_ref().and_then(|cause| cause.downcast_ref::<Failure>());
    assert_eq!(failure.and_then(|failure| failure.error), Some(Error::AddressNotAvailable));
}

#[tokio::test]
async fn a_change_is_told_to_those_who_have_not_seen_it() {
    let world = World::new();
    let (mut waiting, mut client) = (world.client(), world.client());
    let seen = world.near.net().network().revision;
    let told = std::thread::spawn(move || waiting.ask_one(&Command::Change { seen }));

    let change = Change::AddAddress("10.0.7.1/24".parse().expect("a network"));
    client.ask_one(&Command::Set { change }).expect("a host's");

    let told = told.join().expect("no panic").expect("an answer");
    let Some(Answer::Network(network)) = told else { panic!("{told:?}") };
    assert_eq!((network.revision, network.addresses.len()), (seen + 1, 3));
}

#[tokio::test]
async fn the_next_hop_to_a_destination_is_known() {
    let world = World::new();
    let mut client = world.client();
    let destination = "10.0.0.2".parse().expect("an address");

    let answer = client.ask_one(&Command::RouteTo { destination }).expect("a route");

    let Some(Answer::NextHop(next_hop)) = answer else { panic!("{answer:?}") };
    assert_eq!(
        (next_hop.neighbour, next_hop.source.to_string()),
        (Some(destination), "10.0.0.1".into())
    );
}

#[tokio::test]
async fn counters_and_the_process_are_known() {
    let world = World::new();
    let (_listener, _connections) = world.connections(3).await;
    let mut client = world.client();

    let Some(Answer::Counters(overview)) = client.ask_one(&Command::Counters {}).expect("JSON")
    else {
        panic!("another answer");
    };
    let info = stack(&mut client);

    assert_eq!((overview.sockets, overview.counters.connections_established), (4, 3));
    assert_eq!((info.pid, info.clients), (std::process::id(), 1));
    assert!(info.busy > 0 && info.process_time > 0, "{info:?}");
    assert!(info.process.starts_with("control"), "{info:?}");
}

fn sockets(client: &mut netstack::control::Client) -> Vec<SocketInfo> {
    let answers = ask(client, &Command::Sockets {}).expect("an answer");
    let socket = |answer| match answer {
        Answer::Socket(socket) => *socket,
        other => panic!("{other:?}"),
    };
    answers.into_iter().map(socket).collect()
}
