//! The same sockets of the kernel, on loopback, and of two stacks joined in memory.

use netstack::Stack;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Longer than anything takes: reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both ends of a connection.
pub(crate) struct Connection {
    pub(crate) near: OwnedFd,
    pub(crate) peer: OwnedFd,
}

/// A listener, and a way to connect to it.
pub(crate) struct Listening<'a> {
    pub(crate) listener: OwnedFd,
    pub(crate) connect: &'a dyn Fn() -> OwnedFd,
    pub(crate) accept: &'a dyn Fn(&OwnedFd) -> io::Result<OwnedFd>,
}

/// Two UDP sockets and the calls with addresses.
pub(crate) struct Datagrams<'a> {
    pub(crate) near: OwnedFd,
    pub(crate) peer: OwnedFd,
    pub(crate) third: OwnedFd,
    pub(crate) calls: &'a dyn Calls,
}

/// What has addresses, and so is not the kernel's for a descriptor of ours.
pub(crate) trait Calls {
    fn local(&self, fd: &OwnedFd) -> SocketAddr;
    fn connect(&self, fd: &OwnedFd, to: SocketAddr);
    fn send_to(&self, fd: &OwnedFd, data: &[u8], to: SocketAddr) -> io::Result<usize>;
    fn recv_from(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    fn peek_from(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

/// Runs a program on a connection of the kernel and on one of ours, and compares what it returns.
pub(crate) fn same<T: PartialEq + Debug>(program: impl Fn(Connection) -> T) {
    let kernel = program(kernel_connection());
    let world = Ours::new();
    let ours = program(world.connection());
    world.finish();
    assert_eq!(ours, kernel, "ours, and the kernel's");
}

/// As [`same`], with a listener.
pub(crate) fn same_listening<T: PartialEq + Debug>(program: impl Fn(Listening<'_>) -> T) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let to = listener.local_addr().expect("it is bound");
    let kernel = program(Listening {
        listener: listener.into(),
        connect: &|| TcpStream::connect(to).expect("a listener").into(),
        accept: &|listener| {
            let (accepted, _) = TcpListener::from(listener.try_clone()?).accept()?;
            Ok(accepted.into())
        },
    });
    let world = Ours::new();
    let ours = program(Listening {
        listener: world.listener(),
        connect: &|| world.client(),
        accept: &|listener| netfd::accept(listener).map(|(accepted, _)| accepted),
    });
    world.finish();
    assert_eq!(ours, kernel, "ours, and the kernel's");
}

/// As [`same`], with UDP sockets.
pub(crate) fn same_datagrams<T: PartialEq + Debug>(program: impl Fn(Datagrams<'_>) -> T) {
    let socket = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").expect("loopback"));
    let calls: &dyn Calls = &Kernels;
    let kernel = program(Datagrams { near: socket(), peer: socket(), third: socket(), calls });
    let world = Ours::new();
    let ours = program(Datagrams {
        near: world.udp(&world.near, "10.0.0.1:0"),
        peer: world.udp(&world.far, "10.0.0.2:0"),
        third: world.udp(&world.far, "10.0.0.2:0"),
        calls: &world,
    });
    world.finish();
    assert_eq!(ours, kernel, "ours, and the kernel's");
}

fn kernel_connection() -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let (peer, _) = listener.accept().expect("a client");
    Connection { near: near.expect("a listener").into(), peer: peer.into() }
}

/// Two stacks, on a runtime with threads of its own.
pub(crate) struct Ours {
    pub(crate) runtime: Runtime,
    pub(crate) near: Stack,
    pub(crate) far: Stack,
}

impl Ours {
    pub(crate) fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let (near, far) = {
            let _guard = runtime.enter();
            netstack::pair().expect("a runtime")
        };
        Self { runtime, near, far }
    }

    pub(crate) fn connection(&self) -> Connection {
        let listener = self.listener();
        let near = self.client();
        let (peer, _) = netfd::accept(listener).expect("a client");
        Connection { near, peer }
    }

    pub(crate) fn listener(&self) -> OwnedFd {
        let listening = self.far.net().tcp_listen("10.0.0.2:80");
        self.runtime.block_on(async {
            netfd::from_listener(listening.await.expect("a free port")).expect("descriptors")
        })
    }

    pub(crate) fn client(&self) -> OwnedFd {
        let connecting = self.near.net().tcp_connect("10.0.0.2:80");
        self.runtime.block_on(async {
            netfd::from_stream(connecting.await.expect("a listener")).expect("descriptors")
        })
    }

    pub(crate) fn udp(&self, stack: &Stack, local: &str) -> OwnedFd {
        self.runtime.block_on(async {
            let socket = stack.net().udp_bind(local).await.expect("a free port");
            netfd::from_udp(socket).expect("descriptors")
        })
    }

    /// Waits until a stack has so many sockets.
    pub(crate) fn wait_for_sockets(&self, stack: &Stack, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.runtime.block_on(stack.net().snapshot()).expect("it runs");
            if snapshot.sockets.len() == count {
                return;
            }
            assert!(Instant::now() < deadline, "left behind:\n{snapshot}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no socket is left.
    pub(crate) fn finish(self) {
        self.wait_for_sockets(&self.near, 0);
        self.wait_for_sockets(&self.far, 0);
    }
}

impl Calls for Ours {
    fn local(&self, fd: &OwnedFd) -> SocketAddr {
        netfd::local_addr(fd).expect("it is open")
    }

    fn connect(&self, fd: &OwnedFd, to: SocketAddr) {
        let socket = netfd::udp_socket(fd).expect("it is open");
        self.runtime.block_on(socket.connect(to)).expect("a route");
    }

    fn send_to(&self, fd: &OwnedFd, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        netfd::send_to(fd, data, to)
    }

    fn recv_from(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        netfd::recv_from(fd, buf)
    }

    fn peek_from(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        netfd::peek_from(fd, buf)
    }
}

struct Kernels;

impl Kernels {
    fn socket(fd: &OwnedFd) -> UdpSocket {
        fd.try_clone().expect("a descriptor").into()
    }
}

impl Calls for Kernels {
    fn local(&self, fd: &OwnedFd) -> SocketAddr {
        Self::socket(fd).local_addr().expect("it is open")
    }

    fn connect(&self, fd: &OwnedFd, to: SocketAddr) {
        Self::socket(fd).connect(to).expect("a route");
    }

    fn send_to(&self, fd: &OwnedFd, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        Self::socket(fd).send_to(data, to)
    }

    fn recv_from(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Self::socket(fd).recv_from(buf)
    }

    fn peek_from(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Self::socket(fd).peek_from(buf)
    }
}

/// What is looked for.
pub(crate) const INTEREST: PollFlags = PollFlags::IN.union(PollFlags::OUT).union(PollFlags::RDHUP);

/// The events of now.
pub(crate) fn events(fd: impl AsFd) -> PollFlags {
    let mut fds = [PollFd::new(&fd, INTEREST)];
    poll(&mut fds, Some(&Timespec::default())).expect("a descriptor");
    fds[0].revents()
}

/// Writes until there is no room, and stays none: what is in a connection moves on for a while.
/// Returns how many bytes went in; the descriptor is non-blocking from now on.
pub(crate) fn fill(fd: impl AsFd) -> usize {
    rustix::io::ioctl_fionbio(&fd, true).expect("a descriptor");
    let (deadline, block) = (Instant::now() + PATIENCE, vec![7; 1 << 16]);
    let (mut sent, mut full_since) = (0, Instant::now());
    while full_since.elapsed() < Duration::from_millis(100) {
        assert!(Instant::now() < deadline, "there is room after {sent} bytes");
        match rustix::io::write(&fd, &block) {
            Ok(n) => {
                sent += n;
                full_since = Instant::now();
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    sent
}

/// Waits until all of these have come, and returns those that are there then.
pub(crate) fn wait_for(fd: impl AsFd, expected: PollFlags) -> PollFlags {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = events(&fd);
        if seen.contains(expected) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited for {expected:?}, there are {seen:?}");
        // An error is always an event, so polling for more would not wait.
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn read(fd: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; 1000];
    let (n, _) = recv(fd, &mut buf[..], RecvFlags::empty())?;
    Ok(buf[..n].to_vec())
}

/// Reads up to the end.
pub(crate) fn read_all(fd: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut all = Vec::new();
    loop {
        match read(&fd)? {
            part if part.is_empty() => return Ok(all),
            part => all.extend(part),
        }
    }
}

/// Writes without a signal, which a broken pipe would send.
pub(crate) fn write(fd: impl AsFd, data: &[u8]) -> Result<usize, Errno> {
    send(fd, data, SendFlags::NOSIGNAL)
}
