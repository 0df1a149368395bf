//! `struct inet_diag_msg` and its attributes: a socket.

use crate::netlink::sock_diag::wanted::family;
use crate::posix::tcp_info as tcp;
use netlink_packet_core::Emitable;
use netlink_packet_sock_diag::inet::nlas::{LegacyMemInfo, MemInfo, Nla};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetResponse, InetResponseHeader, SocketId as Name, Timer,
};
use netlink_packet_sock_diag::{TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_TIME_WAIT};
use netsocket::TcpInfo;
use netsocket::netcore::{SocketInfo, TcpState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Whose a socket is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    /// 0 without a descriptor.
    pub(crate) inode: u32,
}

/// `RCV_SHUTDOWN` and `SEND_SHUTDOWN` (net/sock.h).
const RECEIVES_NO_MORE: u8 = 1;
const SENDS_NO_MORE: u8 = 2;

/// The number of a socket's state: of TCP's states a socket of another kind has two.
pub(crate) fn number(socket: &SocketInfo) -> u8 {
    match (socket.state, socket.peer) {
        (Some(state), _) => tcp::state(state),
        (None, Some(_)) => TCP_ESTABLISHED,
        (None, None) => TCP_CLOSE,
    }
}

/// The message of a socket.
pub(crate) fn socket(socket: &SocketInfo, extensions: ExtensionFlags, owner: Owner) -> Vec<u8> {
    let state = number(socket);
    let header = InetResponseHeader {
        family: family(socket.local),
        state,
        timer: socket.tcp.as_deref().and_then(timer),
        socket_id: name(socket.local, socket.peer, socket.id.to_bits().to_le_bytes()),
        recv_queue: cut(socket.receive_queue as u64),
        send_queue: cut(socket.send_queue as u64),
        uid: owner.uid,
        inode: owner.inode,
    };
    let mut attributes = vec![Nla::Shutdown(shutdown(socket.state))];
    if socket.local.is_ipv6() && [TCP_LISTEN, TCP_CLOSE].contains(&state) {
        attributes.push(Nla::SkV6Only(!socket.local.ip().is_unspecified()));
    }
    if extensions.contains(ExtensionFlags::MEMINFO) {
        attributes.push(Nla::LegacyMemInfo(legacy_memory(socket)));
    }
    if extensions.contains(ExtensionFlags::SKMEMINFO) {
        attributes.push(Nla::MemInfo(memory(socket)));
    }
    if let Some(state) = socket.state.filter(|_| extensions.contains(ExtensionFlags::INFO)) {
        let info = socket.tcp.as_deref();
        attributes.push(Nla::TcpInfo(info.map_or_else(|| tcp::of_state(state), tcp::encode)));
    }
    if let Some(info) = socket.tcp.as_deref().filter(|_| extensions.contains(ExtensionFlags::CONG))
    {
        attributes.push(Nla::Congestion(info.congestion_control.to_string()));
    }
    encode(header, attributes)
}

/// The message of a connection in TIME-WAIT.
pub(crate) fn time_wait(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let header = InetResponseHeader {
        family: family(local),
        state: TCP_TIME_WAIT,
        timer: Some(Timer::TimeWait),
        socket_id: name(local, Some(peer), [0; 8]),
        recv_queue: 0,
        send_queue: 0,
        uid: 0,
        inode: 0,
    };
    encode(header, Vec::new())
}

fn encode(header: InetResponseHeader, attributes: Vec<Nla>) -> Vec<u8> {
    let message = InetResponse { header, nlas: attributes.into_iter().collect() };
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn name(local: SocketAddr, peer: Option<SocketAddr>, cookie: [u8; 8]) -> Name {
    let nobody = match local.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let peer = peer.unwrap_or(SocketAddr::new(nobody, 0));
    Name {
        source_port: local.port(),
        destination_port: peer.port(),
        source_address: local.ip(),
        destination_address: peer.ip(),
        interface_id: 0,
        cookie,
    }
}

/// The timer that the kernel would show: the first of these that runs.
fn timer(info: &TcpInfo) -> Option<Timer> {
    let timers = &info.timers;
    let repetitions = |count: u32| u8::try_from(count).unwrap_or(u8::MAX);
    let sending: [Option<Duration>; 4] =
        [timers.retransmission, timers.tail_loss_probe, timers.reordering, timers.handshake];
    if let Some(left) = timers.window_probe {
        return Some(Timer::Probe(left));
    }
    if let Some(left) = sending.into_iter().flatten().min() {
        return Some(Timer::Retransmit(left, repetitions(info.retransmits)));
    }
    timers.keep_alive.map(Timer::KeepAlive)
}

fn shutdown(state: Option<TcpState>) -> u8 {
    match state {
        Some(TcpState::FinWait1 | TcpState::FinWait2) => SENDS_NO_MORE,
        Some(TcpState::CloseWait) => RECEIVES_NO_MORE,
        Some(TcpState::Closing | TcpState::LastAck) => RECEIVES_NO_MORE | SENDS_NO_MORE,
        _ => 0,
    }
}

fn legacy_memory(socket: &SocketInfo) -> LegacyMemInfo {
    let MemInfo { receive_queue, bottom_send_queues, cache, send_queue, .. } = memory(socket);
    LegacyMemInfo {
        receive_queue,
        bottom_send_queue: send_queue,
        cache,
        send_queue: bottom_send_queues,
    }
}

/// Bytes of payload: the stack has no memory for headers beside them.
fn memory(socket: &SocketInfo) -> MemInfo {
    let info = socket.tcp.as_deref();
    let of = |value: fn(&TcpInfo) -> u64| cut(info.map_or(0, value));
    let receive_queue = match info {
        Some(info) => cut(info.unread_bytes + info.out_of_order_bytes),
        None => 0,
    };
    MemInfo {
        receive_queue,
        receive_queue_max: of(|info| info.rcv_buf),
        bottom_send_queues: of(|info| info.unacked),
        send_queue_max: of(|info| info.snd_buf),
        cache: 0,
        send_queue: of(|info| info.unacked + info.notsent_bytes),
        options: 0,
        backlog_queue_length: 0,
        drops: 0,
    }
}

fn cut(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
