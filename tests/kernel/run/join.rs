//! Programs on the stack of another program: `netstack run --join`.

use super::diag::Row;
use super::netlink::{facts, thousand_changes};
use super::{KERNEL, STACK, connect_to, failure, output, serve_page_on, text};
use crate::daemon::Daemon;
use crate::namespace::{Outcome, netstack, program};
use crate::programs;
use crate::seeing::World;
use crate::vde::{Switch, until, vdens};
use crate::wire::NETWORK;
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::{noise, sha256};

type Result<T> = super::Result<T>;

const PATIENCE: Duration = Duration::from_secs(30);
/// A request whose answer has no end.
const ENDLESS: &[u8] = b"GET /bytes/1000000000000 HTTP/1.1\r\nHost: a\r\n\r\n";

/// A program on the stack of the web server.
fn joined(world: &World, name: &str) -> Result<Command> {
    let mut run = world.command(&["run", "--join"])?;
    run.arg(world.path()).arg("--").arg(program(name)?.get_program());
    Ok(run)
}

/// Runs `ip`, or another program, with these words; returns what it prints.
fn done(world: &World, words: &str) -> Result<String> {
    let mut words = words.split(' ');
    let mut command = joined(world, words.next().unwrap_or_default())?;
    let Output { status, stdout, stderr } = command.args(words).output()?;
    match status.success() && stderr.is_empty() {
        true => Ok(text(&stdout)),
        false => Err(format!("{command:?}: {status}\n{}{}", text(&stdout), text(&stderr)).into()),
    }
}

pub(crate) fn ip_and_ss() -> Outcome {
    program("ss")?;
    let world = World::new()?;

    done(&world, "ip addr add 10.9.0.60/24 dev tun0")?;
    let mut client = TcpStream::connect("10.9.0.60:80")?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(ENDLESS)?;
    client.read_exact(&mut [0; 100_000])?;
    let addresses: Value = serde_json::from_str(&done(&world, "ip -d -j addr show dev tun0")?)?;
    let of_link = addresses[0]["addr_info"].as_array().ok_or("no addresses")?;
    assert!(of_link.iter().any(|it| it["local"] == "10.9.0.60"), "{addresses}");
    let shown = done(&world, "ss -tinOH sport = :80")?;
    let own = client.local_addr()?.to_string();
    assert!(shown.contains("10.9.0.60:80") && shown.contains(&own), "{shown}");
    assert!(shown.contains(" cubic ") && shown.contains("bytes_sent:"), "{shown}");
    assert!(done(&world, "ss -tlnH")?.contains("*:80"), "the listener");

    done(&world, "ip addr del 10.9.0.60/24 dev tun0")?;
    let ended = std::io::copy(&mut client, &mut std::io::sink());
    assert_eq!(ended.map_err(|error| error.kind()).err(), Some(ErrorKind::ConnectionReset));
    assert!(!done(&world, "ss -tnH")?.contains("10.9.0.60"), "it has ended");

    done(&world, "ip link set tun0 mtu 1400")?;
    done(&world, "ip route add 10.77.0.0/16 via 10.9.0.1")?;
    assert!(done(&world, "ip route get 10.77.1.1")?.contains("via 10.9.0.1 dev tun0 src 10.9.0.2"));
    assert!(done(&world, "ip -o link show dev tun0")?.contains("mtu 1400"));
    Ok(())
}

pub(crate) fn refusals() -> Outcome {
    let world = World::new()?;

    let twice =
        joined(&world, "ip")?.args(["addr", "add", "10.9.0.2/24", "dev", "tun0"]).output()?;
    assert_eq!(
        (twice.status.code(), text(&twice.stderr).contains("already assigned")),
        (Some(2), true)
    );
    let python = "import socket; socket.socket()";
    let other = joined(&world, "python3")?.args(["-c", python]).output()?;
    let told = text(&other.stderr);
    assert!(told.contains("the program has netlink sockets alone, as ip and ss need"), "{told}");
    assert!(told.contains("those of the netstack command do"), "{told}");
    assert!(told.contains("PermissionError"), "{told}");
    let missing = world.command(&["run", "--join", "/nowhere/control", "--", "true"])?.output()?;
    assert_eq!(missing.status.code(), Some(125));
    assert!(text(&missing.stderr).contains("there is no control socket"));
    Ok(())
}

/// What one program changes another is told of.
pub(crate) fn monitor() -> Outcome {
    listening_monitor(&World::new()?).map(drop)
}

/// A monitor of addresses: one is changed until it tells of that.
fn listening_monitor(world: &World) -> Result<Daemon> {
    let monitor = Daemon::start(joined(world, "ip")?.args(["-o", "monitor", "address"]))?;
    let is_told = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let changing = scope.spawn(|| -> Result<()> {
            while !is_told.load(Ordering::Relaxed) {
                done(world, "ip addr add 10.9.0.61/32 dev tun0")?;
                done(world, "ip addr del 10.9.0.61/32 dev tun0")?;
            }
            Ok(())
        });
        let told = monitor.expect_output("10.9.0.61");
        is_told.store(true, Ordering::Relaxed);
        told?;
        changing.join().map_err(|_| "a panic")?
    })?;
    Ok(monitor)
}

/// A monitor misses none of a thousand changes that another program makes, or says so.
pub(crate) fn many_changes() -> Outcome {
    let world = World::new()?;
    let mut monitor = listening_monitor(&world)?;
    let mut batch = tempfile::NamedTempFile::new()?;
    batch.write_all(thousand_changes().as_bytes())?;
    done(&world, &format!("ip -batch {}", batch.path().display()))?;
    done(&world, "ip addr add 10.5.5.5/32 dev tun0")?;

    let [added, removed] = [Cell::new(0), Cell::new(0)];
    let end = monitor.wait_for_line("the last change", |line| {
        if line.contains("inet 10.7.") {
            let count = if line.starts_with("Deleted") { &removed } else { &added };
            count.set(count.get() + 1);
        }
        ["10.5.5.5", "No buffer space"].iter().any(|word| line.contains(word))
    })?;
    let counts = (added.get(), removed.get());
    assert!(end.contains("No buffer space") || counts == (500, 500), "{counts:?}: {end}");
    // Killed, `run` would leave `ip` where it is.
    monitor.signal("TERM")?;
    monitor.status()?;
    Ok(())
}

/// A server of `netstack` that echoes at port 5000, with a control socket.
struct Echo {
    server: Daemon,
    folder: TempDir,
}

impl Echo {
    fn start(flags: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut listen = netstack()?;
        listen.arg("listen").args(flags).arg("--control").arg(folder.path().join("control"));
        let server = Daemon::start(listen.args(["--keep", "--echo", "5000"]))?;
        server.expect_output("listening on [::]:5000")?;
        Ok(Self { server, folder })
    }

    fn on_tun() -> Result<Self> {
        Self::start(&NETWORK)
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// A program on its stack.
    fn joined(&self, name: &str) -> Result<Command> {
        let mut run = netstack()?;
        run.args(["run", "--report", "--join"]).arg(self.control());
        run.arg("--").arg(program(name)?.get_program()).stdin(Stdio::null());
        Ok(run)
    }

    /// Runs a program with these words; returns what it prints.
    fn done(&self, words: &str) -> Result<String> {
        let mut words = words.split(' ');
        let mut command = self.joined(words.next().unwrap_or_default())?;
        Ok(text(&output(command.args(words))?))
    }
}

/// curl, ping and nc are on the stack of the server, beside its own sockets.
pub(crate) fn programs() -> Outcome {
    let echo = Echo::on_tun()?;
    let port = serve_page_on(TcpListener::bind("[::]:0")?, noise(2_000_000))?;
    for kernel in [KERNEL, "[fd00::1]"] {
        let url = format!("http://{kernel}:{port}/");
        let page = output(echo.joined("curl")?.args(["-sS", "--max-time", "60", &url]))?;
        assert_eq!(sha256(&page), sha256(&noise(2_000_000)));
    }
    let closed = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    let url = format!("http://{KERNEL}:{closed}/");
    let refused = echo.joined("curl")?.args(["-s", "--max-time", "60", &url]).output()?;
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));

    for (family, target) in [("-4", KERNEL), ("-6", "fd00::1")] {
        let told = echo.done(&format!("ping {family} -n -c 3 -i 0.2 {target}"))?;
        assert!(told.contains("3 packets transmitted, 3 received, 0% packet loss"), "{told}");
    }

    for (family, stack) in [("-4", STACK), ("-6", "[fd00::2]")] {
        let mut nc = echo.joined("nc")?;
        let mut nc = Daemon::start(nc.args([family, "-l", "-p", "5001"]))?;
        let address = format!("{stack}:5001");
        let mut client = connect_to(address.parse()?)?;
        let shown = echo.done("ss -tnH sport = :5001")?;
        assert!(shown.contains(&address), "{shown}");
        client.write_all(b"to nc\n")?;
        nc.expect_line("to nc")?;
        nc.write_line("from nc")?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; 8];
        client.read_exact(&mut answer)?;
        assert_eq!(&answer, b"from nc\n");
        drop(client);
        nc.expect_output(" 0 sockets left")?;
        assert!(nc.status()?.success());
    }

    // Two programs of one stack meet on it.
    let mut nc = echo.joined("nc")?;
    nc.args(["-N", "-w", "20", "127.0.0.1", "5000"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut nc = nc.stderr(Stdio::piped()).spawn()?;
    nc.stdin.take().ok_or("no input")?.write_all(b"around\n")?;
    assert_eq!(text(&nc.wait_with_output()?.stdout), "around\n");
    Ok(())
}

/// Datagrams, an option that there is not, and the way around the filter of messages.
pub(crate) fn datagrams() -> Outcome {
    let echo = Echo::on_tun()?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let port = socket.local_addr()?.port().to_string();
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        let mut datagram = [0; 100];
        let (len, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..len], from)?;
        Ok(())
    });
    let python = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))
print(s.recvfrom(100)[0])
try: s.setsockopt(socket.SOL_SOCKET, 12345, 1)
except OSError as error: print(error.errno)";
    let mut run = echo.joined("python3")?;
    let done = run.args(["-c", python, KERNEL, &port]).output()?;
    answering.join().map_err(|_| "a panic")??;
    if text(&done.stdout) != "b'hello'\n92\n" {
        return Err(failure(&run, &done));
    }
    // The supervisor is another process, and its words come here all the same.
    let told = text(&done.stderr);
    assert!(told.contains("netstack run: socket option 12345 of level 1 is not"), "{told}");
    assert!(told.contains(" 0 sockets left"), "{told}");
    Ok(())
}

/// A stack takes 256 programs, tells the next one so, and takes another when one has ended.
pub(crate) fn bound() -> Outcome {
    const PROGRAMS_MAX: usize = 256;
    let echo = Echo::on_tun()?;
    let start = |n: usize| -> Result<Daemon> {
        let port = (6000 + n).to_string();
        Daemon::start(echo.joined("nc")?.args(["-u", "-l", "-p", &port]))
    };
    let started = (0..PROGRAMS_MAX).map(start).collect::<Result<Vec<_>>>()?;
    // Not by a joined `ss`, which would be one of them.
    until("the programs' sockets", || {
        let mut ss = netstack()?;
        let shown = programs::output(ss.args(["ss", "-uaH", "--control"]).arg(echo.control()))?;
        Ok(shown.matches("0.0.0.0:6").count() == PROGRAMS_MAX)
    })?;

    let mut python = echo.joined("python3")?;
    let python = python.args(["-c", "import socket; socket.socket()"]);
    let refused = python.output()?;
    let told = text(&refused.stderr);
    assert!(told.contains("the stack has too many programs already"), "{told}");
    assert!(told.contains("PermissionError"), "{told}");

    started[0].signal("TERM")?;
    started[0].expect_output(" 0 sockets left")?;
    output(python).map(drop)
}

const CONNECTED: &str = "
import errno, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(b'x')
print(s.recv(9), flush=True)
print('after', s.recv(9), flush=True)
try: socket.socket()
except OSError as e: sys.exit(e.errno != errno.ENOSYS)
sys.exit(2)
";

/// With the process of the stack a program loses its network; with that of `run` it does not.
pub(crate) fn endings() -> Outcome {
    let echo = Echo::on_tun()?;
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port().to_string();
    let started = || -> Result<(Daemon, TcpStream)> {
        let run = Daemon::start(echo.joined("python3")?.args(["-c", CONNECTED, KERNEL, &port]))?;
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 1])?;
        stream.write_all(b"y")?;
        run.expect_line("b'y'")?;
        Ok((run, stream))
    };
    let (run, mut stream) = started()?;
    run.signal("KILL")?;
    stream.write_all(b"z")?;
    run.expect_line("after b'z'")?;

    let (run, mut stream) = started()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // `run` forwards it, and Python ends.
    run.signal("TERM")?;
    assert_eq!(stream.read(&mut [0; 1])?, 0, "the sockets of a program end with it");
    run.expect_output(" 0 sockets left")?;

    let (mut run, _stream) = started()?;
    echo.server.signal("KILL")?;
    let told = "the process of the stack has ended, and with it the program's sockets";
    run.expect_output(told)?;
    assert!(run.status()?.success());
    Ok(())
}

/// What `ip` shows beside the same `ip` of the kernel, which has the same addresses but for one bit.
const SHOWN: [&str; 5] = [
    "ip -d -j addr show dev tun0",
    "ip -j route get 10.9.0.77",
    "ip -j route get 10.8.0.7",
    "ip -j -6 route get fd00::77",
    "ip -j route get 127.0.0.1",
];

/// `ip` and `ss` agree with the kernel's, and with `netstack ss`: the same code reads all of them.
pub(crate) fn agreement() -> Outcome {
    program("ss")?;
    let echo = Echo::on_tun()?;
    let kernels = |words: &str| -> Result<String> {
        let mut words = words.split(' ');
        let mut command = program(words.next().unwrap_or_default())?;
        let output = command.args(words).output()?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(failure(&command, &output))
    };
    kernels("ip link set lo up")?;
    for change in ["ip link set tun0 mtu 1400", "ip route add 10.8.0.0/24 via 10.9.0.9"] {
        kernels(change)?;
        echo.done(change)?;
    }
    for shown in SHOWN {
        let theirs = kernels(shown)?;
        let theirs = theirs.replace("10.9.0.1\"", "10.9.0.2\"").replace("fd00::1\"", "fd00::2\"");
        let ours = echo.done(shown)?;
        let facts = (facts(&ours)?, facts(&theirs)?);
        assert_eq!(facts.0, facts.1, "{shown}: {ours} {theirs}");
        assert!(!facts.0.is_empty(), "{shown}: {ours}");
    }

    let mut client = TcpStream::connect("10.9.0.2:5000")?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(&[7; 5000])?;
    client.read_exact(&mut [0; 5000])?;
    let mut own = netstack()?;
    own.args(["ss", "--control"]).arg(echo.control()).args(["-tiOH", "sport", "=", ":5000"]);
    let own = text(&own.output()?.stdout);
    let row = |shown: &str| -> Result<Row> {
        Ok(Row::all(shown)?.pop().ok_or_else(|| format!("no row: {shown}"))?)
    };
    let ours = row(&echo.done("ss -tinOH sport = :5000")?)?;
    let own = row(&own)?;
    let theirs = row(&kernels("ss -tinOH dport = :5000")?)?;
    assert_eq!((&ours.local, &ours.peer), (&own.local, &own.peer));
    assert_eq!((&ours.local, &ours.peer), (&theirs.peer, &theirs.local));
    for word in ["bytes_sent", "bytes_received", "bytes_acked", "mss", "pmtu", "cwnd", "wscale"] {
        assert!(ours.words.contains_key(word), "{word}: {ours:?}");
        assert_eq!(ours.words.get(word), own.words.get(word), "{word}: {ours:?} {own:?}");
        assert!(theirs.words.contains_key(word), "{word}: {theirs:?}");
    }
    // A word is missing where there is nothing to count.
    let number = |row: &Row, word| row.words.get(word).map_or(Ok(0), |count| count.parse::<u64>());
    // The kernel is the other end. On a slow machine either may have sent something again.
    for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
        let (sent, again) = (number(from, "bytes_sent")?, number(from, "bytes_retrans")?);
        assert_eq!(sent - again, number(to, "bytes_received")?, "{ours:?} {theirs:?}");
    }
    Ok(())
}

/// The addresses of the stack in the tutorial of vdestack.
const TUTORIAL: [&str; 2] = ["10.0.0.50", "fc00::1:50"];

/// The configuration lines of the tutorial, with `netstack run --join` before them, and what it then
/// does from a vdens.
pub(crate) fn tutorial() -> Outcome {
    for name in ["vdens", "busybox", "ss"] {
        program(name)?;
    }
    let switch = Switch::ours(&[])?;
    let echo = Echo::start(&["--link", &switch.url()])?;
    echo.done("ip addr add 10.0.0.50/24 dev vde0")?;
    echo.done("ip -6 addr add fc00::1:50/64 dev vde0")?;
    echo.done("ip link set vde0 up")?;
    // Duplicate address detection (RFC 4862 section 5.4) takes a second.
    let deadline = Instant::now() + PATIENCE;
    while echo.done("ip -6 addr show dev vde0")?.contains("tentative") {
        assert!(Instant::now() < deadline, "it stays tentative");
    }
    let mut peer = vdens(&switch.url(), 1)?;
    for command in
        ["ip addr add 10.0.0.1/24 dev vde0", "ip -6 addr add fc00::1:1/64 dev vde0 nodad"]
    {
        peer.write_line(command)?;
        peer.expect_line("done")?;
    }

    let script = echo.folder.path().join("nc");
    fs::write(&script, "echo hello | nc -N -w 20 $1 5000")?;
    let holding = echo.folder.path().join("holding");
    fs::write(&holding, HOLDING)?;
    for address in TUTORIAL {
        peer.write_line(&format!("busybox ping -c 2 -W 20 {address}"))?;
        peer.expect_output(" 2 packets received, ")?;
        peer.expect_line("done")?;
        peer.write_line(&format!("sh {} {address}", script.display()))?;
        peer.expect_line("hello")?;
        peer.expect_line("done")?;

        peer.write_line(&format!("python3 {} {address}", holding.display()))?;
        peer.expect_line("connected")?;
        let shown = echo.done("ss -tinOH sport = :5000")?;
        assert!(shown.contains(address) && shown.contains(" cubic "), "{shown}");
        echo.done(&format!("ip addr del {address}/{} dev vde0", prefix(address)))?;
        peer.expect_line("ConnectionResetError")?;
        peer.expect_line("done")?;
        let shown = echo.done("ss -tnH sport = :5000")?;
        assert!(!shown.contains(address), "{shown}");
    }
    Ok(())
}

/// A client with a connection that stays open.
const HOLDING: &str = "
import socket, sys
s = socket.create_connection((sys.argv[1], 5000)); s.sendall(b'x'); s.recv(1)
print('connected', flush=True)
try: s.recv(1)
except OSError as error: print(type(error).__name__, flush=True)
";

fn prefix(address: &str) -> u8 {
    if address.contains(':') { 64 } else { 24 }
}
