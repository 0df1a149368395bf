//! What a control socket and its clients send to each other.

use ipnet::IpNet;
use netcore::tcp::Limit;
use netcore::{
    Error, NeighbourInfo, Network, NextHopInfo, Overview, SocketId, SocketInfo, TcpState,
};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// A request: a line of JSON.
///
/// ```
/// use netstack::control::{Command, Request};
///
/// let line = br#"{"version":1,"command":"counters"}"#;
/// assert_eq!(Request::parse(line).unwrap().command, Command::Counters {});
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// The version that the client speaks: [`VERSION`].
    pub version: u32,
    /// The command.
    #[serde(flatten)]
    pub command: Command,
}

/// A command to a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Command {
    /// The process and its stack; answered by one [`Answer::Stack`].
    Stack {},
    /// All sockets, in no particular order; answered by an [`Answer::Socket`] for each.
    Sockets {},
    /// One socket; answered by one [`Answer::Socket`].
    Socket {
        /// The socket.
        id: SocketId,
    },
    /// All connections, in few words; answered by [`Answer::Flows`], some at a time.
    Flows {},
    /// The connections in TIME-WAIT; answered by an [`Answer::TimeWait`] for each.
    TimeWait {},
    /// The counters; answered by one [`Answer::Counters`].
    Counters {},
    /// Addresses, routes, link and name servers; answered by one [`Answer::Network`].
    Network {},
    /// Addresses, routes, link and name servers as soon as they are other than one has seen them;
    /// answered by one [`Answer::Network`], or after five seconds without a change by none.
    Change {
        /// The [revision](Network::revision) that was seen.
        seen: u64,
    },
    /// The next hop and the source address of packets to a destination; answered by one
    /// [`Answer::NextHop`].
    RouteTo {
        /// The destination.
        destination: IpAddr,
    },
    /// The neighbours on an Ethernet link, the most recently used first; answered by an
    /// [`Answer::Neighbour`] for each.
    Neighbours {},
    /// Resets a connection (RFC 9293 section 3.10.5, ABORT), or ends another socket. Pending calls
    /// of the program fail with `ConnectionAborted`.
    Abort {
        /// The socket.
        id: SocketId,
    },
    /// Records frames, from now on until the client closes its half of the stream; answered by
    /// [`Answer::Capture`], and then by a pcapng file.
    Capture {
        /// Which: an expression of [`capture::Filter`](crate::capture::Filter); empty for all.
        #[serde(default)]
        filter: String,
    },
    /// Puts a program onto the stack: its sockets are the stack's from now on. Answered by
    /// [`Answer::Joined`]; the rest of the stream is between the client and the [`Host`] of the
    /// stack, without which the command fails.
    ///
    /// [`Host`]: super::Host
    Join {
        /// The descriptor of the client's process where the system calls of the program arrive, a
        /// listener of seccomp_unotify(2). The client keeps it open until the answer.
        listener: i32,
        /// Whether `sendmsg` and `recvmsg` of the program arrive there, too.
        #[serde(default)]
        messages: bool,
    },
    /// Changes the network, as [`netsocket::Control`] does.
    Set {
        /// The change.
        change: Change,
    },
}

/// A change of a stack's network: a method of [`netsocket::Control`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// Adds an address; its prefix is the network on the link.
    AddAddress(IpNet),
    /// Removes an address, and ends the connections on it.
    RemoveAddress(IpAddr),
    /// Has new connections avoid an address, or no more.
    Deprecate {
        /// The address.
        address: IpAddr,
        /// Whether they avoid it.
        is_deprecated: bool,
    },
    /// Adds a route, or replaces that to the same destinations.
    AddRoute {
        /// The destinations.
        destination: IpNet,
        /// The gateway; `None` if the destinations are on the link.
        gateway: Option<IpAddr>,
        /// Whether the gateway is not checked to be on the link.
        #[serde(default)]
        on_link: bool,
    },
    /// Removes the route to exactly these destinations.
    RemoveRoute(IpNet),
    /// Sets the link up or down.
    LinkUp(bool),
    /// Sets the MTU in bytes, or the device's.
    Mtu(Option<usize>),
    /// Sets whether packets to any address are accepted.
    AnyIp(bool),
    /// Sets the name servers and the search domains.
    NameServers {
        /// The servers, in order of preference.
        servers: Vec<IpAddr>,
        /// The search domains of names without dots.
        #[serde(default)]
        search_domains: Vec<String>,
    },
}

/// An answer, or a part of one: a line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// The process and its stack.
    Stack(StackInfo),
    /// A socket.
    Socket(Box<SocketInfo>),
    /// Connections.
    Flows(Vec<Flow>),
    /// A connection in TIME-WAIT.
    TimeWait {
        /// The local address.
        local: SocketAddr,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// The counters.
    Counters(Box<Overview>),
    /// The network.
    Network(Network),
    /// The next hop and the source address of packets to a destination.
    NextHop(NextHopInfo),
    /// A neighbour.
    Neighbour(NeighbourInfo),
    /// A capture begins: the rest of the stream is a pcapng file.
    Capture {},
    /// A program is on the stack: the rest of the stream is between the client and the
    /// [`Host`](super::Host).
    Joined {},
    /// The end of an answer.
    Done {},
    /// The end of an answer: the command has failed, or cannot be understood.
    Error(Failure),
}

/// The failure of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What has failed, and why.
    pub message: String,
    /// The error of the stack, if it is one that is known here.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub error: Option<Error>,
}

/// An error, or none if only later versions have it.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Error>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    let parse = |name: String| {
        let name: serde::de::value::StringDeserializer<serde::de::value::Error> =
            name.into_deserializer();
        Error::deserialize(name).ok()
    };
    Ok(name.and_then(parse))
}

/// A process and its stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StackInfo {
    /// The name of the stack.
    pub name: String,
    /// The name of its link, as `ip` shows it; empty without one.
    pub interface: String,
    /// The version of the stack, such as `0.1.0`.
    pub version: String,
    /// The name of the process.
    pub process: String,
    /// The number of the process.
    pub pid: u32,
    /// Microseconds since the stack began.
    pub age: u64,
    /// Microseconds that the stack has worked: in its rounds, which include the device's.
    pub busy: u64,
    /// Microseconds of processor time that the process has had, in all threads.
    pub process_time: u64,
    /// The number of clients of the control socket, this one included.
    pub clients: usize,
}

/// A connection in few words; [`TcpInfo`](netcore::tcp::TcpInfo) explains its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Flow {
    /// The id of its socket.
    pub id: SocketId,
    /// The local address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The state.
    pub state: TcpState,
    /// What limits it.
    pub limit: Limit,
    /// Microseconds since the first SYN.
    pub age: u64,
    /// The smoothed round trip, in microseconds.
    pub rtt: Option<u64>,
    /// Bytes sent, with those sent again.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Segments sent again.
    pub total_retrans: u64,
}

impl Request {
    /// A request of this version.
    pub fn new(command: Command) -> Self {
        Self { version: VERSION, command }
    }

    /// Parses a line, without or with its end.
    ///
    /// # Errors
    ///
    /// The line is no request of a version that is known here; the message says why.
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let no_request = |error: serde_json::Error| Failure::new(format!("no request: {error}"));
        let Version { version } = serde_json::from_slice(line).map_err(no_request)?;
        if version != VERSION {
            let message = format!("version {version} is not spoken here, but {VERSION}");
            return Err(Failure::new(message));
        }
        serde_json::from_slice(line).map_err(no_request)
    }
}

/// The line, without its end.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Answer {
    /// Appends the line, with its end.
    pub(crate) fn append(&self, text: &mut Vec<u8>) -> io::Result<()> {
        serde_json::to_writer(&mut *text, self)?;
        text.push(b'\n');
        Ok(())
    }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), error: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { message: error.to_string(), error: Some(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// So that [`io::Error::get_ref`] of a client's error has it.
impl std::error::Error for Failure {}

impl Flow {
    /// The connection of a socket; `None` for any other socket, and for a connection that was reset and
    /// whose reset is about to leave.
    pub(crate) fn of(socket: &SocketInfo) -> Option<Self> {
        let micros = |time: std::time::Duration| time.as_micros() as u64;
        let info = socket.tcp.as_ref()?;
        Some(Self {
            id: socket.id,
            local: socket.local,
            peer: socket.peer?,
            state: socket.state.filter(|state| *state != TcpState::Closed)?,
            limit: info.limit,
            age: micros(info.age),
            rtt: info.rtt.map(micros),
            bytes_sent: info.bytes_sent,
            bytes_received: info.bytes_received,
            total_retrans: info.total_retrans,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_of_json() {
        for (line, command) in [
            (r#"{"version":1,"command":"sockets"}"#, Command::Sockets {}),
            (
                r#"{"version":1,"command":"abort","id":"17v3"}"#,
                Command::Abort { id: "17v3".parse().expect("an id") },
            ),
            (
                r#"{"version":1,"command":"set","change":{"add-address":"10.9.0.7/24"}}"#,
                Command::Set {
                    change: Change::AddAddress("10.9.0.7/24".parse().expect("a network")),
                },
            ),
            (
                r#"{"version":1,"command":"set","change":{"mtu":null}}"#,
                Command::Set { change: Change::Mtu(None) },
            ),
        ] {
            let request = Request::new(command);
            assert_eq!(request.to_string(), line);
            assert_eq!(Request::parse(line.as_bytes()), Ok(request));
        }
        let with_more = br#"{"version":1,"command":"stack","colour":"blue"}"#;
        assert_eq!(Request::parse(with_more), Ok(Request::new(Command::Stack {})));
    }

    #[test]
    fn each_malformed_request_has_its_message() {
        for (line, expected) in [
            ("", "no request: EOF"),
            ("{", "no request: EOF"),
            ("sockets", "no request: expected value"),
            (r#"{"command":"sockets"}"#, "no request: missing field `version`"),
            (r#"{"version":2,"command":"sockets"}"#, "version 2 is not spoken here, but 1"),
            (r#"{"version":1,"command":"dance"}"#, "no request: unknown variant `dance`"),
            (r#"{"version":1,"command":"abort"}"#, "no request: missing field `id`"),
            (r#"{"version":1,"command":"abort","id":"x"}"#, "no request: a socket id is two"),
        ] {
            let failure = Request::parse(line.as_bytes()).expect_err(line);
            assert!(failure.message.starts_with(expected), "{line}: {}", failure.message);
        }
    }
}
