//! TLS, async and blocking: rustls on both sides.

use super::{FAR, certificate, connect, pair};
use netstack::Pair;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use tests::{all_is_gone, noise};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A server with a certificate of its own, and a client that trusts it.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let (certificate, key) = certificate();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("its key");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn far() -> ServerName<'static> {
    "far".try_into().expect("a name")
}

#[tokio::test(start_paused = true)]
async fn tokio_rustls_transfers_megabytes_in_both_directions() {
    let (near, far_stack) = pair();
    let (server_config, client_config) = configs();
    let data = noise(2_000_000);

    for host in FAR {
        let (client, server) = connect(&near, &far_stack, host).await;
        let accepting = TlsAcceptor::from(server_config.clone()).accept(server);
        let connecting = TlsConnector::from(client_config.clone()).connect(far(), client);
        let (server, client) = tokio::join!(accepting, connecting);
        let (server, client) = (server.expect("a client"), client.expect("a server"));

        let (mut from_client, mut to_client) = tokio::io::split(server);
        let echo = async {
            tokio::io::copy(&mut from_client, &mut to_client).await?;
            to_client.shutdown().await
        };
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let sending = async {
            to_server.write_all(&data).await?;
            to_server.shutdown().await
        };
        let mut received = Vec::new();
        let reading = from_server.read_to_end(&mut received);
        let (echoed, sent, read) = tokio::join!(echo, sending, reading);
        echoed.expect("open");
        sent.expect("open");
        // The end includes the close_notify; without it reading would fail.
        read.expect("whole");

        assert!(received == data, "{} bytes from {host}", received.len());
    }
    all_is_gone([&near, &far_stack]).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_name_is_refused_on_both_sides() {
    let (near, far_stack) = pair();
    let (server_config, client_config) = configs();
    let (client, server) = connect(&near, &far_stack, "10.0.0.2").await;

    let accepting = TlsAcceptor::from(server_config).accept(server);
    let other = "elsewhere".try_into().expect("a name");
    let connecting = TlsConnector::from(client_config).connect(other, client);
    let (server, client) = tokio::join!(accepting, connecting);

    let error = client.expect_err("another name").to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let error = server.expect_err("an alert").to_string();
    assert!(error.contains("alert"), "{error}");
    all_is_gone([&near, &far_stack]).await;
}

#[test]
fn a_blocking_stream_carries_lines_over_tls() {
    let (near, far_stack) = Pair::new().spawn_threads().expect("threads");
    let (server_config, client_config) = configs();
    let listener = far_stack.net().blocking().tcp_listen("10.0.0.2:443").expect("a free port");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        let connection = ServerConnection::new(server_config).expect("a configuration");
        let mut lines = BufReader::new(StreamOwned::new(connection, stream));
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            lines.get_mut().write_all(line.to_uppercase().as_bytes())?;
            line.clear();
        }
        let mut stream = lines.into_inner();
        stream.conn.send_close_notify();
        stream.flush()
    });

    let stream = near.net().blocking().tcp_connect("10.0.0.2:443").expect("a listener");
    let connection = ClientConnection::new(client_config, far()).expect("a configuration");
    let mut client = StreamOwned::new(connection, stream);
    client.write_all(b"hello\nblocking tls\n").expect("open");
    client.conn.send_close_notify();
    client.flush().expect("open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("whole");

    assert_eq!(answer, "HELLO\nBLOCKING TLS\n");
    server.join().expect("no panic").expect("in good order");
}
