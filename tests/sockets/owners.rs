//! Who made a socket, as those who look from outside see it.

use super::all_is_gone;
use netstack::Pair;
use netstack::netsocket::Owner;
use netstack::netsocket::netcore::{Config, SocketInfo, TcpState};

#[tokio::test(start_paused = true)]
async fn a_name_is_that_of_every_socket_made_with_it() {
    let (near, far) = Pair::new().spawn().expect("a runtime");
    let listener = far.net().named("web").tcp_listen("10.0.0.2:80").await.expect("a free port");
    let plain = near.net();
    let named = plain.named("backups");
    let client = named.tcp_connect("10.0.0.2:80").await.expect("a listener");
    let server = listener.accept().await.expect("a client").0;
    let udp = named.udp_bind("10.0.0.1:9").await.expect("a free port");
    let nobodys = plain.udp_bind("10.0.0.1:10").await.expect("a free port");

    let near_sockets = near.net().snapshot().await.expect("a stack").sockets;
    let far_sockets = far.net().snapshot().await.expect("a stack").sockets;

    let owner = |sockets: &[SocketInfo], port| {
        let socket = sockets.iter().find(|socket| socket.local.port() == port);
        socket.expect("such a socket").owner.clone().map(|owner| owner.to_string())
    };
    let client_port = client.local_addr().expect("bound").port();
    assert_eq!(owner(&near_sockets, client_port).as_deref(), Some("backups"));
    assert_eq!(owner(&near_sockets, 9).as_deref(), Some("backups"));
    assert_eq!(owner(&near_sockets, 10), None);
    assert_eq!(far_sockets.len(), 2);
    for socket in &far_sockets {
        let name = socket.owner.as_ref().and_then(|owner| owner.name.as_deref());
        assert_eq!(name, Some("web"), "a connection has the owner of its listener: {socket:?}");
    }
    drop((client, server, listener, udp, nobodys));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_keeps_its_thread_and_task_if_asked_to() {
    let config = Config { socket_owners: true, ..Config::default() };
    let (near, far) = Pair::new().config(config).spawn().expect("a runtime");
    let net = far.net().clone();
    let listening = tokio::spawn(async move {
        let listener = net.tcp_listen("10.0.0.2:80").await.expect("a free port");
        (listener, tokio::task::id())
    });
    let (listener, task) = listening.await.expect("it does not panic");
    let client = near.net().tcp_connect("10.0.0.2:80").await.expect("a listener");
    let server = listener.accept().await.expect("a client").0;

    let sockets = far.net().snapshot().await.expect("a stack").sockets;

    for state in [TcpState::Listen, TcpState::Established] {
        let socket = sockets.iter().find(|socket| socket.state == Some(state));
        let owner = socket.and_then(|socket| socket.owner.as_deref()).expect("an owner");
        assert_eq!(owner.task.map(|task| task.to_string()), Some(task.to_string()));
        assert_eq!(owner.thread.as_deref(), std::thread::current().name());
    }
    drop((client, server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test]
async fn the_thread_of_a_blocking_socket_is_its_owner() {
    let config = Config { socket_owners: true, ..Config::default() };
    let (near, far) = Pair::new().config(config).spawn_threads().expect("threads");
    let net = near.net().blocking();
    let thread = std::thread::Builder::new().name("reader".into());
    let bound = thread.spawn(move || net.named("log").udp_bind("10.0.0.1:9")).expect("a thread");
    let _socket = bound.join().expect("it does not panic").expect("a free port");

    let snapshot = near.net().snapshot().await.expect("a stack");

    let expected = Owner::named("log").with_task(Some("reader".into()), None);
    assert_eq!(snapshot.sockets[0].owner.as_deref(), Some(&expected));
    drop(far);
}
