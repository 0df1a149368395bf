//! Two hosts that can reach each other: the setup of a case.

use crate::case::{Backend, Case, Face, Family};
use crate::sockets::{
    KernelFutures, KernelListener, KernelSyncListener, KernelSyncStream, KernelSyncUdp,
    KernelTokio, KernelUdp, Listener, OurFutures, OurListener, OurSyncListener, OurSyncStream,
    OurSyncUdp, OurTokio, OurUdp, Stream, TcpSocket, Udp,
};
use netstack::netsocket::netcore::udp;
use netstack::netsocket::{Families, Net, TcpStream};
use netstack::sim::{self, LinkConfig, Sim};
use netstack::{Config, Pair, Stack, TcpConfig};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Two hosts that can reach each other. On the kernel both are this machine.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) near: Host,
    pub(crate) far: Host,
    sim: Option<Simulated>,
    backend: Backend,
}

/// One of the two.
#[derive(Clone)]
pub(crate) struct Host {
    net: Sockets,
    face: Face,
    /// Its addresses of the case's family.
    pub(crate) addresses: Vec<IpAddr>,
    stop: Arc<dyn Fn() + Send + Sync>,
}

/// Where its sockets come from.
#[derive(Clone)]
enum Sockets {
    Kernel,
    Ours(Net),
}

/// How a UDP socket shares its port: `SO_REUSEADDR`, `SO_REUSEPORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reuse {
    pub(crate) address: bool,
    pub(crate) port: bool,
}

/// The handles on simulated hosts.
#[derive(Clone)]
pub(crate) struct Simulated {
    pub(crate) sim: Sim,
    /// Has the link that is between the two.
    pub(crate) near: sim::Host,
    pub(crate) far: sim::Host,
}

/// No case takes longer in real time, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// The one-way delay between simulated hosts.
pub(crate) const DELAY: Duration = Duration::from_millis(1);

/// Runs a case.
pub(crate) fn run(case: &Case, backend: Backend, family: Family, face: Face) {
    match (backend, face) {
        (Backend::Kernel, _) => in_real_time(async {
            (case.run)(World::kernel(family, face)).await;
        }),
        (Backend::Ours, Face::Sync) => in_real_time(on_threads(case, family)),
        (Backend::Ours, Face::Tokio | Face::FuturesIo) => {
            sim::run(u64::from(case.number), |sim| async move {
                (case.run)(World::simulated(sim, family, face)).await;
            });
        }
    }
}

fn in_real_time(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has a descriptor for a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, case).await });
    // Calls that still wait must not keep the test from failing.
    runtime.shutdown_background();
    ended.expect("the case ends");
}

/// Runs a case on stacks with threads of their own, which must be empty in the end.
async fn on_threads(case: &Case, family: Family) {
    // Cases that wait in virtual time elsewhere wait here for real.
    let short = Duration::from_millis(100);
    let config = Config {
        tcp: TcpConfig { time_wait: short, close_timeout: short, ..TcpConfig::default() },
        ..Config::default()
    };
    let (near, far) = Pair::new().config(config).spawn_threads().expect("threads");
    let nets = [near.net().clone(), far.net().clone()];
    let near = Host::on_thread(near, family, 1);
    let far = Host::on_thread(far, family, 2);
    (case.run)(World { near, far, sim: None, backend: Backend::Ours }).await;

    let deadline = Instant::now() + PATIENCE / 2;
    for net in nets {
        // A stack that the case has stopped has nothing left.
        while let Ok(picture) = net.snapshot().await {
            let is_empty = picture.sockets.is_empty() && picture.time_wait.is_empty();
            if is_empty && picture.buffer_bytes == 0 && picture.timers == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "left behind:\n{picture}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl World {
    fn kernel(family: Family, face: Face) -> Self {
        let addresses: Vec<IpAddr> = match family {
            Family::Ipv4 => vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()],
            Family::Ipv6 => vec![Ipv6Addr::LOCALHOST.into()],
        };
        let stop = Arc::new(|| panic!("the kernel does not stop"));
        let host = Host { net: Sockets::Kernel, face, addresses, stop };
        Self { near: host.clone(), far: host, sim: None, backend: Backend::Kernel }
    }

    fn simulated(sim: Sim, family: Family, face: Face) -> Self {
        let host = |number: u16, link| {
            let v4 = |number| format!("10.0.0.{number}/24").parse().expect("a network");
            let v6 = |number| format!("fd00::{number}/64").parse().expect("a network");
            let host = sim.host().address(v4(number)).address(v4(number + 10));
            let host = host.address(v6(number)).address(v6(number + 10)).link(link);
            host.spawn().expect("a valid link")
        };
        let (near, far) = (host(1, LinkConfig::new().delay(DELAY)), host(2, LinkConfig::new()));
        let worldly = |host: &sim::Host| Host {
            net: Sockets::Ours(host.net().clone()),
            face,
            addresses: (host.addresses().iter().map(|network| network.addr()))
                .filter(|address| address.is_ipv4() == (family == Family::Ipv4))
                .collect(),
            stop: Arc::new({
                let host = host.clone();
                move || host.stop()
            }),
        };
        Self {
            near: worldly(&near),
            far: worldly(&far),
            sim: Some(Simulated { sim, near, far }),
            backend: Backend::Ours,
        }
    }

    /// The handles on simulated hosts; a case that uses them runs on no other.
    pub(crate) fn simulation(&self) -> &Simulated {
        self.sim.as_ref().expect("the case is for simulated hosts")
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.backend == Backend::Ours
    }

    /// A listener on a port of far's own choice, and where it is.
    pub(crate) async fn listen(&self) -> (Listener, SocketAddr) {
        let listener = self.far.listen(self.far.address(0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        (listener, address)
    }

    /// A connection from near to far; the listener is dropped.
    pub(crate) async fn pair(&self) -> (Stream, Stream) {
        let (listener, address) = self.listen().await;
        let (client, accepted) = tokio::join!(self.near.connect(address), listener.accept());
        (client.expect("a listener"), accepted.expect("a client").0)
    }

    /// A connection from near to far as the types that it is made of, for what no face has; not for
    /// blocking sockets.
    pub(crate) async fn whole_pair(&self) -> WholePair {
        let at = self.far.address(0);
        match (&self.near.net, &self.far.net) {
            (Sockets::Kernel, _) => {
                let listener = tokio::net::TcpListener::bind(at).await.expect("a free port");
                let address = listener.local_addr().expect("bound");
                let connecting = tokio::net::TcpStream::connect(address);
                let (client, accepted) = tokio::join!(connecting, listener.accept());
                WholePair::Kernel(client.expect("a listener"), accepted.expect("a client").0)
            }
            (Sockets::Ours(near), Sockets::Ours(far)) => {
                let listener = far.tcp_listen(at).await.expect("a free port");
                let address = listener.local_addr().expect("bound");
                let connecting = near.tcp_connect(address);
                let (client, accepted) = tokio::join!(connecting, listener.accept());
                WholePair::Ours(client.expect("a listener"), accepted.expect("a client").0)
            }
            _ => unreachable!("both hosts are of one backend"),
        }
    }

    /// A closed port of far, which is not assigned to another socket while the guard lives.
    pub(crate) async fn closed_port(&self) -> (ClosedPort, SocketAddr) {
        if let Sockets::Kernel = &self.far.net {
            let socket = match self.far.addresses[0] {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
            };
            let socket = socket.expect("a descriptor");
            socket.bind(self.far.address(0)).expect("a free port");
            let address = socket.local_addr().expect("a bound socket");
            return (ClosedPort { _socket: Some(socket) }, address);
        }
        let (_, address) = self.listen().await;
        (ClosedPort { _socket: None }, address)
    }

    /// Waits until everything in flight has arrived. In virtual time that is instant and certain;
    /// cases that need certainty are for simulated hosts, or wait for a condition.
    pub(crate) async fn settle(&self) {
        let long = if self.sim.is_some() { 1000 } else { 30 };
        tokio::time::sleep(Duration::from_millis(long)).await;
    }
}

/// The two streams of a connection.
pub(crate) enum WholePair {
    Kernel(tokio::net::TcpStream, tokio::net::TcpStream),
    Ours(TcpStream, TcpStream),
}

/// Keeps a port of the kernel bound, without listening on it.
pub(crate) struct ClosedPort {
    _socket: Option<tokio::net::TcpSocket>,
}

impl Host {
    fn on_thread(stack: Stack, family: Family, number: u8) -> Self {
        let address: IpAddr = match family {
            Family::Ipv4 => Ipv4Addr::new(10, 0, 0, number).into(),
            Family::Ipv6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
        };
        let net = Sockets::Ours(stack.net().clone());
        let stack = Mutex::new(Some(stack));
        let stop = move || drop(stack.lock().unwrap_or_else(PoisonError::into_inner).take());
        Self { net, face: Face::Sync, addresses: vec![address], stop: Arc::new(stop) }
    }

    /// A port of its first address.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses[0], port)
    }

    /// The same port of the address that stands for all.
    pub(crate) fn wildcard(&self, port: u16) -> SocketAddr {
        match self.addresses[0] {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    }

    /// Stops its stack.
    pub(crate) fn stop(&self) {
        (self.stop)();
    }

    /// Our error, for those that the kernel has no name for.
    pub(crate) fn net(&self) -> &Net {
        match &self.net {
            Sockets::Kernel => panic!("the case is not for the kernel"),
            Sockets::Ours(net) => net,
        }
    }

    pub(crate) async fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        Ok(match (&self.net, self.face) {
            (Sockets::Kernel, Face::Sync) => {
                Box::new(KernelSyncListener::new(std::net::TcpListener::bind(at)?))
            }
            (Sockets::Kernel, face) => {
                let wrap = match face {
                    Face::Tokio => KernelTokio::stream,
                    _ => |stream: tokio::net::TcpStream| KernelFutures::stream(stream.compat()),
                };
                Box::new(KernelListener(tokio::net::TcpListener::bind(at).await?, wrap))
            }
            (Sockets::Ours(net), Face::Sync) => {
                let net = net.blocking();
                Box::new(OurSyncListener::new(blocking(move || net.tcp_listen(at)).await?))
            }
            (Sockets::Ours(net), face) => {
                let wrap = match face {
                    Face::Tokio => OurTokio::stream,
                    _ => OurFutures::stream,
                };
                Box::new(OurListener(net.tcp_listen(at).await?, wrap))
            }
        })
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        Ok(match (&self.net, self.face) {
            (Sockets::Kernel, Face::Sync) => {
                KernelSyncStream::stream(blocking(move || std::net::TcpStream::connect(to)).await?)
            }
            (Sockets::Kernel, Face::Tokio) => {
                KernelTokio::stream(tokio::net::TcpStream::connect(to).await?)
            }
            (Sockets::Kernel, Face::FuturesIo) => {
                KernelFutures::stream(tokio::net::TcpStream::connect(to).await?.compat())
            }
            (Sockets::Ours(net), Face::Sync) => {
                let net = net.blocking();
                OurSyncStream::stream(blocking(move || net.tcp_connect(to)).await?)
            }
            (Sockets::Ours(net), Face::Tokio) => OurTokio::stream(net.tcp_connect(to).await?),
            (Sockets::Ours(net), Face::FuturesIo) => OurFutures::stream(net.tcp_connect(to).await?),
        })
    }

    /// A socket that neither listens nor is connected; blocking sockets are never seen as such.
    pub(crate) fn tcp_socket(&self) -> io::Result<TcpSocket> {
        Ok(match (&self.net, self.addresses[0]) {
            (Sockets::Kernel, IpAddr::V4(_)) => TcpSocket::Kernel(tokio::net::TcpSocket::new_v4()?),
            (Sockets::Kernel, IpAddr::V6(_)) => TcpSocket::Kernel(tokio::net::TcpSocket::new_v6()?),
            (Sockets::Ours(net), IpAddr::V4(_)) => TcpSocket::Ours(net.tcp_socket_v4().into()),
            (Sockets::Ours(net), IpAddr::V6(_)) => TcpSocket::Ours(net.tcp_socket_v6().into()),
        })
    }

    /// Connects from a port that was chosen; blocking sockets cannot.
    pub(crate) async fn connect_from(&self, port: u16, to: SocketAddr) -> io::Result<Stream> {
        let from = self.address(port);
        match &self.net {
            Sockets::Kernel => {
                let socket = match from {
                    SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
                };
                socket.bind(from)?;
                Ok(KernelTokio::stream(socket.connect(to).await?))
            }
            Sockets::Ours(net) => {
                let stream = net.tcp_connect_from(from, to, Default::default()).await?;
                Ok(OurTokio::stream(stream))
            }
        }
    }

    /// Connects, for so long at most; only blocking sockets have it.
    pub(crate) async fn connect_timeout(
        &self,
        to: SocketAddr,
        timeout: Duration,
    ) -> io::Result<Stream> {
        match &self.net {
            Sockets::Kernel => {
                let connect = move || std::net::TcpStream::connect_timeout(&to, timeout);
                Ok(KernelSyncStream::stream(blocking(connect).await?))
            }
            Sockets::Ours(net) => {
                let net = net.blocking();
                let connect = move || net.tcp_connect_timeout(&to, timeout);
                Ok(OurSyncStream::stream(blocking(connect).await?))
            }
        }
    }

    pub(crate) async fn bind_udp(&self, at: SocketAddr) -> io::Result<Udp> {
        Ok(match (&self.net, self.face) {
            (Sockets::Kernel, Face::Sync) => {
                Box::new(KernelSyncUdp::new(std::net::UdpSocket::bind(at)?))
            }
            (Sockets::Kernel, _) => Box::new(KernelUdp(tokio::net::UdpSocket::bind(at).await?)),
            (Sockets::Ours(net), Face::Sync) => {
                let net = net.blocking();
                Box::new(OurSyncUdp::new(blocking(move || net.udp_bind(at)).await?))
            }
            (Sockets::Ours(net), _) => Box::new(OurUdp(net.udp_bind(at).await?)),
        })
    }

    /// Binds a socket that shares its port in these ways.
    pub(crate) async fn bind_shared(&self, at: SocketAddr, reuse: Reuse) -> io::Result<Udp> {
        let Reuse { address, port } = reuse;
        let kernel = || {
            let domain = socket2::Domain::for_address(at);
            let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
            socket.set_reuse_address(address)?;
            socket.set_reuse_port(port)?;
            socket.bind(&at.into())?;
            io::Result::Ok(std::net::UdpSocket::from(socket))
        };
        let (reuse_address, reuse_port) = (address, port);
        let options = udp::Options { reuse_address, reuse_port, ..Default::default() };
        let families = Families::Both;
        Ok(match (&self.net, self.face) {
            (Sockets::Kernel, Face::Sync) => Box::new(KernelSyncUdp::new(kernel()?)),
            (Sockets::Kernel, _) => {
                let socket = kernel()?;
                socket.set_nonblocking(true)?;
                Box::new(KernelUdp(tokio::net::UdpSocket::from_std(socket)?))
            }
            (Sockets::Ours(net), Face::Sync) => {
                let net = net.blocking();
                let bind = move || net.udp_bind_with_options(at, families, options);
                Box::new(OurSyncUdp::new(blocking(bind).await?))
            }
            (Sockets::Ours(net), _) => {
                Box::new(OurUdp(net.udp_bind_with_options(at, families, options).await?))
            }
        })
    }
}

/// Makes a call that may wait.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(io::Error::other)?
}
