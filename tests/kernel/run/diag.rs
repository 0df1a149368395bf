//! The real `ss` on the stack, beside the same `ss` on the kernel.

use super::{on_stack_with, output, text};
use crate::namespace::{Outcome, netstack, program};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

type Result<T> = super::Result<T>;

/// Sockets of each kind, and then commands that show them.
const SOCKETS: &str = "
import socket, subprocess, sys
def tcp(family, address):
    s = socket.socket(family); s.bind(address); s.listen(5); return s
l, d = tcp(socket.AF_INET, ('127.0.0.1', 8080)), tcp(socket.AF_INET6, ('::', 8081))
c = socket.create_connection(('127.0.0.1', 8080)); s, _ = l.accept()
c.sendall(b'hello'); s.sendall(b'world!'); c.recv(6); s.recv(5)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 9999))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.connect(('127.0.0.1', 9999))
e = socket.create_connection(('127.0.0.1', 8080)); f, _ = l.accept(); e.close(); f.close()
for command in sys.argv[1:]:
    subprocess.run(command, shell=True, check=True); print('---', flush=True)
";

/// Each `ss` and the rows that it shows: state, address and peer's address, of those that the script
/// has made, in the order of the words.
const SHOWN: [(&str, &[&str]); 8] = [
    ("ss -tinHOp", &["ESTAB 127.0.0.1:8080 127.0.0.1:*", "ESTAB 127.0.0.1:* 127.0.0.1:8080"]),
    ("ss -tlnHp", &["LISTEN *:8081 *:*", "LISTEN 127.0.0.1:8080 0.0.0.0:*"]),
    ("ss -ulnHp", &["UNCONN 127.0.0.1:9999 0.0.0.0:*"]),
    ("ss -uanHp dport = :9999", &["ESTAB 127.0.0.1:* 127.0.0.1:9999"]),
    ("ss -tnHp sport = :8080", &["ESTAB 127.0.0.1:8080 127.0.0.1:*"]),
    ("ss -tanHp dst 127.0.0.0/8 and dport = :8080", &["ESTAB 127.0.0.1:* 127.0.0.1:8080"]),
    ("ss -tnHp dst 10.0.0.0/8 or dport lt :80", &[]),
    ("ss -tlnHp6", &["LISTEN *:8081 *:*"]),
];

/// Words with a value that is the same for the same bytes, whoever carries them.
const SAME: [&str; 4] = ["bytes_sent", "bytes_received", "data_segs_out", "data_segs_in"];
/// Words that each connection has.
const KNOWN: [&str; 11] = [
    "rto", "rtt", "mss", "pmtu", "advmss", "cwnd", "segs_out", "segs_in", "lastsnd", "minrtt",
    "snd_wnd",
];

/// A line of ss, of `netstack ss` too.
#[derive(Debug)]
pub(super) struct Row {
    state: String,
    pub(super) local: String,
    pub(super) peer: String,
    pub(super) words: HashMap<String, String>,
}

impl Row {
    fn parse(line: &str) -> Result<Self> {
        let mut fields = line.split_whitespace().map(str::to_owned);
        let mut field = || fields.next().ok_or_else(|| format!("a short line: {line}"));
        let (state, _, _, local, peer) = (field()?, field()?, field()?, field()?, field()?);
        let words = fields.filter_map(|word| {
            let (name, value) = word.split_once(':')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Ok(Self { state, local, peer, words: words.collect() })
    }

    pub(super) fn all(shown: &str) -> Result<Vec<Self>> {
        shown.lines().map(Self::parse).collect()
    }

    /// State and addresses, without the port that is another each time.
    fn facts(&self) -> String {
        let known = ["8080", "8081", "9999", "*"];
        let hide = |address: &str| match address.rsplit_once(':') {
            Some((host, port)) if !known.contains(&port) => format!("{host}:*"),
            _ => address.to_owned(),
        };
        format!("{} {} {}", self.state, hide(&self.local), hide(&self.peer))
    }

    /// Whether it is shown as a socket of the script.
    fn is_the_scripts(&self) -> bool {
        self.words.get("users").is_some_and(|users| users.contains("python3"))
    }
}

/// What the commands show, on the stack and on the kernel.
fn shown(commands: &[&str], control: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let parts =
        |output: &[u8]| -> Vec<String> { text(output).split("---\n").map(str::to_owned).collect() };
    let flags = ["--control".as_ref(), control.as_os_str()];
    let mut ours = on_stack_with(&flags, "python3")?;
    let ours = parts(&output(ours.args(["-c", SOCKETS]).args(commands))?);
    Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    let mut theirs = program("python3")?;
    let theirs = theirs.args(["-c", SOCKETS]).args(commands).output()?;
    Ok((ours, parts(&theirs.stdout)))
}

pub(crate) fn as_the_kernels() -> Outcome {
    program("ss")?;
    let folder = TempDir::new()?;
    let (ours, theirs) = shown(&SHOWN.map(|(command, _)| command), &folder.path().join("control"))?;

    let mut connections = Vec::new();
    for (index, (command, expected)) in SHOWN.iter().enumerate() {
        for output in [&ours[index], &theirs[index]] {
            let mut rows = Row::all(output)?;
            // The service of names is the stack's own.
            rows.retain(Row::is_the_scripts);
            let mut facts: Vec<_> = rows.iter().map(Row::facts).collect();
            facts.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(facts, expected, "{command}: {output}");
            if index == 0 {
                rows.sort_by_key(Row::facts);
                connections.push(rows);
            }
        }
    }
    for (ours, theirs) in connections[0].iter().zip(&connections[1]) {
        for word in SAME {
            assert_eq!(ours.words.get(word), theirs.words.get(word), "{word}: {ours:?} {theirs:?}");
        }
        for word in KNOWN {
            assert!(ours.words.contains_key(word) && theirs.words.contains_key(word), "{word}");
        }
    }
    Ok(())
}

pub(crate) fn as_our_own() -> Outcome {
    program("ss")?;
    let folder = TempDir::new()?;
    let control = folder.path().join("control");
    let netstack = netstack()?;
    let own = |flags: &str| {
        let program = netstack.get_program().to_string_lossy().into_owned();
        format!("{program} ss --control {} {flags}", control.display())
    };
    let (connections, all) = (own("-tiOHp state established"), own("-taH"));
    let commands = ["ss -tinOH", &connections, "ss -tanH", &all];
    let mut ours = on_stack_with(&["--control".as_ref(), control.as_os_str()], "python3")?;
    let ours = text(&output(ours.args(["-c", SOCKETS]).args(commands))?);
    let ours: Vec<_> = ours.split("---\n").map(Row::all).collect::<Result<_>>()?;

    let facts = |rows: &[Row]| {
        let mut facts: Vec<_> = rows.iter().map(Row::facts).collect();
        facts.sort();
        facts
    };
    assert_eq!(facts(&ours[2]), facts(&ours[3]));
    assert_eq!((ours[0].len(), facts(&ours[0])), (2, facts(&ours[1])));
    let steady = ["mss", "pmtu", "advmss", "rcvmss", "cwnd", "wscale", "rto", "rtt", "minrtt"];
    for row in &ours[0] {
        let same = ours[1].iter().find(|own| own.local == row.local).ok_or("another socket")?;
        for word in steady.iter().chain(&SAME).chain(&["bytes_acked", "segs_in", "snd_wnd"]) {
            assert_eq!(row.words.get(*word), same.words.get(*word), "{word}: {row:?} {same:?}");
            assert!(row.words.contains_key(*word), "{word}: {row:?}");
        }
    }
    Ok(())
}

/// A program whose connection ends, as it says.
const ABORTED: &str = "
import socket, subprocess
l = socket.socket(); l.bind(('127.0.0.1', 8080)); l.listen()
c = socket.create_connection(('127.0.0.1', 8080)); s, _ = l.accept()
subprocess.run(['ss', '-K', '-tnH', 'dport', '=', ':8080'], check=True)
try: s.recv(1)
except OSError as error: print(type(error).__name__)
";

pub(crate) fn ending() -> Outcome {
    program("ss")?;
    let shown = text(&output(on_stack_with::<&str>(&[], "python3")?.args(["-c", ABORTED]))?);
    assert!(shown.starts_with("ESTAB") && shown.ends_with("ConnectionResetError\n"), "{shown}");
    Ok(())
}
