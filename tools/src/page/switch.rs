//! The ports of a switch, as its management socket shows them: that of `netstack switch`, or of
//! vde_switch.

use anyhow::{Context, Result};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A switch, and its last reading.
#[derive(Debug)]
pub(super) struct Switch {
    path: PathBuf,
    seen: Option<(Instant, Said)>,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Port {
    number: u64,
    /// What its client says that it is.
    name: String,
    vlan: u16,
    frames_in: u64,
    bytes_in: u64,
    frames_out: u64,
    bytes_out: u64,
    dropped: u64,
    /// Bytes a second, from the port and to it.
    rate_in: u64,
    rate_out: u64,
    /// The hardware addresses behind it, those of virtual LANs with their number.
    addresses: Vec<String>,
    addresses_total: usize,
}

/// Who talks to whom: the traffic from one port to another.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Pair {
    from: u64,
    to: u64,
    frames: u64,
    bytes: u64,
    /// Bytes a second.
    rate: u64,
}

/// What a switch says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// By number.
    ports: BTreeMap<u64, Port>,
    /// By their numbers.
    pairs: BTreeMap<(u64, u64), Pair>,
}

/// What is shown of it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Shown {
    ports: Vec<Port>,
    ports_total: usize,
    /// Those between which most passes, first.
    pairs: Vec<Pair>,
    pairs_total: usize,
}

/// How long a switch may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// As much as a switch with 4,096 ports and 8,192 addresses says.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const PROMPT: &[u8] = b"\nvde$ ";
/// What is shown of them.
const PORTS_MAX: usize = 256;
const PAIRS_MAX: usize = 100;
const ADDRESSES_MAX: usize = 16;

impl Switch {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None }
    }

    /// Where its management socket is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the switch.
    pub(super) fn read(&mut self) -> Result<Shown> {
        let text = ask(&self.path).with_context(|| self.path.display().to_string())?;
        let (now, mut said) = (Instant::now(), parse(&text));
        if let Some((then, before)) = &self.seen {
            let seconds = (now - *then).as_secs_f64().max(1e-3);
            let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds) as u64;
            for (number, port) in &mut said.ports {
                if let Some(before) = before.ports.get(number) {
                    port.rate_in = rate(port.bytes_in, before.bytes_in);
                    port.rate_out = rate(port.bytes_out, before.bytes_out);
                }
            }
            for (ends, pair) in &mut said.pairs {
                let before = before.pairs.get(ends).map_or(0, |before| before.bytes);
                pair.rate = rate(pair.bytes, before);
            }
        }
        let shown = Shown::of(&said);
        self.seen = Some((now, said));
        Ok(shown)
    }
}

impl Shown {
    fn of(said: &Said) -> Self {
        let mut pairs: Vec<_> = said.pairs.values().cloned().collect();
        pairs.sort_by_key(|pair| Reverse((pair.rate, pair.bytes)));
        pairs.truncate(PAIRS_MAX);
        Self {
            ports: said.ports.values().take(PORTS_MAX).cloned().collect(),
            ports_total: said.ports.len(),
            pairs,
            pairs_total: said.pairs.len(),
        }
    }
}

fn ask(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (deadline, mut text) = (Instant::now() + PATIENCE, Vec::new());
    read_to_prompt(&mut stream, &mut text, deadline)?;
    // One after the other: vde_switch takes one command from what it reads, and drops the rest.
    // It has no pairs.
    for command in ["port/allprint\n", "hash/print\n", "pair/print\n"] {
        stream.write_all(command.as_bytes())?;
        read_to_prompt(&mut stream, &mut text, deadline)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Appends what the switch says until it waits for a command.
fn read_to_prompt(
    stream: &mut UnixStream,
    text: &mut Vec<u8>,
    deadline: Instant,
) -> io::Result<()> {
    let (start, mut buffer) = (text.len(), [0; 16_384]);
    while !text[start..].ends_with(PROMPT) {
        if text.len() > ANSWER_BYTES_MAX || Instant::now() > deadline {
            return Err(io::Error::other("this is no management socket of a switch"));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(())
}

/// The ports and pairs in what a switch says. What is not understood is left out.
fn parse(text: &str) -> Said {
    let Said { mut ports, mut pairs } = Said::default();
    let mut last = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["Port", number, vlan, ..] => {
                last = number.parse().ok();
                if let Some(number) = last {
                    let vlan = vlan.strip_prefix("untagged_vlan=").and_then(|it| it.parse().ok());
                    let port = Port { number, vlan: vlan.unwrap_or(0), ..Port::default() };
                    ports.insert(number, port);
                }
            }
            ["Hash:", _, "Addr:", address, "VLAN", vlan, "to", "port:", number, ..] => {
                let number = number.parse::<u64>().ok();
                if let Some(port) = number.and_then(|number| ports.get_mut(&number)) {
                    port.learn(address, vlan);
                }
            }
            ["From", "port:", from, "to", "port:", to, "pkts", frames, "bytes", bytes] => {
                let number = |word: &str| word.parse::<u64>().ok();
                if let (Some(from), Some(to)) = (number(from), number(to)) {
                    let (frames, bytes) = (number(frames), number(bytes));
                    let (frames, bytes) = (frames.unwrap_or(0), bytes.unwrap_or(0));
                    pairs.insert((from, to), Pair { from, to, frames, bytes, rate: 0 });
                }
            }
            _ => {
                if let Some(port) = last.and_then(|number| ports.get_mut(&number)) {
                    port.read(line, &words);
                }
            }
        }
    }
    Said { ports, pairs }
}

impl Port {
    /// Takes a line about it.
    fn read(&mut self, line: &str, words: &[&str]) {
        let number = |word: &str| word.parse().unwrap_or(0);
        match *words {
            ["IN:", "pkts", frames, "bytes", bytes] => {
                (self.frames_in, self.bytes_in) = (number(frames), number(bytes));
            }
            ["OUT:", "pkts", frames, "bytes", bytes] => {
                (self.frames_out, self.bytes_out) = (number(frames), number(bytes));
            }
            ["--", "dropped:", "pkts", frames] => self.dropped = number(frames),
            ["--", "endpoint", ..] => {
                if let Some((_, name)) = line.split_once(": ") {
                    self.name = name.trim().to_owned();
                }
            }
            _ => {}
        }
    }

    fn learn(&mut self, address: &str, vlan: &str) {
        self.addresses_total += 1;
        if self.addresses.len() < ADDRESSES_MAX {
            let vlan = vlan.trim_start_matches('0');
            let on = if vlan.is_empty() { String::new() } else { format!(" on VLAN {vlan}") };
            self.addresses.push(format!("{address}{on}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "VDE switch of netstack 0.1.0\n\nvde$ 0000 DATA END WITH '.'\n\
        Port 0001 untagged_vlan=0010 ACTIVE - Unnamed Allocatable\n \
        Current User: root Access Control: (User: NONE - Group: NONE)\n \
        IN:  pkts          7          bytes                  420\n \
        OUT: pkts         11          bytes                 1660\n  \
        -- endpoint ID 0003 module unix prog   : vdens user=root PID=7\n  \
        -- dropped: pkts 2\n.\n1000 Success\n\nvde$ 0000 DATA END WITH '.'\n\
        Hash: 0000 Addr: 02:00:00:00:00:01 VLAN 0010 to port: 001  age 3 secs\n\
        Hash: 0001 Addr: 02:00:00:00:00:02 VLAN 0000 to port: 001  age 3 secs\n\
        Hash: 0002 Addr: 02:00:00:00:00:03 VLAN 0000 to port: 009  age 3 secs\n\
        .\n1000 Success\n\nvde$ 0000 DATA END WITH '.'\n\
        From port: 001 to port: 009 pkts          7 bytes                  420\n\
        .\n1000 Success\n\nvde$ 9999 END OF SESSION";

    #[test]
    fn the_ports_of_a_switch_are_read() {
        let Said { ports, pairs } = parse(TEXT);

        let expected = Port {
            number: 1,
            name: "vdens user=root PID=7".into(),
            vlan: 10,
            frames_in: 7,
            bytes_in: 420,
            frames_out: 11,
            bytes_out: 1660,
            dropped: 2,
            addresses: vec!["02:00:00:00:00:01 on VLAN 10".into(), "02:00:00:00:00:02".into()],
            addresses_total: 2,
            ..Port::default()
        };
        assert_eq!(ports.into_values().collect::<Vec<_>>(), [expected]);
        let expected = Pair { from: 1, to: 9, frames: 7, bytes: 420, rate: 0 };
        assert_eq!(pairs.into_values().collect::<Vec<_>>(), [expected]);
        for part in 0..TEXT.len() {
            parse(&TEXT[part..]);
        }
    }
}
