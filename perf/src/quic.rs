//! QUIC (RFC 9000) by quinn, on a stack's datagrams.

use crate::parameters::STREAMS_MAX;
use netsocket::Net;
use netsocket::quinn::QuicSocket;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig,
};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls;

/// The protocol of the application (RFC 7301), so that others are refused by the handshake.
const PROTOCOL: &[u8] = b"netstack-perf";
/// A control connection may have nothing to say for a whole test.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// An endpoint on a UDP socket of the stack, for clients alone unless it has a server.
pub(crate) async fn endpoint(
    net: &Net,
    address: SocketAddr,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    let socket = Arc::new(QuicSocket::from(net.udp_bind(address).await?));
    let config = EndpointConfig::default();
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))
}

/// A client with this configuration of TLS.
pub(crate) fn client(tls: &rustls::ClientConfig) -> io::Result<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![PROTOCOL.into()];
    let tls = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    let mut transport = transport();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A server with this configuration of TLS.
pub(crate) fn server(tls: &rustls::ServerConfig) -> io::Result<ServerConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![PROTOCOL.into()];
    let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    /// Those of both directions, and the control connection.
    const STREAMS: u32 = 2 * STREAMS_MAX as u32 + 1;
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS.into()).max_concurrent_uni_streams(0_u8.into());
    transport
}

/// The address of this end of a connection.
pub(crate) fn local_addr(endpoint: &Endpoint, connection: &Connection) -> io::Result<SocketAddr> {
    let local = endpoint.local_addr()?;
    let ip = connection.local_ip().unwrap_or(local.ip());
    Ok(SocketAddr::new(ip.to_canonical(), local.port()))
}
