//! The columns of ss(8).

use super::filter::state_of;
use super::{Args, Row, info};
use netstack::control::StackInfo;
use netstack::netsocket::netcore::{SocketInfo, SocketKind, TcpState, Timer};
use netstack::netsocket::{Owner, TcpInfo};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const COLUMNS: usize = 8;
const HEADER: [&str; COLUMNS] = [
    "Netid",
    "State",
    "Recv-Q",
    "Send-Q",
    "Local Address:Port",
    "Peer Address:Port",
    "Id",
    "Limit",
];
/// Numbers, which end at the same place.
const RECV_Q: usize = 2;
const SEND_Q: usize = 3;

/// The table, with what the flags ask for behind each socket.
pub(super) fn text(args: &Args, rows: &[Row], process: Option<&StackInfo>) -> String {
    let cells: Vec<_> = rows.iter().map(cells).collect();
    // As ss(8) leaves the first column out if it is the same for all.
    let kinds = [args.tcp, args.udp, args.raw].into_iter().filter(|it| *it).count();
    let first = usize::from(kinds == 1);
    let mut widths = HEADER.map(str::len);
    if args.no_header {
        widths = [0; COLUMNS];
    }
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    if !args.no_header {
        let last = if process.is_some() { "Process" } else { "" };
        line(&mut text, &HEADER.map(str::to_owned), &widths, first, last);
    }
    for (row, cells) in rows.iter().zip(&cells) {
        let mut rest = process.map(|it| users(it, row.owner())).unwrap_or_default();
        if args.options
            && let Row::Socket(socket) = row
            && let Some(timer) = timer(socket)
        {
            rest = format!("{rest} {timer}").trim_start().to_owned();
        }
        if args.info
            && let Some(info) = row.info()
        {
            let separator = if args.oneline { " " } else { "\n\t " };
            rest = format!("{rest}{separator}{}", info::text(info));
        }
        line(&mut text, cells, &widths, first, &rest);
    }
    text
}

fn line(
    text: &mut String,
    cells: &[String; COLUMNS],
    widths: &[usize; COLUMNS],
    first: usize,
    rest: &str,
) {
    let begin = text.len();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate().skip(first) {
        let _ = match index {
            RECV_Q | SEND_Q => write!(text, "{cell:>width$} "),
            _ => write!(text, "{cell:<width$} "),
        };
    }
    if rest.starts_with('\n') {
        text.truncate(begin.max(text.trim_end().len()));
    }
    text.push_str(rest);
    text.truncate(begin.max(text.trim_end().len()));
    text.push('\n');
}

fn cells(row: &Row) -> [String; COLUMNS] {
    let (recv_q, send_q) = row.queues();
    let (kind, state, local, peer, id) = match row {
        Row::Socket(socket) => (
            kind_name(socket.kind),
            state_name(state_of(socket)),
            local(socket),
            socket.peer.map_or_else(|| any_peer(socket), address),
            socket.id.to_string(),
        ),
        Row::TimeWait { local, peer } => {
            ("tcp", "TIME-WAIT", address(*local), address(*peer), String::new())
        }
    };
    [
        kind.into(),
        state.into(),
        recv_q.to_string(),
        send_q.to_string(),
        local,
        peer,
        id,
        row.info().map_or_else(String::new, limit),
    ]
}

/// What limits it, and for what part of its life that has.
pub(super) fn limit(info: &TcpInfo) -> String {
    format!("{} {}", info.limit.name(), share(info.limited[info.limit], info.age))
}

/// A part of a time, in percent.
pub(super) fn share(part: Duration, whole: Duration) -> String {
    match whole.is_zero() {
        true => "0%".into(),
        false => format!("{:.0}%", 100.0 * part.as_secs_f64() / whole.as_secs_f64()),
    }
}

fn kind_name(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Tcp => "tcp",
        SocketKind::Udp => "udp",
        SocketKind::Ping => "icmp",
        _ => "raw",
    }
}

fn state_name(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "ESTAB",
        TcpState::SynReceived => "SYN-RECV",
        TcpState::Closed => "UNCONN",
        other => other.name(),
    }
}

fn address(address: SocketAddr) -> String {
    match address.port() {
        0 => format!("{}:*", host(address.ip())),
        port => format!("{}:{port}", host(address.ip())),
    }
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn local(socket: &SocketInfo) -> String {
    match socket.local {
        // Of both families, as a socket of the kernel without IPV6_V6ONLY.
        at if at.ip().is_unspecified() && at.is_ipv6() => match at.port() {
            0 => "*:*".into(),
            port => format!("*:{port}"),
        },
        at => address(at),
    }
}

fn any_peer(socket: &SocketInfo) -> String {
    match socket.local.ip() {
        IpAddr::V4(_) => "0.0.0.0:*".into(),
        IpAddr::V6(ip) if ip.is_unspecified() => "*:*".into(),
        IpAddr::V6(_) => "[::]:*".into(),
    }
}

/// The process: that of the stack, unless the socket is another one's; and who in it has made the socket.
fn users(StackInfo { process, pid, name, .. }: &StackInfo, owner: Option<&Owner>) -> String {
    let own = Owner::default();
    let owner = owner.unwrap_or(&own);
    let mut text = match owner.pid {
        Some(pid) => format!("\"{}\",pid={pid}", owner.name.as_deref().unwrap_or(process)),
        None => format!("\"{process}\",pid={pid}"),
    };
    if !name.is_empty() {
        let _ = write!(text, ",stack={name}");
    }
    if let (Some(name), None) = (&owner.name, owner.pid) {
        let _ = write!(text, ",name={name}");
    }
    if let Some(thread) = &owner.thread {
        let _ = write!(text, ",thread={thread}");
    }
    if let Some(task) = owner.task {
        let _ = write!(text, ",task={task}");
    }
    format!("users:(({text}))")
}

/// As `-o` of ss(8): the kind of the timer, the time until it expires, and the number of repetitions.
fn timer(socket: &SocketInfo) -> Option<String> {
    let info = socket.tcp.as_ref()?;
    let (timer, _) = socket.timer?;
    let timers = &info.timers;
    let (name, left) = match timer {
        Timer::KeepAlive => ("keepalive", timers.keep_alive?),
        Timer::Segment if timers.window_probe.is_some() => ("persist", timers.window_probe?),
        Timer::Segment => {
            ("on", timers.retransmission.or(timers.handshake).or(timers.delayed_ack)?)
        }
        Timer::GiveUp => ("give-up", timers.give_up?),
        _ => return None,
    };
    Some(format!("timer:({name},{},{})", info::millis(left), info.retransmits))
}
