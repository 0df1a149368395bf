//! A DHCP server on a stack (RFC 2131): addresses of a pool for the hosts on its link.
//!
//! ```no_run
//! # async fn serve(stack: netstack::Stack) -> Result<(), Box<dyn std::error::Error>> {
//! use netstack::dhcp::server::{Config, Server};
//!
//! // The stack has 10.0.2.2/24.
//! let config = Config {
//!     pool: [10, 0, 2, 15].into()..=[10, 0, 2, 254].into(),
//!     name_servers: vec![[10, 0, 2, 3].into()],
//!     ..Config::new("10.0.2.2/24".parse()?)
//! };
//! let server = Server::start(stack.net(), config).await?;
//! for lease in server.leases() {
//!     println!("{} has {}", lease.hardware_address, lease.address);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The server takes itself to be the only one on its link: a client that returns with an address of
//! the pool keeps it if nobody else has it, and is refused any other. Answers are broadcast to
//! clients without an address.
//!
//! Not implemented: relay agents, clients that are not on Ethernet, BOOTP, keeping leases across
//! runs, and probing an address before it is offered; a client that declines one has it set aside
//! for ten minutes.

mod leases;
mod message;
mod responder;
#[cfg(test)]
mod tests;

pub use responder::{Reply, Responder};

use crate::dhcp::message::SERVER_PORT;
use crate::domains;
use ipnet::Ipv4Net;
use netcore::MacAddr;
use netsocket::{Net, UdpSocket};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Configuration of a DHCP server.
///
/// Deserialized, it needs an address and a pool; the lease lasts a day, and the rest is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Config {
    /// The address of the server, one of its stack's, and the network of the clients.
    pub address: Ipv4Net,
    /// The addresses for clients, at most 65,536 of the network. Those of the server, the router and
    /// the name servers are not given out.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// The default gateway.
    #[cfg_attr(feature = "serde", serde(default))]
    pub router: Option<Ipv4Addr>,
    /// The name servers, up to eight.
    #[cfg_attr(feature = "serde", serde(default))]
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain in which clients look for names without dots.
    #[cfg_attr(feature = "serde", serde(default))]
    pub domain: Option<String>,
    /// The largest IP packet of the link, in bytes; at least 576.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mtu: Option<u16>,
    /// How long a lease lasts, in whole seconds; at least one.
    #[cfg_attr(feature = "serde", serde(default = "lease_time", with = "netcore::serial::micros"))]
    pub lease_time: Duration,
    /// Leases that are held or remembered. At the bound the one that ended first is forgotten for a
    /// new client, or the oldest offer; without either the client gets no answer.
    #[cfg_attr(feature = "serde", serde(default = "leases_max"))]
    pub leases_max: usize,
}

/// A lease that a client holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's hardware address.
    pub hardware_address: MacAddr,
    /// How long the lease lasts, unless the client renews it.
    pub remaining: Duration,
}

/// A DHCP server, as a task beside its stack. Dropping it ends the task.
#[derive(Debug)]
#[must_use = "dropping it ends the server"]
pub struct Server {
    responder: Arc<Mutex<Responder>>,
    began: Instant,
    task: JoinHandle<()>,
}

/// Addresses of a pool: those of a /16.
const POOL_MAX: u32 = 1 << 16;
const NAME_SERVERS_MAX: usize = 8;
/// Every IPv4 host must take this (RFC 791).
const MTU_MIN: u16 = 576;
/// The bytes of a message that are looked at: those of the largest packet on Ethernet.
const MESSAGE_BYTES_MAX: usize = 1500;

const fn lease_time() -> Duration {
    Duration::from_secs(86_400)
}

const fn leases_max() -> usize {
    1024
}

impl Config {
    /// All other addresses of the network for clients, this one as the router, no name server, and
    /// leases of a day.
    pub fn new(address: Ipv4Net) -> Self {
        let (first, last) = (address.network().to_bits(), address.broadcast().to_bits());
        // Without the addresses of the network itself.
        let last = last.saturating_sub(1).min(first.saturating_add(POOL_MAX));
        let pool = Ipv4Addr::from_bits(first.saturating_add(1))..=Ipv4Addr::from_bits(last);
        Self {
            address,
            pool,
            router: Some(address.addr()),
            name_servers: Vec::new(),
            domain: None,
            mtu: None,
            lease_time: lease_time(),
            leases_max: leases_max(),
        }
    }

    fn check(&self) -> io::Result<()> {
        let network = self.address;
        let (first, last) = (self.pool.start(), self.pool.end());
        let hosts = network.network().to_bits().saturating_add(1)..network.broadcast().to_bits();
        let is_pool = first <= last
            && hosts.contains(&first.to_bits())
            && hosts.contains(&last.to_bits())
            && last.to_bits() - first.to_bits() < POOL_MAX;
        let is_domain = self.domain.as_ref().is_none_or(|domain| domains::is_name(domain));
        let wrong = if !is_pool {
            format!("pool: {first} to {last} are not up to {POOL_MAX} hosts of {network}")
        } else if self.name_servers.len() > NAME_SERVERS_MAX {
            format!("name_servers: more than {NAME_SERVERS_MAX}")
        } else if !is_domain {
            format!("domain: {:?} is no domain name", self.domain.as_deref().unwrap_or_default())
        } else if self.mtu.is_some_and(|mtu| mtu < MTU_MIN) {
            format!("mtu: less than {MTU_MIN} bytes")
        } else if self.lease_seconds() == 0 {
            "lease_time: less than a second".to_owned()
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
    }

    /// Addresses that no client gets.
    fn reserved(&self) -> Vec<Ipv4Addr> {
        let own = [Some(self.address.addr()), self.router];
        own.into_iter().flatten().chain(self.name_servers.iter().copied()).collect()
    }

    /// The largest number would be without an end (RFC 2131 section 3.3).
    fn lease_seconds(&self) -> u32 {
        u32::try_from(self.lease_time.as_secs()).unwrap_or(u32::MAX).min(u32::MAX - 1)
    }
}

impl Server {
    /// Starts a server on port 67 of a stack.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a configuration that cannot work, with its field in the message;
    /// `AddrInUse` if the port has another socket; `BrokenPipe` if the stack is gone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, there is no server.
    pub async fn start(net: &Net, config: Config) -> io::Result<Self> {
        let responder = Arc::new(Mutex::new(Responder::new(config)?));
        let socket = net.udp_bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT)).await?;
        socket.set_broadcast(true)?;
        let began = Instant::now();
        let task = crate::task::spawn("DHCP server", serve(socket, responder.clone(), began));
        Ok(Self { responder, began, task })
    }

    /// The leases that clients hold, in the order of their addresses.
    pub fn leases(&self) -> Vec<LeaseInfo> {
        lock(&self.responder).leases(self.began.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers clients, until the stack is gone.
async fn serve(socket: UdpSocket, responder: Arc<Mutex<Responder>>, began: Instant) {
    let mut message = [0; MESSAGE_BYTES_MAX];
    loop {
        let n = match socket.recv_from(&mut message).await {
            Ok((n, _)) => n,
            Err(error) if crate::provided::is_end(&error) => return,
            // An answer that was not delivered: the client asks again.
            Err(_) => continue,
        };
        let reply = lock(&responder).answer(&message[..n], began.elapsed());
        if let Some(reply) = reply {
            let _ = socket.send_to(&reply.message, SocketAddr::V4(reply.destination)).await;
        }
    }
}

fn lock(responder: &Mutex<Responder>) -> std::sync::MutexGuard<'_, Responder> {
    responder.lock().unwrap_or_else(PoisonError::into_inner)
}
