//! Sockets that are bound before they listen or connect.

use crate::case::Backends::Both;
use crate::case::{Case, TOKIO, case};
use crate::sockets::{TcpSocket, kind};
use crate::world::{Host, World};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

pub(crate) const CASES: &[Case] = &[
    case!(75, "a socket bound to port 0 has a port", TOKIO, Both, port_is_known),
    case!(75, "a bound socket listens on its port", TOKIO, Both, listens_where_bound),
    case!(75, "a bound socket connects from its port", TOKIO, Both, connects_from_where_bound),
    case!(76, "a port that is bound cannot be bound again", TOKIO, Both, bound_twice),
    case!(76, "a port that is bound cannot be listened on", TOKIO, Both, bound_then_listen),
    case!(76, "a port that is listened on cannot be bound", TOKIO, Both, listen_then_bind),
    case!(76, "a connection keeps the port it was bound to", TOKIO, Both, connected_keeps),
    case!(76, "a port is free once its bound socket is dropped", TOKIO, Both, freed),
    case!(77, "a port that is bound only refuses", TOKIO, Both, refuses),
    case!(77, "a bound port is not chosen for a connect", TOKIO, Both, not_chosen),
    case!(78, "a socket is bound once", TOKIO, Both, once),
    case!(78, "a foreign address is refused by bind", TOKIO, Both, not_ours),
];

/// A socket that is bound to a port of the host's own choice, and where it is.
fn bound(host: &Host) -> (TcpSocket, SocketAddr) {
    let socket = host.tcp_socket().expect("a socket");
    socket.bind(host.address(0)).expect("a free port");
    let local = socket.local_addr().expect("bound");
    (socket, local)
}

async fn port_is_known(world: World) {
    for local in [world.far.address(0), world.far.wildcard(0)] {
        let socket = world.far.tcp_socket().expect("a socket");
        assert_eq!(socket.local_addr().expect("open"), world.far.wildcard(0));

        socket.bind(local).expect("a free port");

        let bound = socket.local_addr().expect("bound");
        assert_eq!(bound.ip(), local.ip());
        assert_ne!(bound.port(), 0);
    }
}

async fn listens_where_bound(world: World) {
    let (socket, local) = bound(&world.far);

    let listener = socket.listen().await.expect("the port is its own");

    assert_eq!(listener.local_addr().expect("bound"), local);
    let (client, accepted) = tokio::join!(world.near.connect(local), listener.accept());
    assert_eq!(client.expect("a listener").peer_addr().expect("connected"), local);
    accepted.expect("a client");
}

async fn connects_from_where_bound(world: World) {
    let (listener, address) = world.listen().await;
    let (socket, local) = bound(&world.near);

    let (client, accepted) = tokio::join!(socket.connect(address), listener.accept());

    let client = client.expect("a listener");
    assert_eq!(client.local_addr().expect("connected"), local);
    assert_eq!(accepted.expect("a client").1, local);
}

async fn bound_twice(world: World) {
    for (first, second) in [
        (world.far.address(0), world.far.address(0)),
        (world.far.address(0), world.far.wildcard(0)),
        (world.far.wildcard(0), world.far.address(0)),
    ] {
        let [one, other] = [(); 2].map(|()| world.far.tcp_socket().expect("a socket"));
        one.bind(first).expect("a free port");
        let port = one.local_addr().expect("bound").port();

        let again = kind(other.bind(SocketAddr::new(second.ip(), port)));

        assert_eq!(again, Err(ErrorKind::AddrInUse), "{first} and {second}");
        other.bind(world.far.address(0)).expect("it is not bound yet");
    }
}

async fn bound_then_listen(world: World) {
    let (_socket, local) = bound(&world.far);

    assert_eq!(kind(world.far.listen(local).await.map(drop)), Err(ErrorKind::AddrInUse));
}

async fn listen_then_bind(world: World) {
    let (_listener, address) = world.listen().await;
    let socket = world.far.tcp_socket().expect("a socket");

    assert_eq!(kind(socket.bind(address)), Err(ErrorKind::AddrInUse));
}

async fn connected_keeps(world: World) {
    let (_listener, address) = world.listen().await;
    let (socket, local) = bound(&world.near);
    let _client = socket.connect(address).await.expect("a listener");
    let other = world.near.tcp_socket().expect("a socket");

    assert_eq!(kind(other.bind(local)), Err(ErrorKind::AddrInUse));
}

async fn freed(world: World) {
    let (socket, local) = bound(&world.far);
    drop(socket);
    let socket = world.far.tcp_socket().expect("a socket");
    socket.bind(local).expect("it is free again");
    drop(socket);

    // What never came to be a connection or a listener has not kept it either.
    let socket = world.far.tcp_socket().expect("a socket");
    socket.bind(local).expect("it is free again");
    let (_guard, closed) = world.closed_port().await;
    let refused = kind(socket.connect(closed).await.map(drop));
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    let socket = world.far.tcp_socket().expect("a socket");
    socket.bind(local).expect("it is free again");
    drop(socket.listen().await.expect("its own"));

    world.far.listen(local).await.expect("it is free again");
}

async fn refuses(world: World) {
    let (_socket, local) = bound(&world.far);

    let refused = kind(world.near.connect(local).await.map(drop));

    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
}

async fn not_chosen(world: World) {
    let (_listener, address) = world.listen().await;
    let (_socket, local) = bound(&world.near);

    let error = kind(world.near.connect_from(local.port(), address).await.map(drop));

    assert_eq!(error, Err(ErrorKind::AddrInUse));
}

async fn once(world: World) {
    let (socket, local) = bound(&world.far);

    assert_eq!(kind(socket.bind(world.far.address(0))), Err(ErrorKind::InvalidInput));

    assert_eq!(socket.local_addr().expect("bound"), local);
}

async fn not_ours(world: World) {
    let others: IpAddr = match world.far.addresses[0] {
        IpAddr::V4(_) => "192.0.2.1".parse().expect("an address"),
        IpAddr::V6(_) => "2001:db8::1".parse().expect("an address"),
    };
    let socket = world.far.tcp_socket().expect("a socket");

    let error = kind(socket.bind(SocketAddr::new(others, 0)));

    assert_eq!(error, Err(ErrorKind::AddrNotAvailable));
    assert_eq!(socket.local_addr().expect("open"), world.far.wildcard(0));
}
