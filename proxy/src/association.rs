//! UDP ASSOCIATE: the datagrams of a SOCKS5 client.

use crate::side::{Datagrams, Side};
use crate::socks5::{DATAGRAM_HEADER_BYTES_MAX, Host, Target, datagram, parse_datagram};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The largest payload of UDP over IPv4.
const PAYLOAD_BYTES_MAX: usize = 65_507;
/// The most names that are looked up at a time for an association; datagrams to others are lost.
const LOOKUPS_MAX: usize = 16;
/// The most names that an association remembers.
const NAMES_MAX: usize = 64;

/// The datagrams of a client.
pub(crate) struct Association {
    /// Where the client sends to.
    inside: Datagrams,
    outside: Side,
    /// A socket for each family, IPv4 first, once there is a datagram of it.
    sockets: [Option<Arc<Datagrams>>; 2],
    /// Only this host's datagrams are taken, and only those from the port of the first.
    host: IpAddr,
    client: Option<SocketAddr>,
    names: VecDeque<(String, IpAddr)>,
    lookups: JoinSet<Option<(Target, SocketAddr, Vec<u8>)>>,
    permits: Arc<Semaphore>,
}

impl Association {
    pub(crate) async fn new(
        inside: &Side,
        local: IpAddr,
        host: IpAddr,
        outside: Side,
    ) -> io::Result<Self> {
        Ok(Self {
            inside: inside.datagrams(local).await?,
            outside,
            sockets: [None, None],
            host,
            client: None,
            names: VecDeque::new(),
            lookups: JoinSet::new(),
            permits: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        })
    }

    /// Where the client is to send its datagrams.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inside.local_addr()
    }

    /// Carries datagrams both ways, until a socket fails.
    pub(crate) async fn carry(&mut self) -> io::Result<()> {
        let mut up = vec![0; DATAGRAM_HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX];
        let (mut down4, mut down6) = (vec![0; PAYLOAD_BYTES_MAX], vec![0; PAYLOAD_BYTES_MAX]);
        loop {
            tokio::select! {
                received = self.inside.receive(&mut up) => {
                    let (len, from) = match received {
                        Err(error) if is_of_earlier_one(&error) => continue,
                        received => received?,
                    };
                    if self.is_clients(from) {
                        self.send(&up[..len]).await?;
                    }
                }
                Some((len, from)) = received(&self.sockets[0], &mut down4) => {
                    self.answer(from, &down4[..len]);
                }
                Some((len, from)) = received(&self.sockets[1], &mut down6) => {
                    self.answer(from, &down6[..len]);
                }
                Some(looked_up) = self.lookups.join_next() => {
                    // The datagrams for a name without an address are lost.
                    let Ok(Some((target, address, payload))) = looked_up else { continue };
                    if let Host::Name(name) = target.host {
                        self.names.truncate(NAMES_MAX - 1);
                        self.names.push_front((name, address.ip()));
                    }
                    self.send_to(address, &payload).await?;
                }
            }
        }
    }

    fn is_clients(&mut self, from: SocketAddr) -> bool {
        from.ip() == self.host && from == *self.client.get_or_insert(from)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((target, payload)) = parse_datagram(bytes) else { return Ok(()) };
        let address = match &target.host {
            Host::Ip(address) => Some(*address),
            Host::Name(name) => self.names.iter().find(|(it, _)| it == name).map(|(_, it)| *it),
        };
        if let Some(address) = address {
            return self.send_to(SocketAddr::new(address, target.port), payload).await;
        }
        let Host::Name(name) = &target.host else { return Ok(()) };
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            let (outside, name, payload) = (self.outside.clone(), name.clone(), payload.to_vec());
            self.lookups.spawn(async move {
                let _permit = permit;
                let address = outside.resolve(&name, target.port).await.ok()?;
                Some((target, address, payload))
            });
        }
        Ok(())
    }

    async fn send_to(&mut self, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let socket = &mut self.sockets[usize::from(to.is_ipv6())];
        if socket.is_none() {
            *socket = Some(Arc::new(self.outside.datagrams_of(to.is_ipv4()).await?));
        }
        if let Some(socket) = socket {
            socket.send(payload, to);
        }
        Ok(())
    }

    fn answer(&self, from: SocketAddr, payload: &[u8]) {
        if let Some(client) = self.client {
            self.inside.send(&datagram(from, payload), client);
        }
    }
}

/// The next datagram of a socket, if there is a socket.
async fn received(socket: &Option<Arc<Datagrams>>, into: &mut [u8]) -> Option<(usize, SocketAddr)> {
    let socket = socket.as_ref()?;
    loop {
        match socket.receive(into).await {
            Ok(received) => return Some(received),
            Err(error) if is_of_earlier_one(&error) => tokio::task::yield_now().await,
            // The stack is gone.
            Err(_) => return None,
        }
    }
}

/// Whether an error is what ICMP told of an earlier datagram, which says nothing of the next.
fn is_of_earlier_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}
