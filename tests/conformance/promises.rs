//! What sockets promise that are handles to a stack at the other end of a channel.

use crate::case::{Case, INSIDE, TOKIO, case};
use crate::sockets::kind;
use crate::world::World;
use netstack::Config;
use netstack::netsocket::netcore::{
    Error, HasChannel, Response, Snapshot, SocketId, SocketKind, TcpState, tcp,
};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const CASES: &[Case] = &[
    case!(56, "1,000 drops at once reach a stack that is stalled", TOKIO, INSIDE, drops),
    case!(56, "a blocked socket delays no other", TOKIO, INSIDE, blocked),
    case!(57, "a closed handle names no other connection", TOKIO, INSIDE, generations),
    case!(60, "a picture shows every socket", TOKIO, INSIDE, picture),
];

async fn drops(world: World) {
    let sim = &world.simulation().sim;
    // The third and the fourth host: they take two commands at a time.
    let config = Config { commands_max: 2, ..Config::default() };
    let near = sim.host().config(config.clone()).spawn().expect("addresses");
    let far = sim.host().config(config).spawn().expect("addresses");
    let [near_ip, far_ip] = [&near, &far].map(|host| {
        let mut addresses = host.addresses().iter().map(|network| network.addr());
        addresses.find(|ip| ip.is_ipv4() == world.near.addresses[0].is_ipv4()).expect("both")
    });
    let listener = far.net().tcp_listen((far_ip, 80)).await.expect("free");
    let (mut streams, mut sockets, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..334 {
        let connecting = near.net().tcp_connect((far_ip, 80));
        let (client, server) = tokio::join!(connecting, listener.accept());
        streams.extend([client.expect("a listener"), server.expect("a client").0]);
        sockets.push(near.net().udp_bind((near_ip, 0)).await.expect("free"));
        listeners.push(near.net().tcp_listen((near_ip, 0)).await.expect("free"));
    }

    // No task runs between these drops. The end of the run checks that nothing is left.
    drop((streams, sockets, listeners, listener));
}

async fn blocked(world: World) {
    let (full, _idle) = world.pair().await;
    while full.try_write(&[7; 1 << 16]).is_ok() {
        world.settle().await;
    }
    let writer = full.clone();
    let writing = tokio::spawn(async move { writer.write_all(b"waits for room").await });
    let (client, server) = world.pair().await;

    let start = tokio::time::Instant::now();
    client.write_all(b"ping").await.expect("open");
    assert_eq!(server.read_up_to(4).await.expect("open"), b"ping");

    assert!(start.elapsed() < Duration::from_millis(50));
    assert!(!writing.is_finished());
    writing.abort();
}

async fn picture(world: World) {
    let (_listener, address) = world.listen().await;
    let client = world.near.connect(address).await.expect("a listener");
    let socket = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    world.settle().await;

    let near = world.near.net().snapshot().await.expect("running");
    let far = world.far.net().snapshot().await.expect("running");

    let find = |picture: &Snapshot, kind, state| {
        let found = picture.sockets.iter().find(|s| (s.kind, s.state) == (kind, state));
        found.map(|socket| (socket.local, socket.peer))
    };
    let own = client.local_addr().expect("connected");
    assert_eq!(
        find(&near, SocketKind::Tcp, Some(TcpState::Established)),
        Some((own, Some(address)))
    );
    assert_eq!(
        find(&near, SocketKind::Udp, None),
        Some((socket.local_addr().expect("bound"), None))
    );
    assert_eq!(
        find(&far, SocketKind::Tcp, Some(TcpState::Established)),
        Some((address, Some(own)))
    );
    assert_eq!(find(&far, SocketKind::Tcp, Some(TcpState::Listen)), Some((address, None)));
    assert_eq!(near.sockets.len() + far.sockets.len(), 4);
    assert!(near.to_string().contains("ESTABLISHED"), "it prints like netstat:\n{near}");
}

async fn generations(world: World) {
    let channel = world.near.net().command_channel();
    let far = world.far.net().tcp_listen(world.far.address(80)).await.expect("free");
    let options = tcp::Options::default();
    let connect = || tcp::Command::Connect {
        remote: world.far.address(80),
        local: None,
        options: options.clone(),
    };
    let first = opened(channel.request(None, connect()).await);
    channel.request(Some(first), tcp::Command::Abort).await.expect("open");
    let second = opened(channel.request(None, connect()).await);
    assert_ne!(first, second);

    for command in [
        tcp::Command::Recv { max_len: None },
        tcp::Command::Send { buf: b"x"[..].into() },
        tcp::Command::Accept,
        tcp::Command::Shutdown,
        tcp::Command::Close,
    ] {
        let answer = channel.request(Some(first), command.clone()).await;
        assert_eq!(answer.map(drop), Err(Error::Closed), "{command:?}");
    }

    // The second one never noticed.
    channel
        .request(Some(second), tcp::Command::Send { buf: b"mine"[..].into() })
        .await
        .expect("ok");
    let (mut reset, _) = far.accept().await.expect("the first");
    assert_eq!(kind(reset.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));
    let (mut server, _) = far.accept().await.expect("the second");
    let mut received = [0; 4];
    server.read_exact(&mut received).await.expect("open");
    assert_eq!(&received, b"mine");
    server.shutdown().await.expect("open");
    channel.request(Some(second), tcp::Command::Close).await.expect("open");
}

fn opened(answer: Result<Response, Error>) -> SocketId {
    match answer.expect("a listener") {
        Response::Tcp(tcp::Response::Connected { handle, .. }) => handle,
        other => panic!("connecting answered {other:?}"),
    }
}
