//! The proxy: clients in, connections out.

use crate::association::Association;
use crate::http;
use crate::listener::{Client, Listener};
use crate::pending::carry_pending;
use crate::side::{Side, Stream};
use crate::socks5::{self, Command, Reply, Target};
use netsocket::PendingListener;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How long a client may take to say where it wants to go.
const REQUEST: Duration = Duration::from_secs(10);
/// The most clients with an association at a time: each has buffers of 200 KiB.
const ASSOCIATIONS_MAX: usize = 256;
/// After a shortage of descriptors, which are free again when a client has left.
const PAUSE: Duration = Duration::from_millis(100);

/// A proxy from one side to the other.
#[derive(Debug, Clone)]
pub struct Proxy {
    inside: Side,
    outside: Side,
    /// Where all connections go to, whatever their clients say.
    target: Option<Arc<str>>,
    clients: Arc<Semaphore>,
    associations: Arc<Semaphore>,
}

impl Proxy {
    /// For so many clients `inside` at a time, with connections to `outside`.
    #[must_use]
    pub fn new(inside: Side, outside: Side, clients_max: usize) -> Self {
        let clients = Arc::new(Semaphore::new(clients_max));
        let associations = Arc::new(Semaphore::new(ASSOCIATIONS_MAX));
        Self { inside, outside, target: None, clients, associations }
    }

    /// Carries each connection to this host and port, and asks no client where it wants to go.
    #[must_use]
    pub fn forwarding(self, target: &str) -> Self {
        Self { target: Some(target.into()), ..self }
    }

    /// Serves HTTP and SOCKS5, or the server that it [forwards](Self::forwarding) to, to the clients of a
    /// listener of the inside, for ever. Further clients wait until one has left.
    ///
    /// # Errors
    ///
    /// That of the listener.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connections that there are go on.
    pub async fn serve(&self, listener: &Listener) -> io::Result<()> {
        loop {
            let clients = self.clients.clone();
            let permit = clients.acquire_owned().await.map_err(io::Error::other)?;
            let client = match listener.accept().await {
                // A client that has left before it was served is no failure of the listener.
                Err(error) if is_of_client(&error) => continue,
                Err(error) if is_shortage(&error) => {
                    sleep(PAUSE).await;
                    continue;
                }
                client => client?,
            };
            let proxy = self.clone();
            tokio::spawn(async move {
                let peer = client.peer;
                if let Err(error) = proxy.answer(client).await {
                    tracing::debug!(%peer, %error, "a client of the proxy");
                }
                drop(permit);
            });
        }
    }

    /// Carries connections to any address that come to a stack, from this machine, for ever: a SYN is
    /// answered as its destination answers. Those beyond the bound are refused.
    ///
    /// # Errors
    ///
    /// That of the stack.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connections that there are go on.
    pub async fn intercept(&self, listener: &PendingListener) -> io::Result<()> {
        loop {
            let pending = listener.next().await?;
            let Ok(permit) = self.clients.clone().try_acquire_owned() else {
                // One that has given up meanwhile is not to be told.
                let _ = pending.refuse();
                continue;
            };
            tokio::spawn(async move {
                let dialled = pending.local_addr();
                let dialled = SocketAddr::new(dialled.ip().to_canonical(), dialled.port());
                carry_pending(pending, TcpStream::connect(dialled)).await;
                drop(permit);
            });
        }
    }

    async fn answer(&self, client: Client) -> io::Result<()> {
        if let Some(target) = &self.target {
            let server = self.outside.connect(target).await?;
            client.stream.carry(server, &[]).await;
            return Ok(());
        }
        match timeout(REQUEST, client.stream.peek()).await?? {
            Some(socks5::VERSION) => self.socks5(client).await,
            // HTTP begins with the name of its method.
            Some(_) => http::serve(client.stream, self.outside.clone()).await,
            None => Ok(()),
        }
    }

    async fn socks5(&self, client: Client) -> io::Result<()> {
        let Client { mut stream, peer, local } = client;
        let (command, target) = match timeout(REQUEST, ask(&mut stream)).await?? {
            Some(Ok(request)) => request,
            Some(Err(reply)) => return refuse(&mut stream, reply).await,
            None => return Ok(()),
        };
        match command {
            Command::Connect => self.connect(stream, &target).await,
            Command::UdpAssociate => self.associate(stream, peer.ip(), local).await,
        }
    }

    async fn connect(&self, mut stream: Stream, target: &Target) -> io::Result<()> {
        match self.outside.connect(&target.to_string()).await {
            Ok(server) => {
                stream.write_all(&Reply::Succeeded.message(NOWHERE)).await?;
                stream.carry(server, &[]).await;
                Ok(())
            }
            Err(error) => refuse(&mut stream, Reply::of(&error)).await,
        }
    }

    async fn associate(&self, mut stream: Stream, host: IpAddr, local: IpAddr) -> io::Result<()> {
        let Ok(_permit) = self.associations.clone().try_acquire_owned() else {
            return refuse(&mut stream, Reply::Failure).await;
        };
        let made = Association::new(&self.inside, local, host, self.outside.clone()).await;
        let made = made.and_then(|made| Ok((made.local_addr()?, made)));
        let (address, mut association) = match made {
            Ok(made) => made,
            Err(error) => return refuse(&mut stream, Reply::of(&error)).await,
        };
        stream.write_all(&Reply::Succeeded.message(address)).await?;
        // It lasts as long as this connection (RFC 1928 section 7).
        tokio::select! {
            carried = association.carry() => carried,
            () = end_of(&mut stream) => Ok(()),
        }
    }
}

/// What a server without an address of interest says.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Reads what a client wants; nothing if it may not go on.
async fn ask(stream: &mut Stream) -> io::Result<Option<Result<(Command, Target), Reply>>> {
    // The version.
    stream.read_u8().await?;
    let (answer, may) = socks5::read_methods(stream).await?;
    stream.write_all(&answer).await?;
    if !may {
        return Ok(None);
    }
    socks5::read_request(stream).await.map(Some)
}

async fn refuse(stream: &mut Stream, reply: Reply) -> io::Result<()> {
    stream.write_all(&reply.message(NOWHERE)).await?;
    stream.shutdown().await
}

/// Waits for the end of a connection on which nothing is to come.
async fn end_of(stream: &mut Stream) {
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
}

fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected)
}

/// Whether this process or the machine has no more descriptors: EMFILE and ENFILE.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
