//! The examples and the tools, against common programs.

use crate::daemon::{Daemon, dnsmasq};
use crate::namespace::{Outcome, example, ours, program, skip};
use crate::proxying::serve_page;
use netstack::device::{InterfaceConfig, Tun};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use tests::{noise, sha256};

/// An example that serves, until the test ends.
pub(crate) struct Server(Child);

impl Server {
    /// Starts an example on a TUN with both families, and waits until it prints that it serves.
    pub(crate) fn start(
        name: &str,
        flags: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut command = example(name)?;
        command.args(["--tun", "tun0"]);
        command.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
        command.args(["--host-address", "fd00::1/64", "--address", "fd00::2/64"]);
        let mut child =
            command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        lines.read_line(&mut line)?;
        if line.is_empty() {
            let mut reason = String::new();
            child.stderr.take().ok_or("no output")?.read_to_string(&mut reason)?;
            let status = child.wait()?;
            return Err(format!("{name} ended at its start: {status}\n{reason}").into());
        }
        // Further output must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end and returns its output.
pub(crate) fn output(
    command: &mut Command,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let output = command.stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}\n{text}{reason}", output.status).into());
    }
    Ok(text)
}

/// A file with random content, and its SHA-256.
fn noise_file(
    len: usize,
) -> Result<(tempfile::NamedTempFile, String), Box<dyn std::error::Error + Send + Sync>> {
    let (noise, mut file) = (noise(len), tempfile::NamedTempFile::new()?);
    file.write_all(&noise)?;
    Ok((file, sha256(&noise)))
}

const MIB: usize = 1 << 20;

pub(crate) fn ping() -> Outcome {
    let mut programs = [program("ping")?, program("ping")?];
    let _server = Server::start("httpd", &["--port", "80"])?;
    for (ping, target) in programs.iter_mut().zip(["10.9.0.2", "fd00::2"]) {
        let text = output(ping.args(["-c", "20", "-i", "0.05", target]))?;
        assert!(text.contains("20 received, 0% packet loss"), "{text}");
    }
    Ok(())
}

pub(crate) fn curl() -> Outcome {
    program("curl")?;
    let _server = Server::start("httpd", &["--port", "80"])?;
    let (file, hash) = noise_file(100 * MIB)?;
    for host in ["10.9.0.2", "[fd00::2]"] {
        let page = output(program("curl")?.args(["-sS", &format!("http://{host}/")]))?;
        assert_eq!(page, "hello\n");

        let upload = output(
            program("curl")?.arg("-sST").arg(file.path()).arg(format!("http://{host}/sink")),
        )?;
        assert_eq!(upload, format!("{} {}\n", 100 * MIB, hash));

        let url = format!("http://{host}/bytes/{}", 100 * MIB);
        let download = program("curl")?.args(["-sS", &url]).output()?;
        assert!(download.status.success());
        assert_eq!(sha256(&download.stdout), sha256(&counting(100 * MIB)));
    }
    Ok(())
}

/// What `/bytes/N` answers.
fn counting(len: usize) -> Vec<u8> {
    (0..len).map(|index| index as u8).collect()
}

pub(crate) fn eight_curls() -> Outcome {
    program("curl")?;
    let _server = Server::start("httpd", &["--port", "80"])?;
    let (file, hash) = noise_file(10 * MIB)?;
    let mut children = Vec::new();
    for index in 0..16 {
        let host = if index % 2 == 0 { "10.9.0.2" } else { "[fd00::2]" };
        let mut curl = program("curl")?;
        if index < 8 {
            curl.arg("-sST").arg(file.path()).arg(format!("http://{host}/sink"));
        } else {
            curl.args(["-sS", &format!("http://{host}/bytes/{}", 10 * MIB)]);
        }
        children.push(curl.stdout(Stdio::piped()).spawn()?);
    }
    let expected_up = format!("{} {}\n", 10 * MIB, hash).into_bytes();
    let expected_down = counting(10 * MIB);
    let mut readers = Vec::new();
    for child in children {
        readers.push(std::thread::spawn(move || child.wait_with_output()));
    }
    for (index, reader) in readers.into_iter().enumerate() {
        let output = reader.join().map_err(|_| "a reader panicked")??;
        assert!(output.status.success(), "curl {index}");
        let expected = if index < 8 { &expected_up } else { &expected_down };
        assert!(&output.stdout == expected, "curl {index} got {} bytes", output.stdout.len());
    }
    Ok(())
}

pub(crate) fn netcat() -> Outcome {
    program("nc")?;
    let _server = Server::start("echo", &["--port", "7"])?;
    for host in ["10.9.0.2", "fd00::2"] {
        let mut nc = program("nc")?
            .args(["-N", "-w", "10", host, "7"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = nc.stdin.take().ok_or("no input")?;
        stdin.write_all(b"first line\nsecond line\n")?;
        drop(stdin);
        let output = nc.wait_with_output()?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "first line\nsecond line\n", "{host}");
    }
    Ok(())
}

pub(crate) fn ping_tool() -> Outcome {
    for target in ["10.9.0.1", "fd00::1"] {
        let mut ping = ours("netstack ping")?;
        ping.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
        ping.args(["--host-address", "fd00::1/64", "--address", "fd00::2/64"]);
        ping.args(["--count", "5", "--interval", "0.05", target]);
        let text = output(&mut ping).or_else(|error| without_tun(&error.to_string()))?;
        assert!(
            text.contains(&format!("64 bytes from {target}: icmp_seq=5 ttl=64 time=")),
            "{text}"
        );
        assert!(text.contains("5 packets transmitted, 5 received, 0% packet loss"), "{text}");
        assert!(text.contains("rtt min/avg/max/mdev = "), "{text}");
    }
    Ok(())
}

pub(crate) fn lan_example() -> Outcome {
    let text = output(&mut example("lan")?)?;
    assert!(text.contains("5 stacks, 20 greetings"), "{text}");
    for (from, to) in (1..=5).flat_map(|from| (1..=5).map(move |to| (from, to))) {
        let heard = format!("10.0.0.{to} heard: hello from 10.0.0.{from}\n");
        assert_eq!(text.contains(&heard), from != to, "{text}");
    }
    Ok(())
}

pub(crate) fn lan_capture() -> Outcome {
    let mut tshark = program("tshark")?;
    let file = tempfile::NamedTempFile::new()?;
    let text = output(example("lan")?.arg("--pcap").arg(file.path()))?;
    let recorded = text.lines().find_map(|line| line.strip_suffix(" frames recorded"));
    let recorded: usize = recorded.ok_or("nothing was recorded")?.parse()?;

    let fields = ["frame.interface_name", "frame.protocols", "tcp.flags.str", "frame.time_epoch"];
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let read = output(tshark.arg("-r").arg(file.path()).args(["-T", "fields"]).args(fields))?;

    let count = |what: &str| read.lines().filter(|line| line.contains(what)).count();
    assert_eq!(read.lines().count(), recorded, "{read}");
    for number in 1..=5 {
        assert!(count(&format!("host {number}\t")) > 0, "{read}");
    }
    assert!(count("eth:ethertype:arp") > 0 && count("eth:ethertype:ip:udp") >= 5, "{read}");
    // Each of 20 connections begins with a SYN and a SYN with an acknowledgement, which no link lost.
    assert_eq!(count("S·"), 40, "{read}");
    Ok(())
}

pub(crate) fn ping_ttl() -> Outcome {
    // The kernel is a router between the stack and a network without hosts.
    for forwarding in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        if let Err(error) = std::fs::write(format!("/proc/sys/net/{forwarding}"), "1") {
            return skip(&format!("{forwarding}: {error}"));
        }
    }
    let beyond = InterfaceConfig {
        name: "tun1".into(),
        host_addresses: vec!["10.77.0.1/24".parse()?, "fd77::1/64".parse()?],
        ..InterfaceConfig::default()
    };
    let _beyond = match Tun::open(&beyond) {
        Ok(tun) => tun,
        Err(error) => return skip(&error.to_string()),
    };
    for (router, target, reason) in [
        ("10.9.0.1", "10.77.0.9", "Time to live exceeded"),
        ("fd00::1", "fd77::9", "Time exceeded: Hop limit"),
    ] {
        let mut ping = ours("netstack ping")?;
        ping.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
        ping.args(["--host-address", "fd00::1/64", "--address", "fd00::2/64"]);
        ping.args(["--gateway", "10.9.0.1", "--gateway", "fd00::1", "--ttl", "1"]);
        ping.args(["--count", "2", "--interval", "0.05", "--size", "100", target]);
        let output = ping.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.is_empty() {
            without_tun(&String::from_utf8_lossy(&output.stderr))?;
        }
        let said = format!("From {router} icmp_seq=2 {reason}");
        assert!(text.contains(&said), "{text}");
        let counted = "2 packets transmitted, 0 received, +2 errors, 100% packet loss";
        assert!(text.contains(counted), "{text}");

        let mut ping = ours("netstack ping")?;
        ping.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
        ping.args(["--host-address", "fd00::1/64", "--address", "fd00::2/64"]);
        ping.args(["--gateway", "10.9.0.1", "--gateway", "fd00::1", "--ttl", "2"]);
        ping.args(["--count", "1", "--timeout", "0.1", target]);
        let text = String::from_utf8_lossy(&ping.output()?.stdout).into_owned();
        assert!(text.contains("no answer yet for icmp_seq=1"), "{text}");
    }
    Ok(())
}

/// Each of the small examples does its one thing.
pub(crate) fn small_examples() -> Outcome {
    let network = ["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"];
    let network6 = ["--host-address", "fd00::1/64", "--address", "fd00::2/64"];
    for target in ["10.9.0.1", "fd00::1"] {
        let mut ping = example("ping")?;
        let text = output(ping.args(network).args(network6).arg(target))
            .or_else(|error| without_tun(&error.to_string()))?;
        assert!(text.contains(&format!("{target}: answer 3 after ")), "{text}");
    }
    let _names = dnsmasq(&["--address=/web.test/10.9.0.1"])?;
    let names = ["--dns", "10.9.0.1"];
    let text = output(example("resolve")?.args(network).args(names).arg("web.test"))?;
    assert_eq!(text, "web.test has 10.9.0.1\n");
    let url = format!("http://web.test:{}/page", serve_page(1)?);
    assert_eq!(
        output(example("fetch")?.args(network).args(names).arg(url))?,
        "GET /page HTTP/1.1\n"
    );
    connect("connect")?;

    let mut ifconfig = example("ifconfig")?;
    ifconfig.args(["--tap", "tap0", "--address", "fd00:0:0:9::50/64", "10.9.9.60/24"]);
    let mut ifconfig = Daemon::start(&mut ifconfig)?;
    for line in ["link up, mtu 1500", "  fd00:0:0:9::50/64, tentative", "  10.9.9.60/24"] {
        ifconfig.expect_line(line)?;
    }
    ifconfig.signal("INT")?;
    assert_eq!(ifconfig.status()?.code(), Some(0));
    Ok(())
}

pub(crate) fn connect_tool() -> Outcome {
    connect("netstack connect")
}

/// Talks to the kernel.
fn connect(name: &str) -> Outcome {
    let mut connect = ours(name)?
        .args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24", "10.9.0.1:7777"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Everything, so that it is there before the interface is.
    let listener = TcpListener::bind("0.0.0.0:7777")?;
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = String::new();
        stream.read_to_string(&mut request)?;
        stream.write_all(request.to_uppercase().as_bytes())
    });
    let mut stdin = connect.stdin.take().ok_or("no input")?;
    stdin.write_all(b"hello kernel\n")?;
    drop(stdin);
    let output = connect.wait_with_output()?;
    if !output.status.success() {
        without_tun(&String::from_utf8_lossy(&output.stderr))?;
    }
    server.join().map_err(|_| "the server panicked")??;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "HELLO KERNEL\n");
    Ok(())
}

pub(crate) fn names() -> Outcome {
    // On all addresses, so that it is there before the interface is.
    let many: Vec<_> =
        (1..=200).map(|host| format!("--host-record=large.test,10.1.0.{host}")).collect();
    let flags = [
        "--address=/web.test/10.9.0.1",
        "--address=/web.test/fd00::1",
        "--ptr-record=1.0.9.10.in-addr.arpa,web.test",
        "--srv-host=_chat._tcp.test,web.test,7777,10,5",
    ];
    let _server =
        dnsmasq(&flags.into_iter().chain(many.iter().map(String::as_str)).collect::<Vec<_>>())?;
    let network = ["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24", "--host-address"]
        .into_iter()
        .chain(["fd00::1/64", "--address", "fd00::2/64", "--dns", "10.9.0.1"]);
    for (name, expected) in [
        ("web.test", "web.test has fd00::1\nweb.test has 10.9.0.1\n"),
        ("10.9.0.1", "10.9.0.1 is web.test\n"),
        ("_chat._tcp.test", "_chat._tcp.test is at web.test:7777 (10 5)\n"),
    ] {
        let mut resolve = ours("netstack resolve")?;
        resolve.args(network.clone()).arg(name);
        let text = output(&mut resolve).or_else(|error| without_tun(&error.to_string()))?;
        assert_eq!(text, expected);
    }
    // Larger than a datagram, and an unknown name.
    let text = output(ours("netstack resolve")?.args(network.clone()).arg("large.test"))?;
    let hosts = text.lines().map(|line| line.strip_prefix("large.test has 10.1.0."));
    assert_eq!(hosts.collect::<Option<BTreeSet<_>>>().map(|hosts| hosts.len()), Some(200));
    let error = output(ours("netstack resolve")?.args(network.clone()).arg("other.test"));
    let error = error.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("Query Refused"), "{error}");

    let mut ping = ours("netstack ping")?;
    let text =
        output(ping.args(network.clone()).args(["-c", "4", "--interval", "0.2", "web.test"]))?;
    assert!(text.starts_with("PING web.test ("), "{text}");
    assert!(text.contains("64 bytes from web.test ("), "{text}");
    assert!(text.contains("--- web.test ping statistics ---"), "{text}");

    let listener = TcpListener::bind("[::]:7777")?;
    let server = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept()?;
        stream.write_all(format!("hello {}", from.ip()).as_bytes())
    });
    let mut connect = ours("netstack connect")?;
    connect.args(network).arg("web.test:7777").stdin(Stdio::null());
    let text = output(&mut connect)?;
    server.join().map_err(|_| "the server panicked")??;
    // The kernel runs duplicate address detection on fd00::/64 first, and is silent.
    assert!(["hello fd00::2", "hello ::ffff:10.9.0.2"].contains(&text.as_str()), "{text}");
    Ok(())
}

/// Distinguishes "no TUN available" from all other failures.
pub(crate) fn without_tun(
    reason: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    if reason.contains("CAP_NET_ADMIN") || reason.contains("/dev/net/tun") {
        skip(reason.trim())?;
    }
    Err(reason.to_owned().into())
}

pub(crate) fn bad_input() -> Outcome {
    let taken = Server::start("echo", &["--port", "7"])?;
    for (name, flags, expected) in [
        ("httpd", &["--tun", "tun0"][..], "tun0 is in use"),
        ("httpd", &["--tun", "lo"], "lo is taken"),
        ("httpd", &["--tun", "a name that is too long"], "cannot be the name of an interface"),
        ("httpd", &["--tun", "tun1", "--address", "224.0.0.1/24"], "224.0.0.1/24: address not"),
        ("httpd", &["--tun", "tun1", "--address", "fd00::2/64", "--mtu", "1279"], "at least 1280"),
        ("httpd", &["--tun", "tun1", "--mtu", "10"], "MTU of 10 is out of range"),
        ("httpd", &["--tun", "tun1", "--mtu", "99999"], "MTU of 99999 is out of range"),
        (
            "netstack connect",
            &["--tun", "tun1", "--address", "10.8.0.2/24", "192.0.2.1:1"],
            "no route",
        ),
        (
            "netstack connect",
            &["--tun", "tun1", "--address", "10.8.0.2/24", "10.8.0.2:1"],
            "refused",
        ),
        ("tls", &["--tun", "tun1", "--certificate", "/no/such/file"], "/no/such/file: No such"),
    ] {
        let output = ours(name)?.args(flags).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name} {flags:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{name} {flags:?}: {text}");
        let program = name.split(' ').next().unwrap_or_default();
        assert!(text.starts_with(&format!("{program}: ")), "{text}");
        assert!(text.contains(expected), "{name} {flags:?}: {text}");
    }
    drop(taken);

    let mut unprivileged = program("setpriv")?;
    unprivileged.arg("--bounding-set=-net_admin").arg(example("httpd")?.get_program());
    let output = unprivileged.output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    Ok(())
}
