//! QUIC: quinn on the stack's datagrams. In real time: quinn's pacer takes it for granted that some
//! passes between two packets.

use super::certificate;
use netstack::netsocket::quinn::QuicSocket;
use netstack::{Pair, Stack};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tests::{all_is_gone, noise};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::RootCertStore;

async fn endpoint(stack: &Stack, address: &str, server: Option<ServerConfig>) -> Endpoint {
    let socket = stack.net().udp_bind(address).await.expect("a free port");
    let socket = Arc::new(QuicSocket::from(socket));
    let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    Endpoint::new_with_abstract_socket(config, server, socket, runtime).expect("a socket")
}

/// A server that echoes, and a client that trusts it.
async fn echo(near: &Stack, far: &Stack, listen: &str, bind: &str) -> (JoinHandle<()>, Endpoint) {
    let (certificate, key) = certificate();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let config = ServerConfig::with_single_cert(vec![certificate], key).expect("its key");
    let server = endpoint(far, listen, Some(config)).await;
    let serving = tokio::spawn(async move {
        let connection = server.accept().await.expect("a client").await.expect("a handshake");
        // Returns when the connection is closed.
        while let Ok((mut to, mut from)) = connection.accept_bi().await {
            tokio::io::copy(&mut from, &mut to).await.expect("open");
            to.finish().expect("open");
        }
        server.wait_idle().await;
    });
    let mut client = endpoint(near, bind, None).await;
    let trusting = ClientConfig::with_root_certificates(Arc::new(roots)).expect("a root");
    client.set_default_client_config(trusting);
    (serving, client)
}

async fn connect(client: &Endpoint, target: &str) -> Connection {
    let target: SocketAddr = target.parse().expect("an address");
    client.connect(target, "far").expect("a target").await.expect("a server")
}

async fn send_and_compare(connection: &Connection, data: &[u8]) {
    let (mut to, mut from) = connection.open_bi().await.expect("open");
    let sending = async {
        to.write_all(data).await.expect("open");
        to.finish().expect("open");
    };
    let (received, ()) = tokio::join!(from.read_to_end(data.len()), sending);
    let received = received.expect("whole");
    assert!(received == data, "{} bytes", received.len());
}

/// Closes both endpoints, and checks that nothing is left.
async fn end(
    stacks: [&Stack; 2],
    connection: Connection,
    client: Endpoint,
    serving: JoinHandle<()>,
) {
    connection.close(0_u8.into(), b"done");
    drop(connection);
    client.wait_idle().await;
    serving.await.expect("no panic");
    drop(client);
    all_is_gone(stacks).await;
}

#[tokio::test]
async fn quinn_echoes_megabytes_over_both_families() {
    let data = noise(4_000_000);
    for (listen, bind, target) in [
        ("10.0.0.2:443", "10.0.0.1:0", "10.0.0.2:443"),
        ("[fd00::2]:443", "[fd00::1]:0", "[fd00::2]:443"),
        ("[::]:443", "[::]:0", "10.0.0.2:443"),
        ("[::]:443", "[::]:0", "[fd00::2]:443"),
    ] {
        let (near, far) = Pair::new().spawn().expect("a runtime");
        let (serving, client) = echo(&near, &far, listen, bind).await;
        let connection = connect(&client, target).await;

        send_and_compare(&connection, &data).await;

        // The largest that quinn probes for; with IPv6's header it fills the link's MTU.
        assert_eq!(connection.stats().path.current_mtu, 1452, "{target}");
        end([&near, &far], connection, client, serving).await;
    }
}

#[tokio::test]
async fn quinn_discovers_the_path_mtu() {
    let (near, far) = Pair::new().mtu(1300).spawn().expect("a runtime");
    let (serving, client) = echo(&near, &far, "10.0.0.2:443", "10.0.0.1:0").await;
    let connection = connect(&client, "10.0.0.2:443").await;

    send_and_compare(&connection, &noise(1_000_000)).await;

    let mtu = connection.stats().path.current_mtu;
    assert!((1250..=1300 - 28).contains(&mtu), "{mtu}");
    end([&near, &far], connection, client, serving).await;
}

#[tokio::test]
async fn a_hundred_streams_share_one_connection() {
    let (near, far) = Pair::new().spawn().expect("a runtime");
    let (serving, client) = echo(&near, &far, "[::]:443", "[::]:0").await;
    let connection = connect(&client, "10.0.0.2:443").await;
    let data = noise(20_000);

    let sending = (0..100).map(|index| send_and_compare(&connection, &data[index * 100..]));
    futures::future::join_all(sending).await;

    end([&near, &far], connection, client, serving).await;
}

#[tokio::test]
async fn a_target_without_a_route_harms_no_other_connection() {
    let (near, far) = Pair::new().spawn().expect("a runtime");
    let (serving, client) = echo(&near, &far, "[::]:443", "[::]:0").await;
    let connection = connect(&client, "10.0.0.2:443").await;
    let data = noise(100_000);

    let nowhere: SocketAddr = "192.0.2.1:443".parse().expect("an address");
    let connecting = client.connect(nowhere, "far").expect("a target");
    for _ in 0..10 {
        send_and_compare(&connection, &data).await;
    }

    drop(connecting);
    end([&near, &far], connection, client, serving).await;
}

#[tokio::test]
async fn a_stopped_stack_ends_the_quic_connection() {
    let (near, far) = Pair::new().spawn().expect("a runtime");
    let (_serving, client) = echo(&near, &far, "[::]:443", "[::]:0").await;
    let connection = connect(&client, "10.0.0.2:443").await;

    drop(near);

    let ended = connection.closed().await;
    assert_ne!(ended, ConnectionError::TimedOut, "it must not wait for that");
}
