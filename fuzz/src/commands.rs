//! Commands as transitions of a model that knows which sockets there must be.

use crate::host::{Host, OWN};
use arbitrary::Unstructured;
use netcore::queue::SocketQueue;
use netcore::{
    Command, Config, Entropy, Error, FrameChecksum, Response, SocketId, TcpState, icmp, raw, tcp,
    udp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Small, so that it is reached.
const SOCKETS_MAX: usize = 24;
/// Where the stack chooses ports from (RFC 6335 section 6).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

/// Plays the commands in `data`.
///
/// Each answers what the model says, ids name one socket ever, and after each step the stack has
/// the sockets of the model, at their addresses, and no others but those that are about to end.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn commands(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let mut play = Play::new();
    // An error is the end of the data.
    while !story.is_empty() && play.step(&mut story).is_ok() {
        play.check();
    }
    play.end();
}

struct Play {
    host: Host,
    /// The sockets that are open.
    model: BTreeMap<SocketId, Socket>,
    /// All ids ever issued, in order.
    known: Vec<SocketId>,
}

/// What the model knows of a socket.
struct Socket {
    kind: Kind,
    local: SocketAddr,
    queue: SocketQueue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp { is_v6_only: bool },
    Listener,
    Stream,
    Ping,
    Raw,
}

impl Play {
    fn new() -> Self {
        let config =
            Config { sockets_max: SOCKETS_MAX, entropy: Entropy::Seed(3), ..Config::default() };
        let host = Host::new(config, FrameChecksum::Unknown);
        Self { host, model: BTreeMap::new(), known: Vec::new() }
    }

    fn step(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        match story.int_in_range(0..=11)? {
            0 | 1 => {
                let (endpoint, is_v6_only) = (endpoint(story)?, story.arbitrary()?);
                let command = match is_v6_only {
                    true => udp::Command::BindV6Only { endpoint },
                    false => udp::Command::Bind { endpoint },
                };
                self.open(command, Kind::Udp { is_v6_only }, endpoint);
            }
            2 | 3 => {
                let local = endpoint(story)?;
                let command = tcp::Command::Listen { local, options: Default::default() };
                self.open(command, Kind::Listener, local);
            }
            4 => {
                let local = address(story)?;
                self.open(icmp::Command::Open { local }, Kind::Ping, (local, 0).into());
            }
            5 => {
                let (version, any) = match story.arbitrary()? {
                    true => (raw::Version::V4, IpAddr::from([0; 4])),
                    false => (raw::Version::V6, IpAddr::from([0; 16])),
                };
                let command = raw::Command::Open { version, protocol: 253 };
                self.open(command, Kind::Raw, (any, 0).into());
            }
            6 | 7 => self.connect(story)?,
            8 => self.close_by_command(story)?,
            9 => self.close_by_handle(story)?,
            10 => self.ask_of_any(story)?,
            _ => {
                let seconds = story.int_in_range(0..=100)?;
                self.host.advance(Duration::from_secs(seconds));
            }
        }
        Ok(())
    }

    /// Makes a socket without a peer, if the model permits it.
    fn open(&mut self, command: impl Into<Command>, kind: Kind, local: SocketAddr) {
        let expected = self.refusal(kind, local);
        match self.host.call(None, command).expect("opening is answered at once") {
            Err(error) => assert_eq!(Some(error), expected, "{kind:?} on {local}"),
            Ok((response, queue)) => {
                assert_eq!(expected, None, "{kind:?} on {local}");
                let (id, chosen) = match response {
                    Response::Udp(udp::Response::Bound { handle, local }) => (handle, local),
                    Response::Tcp(tcp::Response::Listening { handle, local }) => (handle, local),
                    Response::Icmp(icmp::Response::Opened { handle, identifier }) => {
                        (handle, (local.ip(), identifier).into())
                    }
                    Response::Raw(raw::Response::Opened { handle }) => (handle, local),
                    other => panic!("opening answered {other:?}"),
                };
                if let Kind::Udp { .. } | Kind::Listener = kind {
                    assert!(chosen.ip() == local.ip());
                    match local.port() {
                        0 => assert!(EPHEMERAL.contains(&chosen.port()), "{chosen}"),
                        port => assert_eq!(chosen.port(), port),
                    }
                    assert!(!self.conflicts(kind, chosen), "{chosen} is taken");
                }
                self.insert(id, kind, chosen, queue.expect("a new socket has a queue"));
            }
        }
    }

    fn insert(&mut self, id: SocketId, kind: Kind, local: SocketAddr, queue: SocketQueue) {
        assert!(!self.known.contains(&id), "{id:?} is given out twice");
        self.known.push(id);
        self.model.insert(id, Socket { kind, local, queue });
    }

    /// Why a socket cannot be made.
    fn refusal(&mut self, kind: Kind, local: SocketAddr) -> Option<Error> {
        let own: [IpAddr; 6] = [
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            OWN.into(),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
        ];
        if !own.contains(&local.ip()) {
            return Some(Error::AddressNotAvailable);
        }
        if self.host.stack.snapshot().sockets.len() >= SOCKETS_MAX {
            return Some(Error::LimitReached);
        }
        let has_port = matches!(kind, Kind::Udp { .. } | Kind::Listener) && local.port() != 0;
        (has_port && self.conflicts(kind, local)).then_some(Error::AddressInUse)
    }

    /// Whether another socket has this address and port.
    fn conflicts(&self, kind: Kind, local: SocketAddr) -> bool {
        let mine = covered(kind, local.ip());
        self.model.values().any(|other| {
            let is_same_space = matches!(
                (kind, other.kind),
                (Kind::Udp { .. }, Kind::Udp { .. }) | (Kind::Listener, Kind::Listener)
            );
            let theirs = covered(other.kind, other.local.ip());
            is_same_space
                && other.local.port() == local.port()
                && mine.iter().any(|address| theirs.contains(address))
        })
    }

    /// Connects to one of the stack's own addresses and accepts the connection.
    fn connect(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let remote = SocketAddr::from((OWN, story.int_in_range(1..=4)?));
        // Both ends are sockets of this stack.
        if self.host.stack.snapshot().sockets.len() + 2 > SOCKETS_MAX {
            return Ok(());
        }
        let options = tcp::Options::default();
        let connect = tcp::Command::Connect { remote, local: None, options };
        let answer = self.host.call(None, connect).expect("nothing is lost inside");
        let takes = |socket: &Socket| {
            socket.kind == Kind::Listener
                && socket.local.port() == remote.port()
                && covered(Kind::Listener, socket.local.ip()).contains(&remote.ip())
        };
        let listener = self.model.iter().find(|(_, socket)| takes(socket)).map(|(id, _)| *id);
        let Some(listener) = listener else {
            assert_eq!(answer.err(), Some(Error::Refused), "no listener on {remote}");
            return Ok(());
        };
        let (response, queue) = answer.expect("somebody listens");
        let Response::Tcp(tcp::Response::Connected { handle, local, .. }) = response else {
            panic!("connecting answered {response:?}")
        };
        self.insert(handle, Kind::Stream, local, queue.expect("a new socket has a queue"));
        let accepted = self.host.call(Some(listener), tcp::Command::Accept);
        let Some(Ok((Response::Tcp(tcp::Response::Accepted { handle, remote, .. }), queue))) =
            accepted
        else {
            panic!("accepting answered {accepted:?}")
        };
        assert_eq!((remote.ip().to_canonical(), remote.port()), (local.ip(), local.port()));
        self.insert(handle, Kind::Stream, (OWN, 0).into(), queue.expect("it has a queue"));
        Ok(())
    }

    fn close_by_command(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let Some(id) = self.any(story)? else { return Ok(()) };
        let Some(socket) = self.model.remove(&id) else {
            let closed = self.host.call(Some(id), udp::Command::Close).expect("answered at once");
            let error = closed.err();
            // A connection may be about to end still.
            assert!(matches!(error, Some(Error::Closed | Error::WrongSocket)), "{error:?}");
            return Ok(());
        };
        let command: Command = match socket.kind {
            Kind::Udp { .. } => udp::Command::Close.into(),
            Kind::Listener | Kind::Stream => tcp::Command::Close.into(),
            Kind::Ping => icmp::Command::Close.into(),
            Kind::Raw => raw::Command::Close.into(),
        };
        match self.host.call(Some(id), command).expect("answered at once") {
            Ok((response, _)) => assert!(matches!(response, Response::Done), "{response:?}"),
            // One whose other end was closed before.
            Err(error) => assert_eq!((error, socket.kind), (Error::Closed, Kind::Stream)),
        }
        self.host.run();
        Ok(())
    }

    fn close_by_handle(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let Some(id) = self.any(story)? else { return Ok(()) };
        if let Some(socket) = self.model.remove(&id) {
            close(&socket.queue);
            self.host.run();
        }
        Ok(())
    }

    /// Sends a socket a command of another kind of socket, or of none.
    fn ask_of_any(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let Some(id) = self.any(story)? else { return Ok(()) };
        let is_raw = self.model.get(&id).map(|socket| socket.kind) == Some(Kind::Raw);
        let command: Command = match is_raw {
            true => icmp::Command::Recv.into(),
            false => raw::Command::Recv.into(),
        };
        let error = self.host.call(Some(id), command).expect("answered at once").err();
        match self.model.get(&id) {
            Some(Socket { kind: Kind::Stream, .. }) | None => {
                assert!(matches!(error, Some(Error::Closed | Error::WrongSocket)), "{error:?}");
            }
            Some(_) => assert_eq!(error, Some(Error::WrongSocket)),
        }
        Ok(())
    }

    /// An id that was given out, for a socket that is open or not.
    fn any(&self, story: &mut Unstructured<'_>) -> arbitrary::Result<Option<SocketId>> {
        match self.known.len() {
            0 => Ok(None),
            len => Ok(Some(self.known[len - 1 - story.int_in_range(0..=len.min(64) - 1)?])),
        }
    }

    /// Compares the stack with the model.
    fn check(&mut self) {
        let snapshot = self.host.stack.snapshot();
        assert_eq!(snapshot.counters.panics_caught, 0);
        assert!(snapshot.sockets.len() <= SOCKETS_MAX);
        let is_stream = |state| state != TcpState::Listen;
        let there: BTreeSet<_> = snapshot
            .sockets
            .iter()
            .filter(|socket| !socket.state.is_some_and(is_stream))
            .map(|socket| (socket.id, socket.local))
            .collect();
        let expected: BTreeSet<_> = self
            .model
            .iter()
            .filter(|(_, socket)| socket.kind != Kind::Stream)
            .map(|(id, socket)| (*id, socket.local))
            .collect();
        assert_eq!(there, expected, "\n{snapshot}");
        for socket in snapshot.sockets.iter().filter(|socket| socket.state.is_some_and(is_stream)) {
            assert!(self.known.contains(&socket.id), "unexpected socket {socket:?}");
        }
    }

    fn end(mut self) {
        for socket in std::mem::take(&mut self.model).into_values() {
            close(&socket.queue);
        }
        self.host.drain();
        for id in self.known {
            let answer = self.host.call(Some(id), tcp::Command::Close).expect("answered at once");
            assert_eq!(answer.err(), Some(Error::Closed), "{id:?}");
        }
    }
}

/// The addresses of the stack's that a socket on `address` has to itself.
fn covered(kind: Kind, address: IpAddr) -> Vec<IpAddr> {
    let v4: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), OWN.into()];
    let v6: [IpAddr; 2] =
        [Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into()];
    match address {
        address if !address.is_unspecified() => vec![address],
        IpAddr::V4(_) => v4.into(),
        IpAddr::V6(_) if kind == (Kind::Udp { is_v6_only: true }) => v6.into(),
        IpAddr::V6(_) => [v4, v6].concat(),
    }
}

fn close(queue: &SocketQueue) {
    match queue {
        SocketQueue::Stream(stream) => stream.close(),
        SocketQueue::Accept(accept) => accept.close(),
        SocketQueue::Held(held) => held.close(),
        SocketQueue::Datagram(datagrams) => datagrams.close(),
    }
}

fn endpoint(story: &mut Unstructured<'_>) -> arbitrary::Result<SocketAddr> {
    // Few ports, so that they collide; 0 lets the stack choose.
    Ok((address(story)?, story.int_in_range(0..=4)?).into())
}

fn address(story: &mut Unstructured<'_>) -> arbitrary::Result<IpAddr> {
    let addresses: [IpAddr; 7] = [
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv4Addr::LOCALHOST.into(),
        OWN.into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
        // None of the stack's.
        Ipv4Addr::new(10, 0, 0, 9).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9).into(),
    ];
    story.choose(&addresses).copied()
}
