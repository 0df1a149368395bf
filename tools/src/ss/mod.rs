//! `netstack ss`: the sockets of a running stack, as ss(8) shows the kernel's.

mod filter;
mod info;
mod table;

use crate::client::{self, Target};
use anyhow::{Error, Result};
use filter::{Filter, States, state_of};
use netstack::control::{Answer, Client, Command, StackInfo};
use netstack::netsocket::netcore::{Overview, SocketInfo, SocketKind, TcpState};
use netstack::netsocket::{Limit, Owner, TcpInfo};
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Show the sockets of a running stack
///
/// Flags, columns and filters are those of ss(8), and two columns more: the id of the socket, for
/// netstack why and kill, and what limits the connection.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// TCP sockets
    #[arg(short, long)]
    tcp: bool,
    /// UDP sockets
    #[arg(short, long)]
    udp: bool,
    /// Raw and ping sockets
    #[arg(short = 'w', long)]
    raw: bool,
    /// IPv4 only
    #[arg(short = '4', long)]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Listening sockets only
    #[arg(short, long)]
    listening: bool,
    /// All sockets, listening and in TIME-WAIT, too
    #[arg(short, long)]
    all: bool,
    /// Numbers instead of names, as always here
    #[arg(short, long)]
    numeric: bool,
    /// What TCP knows of each connection, and what has limited it for how long
    #[arg(short, long)]
    info: bool,
    /// The running timer of each connection
    #[arg(short, long)]
    options: bool,
    /// The process, the name of the stack, and who has made the socket: its name, thread and task
    #[arg(short, long)]
    processes: bool,
    /// A summary only
    #[arg(short, long)]
    summary: bool,
    /// No header
    #[arg(short = 'H', long)]
    no_header: bool,
    /// One line for each socket
    #[arg(short = 'O', long)]
    oneline: bool,
    /// The largest first, by this
    #[arg(long, value_name = "KEY")]
    sort: Option<Key>,
    /// An array of JSON; times are microseconds, sizes bytes
    #[arg(short, long)]
    json: bool,
    /// state established, sport = :80, dst 10.0.0.0/8, limit peer-window; with and, or, not, ( )
    #[arg(trailing_var_arg = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Key {
    /// Time since the first SYN
    Age,
    /// Round trip
    Rtt,
    /// Bytes sent
    Sent,
    /// Bytes received
    Received,
    /// Segments sent again
    Retrans,
    /// Bytes that wait to be read
    RecvQ,
    /// Bytes that are not acknowledged
    SendQ,
}

const EXAMPLES: &str = "\
Limits: handshake, peer-window, congestion-window, pacing, send-buffer, application,
receive-buffer, device, neighbour, retransmission-timer, idle. Beside it stands the share of the
connection's life in which it has limited it.

Units of -i: times in milliseconds, sizes in bytes, rates in bits a second, cwnd and ssthresh in
segments of mss bytes, as in ss(8).

Examples:
  netstack ss -tlp
  netstack ss -ti state established '( sport = :80 or sport = :443 )' dst 10.0.0.0/8
  netstack ss -t limit peer-window
  netstack ss -t --sort retrans
  netstack ss --json | jq '.[] | select(.tcp.rtt > 100000) | .peer'";

/// A socket, or what is left of one in TIME-WAIT.
#[derive(Debug)]
enum Row {
    Socket(Box<SocketInfo>),
    TimeWait { local: SocketAddr, peer: SocketAddr },
}

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        let filter = Filter::parse(&args.filter).map_err(Error::msg)?;
        let mut client = args.target.connect()?;
        let text = match args.summary {
            true => summary(&mut client)?,
            false => list(args, &filter, &mut client)?,
        };
        client::report_skipped(&client);
        Ok(text)
    })
}

fn list(args: &Args, filter: &Filter, client: &mut Client) -> Result<String> {
    let process = args.processes.then(|| client::stack(client)).transpose()?;
    let mut rows = rows(args, filter, client)?;
    if let Some(key) = args.sort {
        rows.sort_by_key(|row| Reverse(key.of(row)));
    }
    match args.json {
        true => json(&rows, process.as_ref()),
        false => Ok(table::text(args, &rows, process.as_ref())),
    }
}

/// The sockets that are wanted.
fn rows(args: &Args, filter: &Filter, client: &mut Client) -> Result<Vec<Row>> {
    let states = filter.states.unwrap_or(match (args.all, args.listening) {
        (true, _) => States::ALL,
        (false, true) => States::LISTENING,
        (false, false) => States::CONNECTED,
    });
    let mut rows = Vec::new();
    for answer in client.ask(&Command::Sockets {})? {
        if let Answer::Socket(socket) = answer?
            && states.contains(state_of(&socket))
            && args.shows(socket.kind, socket.local)
            && filter.matches(&socket)
        {
            rows.push(Row::Socket(socket));
        }
    }
    if states.contains(TcpState::TimeWait) {
        for answer in client.ask(&Command::TimeWait {})? {
            if let Answer::TimeWait { local, peer } = answer?
                && args.shows(SocketKind::Tcp, local)
                && filter.matches_ends(local, Some(peer), None)
            {
                rows.push(Row::TimeWait { local, peer });
            }
        }
    }
    Ok(rows)
}

impl Args {
    /// Whether sockets of this kind and family are wanted.
    fn shows(&self, kind: SocketKind, local: SocketAddr) -> bool {
        let is_v4 = local.ip().to_canonical().is_ipv4();
        let family = match (self.ipv4, self.ipv6) {
            (true, false) => is_v4,
            (false, true) => !is_v4,
            _ => true,
        };
        family && (self.shows_all_kinds() || self.shows_kind(kind))
    }

    fn shows_kind(&self, kind: SocketKind) -> bool {
        match kind {
            SocketKind::Tcp => self.tcp,
            SocketKind::Udp => self.udp,
            _ => self.raw,
        }
    }

    /// Whether none is chosen, or more than one: the kind of each is shown then.
    fn shows_all_kinds(&self) -> bool {
        !self.tcp && !self.udp && !self.raw
    }
}

impl Row {
    fn info(&self) -> Option<&TcpInfo> {
        match self {
            Self::Socket(socket) => socket.tcp.as_deref(),
            Self::TimeWait { .. } => None,
        }
    }

    fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Socket(socket) => socket.owner.as_deref(),
            Self::TimeWait { .. } => None,
        }
    }

    /// Bytes that wait to be read, and that are not acknowledged.
    fn queues(&self) -> (usize, usize) {
        match self {
            Self::Socket(socket) => (socket.receive_queue, socket.send_queue),
            Self::TimeWait { .. } => (0, 0),
        }
    }
}

impl Key {
    fn of(self, row: &Row) -> u64 {
        let of_info = |value: fn(&TcpInfo) -> u64| row.info().map_or(0, value);
        match self {
            Self::Age => of_info(|info| info.age.as_micros() as u64),
            Self::Rtt => of_info(|info| info.rtt.unwrap_or_default().as_micros() as u64),
            Self::Sent => of_info(|info| info.bytes_sent),
            Self::Received => of_info(|info| info.bytes_received),
            Self::Retrans => of_info(|info| info.total_retrans),
            Self::RecvQ => row.queues().0 as u64,
            Self::SendQ => row.queues().1 as u64,
        }
    }
}

fn json(rows: &[Row], process: Option<&StackInfo>) -> Result<String> {
    let mut all = Vec::new();
    for row in rows {
        let mut value = match row {
            Row::Socket(socket) => serde_json::to_value(socket)?,
            Row::TimeWait { local, peer } => serde_json::json!({
                "kind": "tcp", "state": "time-wait", "local": local, "peer": peer,
            }),
        };
        if let Some(StackInfo { process, pid, name, .. }) = process {
            let other = row.owner().filter(|owner| owner.pid.is_some());
            let process = other.and_then(|owner| owner.name.as_ref()).unwrap_or(process);
            let pid = other.and_then(|owner| owner.pid).unwrap_or(*pid);
            value["users"] = serde_json::json!([{ "process": process, "pid": pid, "stack": name }]);
        }
        all.push(value.to_string());
    }
    Ok(format!("[{}]\n", all.join(",\n")))
}

/// How many sockets of each kind there are.
fn summary(client: &mut Client) -> Result<String> {
    let mut kinds = [(SocketKind::Tcp, 0), (SocketKind::Udp, 0), (SocketKind::Raw, 0)];
    let (mut established, mut listening) = (0, 0);
    for answer in client.ask(&Command::Sockets {})? {
        let Answer::Socket(socket) = answer? else { continue };
        let kind = if socket.kind == SocketKind::Ping { SocketKind::Raw } else { socket.kind };
        let counted = kinds.iter_mut().filter(|(it, _)| *it == kind);
        counted.for_each(|(_, count)| *count += 1);
        established += u32::from(socket.state == Some(TcpState::Established));
        listening += u32::from(socket.state == Some(TcpState::Listen));
    }
    let Overview { sockets, time_wait, buffer_bytes, .. } = client::overview(client)?;
    let [(_, tcp), (_, udp), (_, raw)] = kinds;
    Ok(format!(
        "Total: {sockets}\nTCP:   {tcp} (estab {established}, listen {listening}, timewait \
         {time_wait}), {buffer_bytes} bytes in buffers\nUDP:   {udp}\nRAW:   {raw}\n"
    ))
}

/// A limit by its name.
fn limit_from_name(name: &str) -> Result<Limit, String> {
    let known = || Limit::ALL.map(Limit::name).join(", ");
    Limit::from_name(name).ok_or_else(|| format!("\"{name}\" is no limit; there are {}", known()))
}
