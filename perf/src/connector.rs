//! How a client connects, by what its test runs over.

use crate::channel::Channel;
use crate::cookie::Cookie;
use crate::failure::Failure;
use crate::http::{self, Asking, Head};
use crate::parameters::{Mode, Parameters};
use crate::quic;
use crate::scheme::Scheme;
use crate::shared::Shared;
use netsocket::{CongestionControl, Net, TcpStream};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How a client connects.
#[derive(Clone)]
pub enum Connector {
    /// Over TCP, as iperf3; tests of UDP, too.
    Tcp,
    /// Over TLS, to a server with a certificate for this name.
    Tls(TlsConnector, ServerName<'static>),
    /// Over QUIC, to a server with a certificate for this name.
    Quic(Arc<ClientConfig>, String),
    /// Over HTTP, to a server with this name and port.
    Http(String),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("Tcp"),
            Self::Tls(_, name) => f.debug_tuple("Tls").field(name).finish(),
            Self::Quic(_, name) => f.debug_tuple("Quic").field(name).finish(),
            Self::Http(authority) => f.debug_tuple("Http").field(authority).finish(),
        }
    }
}

/// Opens the connections of one test.
#[derive(Clone)]
pub(crate) struct Dialer {
    net: Net,
    connector: Connector,
    quic: Option<Quic>,
    cookie: Cookie,
    /// The address of this end.
    pub(crate) local: SocketAddr,
    /// The address of the server.
    pub(crate) server: SocketAddr,
}

/// What connections of QUIC have in common.
#[derive(Clone)]
struct Quic {
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
    name: String,
    /// Of all streams.
    connection: quinn::Connection,
}

/// How long the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

impl Dialer {
    /// Opens the control connection to an address or name.
    pub(crate) async fn connect(
        net: &Net,
        server: &str,
        connector: &Connector,
    ) -> io::Result<(Self, Channel)> {
        if let Connector::Quic(tls, name) = connector {
            let (quic, local) = Quic::connect(net, server, tls, name).await?;
            let dialer = Self {
                net: net.clone(),
                connector: connector.clone(),
                cookie: Cookie::random(),
                local,
                server: quic.connection.remote_address(),
                quic: Some(quic),
            };
            let channel = dialer.stream(&Parameters::default(), true).await?;
            return Ok((dialer, channel));
        }
        let stream = net.tcp_connect(server).await?;
        stream.set_nodelay(true)?;
        let dialer = Self {
            net: net.clone(),
            connector: connector.clone(),
            quic: None,
            cookie: Cookie::random(),
            local: stream.local_addr()?,
            server: stream.peer_addr()?,
        };
        let mut channel = match dialer.head() {
            Some(head) => http::upgrade(Shared(Arc::new(stream)), &head).await?,
            None => return Ok((dialer.clone(), dialer.begin(stream).await?)),
        };
        channel.send_bytes(dialer.cookie.to_bytes()).await?;
        Ok((dialer, channel))
    }

    /// What the streams run over, for a test with these parameters.
    pub(crate) fn scheme(&self, parameters: &Parameters) -> Scheme {
        match &self.connector {
            Connector::Tcp if parameters.udp => Scheme::Udp,
            Connector::Tcp => Scheme::Tcp,
            Connector::Tls(..) => Scheme::Tls,
            Connector::Quic(..) => Scheme::Quic,
            Connector::Http(_) => Scheme::Http,
        }
    }

    /// Of the requests of HTTP, if it is that.
    fn head(&self) -> Option<Head> {
        match &self.connector {
            Connector::Http(authority) => {
                Some(Head { authority: authority.clone(), cookie: self.cookie })
            }
            _ => None,
        }
    }

    /// Opens a stream, which this end sends or receives.
    pub(crate) async fn stream(&self, parameters: &Parameters, sends: bool) -> io::Result<Channel> {
        if let Some(quic) = &self.quic {
            return self.begin_quic(&quic.connection).await;
        }
        let stream = self.net.tcp_connect(self.server).await?;
        prepare(&stream, parameters)?;
        if let Some(head) = self.head() {
            let stream = Shared(Arc::new(stream));
            return match parameters.mode() {
                Mode::Stream => http::stream(stream, &head, sends).await,
                _ => Ok(Channel::Asking(Box::new(Asking::begin(stream, head, false).await?))),
            };
        }
        self.begin(stream).await
    }

    /// Opens a connection of one request.
    pub(crate) async fn connection(&self) -> Result<Channel, Failure> {
        let connecting = async {
            if let Some(quic) = &self.quic {
                return self.begin_quic(&quic.open(self.server).await?).await;
            }
            let stream = self.net.tcp_connect(self.server).await?;
            stream.set_nodelay(true)?;
            if let Some(head) = self.head() {
                let asking = Asking::begin(Shared(Arc::new(stream)), head, true).await?;
                return Ok(Channel::Asking(Box::new(asking)));
            }
            self.begin(stream).await
        };
        connecting.await.map_err(Failure::io(format_args!("connecting to {}", self.server)))
    }

    /// Says which test a connection is of.
    async fn begin(&self, stream: TcpStream) -> io::Result<Channel> {
        let stream = Shared(Arc::new(stream));
        let mut channel = match &self.connector {
            // Of the others nothing begins here.
            Connector::Tcp | Connector::Quic(..) | Connector::Http(_) => Channel::Tcp(stream),
            Connector::Tls(connector, name) => {
                let under = stream.0.clone();
                let stream = connector.connect(name.clone(), stream).await?;
                Channel::over(stream, under)
            }
        };
        channel.send_bytes(self.cookie.to_bytes()).await?;
        Ok(channel)
    }

    /// Opens a stream of a connection, and says which test it is of.
    async fn begin_quic(&self, connection: &quinn::Connection) -> io::Result<Channel> {
        let (to, from) = connection.open_bi().await?;
        let mut channel = Channel::Quic(to, from);
        channel.send_bytes(self.cookie.to_bytes()).await?;
        Ok(channel)
    }

    /// Ends what is left of the test's connections, so that the server sees it.
    pub(crate) async fn close(&self) {
        if let Some(quic) = &self.quic {
            quic.endpoint.close(0_u8.into(), b"");
            // A server that is gone does not answer.
            let _ = timeout(FAREWELL, quic.endpoint.wait_idle()).await;
        }
    }
}

impl Quic {
    /// Connects to an address or name; returns the address of this end, too.
    async fn connect(
        net: &Net,
        server: &str,
        tls: &ClientConfig,
        name: &str,
    ) -> io::Result<(Self, SocketAddr)> {
        // Finds the address.
        let socket = net.udp_bind("[::]:0").await?;
        socket.connect(server).await?;
        let server = socket.peer_addr()?;
        let server = SocketAddr::new(server.ip().to_canonical(), server.port());
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
        };
        let endpoint = quic::endpoint(net, any, None).await?;
        let config = quic::client(tls)?;
        let connecting = endpoint.connect_with(config.clone(), server, name);
        let connection = connecting.map_err(io::Error::other)?.await?;
        let local = quic::local_addr(&endpoint, &connection)?;
        Ok((Self { endpoint, config, name: name.to_owned(), connection }, local))
    }

    /// Opens another connection.
    async fn open(&self, server: SocketAddr) -> io::Result<quinn::Connection> {
        let connecting = self.endpoint.connect_with(self.config.clone(), server, &self.name);
        Ok(connecting.map_err(io::Error::other)?.await?)
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
