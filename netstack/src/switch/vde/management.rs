//! The management socket of a VDE switch, with the commands of vde_switch that show something.

use super::{Shared, VdePortInfo};
use crate::switch::{
    AddressInfo, PairInfo, PortId, PortInfo, Traffic, Vlan, VlanId, vde::directory,
};
use crate::unix_path::BoundPath;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What commands show.
#[derive(Debug)]
pub(super) struct Management {
    shared: Arc<Shared>,
    /// Of the switch.
    directory: PathBuf,
}

/// Sessions at a time; others wait.
const SESSIONS_MAX: usize = 16;
/// The longest command, as in vde_switch.
const COMMAND_BYTES_MAX: u64 = 128;
/// Pairs of ports that are printed, of those between which most has passed.
const PAIRS_MAX: usize = 8192;
const PROMPT: &str = "\nvde$ ";
const END_OF_SESSION: &str = "9999 END OF SESSION";
/// `ENOSYS` of Linux.
const UNKNOWN: &str = "1038 Function not implemented\n";
/// `EINVAL` of Linux, where there is no such port.
const INVALID: &str = "1022 Invalid argument\n";

/// The commands, their arguments, and what they do.
const COMMANDS: [(&str, &str, &str); 10] = [
    ("help", "", "list the commands"),
    ("showinfo", "", "show the version"),
    ("ds/showinfo", "", "show the directory and the mode of the sockets"),
    ("port/showinfo", "", "show the number of ports"),
    ("port/print", "[N]", "print the ports and their clients"),
    ("port/allprint", "[N]", "print the ports and their clients"),
    ("hash/print", "", "print the addresses that were learned"),
    ("pair/print", "", "print who talks to whom, in frames and bytes"),
    ("vlan/print", "[N]", "print the virtual LANs and their ports"),
    ("logout", "", "end this session"),
];

/// A port, its number, and its client if it is one of VDE.
struct Numbered {
    number: u64,
    port: PortInfo,
    client: Option<VdePortInfo>,
}

impl Management {
    pub(super) fn new(shared: Arc<Shared>, directory: &Path) -> Self {
        Self { shared, directory: directory.to_owned() }
    }

    /// Listens on a path.
    pub(super) fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, BoundPath)> {
        directory::listen(path, mode, None)
    }

    /// Serves sessions until the switch ends.
    pub(super) async fn serve(self, listener: UnixListener, path: BoundPath) {
        let management = Arc::new(self);
        let (permits, mut sessions) = (Arc::new(Semaphore::new(SESSIONS_MAX)), JoinSet::new());
        let next = async || {
            // Never closed.
            let permit = permits.clone().acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        loop {
            tokio::select! {
                () = management.shared.ended() => break,
                Some(_) = sessions.join_next() => {}
                (accepted, permit) = next() => match accepted {
                    Ok((stream, _)) => {
                        let management = management.clone();
                        sessions.spawn(async move {
                            // Its client has gone.
                            let _ = management.session(stream).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no session was accepted");
                        tokio::time::sleep(super::PAUSE).await;
                    }
                }
            }
        }
        drop(path);
        sessions.shutdown().await;
    }

    async fn session(&self, mut stream: UnixStream) -> io::Result<()> {
        let (input, mut output) = stream.split();
        let mut input = BufReader::new(input);
        output.write_all(format!("{}{PROMPT}", version()).as_bytes()).await?;
        loop {
            let mut line = Vec::new();
            (&mut input).take(COMMAND_BYTES_MAX).read_until(b'\n', &mut line).await?;
            let Some(command) = line.strip_suffix(b"\n") else {
                // The end, perhaps behind a last command, or one that is too long.
                let is_whole = !line.is_empty() && line.len() < COMMAND_BYTES_MAX as usize;
                let answer = is_whole.then(|| self.answer(&String::from_utf8_lossy(&line)));
                return output.write_all(answer.flatten().unwrap_or_default().as_bytes()).await;
            };
            match self.answer(&String::from_utf8_lossy(command)) {
                Some(answer) => output.write_all(format!("{answer}{PROMPT}").as_bytes()).await?,
                None => return output.write_all(END_OF_SESSION.as_bytes()).await,
            }
        }
    }

    /// The answer to a command; none to the end of a session.
    fn answer(&self, command: &str) -> Option<String> {
        let mut words = command.split_ascii_whitespace();
        let (name, argument) = (words.next().unwrap_or("#"), words.next());
        if name.starts_with('#') {
            return Some(String::new());
        }
        let shown = match name {
            "logout" => return None,
            "help" => Some(help()),
            "showinfo" => Some(self.info()),
            "ds/showinfo" => Some(format!(
                "ctl dir {}\nstd mode 0{:03o}\n",
                self.directory.display(),
                self.shared.config.mode
            )),
            "port/showinfo" => Some(format!(
                "Numports={}\nHUB=false\ncounters=true\n",
                self.shared.config.ports_max
            )),
            "port/print" | "port/allprint" => self.ports(argument),
            "hash/print" => Some(self.addresses()),
            "pair/print" => Some(self.pairs()),
            "vlan/print" => self.vlans(argument),
            _ => return Some(UNKNOWN.to_owned()),
        };
        Some(match shown {
            Some(text) => format!("0000 DATA END WITH '.'\n{text}.\n1000 Success\n"),
            None => INVALID.to_owned(),
        })
    }

    fn info(&self) -> String {
        format!("{}\npid {}\n", version(), std::process::id())
    }

    /// The ports of VDE by their numbers, and behind them all others in the order in which they were
    /// added.
    fn numbered(&self) -> Vec<Numbered> {
        let clients: BTreeMap<PortId, VdePortInfo> =
            self.shared.numbers.list().into_iter().map(|client| (client.id, client)).collect();
        let others = u64::from(self.shared.config.ports_max);
        let numbered = |port: PortInfo| {
            let client = clients.get(&port.id).cloned();
            let number = client.as_ref().map_or(others + port.id.0, |it| it.number.into());
            Numbered { number, port, client }
        };
        let mut ports: Vec<_> = self.shared.hub.port_infos().into_iter().map(numbered).collect();
        ports.sort_by_key(|port| port.number);
        ports
    }

    /// All ports, or that of a number if there is one.
    fn ports(&self, number: Option<&str>) -> Option<String> {
        let number = number.map(str::parse::<u64>).transpose().ok()?;
        let ports = self.numbered();
        let mut ports =
            ports.iter().filter(|it| number.is_none_or(|number| it.number == number)).peekable();
        if number.is_some() {
            ports.peek()?;
        }
        Some(ports.map(Numbered::text).collect())
    }

    fn addresses(&self) -> String {
        let numbers: BTreeMap<_, _> =
            self.numbered().into_iter().map(|it| (it.port.id, it.number)).collect();
        let mut text = String::new();
        for (index, known) in self.shared.hub.address_infos().iter().enumerate() {
            let AddressInfo { vlan, address, port, age } = known;
            let (vlan, port) = (vlan.map_or(0, VlanId::get), numbers.get(port).unwrap_or(&0));
            let age = age.as_secs();
            let _ = writeln!(
                text,
                "Hash: {index:04} Addr: {address} VLAN {vlan:04} to port: {port:03}  age {age} secs"
            );
        }
        text
    }

    fn pairs(&self) -> String {
        let numbers: BTreeMap<_, _> =
            self.numbered().into_iter().map(|it| (it.port.id, it.number)).collect();
        let mut text = String::new();
        let mut pairs = self.shared.hub.pair_infos();
        pairs.sort_by_key(|pair| Reverse(pair.traffic.bytes));
        for PairInfo { from, to, traffic } in pairs.into_iter().take(PAIRS_MAX) {
            if let (Some(from), Some(to)) = (numbers.get(&from), numbers.get(&to)) {
                let Traffic { frames, bytes } = traffic;
                let _ = writeln!(
                    text,
                    "From port: {from:03} to port: {to:03} pkts {frames:10} bytes {bytes:20}"
                );
            }
        }
        text
    }

    fn vlans(&self, number: Option<&str>) -> Option<String> {
        let number = number.map(str::parse::<u16>).transpose().ok()?;
        let ports = self.numbered();
        let mut vlans: BTreeSet<u16> = BTreeSet::new();
        ports.iter().for_each(|it| vlans.extend(memberships(&it.port.vlan).map(|(vlan, _)| vlan)));
        vlans.retain(|vlan| number.is_none_or(|number| number == *vlan));
        if number.is_some() {
            vlans.first()?;
        }
        let mut text = String::new();
        for vlan in vlans {
            let _ = writeln!(text, "VLAN {vlan:04}");
            for Numbered { number, port, .. } in &ports {
                for (_, tagged) in memberships(&port.vlan).filter(|(other, _)| *other == vlan) {
                    let tagged = u8::from(tagged);
                    let _ = writeln!(
                        text,
                        " -- Port {number:04} tagged={tagged} active=1 status=Forwarding"
                    );
                }
            }
        }
        Some(text)
    }
}

impl Numbered {
    fn text(&self) -> String {
        let Self { number, port, client } = self;
        let untagged = memberships(&port.vlan).find(|(_, tagged)| !tagged).map_or(0, |it| it.0);
        let user = client.as_ref().map_or_else(|| "NONE".into(), |client| client.user.to_string());
        let (module, name) = match client {
            Some(client) => ("unix prog", &client.description),
            None => ("netstack", &port.name),
        };
        let (received, sent) = (port.statistics.received, port.statistics.sent);
        format!(
            "Port {number:04} untagged_vlan={untagged:04} ACTIVE - Unnamed Allocatable\n \
             Current User: {user} Access Control: (User: NONE - Group: NONE)\n \
             IN:  pkts {:10}          bytes {:20}\n \
             OUT: pkts {:10}          bytes {:20}\n  \
             -- endpoint ID {:04} module {module:<12}: {name}\n  \
             -- dropped: pkts {}\n",
            received.frames,
            received.bytes,
            sent.frames,
            sent.bytes,
            port.id.0,
            port.statistics.dropped_total(),
        )
    }
}

/// The virtual LANs of a port, and whether it is tagged there; 0 stands for none, as in VDE.
fn memberships(vlan: &Vlan) -> impl Iterator<Item = (u16, bool)> {
    let (tagged, untagged) = match vlan {
        Vlan::Transparent => (None, Some(0)),
        Vlan::Access(id) => (None, Some(id.get())),
        Vlan::Trunk { allowed, native } => (Some((allowed, *native)), native.map(VlanId::get)),
    };
    let tagged = tagged.into_iter().flat_map(|(allowed, native)| {
        allowed.iter().filter(move |id| Some(**id) != native).map(|id| (id.get(), true))
    });
    tagged.chain(untagged.map(|id| (id, false)))
}

fn version() -> String {
    format!("VDE switch of netstack {}\n", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    let mut text = String::new();
    for (name, arguments, what) in COMMANDS {
        let _ = writeln!(text, "{name:<18} {arguments:<15} {what}");
    }
    text
}
