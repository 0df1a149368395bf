//! A printable picture of a stack.

use crate::counters::Counters;
use crate::ethernet::MacAddr;
use crate::id::SocketId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// All sockets of a stack and its counters, at one moment. Prints like `netstat`.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The sockets, in no particular order.
    pub sockets: Vec<SocketInfo>,
    /// Closed connections whose ends are kept out of use (TIME-WAIT), in no particular order.
    pub time_wait: Vec<(SocketAddr, SocketAddr)>,
    /// The neighbours on an Ethernet link, the one that was sent something last at first.
    pub neighbours: Vec<NeighbourInfo>,
    /// Address space handed out to TCP buffers, in bytes.
    pub buffer_bytes: usize,
    /// Sockets that have a timer running.
    pub timers: usize,
    /// The counters.
    pub counters: Counters,
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketInfo {
    /// Its id.
    pub id: SocketId,
    /// What it is: `tcp`, `udp`, `ping` or `raw`.
    pub kind: &'static str,
    /// The address that it is bound to.
    pub local: SocketAddr,
    /// Whether it takes what comes to every port that no other socket has; `local` has port 0
    /// then.
    pub any_port: bool,
    /// Its peer, if it has one.
    pub peer: Option<SocketAddr>,
    /// For TCP the state as in RFC 9293, otherwise empty. A SYN that is held is in SYN-RECEIVED.
    pub state: &'static str,
    /// Bytes received and not yet handed over; for a listener, connections to be accepted.
    pub receive_queue: usize,
    /// Bytes taken and not yet acknowledged; for a listener, handshakes under way.
    pub send_queue: usize,
}

impl SocketInfo {
    /// The address that it is bound to, as it is printed: `*` for every address of both families,
    /// and for every port.
    fn local_text(&self) -> String {
        match (self.any_port, self.local.ip()) {
            (false, _) => self.local.to_string(),
            (true, IpAddr::V6(ip)) if ip.is_unspecified() => "*:*".to_owned(),
            (true, IpAddr::V6(ip)) => format!("[{ip}]:*"),
            (true, IpAddr::V4(ip)) => format!("{ip}:*"),
        }
    }
}

/// What is known of one neighbour on an Ethernet link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Its address.
    pub address: IpAddr,
    /// Where it is, if that is known.
    pub hardware_address: Option<MacAddr>,
    /// The state as in RFC 4861 section 7.3.2; for both families.
    pub state: &'static str,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<5} {:>8} {:>8} {:<32} {:<32} State",
            "Proto", "Recv-Q", "Send-Q", "Local", "Peer"
        )?;
        for socket in &self.sockets {
            let peer = socket.peer.map_or_else(|| "*".to_owned(), |peer| peer.to_string());
            writeln!(
                f,
                "{:<5} {:>8} {:>8} {:<32} {:<32} {}",
                socket.kind,
                socket.receive_queue,
                socket.send_queue,
                socket.local_text(),
                peer,
                socket.state,
            )?;
        }
        for (local, peer) in &self.time_wait {
            let (local, peer) = (local.to_string(), peer.to_string());
            writeln!(f, "{:<5} {:>8} {:>8} {local:<32} {peer:<32} TIME-WAIT", "tcp", 0, 0)?;
        }
        for NeighbourInfo { address, hardware_address, state } in &self.neighbours {
            let at = hardware_address.map_or_else(|| "?".to_owned(), |at| at.to_string());
            writeln!(
                f,
                "{:<5} {:>8} {:>8} {:<32} {at:<32} {state}",
                "link",
                "",
                "",
                address.to_string()
            )?;
        }
        let counters = &self.counters;
        writeln!(f, "{} frames in, {} out", counters.frames_received, counters.frames_sent)?;
        for (reason, count) in counters.drops() {
            writeln!(f, "{count} dropped: {reason}")?;
        }
        Ok(())
    }
}
