//! The options of a socket: what was set is read back, and what the stack knows is passed to it.

use crate::posix::Family;
use netsocket::netcore::tcp::congestion::CongestionControl;
use netsocket::netcore::tcp::{KeepAlive, Options};
use netsocket::netcore::udp;
use netsocket::{TcpSocket, TcpStream, UdpSocket};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::time::Duration;

/// The options of a socket.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Those of TCP.
    pub connection: Options,
    /// The times of keep-alive probes, which are set apart from their being on.
    pub keep_alive: KeepAlive,
    /// Those of UDP.
    pub datagrams: udp::Options,
    /// `IPV6_V6ONLY`.
    pub only_v6: bool,
    /// Options that change nothing here, by level and name.
    stored: HashMap<(libc::c_int, libc::c_int), i32>,
}

/// What becomes of a `getsockopt`.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// The value.
    Bytes(Vec<u8>),
    /// The descriptor itself has it: the kernel answers.
    OfDescriptor,
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Bytes(value.to_ne_bytes().to_vec())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        i32::from(value).into()
    }
}

/// What becomes of a `setsockopt`.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Handled here.
    Here,
    /// The descriptor itself has the option: the kernel sets it.
    ByDescriptor,
}

/// Options that are kept as they are: hints, and what is for resources that this stack has in other
/// forms; those for sharing a port are passed to UDP sockets. The value is what they have at first.
const STORED: [(libc::c_int, libc::c_int, i32); 26] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR, 0),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT, 0),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE, 0),
    (libc::SOL_SOCKET, libc::SO_PRIORITY, 0),
    (libc::SOL_SOCKET, libc::SO_NO_CHECK, 0),
    (libc::SOL_SOCKET, libc::SO_BUSY_POLL, 0),
    (libc::SOL_SOCKET, libc::SO_INCOMING_CPU, 0),
    (libc::SOL_SOCKET, libc::SO_DEBUG, 0),
    (libc::IPPROTO_TCP, libc::TCP_CORK, 0),
    (libc::IPPROTO_TCP, libc::TCP_MAXSEG, 1460),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT, 6),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2, 60),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 0),
    (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, 0),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, -1),
    (libc::IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS, 0),
    (libc::IPPROTO_IP, libc::IP_RECVERR, 0),
    (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 0),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 1),
    (libc::IPPROTO_IP, libc::IP_FREEBIND, 0),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 0),
    (libc::IPPROTO_IPV6, libc::IPV6_AUTOFLOWLABEL, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_ADDR_PREFERENCES, 0),
    (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0),
    (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 0),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 1),
];

/// Options that the descriptor itself has, and that reads and writes of it follow.
const OF_DESCRIPTOR: [(libc::c_int, libc::c_int); 6] = [
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
    (libc::SOL_SOCKET, libc::SO_SNDLOWAT),
    (libc::SOL_SOCKET, libc::SO_PEEK_OFF),
    (libc::SOL_SOCKET, libc::SO_COOKIE),
];

/// The time to live of packets without an option.
const TTL: u8 = 64;
/// What `IP_MTU_DISCOVER` is at first.
const DISCOVERS_MTU: i32 = libc::IP_PMTUDISC_WANT;

impl Settings {
    /// Reads an option.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` if there is none of this name.
    pub fn get(&self, level: libc::c_int, name: libc::c_int) -> Result<Value, Errno> {
        if OF_DESCRIPTOR.contains(&(level, name)) {
            return Ok(Value::OfDescriptor);
        }
        if let Some((.., first)) = STORED.iter().find(|it| (it.0, it.1) == (level, name)) {
            return Ok(self.stored.get(&(level, name)).copied().unwrap_or(*first).into());
        }
        match level {
            libc::SOL_SOCKET => self.get_socket(name),
            libc::IPPROTO_TCP => self.get_tcp(name),
            libc::IPPROTO_IP => self.get_ipv4(name),
            libc::IPPROTO_IPV6 => self.get_ipv6(name),
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    fn get_socket(&self, name: libc::c_int) -> Result<Value, Errno> {
        let Options { send_buffer_bytes, recv_buffer_bytes, linger, keep_alive, .. } =
            &self.connection;
        Ok(match name {
            libc::SO_KEEPALIVE => keep_alive.is_some().into(),
            libc::SO_BROADCAST => self.datagrams.broadcast.into(),
            libc::SO_SNDBUF => doubled(*send_buffer_bytes).into(),
            libc::SO_RCVBUF => doubled(*recv_buffer_bytes).into(),
            libc::SO_LINGER => {
                let seconds = linger.map_or(0, |it| it.as_secs() as i32);
                let pair = [i32::from(linger.is_some()), seconds];
                Value::Bytes(pair.iter().flat_map(|it| it.to_ne_bytes()).collect())
            }
            _ => return Err(Errno::NOPROTOOPT),
        })
    }

    fn get_tcp(&self, name: libc::c_int) -> Result<Value, Errno> {
        let seconds = |time: Duration| Value::from(time.as_secs() as i32);
        Ok(match name {
            libc::TCP_NODELAY => self.connection.nodelay.into(),
            libc::TCP_QUICKACK => self.connection.quickack.into(),
            libc::TCP_KEEPIDLE => seconds(self.keep_alive.idle),
            libc::TCP_KEEPINTVL => seconds(self.keep_alive.interval),
            libc::TCP_KEEPCNT => (self.keep_alive.count as i32).into(),
            libc::TCP_USER_TIMEOUT => {
                (self.connection.user_timeout.map_or(0, |it| it.as_millis() as i32)).into()
            }
            libc::TCP_CONGESTION => {
                // As the kernel has it: in a field of 16 bytes (TCP_CA_NAME_MAX).
                let control = self.connection.congestion_control.unwrap_or_default();
                let mut name = control.name().as_bytes().to_vec();
                name.resize(16, 0);
                Value::Bytes(name)
            }
            _ => return Err(Errno::NOPROTOOPT),
        })
    }

    fn get_ipv4(&self, name: libc::c_int) -> Result<Value, Errno> {
        Ok(match name {
            libc::IP_TTL => i32::from(self.connection.hop_limit.unwrap_or(TTL)).into(),
            libc::IP_TOS => i32::from(self.connection.traffic_class).into(),
            libc::IP_MTU_DISCOVER => self.mtu_discovery().into(),
            libc::IP_MULTICAST_TTL => i32::from(self.datagrams.multicast_hop_limit).into(),
            libc::IP_MULTICAST_LOOP => self.datagrams.multicast_loop_v4.into(),
            _ => return Err(Errno::NOPROTOOPT),
        })
    }

    fn get_ipv6(&self, name: libc::c_int) -> Result<Value, Errno> {
        Ok(match name {
            libc::IPV6_V6ONLY => self.only_v6.into(),
            libc::IPV6_UNICAST_HOPS => i32::from(self.connection.hop_limit.unwrap_or(TTL)).into(),
            libc::IPV6_TCLASS => i32::from(self.connection.traffic_class).into(),
            libc::IPV6_MTU_DISCOVER => self.mtu_discovery().into(),
            libc::IPV6_MULTICAST_HOPS => i32::from(self.datagrams.multicast_hop_limit).into(),
            libc::IPV6_MULTICAST_LOOP => self.datagrams.multicast_loop_v6.into(),
            _ => return Err(Errno::NOPROTOOPT),
        })
    }

    fn mtu_discovery(&self) -> i32 {
        if self.datagrams.dont_fragment { libc::IP_PMTUDISC_DO } else { DISCOVERS_MTU }
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` if there is none of this name; `EINVAL` for a value that it cannot have.
    pub fn set(
        &mut self,
        level: libc::c_int,
        name: libc::c_int,
        value: &[u8],
    ) -> Result<Done, Errno> {
        if OF_DESCRIPTOR.contains(&(level, name)) {
            return Ok(Done::ByDescriptor);
        }
        if STORED.iter().any(|it| (it.0, it.1) == (level, name)) {
            self.stored.insert((level, name), int(value)?);
            return Ok(Done::Here);
        }
        match level {
            libc::SOL_SOCKET => self.set_socket(name, value)?,
            libc::IPPROTO_TCP => self.set_tcp(name, value)?,
            libc::IPPROTO_IP => self.set_ipv4(name, value)?,
            libc::IPPROTO_IPV6 => self.set_ipv6(name, value)?,
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(Done::Here)
    }

    fn set_socket(&mut self, name: libc::c_int, value: &[u8]) -> Result<(), Errno> {
        let flag = || Ok::<_, Errno>(int(value)? != 0);
        match name {
            libc::SO_KEEPALIVE => {
                self.connection.keep_alive = flag()?.then_some(self.keep_alive);
            }
            libc::SO_BROADCAST => self.datagrams.broadcast = flag()?,
            libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
                self.connection.send_buffer_bytes = Some(buffer(value)?);
            }
            libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
                self.connection.recv_buffer_bytes = Some(buffer(value)?);
            }
            libc::SO_LINGER => {
                let (on, seconds) = (int(value)?, int(value.get(4..).unwrap_or_default())?);
                let time = Duration::from_secs(seconds.max(0) as u64);
                self.connection.linger = (on != 0).then_some(time);
            }
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    fn set_tcp(&mut self, name: libc::c_int, value: &[u8]) -> Result<(), Errno> {
        match name {
            libc::TCP_NODELAY => self.connection.nodelay = int(value)? != 0,
            libc::TCP_QUICKACK => self.connection.quickack = int(value)? != 0,
            libc::TCP_KEEPIDLE => self.keep_alive.idle = seconds(value)?,
            libc::TCP_KEEPINTVL => self.keep_alive.interval = seconds(value)?,
            libc::TCP_KEEPCNT => self.keep_alive.count = in_range(value, 1..=127)?,
            libc::TCP_USER_TIMEOUT => {
                let millis = u64::try_from(int(value)?).map_err(|_| Errno::INVAL)?;
                let timeout = (millis != 0).then(|| Duration::from_millis(millis));
                self.connection.user_timeout = timeout;
            }
            libc::TCP_CONGESTION => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = std::str::from_utf8(name).map_err(|_| Errno::NOENT)?;
                // As the kernel answers for an algorithm that it has not.
                let control = CongestionControl::from_name(name).ok_or(Errno::NOENT)?;
                self.connection.congestion_control = Some(control);
            }
            _ => return Err(Errno::NOPROTOOPT),
        }
        if self.connection.keep_alive.is_some() {
            self.connection.keep_alive = Some(self.keep_alive);
        }
        Ok(())
    }

    fn set_ipv4(&mut self, name: libc::c_int, value: &[u8]) -> Result<(), Errno> {
        // Of this level they may be a char, too (ip(7)).
        let byte = value.first().map(|byte| i32::from(*byte).to_ne_bytes()).unwrap_or_default();
        let value = if (1..4).contains(&value.len()) { &byte } else { value };
        match name {
            libc::IP_TTL => self.set_hop_limit(value)?,
            libc::IP_TOS => self.set_traffic_class(value)?,
            libc::IP_MTU_DISCOVER => self.datagrams.dont_fragment = is_strict(value)?,
            libc::IP_MULTICAST_TTL => self.set_multicast_hop_limit(value)?,
            libc::IP_MULTICAST_LOOP => self.datagrams.multicast_loop_v4 = int(value)? != 0,
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    fn set_ipv6(&mut self, name: libc::c_int, value: &[u8]) -> Result<(), Errno> {
        match name {
            libc::IPV6_V6ONLY => self.only_v6 = int(value)? != 0,
            libc::IPV6_UNICAST_HOPS => self.set_hop_limit(value)?,
            libc::IPV6_TCLASS => self.set_traffic_class(value)?,
            libc::IPV6_MTU_DISCOVER => self.datagrams.dont_fragment = is_strict(value)?,
            libc::IPV6_MULTICAST_HOPS => self.set_multicast_hop_limit(value)?,
            libc::IPV6_MULTICAST_LOOP => self.datagrams.multicast_loop_v6 = int(value)? != 0,
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    fn set_hop_limit(&mut self, value: &[u8]) -> Result<(), Errno> {
        // -1 is the default.
        let limit = match int(value)? {
            -1 => None,
            _ => Some(in_range(value, 1..=255)? as u8),
        };
        (self.connection.hop_limit, self.datagrams.hop_limit) = (limit, limit);
        Ok(())
    }

    fn set_traffic_class(&mut self, value: &[u8]) -> Result<(), Errno> {
        let class = int(value)?.max(0) as u8;
        (self.connection.traffic_class, self.datagrams.traffic_class) = (class, class);
        Ok(())
    }

    fn set_multicast_hop_limit(&mut self, value: &[u8]) -> Result<(), Errno> {
        self.datagrams.multicast_hop_limit = match int(value)? {
            -1 => 1,
            _ => in_range(value, 0..=255)? as u8,
        };
        Ok(())
    }

    /// Gives the options to a socket that is to listen or to connect, but `only_v6`, which is for
    /// sockets without an address.
    pub fn prepare(&self, socket: &TcpSocket, family: Family) -> io::Result<()> {
        let it = &self.connection;
        if family == Family::V6 {
            socket.set_tclass_v6(it.traffic_class.into())?;
        } else {
            socket.set_tos_v4(it.traffic_class.into())?;
        }
        socket.set_nodelay(it.nodelay)?;
        if let Some(keep_alive) = &it.keep_alive {
            socket.set_tcp_keepalive(keep_alive)?;
        }
        socket.set_tcp_user_timeout(it.user_timeout)?;
        socket.set_congestion_control(it.congestion_control)?;
        socket.set_linger(it.linger)?;
        if let Some(limit) = it.hop_limit {
            socket.set_ttl(limit.into())?;
        }
        if let Some(bytes) = it.send_buffer_bytes {
            socket.set_send_buffer_size(u32::try_from(bytes).unwrap_or(u32::MAX))?;
        }
        if let Some(bytes) = it.recv_buffer_bytes {
            socket.set_recv_buffer_size(u32::try_from(bytes).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    /// Gives the options to a connection.
    pub fn apply(&self, stream: &TcpStream, family: Family) -> io::Result<()> {
        let it = &self.connection;
        match family {
            Family::V4 => stream.set_tos_v4(it.traffic_class.into())?,
            Family::V6 => stream.set_tclass_v6(it.traffic_class.into())?,
        }
        stream.set_nodelay(it.nodelay)?;
        stream.set_quickack(it.quickack)?;
        stream.set_keepalive(it.keep_alive)?;
        stream.set_user_timeout(it.user_timeout)?;
        stream.set_linger(it.linger)?;
        stream.set_ttl(it.hop_limit.unwrap_or(TTL).into())?;
        // Setting it begins with the initial window again.
        if stream.congestion_control()? != it.congestion_control {
            stream.set_congestion_control(it.congestion_control)?;
        }
        Ok(())
    }

    /// The options that a socket with datagrams begins with: those that let it share its port.
    pub fn datagram_options(&self) -> udp::Options {
        udp::Options {
            reuse_address: self.is_stored(libc::SO_REUSEADDR),
            reuse_port: self.reuses_port(),
            ..self.datagrams
        }
    }

    /// Whether a socket may share its port (`SO_REUSEPORT`).
    pub(crate) fn reuses_port(&self) -> bool {
        self.is_stored(libc::SO_REUSEPORT)
    }

    fn is_stored(&self, name: libc::c_int) -> bool {
        self.stored.get(&(libc::SOL_SOCKET, name)).is_some_and(|it| *it != 0)
    }

    /// Gives the options to a socket with datagrams.
    pub fn apply_to_datagrams(&self, socket: &UdpSocket, family: Family) -> io::Result<()> {
        let it = &self.datagram_options();
        socket.set_reuse_address(it.reuse_address)?;
        socket.set_reuse_port(it.reuse_port)?;
        socket.set_ttl(it.hop_limit.unwrap_or(TTL).into())?;
        socket.set_broadcast(it.broadcast)?;
        socket.set_multicast_loop_v4(it.multicast_loop_v4)?;
        socket.set_multicast_loop_v6(it.multicast_loop_v6)?;
        socket.set_multicast_ttl_v4(it.multicast_hop_limit.into())?;
        match family {
            Family::V4 => socket.set_tos_v4(it.traffic_class.into()),
            Family::V6 => socket.set_tclass_v6(it.traffic_class.into()),
        }
    }
}

/// The size of a buffer as the kernel tells it: with room for its own bookkeeping, twice what was
/// set. Without one the size changes with the connection; this is where Linux begins.
fn doubled(bytes: Option<usize>) -> i32 {
    bytes.map_or(BUFFER, |bytes| i32::try_from(bytes.saturating_mul(2)).unwrap_or(i32::MAX))
}

const BUFFER: i32 = 131_072;

fn buffer(value: &[u8]) -> Result<usize, Errno> {
    // The kernel, too, raises smaller values to about this.
    Ok(usize::try_from(int(value)?).unwrap_or(0).max(2048))
}

/// A value of type `int`; a shorter one is an error as for the kernel.
fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::INVAL)
}

fn in_range(value: &[u8], range: std::ops::RangeInclusive<i32>) -> Result<u32, Errno> {
    let value = int(value)?;
    if range.contains(&value) { Ok(value as u32) } else { Err(Errno::INVAL) }
}

fn seconds(value: &[u8]) -> Result<Duration, Errno> {
    // Linux's limits for the times of keep-alive probes.
    in_range(value, 1..=32767).map(|seconds| Duration::from_secs(seconds.into()))
}

/// Whether a value of `IP_MTU_DISCOVER` forbids fragments.
fn is_strict(value: &[u8]) -> Result<bool, Errno> {
    let value = in_range(value, 0..=5)? as i32;
    Ok(matches!(value, libc::IP_PMTUDISC_DO | libc::IP_PMTUDISC_PROBE))
}
