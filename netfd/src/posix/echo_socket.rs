//! An ICMP datagram socket, as ping(8) has one.

use crate::DatagramEnd;
use crate::far::Far;
use crate::posix::{Done, Family, Settings, Value, errno, kind_option};
use netsocket::netcore::Error;
use netsocket::{Net, PingAnswer, PingError, PingReply, PingSocket};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// A socket of `SOCK_DGRAM` and `IPPROTO_ICMP` or `IPPROTO_ICMPV6`: it sends echo requests, with an
/// identifier of its own in place of the program's, and receives the replies to them.
#[derive(Debug)]
pub struct EchoSocket {
    family: Family,
    ping: Arc<PingSocket>,
    inner: Mutex<Inner>,
    arrival: Arc<Notify>,
    has_ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    /// `IP_RECVERR`, and `IP_RECVTTL`.
    wants_failures: bool,
    wants_hop_limit: bool,
    peer: Option<IpAddr>,
    /// What is known of the replies in the pair, the oldest first.
    replies: VecDeque<Known>,
    failures: VecDeque<EchoFailure>,
    /// Where the last requests went, with their numbers.
    sent: VecDeque<(u16, IpAddr)>,
    /// What the next call fails with.
    error: Option<Errno>,
}

/// What a reply in the pair does not say itself.
#[derive(Debug)]
struct Known {
    header: [u8; HEADER],
    sender: IpAddr,
    hop_limit: u8,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// The ICMP message.
    pub message: Vec<u8>,
    /// Its sender.
    pub sender: IpAddr,
    /// The hop limit that it came with, if the program wants to know.
    pub hop_limit: Option<u8>,
}

/// An ICMP error about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoFailure {
    /// The error and its sender.
    pub error: PingError,
    /// Where the request went.
    pub target: IpAddr,
}

/// The task behind a socket: it has the far end of the descriptor.
#[derive(Debug)]
pub struct EchoService {
    socket: Arc<EchoSocket>,
    far: Far,
}

/// The length of an ICMP header.
const HEADER: usize = 8;
/// Errors that wait for a program that does not ask for them.
const FAILURES_MAX: usize = 64;
/// Requests that are known of by their numbers.
const SENT_MAX: usize = 64;
/// The longest message that is received.
const MESSAGE_MAX: usize = 65_535;
const REQUEST: [u8; 2] = [8, 128];
const REPLY: [u8; 2] = [0, 129];
/// linux/in6.h.
const IPV6_2292HOPLIMIT: libc::c_int = 8;

impl EchoSocket {
    /// Makes a socket, and what serves it.
    ///
    /// # Errors
    ///
    /// Those of [`Net::ping`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn open(
        net: &Net,
        family: Family,
        end: DatagramEnd,
    ) -> io::Result<(Arc<Self>, EchoService)> {
        // Each request says where it goes.
        let ping = net.ping(match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        });
        let socket = Arc::new(Self {
            family,
            ping: Arc::new(ping.await?),
            inner: Mutex::default(),
            arrival: Arc::default(),
            has_ended: watch::Sender::new(false),
        });
        Ok((socket.clone(), EchoService { socket, far: end.into_far() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_family<T: Copy>(&self, both: [T; 2]) -> T {
        both[usize::from(self.family == Family::V6)]
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Its address: the port is the identifier of its requests.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.family.unspecified().ip(), self.ping.identifier())
    }

    /// Where requests without a destination go.
    pub fn peer(&self) -> Option<IpAddr> {
        self.lock().peer
    }

    /// Sets that.
    pub fn connect(&self, peer: Option<IpAddr>) {
        self.lock().peer = peer;
    }

    /// Binds it, which changes nothing.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` for an address: it has that of the route; `EADDRINUSE` for another identifier.
    pub fn bind(&self, local: SocketAddr) -> Result<(), Errno> {
        match local {
            _ if !local.ip().is_unspecified() => Err(Errno::ADDRNOTAVAIL),
            _ if ![0, self.ping.identifier()].contains(&local.port()) => Err(Errno::ADDRINUSE),
            _ => Ok(()),
        }
    }

    /// Sends an echo request, a whole ICMP message, to `target`, or to the peer.
    ///
    /// # Errors
    ///
    /// `EINVAL` for another message; `EDESTADDRREQ` without a destination; as [`PingSocket::send`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    pub async fn send(&self, message: &[u8], target: Option<IpAddr>) -> Result<usize, Errno> {
        let target = target.or(self.peer()).ok_or(Errno::DESTADDRREQ)?.to_canonical();
        if target.is_ipv4() != (self.family == Family::V4) {
            return Err(Errno::INVAL);
        }
        let [kind, 0, _, _, _, _, a, b] = *message.first_chunk().ok_or(Errno::INVAL)? else {
            return Err(Errno::INVAL);
        };
        if kind != self.of_family(REQUEST) {
            return Err(Errno::INVAL);
        }
        let sequence = u16::from_be_bytes([a, b]);
        let sent = self.ping.send_to(target, sequence, &message[HEADER..]).await;
        sent.map_err(|error| errno(&error))?;
        let mut inner = self.lock();
        if inner.sent.len() == SENT_MAX {
            inner.sent.pop_front();
        }
        inner.sent.push_back((sequence, target));
        Ok(message.len())
    }

    /// Takes a reply out of the pair through a copy of its near end, or looks at it.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is none; once that of an ICMP error about a request, if the program wants those.
    pub fn try_recv(&self, near: impl AsFd, stays: bool) -> Result<Echo, Errno> {
        let mut inner = self.lock();
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        let mut flags = RecvFlags::DONTWAIT;
        flags.set(RecvFlags::PEEK, stays);
        let mut message = vec![0; MESSAGE_MAX];
        let (_, len) = recv(near, &mut message[..], flags)?;
        message.truncate(len);
        // Those before it the program has read past this.
        let is_it = |known: &Known| message.starts_with(&known.header);
        while inner.replies.front().is_some_and(|known| !is_it(known)) {
            inner.replies.pop_front();
        }
        let wants_hop_limit = inner.wants_hop_limit;
        let known = match stays {
            true => inner.replies.front().map(|known| (known.sender, known.hop_limit)),
            false => inner.replies.pop_front().map(|known| (known.sender, known.hop_limit)),
        };
        let (sender, hop_limit) = known.ok_or(Errno::AGAIN)?;
        Ok(Echo { message, sender, hop_limit: wants_hop_limit.then_some(hop_limit) })
    }

    /// Takes the oldest ICMP error about a request (`MSG_ERRQUEUE`).
    pub fn take_failure(&self) -> Option<EchoFailure> {
        self.lock().failures.pop_front()
    }

    /// The beginning of the request with this number.
    pub fn request(&self, sequence: u16) -> [u8; HEADER] {
        self.header(self.of_family(REQUEST), sequence)
    }

    fn header(&self, kind: u8, sequence: u16) -> [u8; HEADER] {
        let ([a, b], [c, d]) = (self.ping.identifier().to_be_bytes(), sequence.to_be_bytes());
        [kind, 0, 0, 0, a, b, c, d]
    }

    /// Waits, from now on, until something has come, or the descriptor is closed.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub fn arrival(&self) -> impl Future<Output = ()> + Send + use<> {
        self.arrival.clone().notified_owned()
    }

    /// Whether the last copy of its descriptor is closed.
    pub fn has_ended(&self) -> bool {
        *self.has_ended.borrow()
    }

    /// The value of an option.
    ///
    /// # Errors
    ///
    /// As [`Settings::get`].
    pub fn get(&self, level: libc::c_int, name: libc::c_int) -> Result<Value, Errno> {
        let mut inner = self.lock();
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => {
                Ok(self.of_family([libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6]).into())
            }
            (libc::SOL_SOCKET, libc::SO_ERROR) => {
                let error = inner.error.take();
                Ok(error.map_or(0, Errno::raw_os_error).into())
            }
            _ => match kind_option(self.family, None, level, name) {
                Some(value) => Ok(value),
                None => inner.settings.get(level, name),
            },
        }
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// As [`Settings::set`].
    pub fn set(&self, level: libc::c_int, name: libc::c_int, value: &[u8]) -> Result<Done, Errno> {
        let int = || value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        let flag = || int().map(|value| value != 0).ok_or(Errno::INVAL);
        let mut inner = self.lock();
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                inner.wants_failures = flag()?;
            }
            (libc::IPPROTO_IP, libc::IP_RECVTTL)
            | (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT | IPV6_2292HOPLIMIT) => {
                inner.wants_hop_limit = flag()?;
            }
            // The time of an arrival is that of the call, and there are no options of IP.
            (libc::SOL_SOCKET, libc::SO_TIMESTAMP) | (libc::IPPROTO_IP, libc::IP_RETOPTS) => {}
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
                let hops = u32::try_from(int().ok_or(Errno::INVAL)?).map_err(|_| Errno::INVAL)?;
                self.ping.set_ttl(hops).map_err(|_| Errno::INVAL)?;
                return inner.settings.set(level, name, value);
            }
            _ => return inner.settings.set(level, name, value),
        }
        Ok(Done::Here)
    }
}

impl EchoService {
    /// Serves the socket until the last copy of its descriptor is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub async fn run(self) {
        let Self { socket, far } = self;
        let mut message = vec![0; MESSAGE_MAX];
        loop {
            tokio::select! {
                answer = socket.ping.recv_answer() => match answer {
                    Ok(PingAnswer::Reply(reply)) => socket.put(&far, &reply),
                    Ok(PingAnswer::Failed(failure)) => socket.fail(failure),
                    // A request could not be sent.
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                        socket.lock().error = Some(errno(&error));
                    }
                    // The stack is gone: nothing comes any more.
                    Err(_) => {
                        far.hung_up().await;
                        break;
                    }
                },
                // What the program has sent without a destination.
                sent = far.read_with(|| far.try_recv_packet(&mut message)) => match sent {
                    Ok(Some(len)) => {
                        if let Err(error) = socket.send(&message[..len], None).await {
                            socket.lock().error = Some(error);
                        }
                    }
                    _ => break,
                },
            }
            socket.arrival.notify_waiters();
        }
        socket.has_ended.send_replace(true);
        socket.arrival.notify_waiters();
    }
}

impl EchoSocket {
    /// Puts a reply into the pair; if that is full, it is lost.
    fn put(&self, far: &Far, reply: &PingReply) {
        let mut header = self.header(self.of_family(REPLY), reply.sequence);
        if self.family == Family::V4 {
            // Over IPv6 it is that of the kernel to verify.
            let sum = checksum(&[&header, &reply.payload]);
            header[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let mut inner = self.lock();
        let parts = [IoSlice::new(&header), IoSlice::new(&reply.payload)];
        if far.try_send(&parts).is_ok() {
            let (sender, hop_limit) = (reply.from, reply.hop_limit);
            inner.replies.push_back(Known { header, sender, hop_limit });
        }
    }

    fn fail(&self, error: PingError) {
        let mut inner = self.lock();
        if inner.wants_failures && inner.failures.len() < FAILURES_MAX {
            inner.error = Some(errno(&error.into()));
            let sent = inner.sent.iter().rev().find(|(sequence, _)| *sequence == error.sequence);
            let target = sent.map_or(error.from, |(_, target)| *target);
            inner.failures.push_back(EchoFailure { error, target });
        }
    }
}

/// What an ICMP error is to the kernel: its number, type and code.
pub fn icmp_error(family: Family, error: Error) -> (Errno, u8, u8) {
    let errno = errno(&io::Error::from(error));
    let (kind, code) = match (family, error) {
        (Family::V4, Error::TtlExceeded) => (11, 0),
        (Family::V4, Error::NetworkUnreachable) => (3, 0),
        (Family::V4, Error::Refused) => (3, 3),
        (Family::V4, _) => (3, 1),
        (Family::V6, Error::TtlExceeded) => (3, 0),
        (Family::V6, Error::NetworkUnreachable) => (1, 0),
        (Family::V6, Error::Refused) => (1, 4),
        (Family::V6, _) => (1, 3),
    };
    (errno, kind, code)
}

/// RFC 1071, of parts of even lengths but for the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0_u64, |sum, word| {
        let low = word.get(1).copied().unwrap_or(0);
        sum + u64::from(u16::from_be_bytes([word[0], low]))
    });
    let folded = |sum: u64| (sum & 0xffff) + (sum >> 16);
    !(folded(folded(sum)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, datagram_pair};
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    async fn open(net: &Net, family: Family) -> (OwnedFd, Arc<EchoSocket>) {
        let (near, end) = datagram_pair(Mode::Nonblocking).expect("a pair");
        let (socket, service) = EchoSocket::open(net, family, end).await.expect("a stack");
        tokio::spawn(service.run());
        (near, socket)
    }

    async fn receive(near: &OwnedFd, socket: &EchoSocket) -> Result<Echo, Errno> {
        loop {
            let arrival = socket.arrival();
            match socket.try_recv(near, false) {
                Err(Errno::AGAIN) => {}
                received => return received,
            }
            tokio::time::timeout(Duration::from_secs(30), arrival).await.expect("it arrives");
        }
    }

    #[tokio::test]
    async fn requests_of_both_families_are_answered() {
        let (stack, _far) = netstack::pair().expect("a runtime");
        for (family, target) in [(Family::V4, "10.0.0.2"), (Family::V6, "fd00::2")] {
            let (near, socket) = open(stack.net(), family).await;
            let hops = match family {
                Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVTTL),
                Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
            };
            socket.set(hops.0, hops.1, &1_i32.to_ne_bytes()).expect("an option");
            let target: IpAddr = target.parse().expect("an address");
            let message = [&socket.request(7)[..], b"odd"].concat();

            assert_eq!(socket.send(&message, Some(target)).await, Ok(11));

            let echo = receive(&near, &socket).await.expect("a reply");
            assert_eq!((echo.sender, echo.hop_limit), (target, Some(64)));
            assert_eq!((&echo.message[4..], echo.message.len()), (&message[4..], 11));
            assert_eq!(echo.message[..2], [socket.of_family(REPLY), 0]);
            if family == Family::V4 {
                assert_eq!(checksum(&[&echo.message]), 0);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        let (stack, _far) = netstack::pair().expect("a runtime");
        let (_near, socket) = open(stack.net(), Family::V4).await;
        let target = "10.0.0.2".parse().ok();

        assert_eq!(socket.send(&[8, 0, 0], target).await, Err(Errno::INVAL));
        assert_eq!(socket.send(&[13, 0, 0, 0, 0, 0, 0, 1], target).await, Err(Errno::INVAL));
        assert_eq!(socket.send(&socket.request(1), None).await, Err(Errno::DESTADDRREQ));
        assert_eq!(
            socket.send(&socket.request(1), "fd00::2".parse().ok()).await,
            Err(Errno::INVAL)
        );
        assert_eq!(socket.bind("10.0.0.1:0".parse().expect("one")), Err(Errno::ADDRNOTAVAIL));
        assert_eq!(socket.bind(socket.local()), Ok(()));
    }

    #[tokio::test]
    async fn a_program_is_told_of_icmp_errors() {
        let (stack, _far) = netstack::pair().expect("a runtime");
        let (near, socket) = open(stack.net(), Family::V4).await;
        socket.set(libc::IPPROTO_IP, libc::IP_RECVERR, &1_i32.to_ne_bytes()).expect("an option");
        let nowhere = "192.0.2.1".parse().ok();

        let sent = socket.send(&socket.request(1), nowhere).await;
        let failed = match sent {
            Ok(_) => receive(&near, &socket).await.expect_err("no route"),
            Err(errno) => errno,
        };

        assert_eq!(failed, Errno::NETUNREACH);
        assert_eq!(icmp_error(Family::V4, Error::TtlExceeded).1, 11);
    }
}
