//! Name servers for the program: those of the stack, in place of the host's.
//!
//! A program's resolver asks the servers of the host's resolv.conf, which the stack has no route to,
//! as with systemd-resolved on 127.0.0.53. Where the stack has name servers, port 53 of those
//! addresses is this service, on the stack's loopback: without privileges, and for any resolver.

use crate::resolv_conf::servers_of_host;
use netstack::Net;
use netstack::netsocket::{TcpListener, UdpSocket};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The servers that a program asks, and the service that answers instead.
#[derive(Debug)]
pub(crate) struct NameService {
    net: Net,
    asked: HashSet<IpAddr>,
    v4: SocketAddr,
    v6: SocketAddr,
}

const PORT: u16 = 53;
/// How long a server may take, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Queries that are asked at once; further ones wait.
const QUERIES_MAX: usize = 256;
/// The longest message (RFC 6891 section 6.2.5 has no other bound than UDP's).
const MESSAGE_MAX: usize = 65_535;

impl NameService {
    /// Starts the service.
    pub(crate) async fn start(net: &Net) -> io::Result<Self> {
        let net = &net.named("name server");
        let v4 = serve(net, Ipv4Addr::LOCALHOST.into()).await?;
        let v6 = serve(net, Ipv6Addr::LOCALHOST.into()).await?;
        Ok(Self { net: net.clone(), asked: servers_of_host().into_iter().collect(), v4, v6 })
    }

    /// Where to go instead of to this address.
    pub(crate) fn redirect(&self, target: SocketAddr) -> Option<SocketAddr> {
        let is_asked = target.port() == PORT && self.asked.contains(&target.ip().to_canonical());
        if !is_asked || servers(&self.net).is_empty() {
            return None;
        }
        Some(match target {
            SocketAddr::V4(_) => self.v4,
            SocketAddr::V6(target) if target.ip().to_ipv4_mapped().is_some() => {
                SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), self.v4.port()))
            }
            SocketAddr::V6(_) => self.v6,
        })
    }
}

/// Serves at a port of this address.
async fn serve(net: &Net, address: IpAddr) -> io::Result<SocketAddr> {
    // The same port for both, as far as the stack has it free.
    let udp = net.udp_bind(SocketAddr::new(address, 0)).await?;
    let local = udp.local_addr()?;
    let tcp = net.tcp_listen(local).await?;
    tokio::spawn(serve_datagrams(net.clone(), Arc::new(udp)));
    tokio::spawn(serve_streams(net.clone(), tcp));
    Ok(local)
}

async fn serve_datagrams(net: Net, socket: Arc<UdpSocket>) {
    let queries = Arc::new(Semaphore::new(QUERIES_MAX));
    while let Ok((query, from)) = socket.recv_bytes_from().await {
        let Ok(permit) = queries.clone().acquire_owned().await else { return };
        let (net, socket) = (net.clone(), socket.clone());
        tokio::spawn(async move {
            if let Some(answer) = ask(&net, &query).await {
                // As for any answer: the program asks again.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(permit);
        });
    }
}

/// Asks the servers in turn, each from a port of its own (RFC 5452 section 9.2).
pub(crate) async fn ask(net: &Net, query: &[u8]) -> Option<Vec<u8>> {
    for server in servers(net) {
        let answer = timeout(PATIENCE, ask_one(net, server, query)).await;
        if let Ok(Ok(answer)) = answer {
            return Some(answer);
        }
    }
    None
}

async fn ask_one(net: &Net, server: IpAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = net.udp_bind(SocketAddr::new(any, 0)).await?;
    socket.connect(SocketAddr::new(server, PORT)).await?;
    socket.send(query).await?;
    let mut answer = vec![0; MESSAGE_MAX];
    loop {
        let n = socket.recv(&mut answer).await?;
        // Another's, if the id at its beginning is another.
        if answer[..n].get(..2) == query.get(..2) {
            answer.truncate(n);
            return Ok(answer);
        }
    }
}

async fn serve_streams(net: Net, listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let net = net.clone();
        tokio::spawn(async move {
            for server in servers(&net) {
                let connected = net.tcp_connect(SocketAddr::new(server, PORT));
                if let Ok(Ok(mut server)) = timeout(PATIENCE, connected).await {
                    // Both ends see how the other one ends.
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                    return;
                }
            }
        });
    }
}

fn servers(net: &Net) -> Vec<IpAddr> {
    net.network().name_servers.clone()
}
