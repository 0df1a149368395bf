//! Name servers for guests: those of this machine.

use super::quota::Quota;
use crate::resolv_conf::servers_of_host;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The servers that the gateway asks for its guests.
#[derive(Debug)]
pub(super) struct Names {
    /// Instead of those that resolv.conf names at the time.
    servers: Vec<IpAddr>,
    /// Questions under way.
    pub(super) queries: Arc<Quota>,
}

const PORT: u16 = 53;
/// How long a server may take, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions of a guest that are asked at once, and of all; further ones are lost.
const QUERIES_MAX: usize = 128;
const QUERIES_TOTAL_MAX: usize = 512;
/// The longest message (RFC 6891 section 6.2.5 has no other bound than UDP's).
const MESSAGE_MAX: usize = 65_535;

impl Names {
    pub(super) fn new(servers: Vec<IpAddr>) -> Self {
        Self { servers, queries: Quota::new(QUERIES_MAX, QUERIES_TOTAL_MAX) }
    }

    fn servers(&self) -> Vec<IpAddr> {
        match self.servers.is_empty() {
            true => servers_of_host(),
            false => self.servers.clone(),
        }
    }

    /// Asks the servers in turn, each from a port of its own (RFC 5452 section 9.2).
    pub(super) async fn ask(&self, query: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(answer)) = timeout(PATIENCE, ask_one(server, query)).await {
                return Some(answer);
            }
        }
        None
    }

    /// Connects to the first server that accepts.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::ErrorKind::ConnectionRefused.into();
        for server in self.servers() {
            match timeout(PATIENCE, TcpStream::connect((server, PORT))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

async fn ask_one(server: IpAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect((server, PORT)).await?;
    socket.send(query).await?;
    let mut answer = Vec::new();
    loop {
        socket.readable().await?;
        answer.clear();
        answer.reserve(MESSAGE_MAX);
        match socket.try_recv_buf(&mut answer) {
            // Another's, if the id at its beginning is another.
            Ok(_) if answer.get(..2) == query.get(..2) => {
                answer.shrink_to_fit();
                return Ok(answer);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
