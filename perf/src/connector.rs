//! How a client connects, by what its test runs over.

use crate::channel::Channel;
use crate::cookie::Cookie;
use crate::failure::Failure;
use crate::parameters::{Mode, Parameters};
use crate::scheme::Scheme;
use crate::shared::Shared;
use netsocket::{CongestionControl, Net, TcpStream};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// How a client connects.
#[derive(Clone)]
pub enum Connector {
    /// Over TCP, as iperf3; tests of UDP, too.
    Tcp,
    /// Over TLS, to a server with a certificate for this name.
    Tls(TlsConnector, ServerName<'static>),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("Tcp"),
            Self::Tls(_, name) => f.debug_tuple("Tls").field(name).finish(),
        }
    }
}

/// Opens the connections of one test.
#[derive(Clone)]
pub(crate) struct Dialer {
    net: Net,
    connector: Connector,
    cookie: Cookie,
    /// The address of this end.
    pub(crate) local: SocketAddr,
    /// The address of the server.
    pub(crate) server: SocketAddr,
}

impl Dialer {
    /// Opens the control connection to an address or name.
    pub(crate) async fn connect(
        net: &Net,
        server: &str,
        connector: &Connector,
    ) -> io::Result<(Self, Channel)> {
        let stream = net.tcp_connect(server).await?;
        stream.set_nodelay(true)?;
        let dialer = Self {
            net: net.clone(),
            connector: connector.clone(),
            cookie: Cookie::random(),
            local: stream.local_addr()?,
            server: stream.peer_addr()?,
        };
        let channel = dialer.begin(stream).await?;
        Ok((dialer, channel))
    }

    /// What the streams run over, for a test with these parameters.
    pub(crate) fn scheme(&self, parameters: &Parameters) -> Scheme {
        match &self.connector {
            Connector::Tcp if parameters.udp => Scheme::Udp,
            Connector::Tcp => Scheme::Tcp,
            Connector::Tls(..) => Scheme::Tls,
        }
    }

    /// Opens a stream.
    pub(crate) async fn stream(&self, parameters: &Parameters) -> io::Result<Channel> {
        let stream = self.net.tcp_connect(self.server).await?;
        prepare(&stream, parameters)?;
        self.begin(stream).await
    }

    /// Opens a connection of one request.
    pub(crate) async fn connection(&self) -> Result<Channel, Failure> {
        let connecting = async {
            let stream = self.net.tcp_connect(self.server).await?;
            stream.set_nodelay(true)?;
            self.begin(stream).await
        };
        connecting.await.map_err(Failure::io(format_args!("connecting to {}", self.server)))
    }

    /// Says which test a connection is of.
    async fn begin(&self, stream: TcpStream) -> io::Result<Channel> {
        let stream = Shared(Arc::new(stream));
        let mut channel = match &self.connector {
            Connector::Tcp => Channel::Tcp(stream),
            Connector::Tls(connector, name) => {
                let under = stream.0.clone();
                let stream = connector.connect(name.clone(), stream).await?;
                Channel::tls(stream.into(), under)
            }
        };
        channel.send_bytes(self.cookie.to_bytes()).await?;
        Ok(channel)
    }
}

/// Sets what the parameters say of connections.
pub(crate) fn prepare(stream: &TcpStream, parameters: &Parameters) -> io::Result<()> {
    if parameters.nodelay || parameters.mode() != Mode::Stream {
        stream.set_nodelay(true)?;
    }
    // One that is not here is left out, as iperf3 does.
    let congestion = parameters.congestion.as_deref().and_then(CongestionControl::from_name);
    if congestion.is_some() {
        stream.set_congestion_control(congestion)?;
    }
    Ok(())
}
