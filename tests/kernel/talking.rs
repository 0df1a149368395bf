//! `netstack ping`, `resolve`, `fetch`, `connect` and `listen`, with the kernel and common programs.

use crate::daemon::{Daemon, Failure, PATIENCE, dnsmasq};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::proxying::serve_page;
use crate::usage::{help, subcommands};
use crate::wire::NETWORK;
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Failure>;

/// A tool on a TUN.
fn tool(name: &str, arguments: &[&str]) -> Result<Command> {
    let mut tool = netstack()?;
    tool.arg(name).args(NETWORK).args(arguments).stdin(Stdio::null());
    Ok(tool)
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// What a tool prints, of which each line is an object.
fn objects(tool: &mut Command) -> Result<Vec<Value>> {
    let lines = output(tool)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}

pub(crate) fn ping() -> Outcome {
    let shown = output(&mut tool("ping", &["-c", "3", "-i", "0.05", "10.9.0.1"])?)?;
    assert!(shown.starts_with("PING 10.9.0.1 (10.9.0.1) 56(84) bytes of data.\n"), "{shown}");
    assert!(shown.contains("64 bytes from 10.9.0.1: icmp_seq=3 ttl=64 time="), "{shown}");
    assert!(shown.contains("3 packets transmitted, 3 received, 0% packet loss"), "{shown}");
    let last = shown.lines().last().unwrap_or_default();
    assert!(last.starts_with("rtt min/avg/max/mdev = "), "{shown}");

    let all = objects(&mut tool("ping", &["--json", "-c", "2", "-i", "0.05", "fd00::1"])?)?;
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!((&all[1]["event"], &all[1]["seq"]), (&"reply".into(), &2.into()), "{all:?}");
    assert_eq!((&all[2]["event"], &all[2]["received"]), (&"end".into(), &2.into()), "{all:?}");
    assert!(all[2]["rtt_ms"]["avg"].as_f64().is_some_and(|time| time > 0.0), "{all:?}");

    // What was recorded is in the file at the end, however short the program was.
    let folder = TempDir::new()?;
    for run in 0..5 {
        let file = folder.path().join(run.to_string());
        let mut short = tool("ping", &["-c", "1", "10.9.0.1", "--pcap"])?;
        output(short.arg(&file))?;
        // Its header and that of its interface have less.
        let recorded = fs::metadata(&file)?.len();
        assert!(recorded > 2 * 84, "{recorded} bytes");
    }

    for (target, status) in [("10.9.0.99", 1), ("no.test", 2)] {
        let failed = tool("ping", &["-c", "1", "-W", "0.1", target])?.output()?;
        assert_eq!(failed.status.code(), Some(status), "{failed:?}");
    }
    let heard = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    heard.set_read_timeout(Some(PATIENCE))?;
    let from = ["--address", "10.9.0.7/24", "-I", "10.9.0.7", "-c", "1", "10.9.0.1"];
    let shown = output(&mut tool("ping", &from)?)?;
    assert!(shown.starts_with("PING 10.9.0.1 (10.9.0.1) from 10.9.0.7 : 56(84) bytes"), "{shown}");
    assert!(shown.contains("1 received"), "{shown}");
    // The first request that the kernel has got: its source in the header of IPv4.
    let mut request = [0; 100];
    (&heard).read_exact(&mut request[..84])?;
    assert_eq!((&request[12..16], request[20]), (&[10, 9, 0, 7][..], 8));
    let failed = tool("ping", &["-I", "10.9.0.9", "-c", "1", "10.9.0.1"])?.output()?;
    assert_eq!(failed.status.code(), Some(2), "{failed:?}");
    assert!(text(&failed.stderr).contains("-I 10.9.0.9: address not available"), "{failed:?}");

    let mut endless = Daemon::start(&mut tool("ping", &["-i", "0.05", "10.9.0.1"])?)?;
    endless.expect_output("icmp_seq=3")?;
    endless.signal("INT")?;
    endless.expect_output(" received, 0% packet loss")?;
    assert_eq!(endless.status()?.code(), Some(0));
    Ok(())
}

pub(crate) fn resolve() -> Outcome {
    let names = ["--address=/web.test/10.9.0.1", "--ptr-record=1.0.9.10.in-addr.arpa,web.test"];
    let _server = dnsmasq(&names)?;
    let resolve =
        |arguments: &[&str]| tool("resolve", &[&["--dns", "10.9.0.1"], arguments].concat());

    assert_eq!(output(&mut resolve(&["web.test"])?)?, "web.test has 10.9.0.1\n");
    let found = objects(&mut resolve(&["--json", "web.test"])?)?;
    assert_eq!(found, [serde_json::json!({"name": "web.test", "address": "10.9.0.1"})]);
    let found = objects(&mut resolve(&["--json", "10.9.0.1"])?)?;
    assert_eq!(found, [serde_json::json!({"name": "web.test", "address": "10.9.0.1"})]);
    let failed = resolve(&["no.test"])?.output()?;
    assert_eq!((failed.status.code(), failed.stdout), (Some(1), vec![]));
    Ok(())
}

pub(crate) fn fetch() -> Outcome {
    program("openssl")?;
    let (port, folder) = (serve_page(1)?, TempDir::new()?);
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let url = format!("http://10.9.0.1:{port}/page");
    assert_eq!(output(&mut tool("fetch", &[&url])?)?, "GET /page HTTP/1.1\n");
    let page = file("page");
    let about = objects(&mut tool("fetch", &["--json", "-o", &page, &url])?)?;
    assert_eq!((&about[0]["status"], &about[0]["bytes"]), (&200.into(), &19.into()), "{about:?}");
    assert_eq!(fs::read_to_string(&page)?, "GET /page HTTP/1.1\n");

    let made = rcgen::generate_simple_self_signed(["10.9.0.1".to_owned()])?;
    fs::write(file("cert.pem"), made.cert.pem())?;
    fs::write(file("key.pem"), made.signing_key.serialize_pem())?;
    let mut openssl = program("openssl")?;
    openssl.args(["s_server", "-accept", "443", "-www"]);
    let server =
        Daemon::start(openssl.args(["-cert", &file("cert.pem"), "-key", &file("key.pem")]))?;
    server.expect_output("ACCEPT")?;
    let secret = ["--cacert", &file("cert.pem"), "https://10.9.0.1/"];
    assert!(output(&mut tool("fetch", &secret)?)?.contains("s_server"));

    let silent = TcpListener::bind("[::]:0")?;
    let silent = format!("http://10.9.0.1:{}/", silent.local_addr()?.port());
    let other = rcgen::generate_simple_self_signed(["10.9.0.1".to_owned()])?;
    fs::write(file("other.pem"), other.cert.pem())?;
    let not_there = "https://10.9.0.1/no/such/file";
    for (arguments, status) in [
        (&["http://no.test/"][..], 6),
        (&["http://10.9.0.1:1/"], 7),
        (&["-f", &format!("{url}/missing")], 22),
        (&["-o", "/no/such/file", &url], 23),
        (&["-m", "0.3", &silent], 28),
        (&["--cacert", &file("other.pem"), "https://10.9.0.1/"], 60),
        (&["--cacert", &file("none.pem"), not_there], 77),
        (&["web.test"], 2),
    ] {
        let failed = tool("fetch", arguments)?.output()?;
        assert_eq!(failed.status.code(), Some(status), "{arguments:?}: {failed:?}");
        assert!(failed.stdout.is_empty(), "{arguments:?}");
    }
    Ok(())
}

/// A server that answers each path in a way of its own; its port.
fn serve_oddly() -> Result<u16> {
    let listener = TcpListener::bind("[::]:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            // A client that has left is its own affair.
            thread::spawn(move || answer_oddly(stream, port));
        }
    });
    Ok(port)
}

fn answer_oddly(mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut secret = "none".to_owned();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        if let Some(value) = line.to_lowercase().strip_prefix("authorization: ") {
            value.clone_into(&mut secret);
        }
    }
    let elsewhere = format!("http://[fd00::1]:{port}/secret");
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (location, body, len) = match path {
        "/silence" => return Ok(()),
        "/part" | "/reset" => (None, "a part", 100),
        "/twice" => (Some("below/once"), "", 0),
        "/below/once" => (Some("../page?a=1#b"), "", 0),
        "/loop" => (Some("/loop"), "", 0),
        "/file" => (Some("file:///etc/passwd"), "", 0),
        "/same" => (Some("/secret"), "moved\n", 6),
        "/other" => (Some(&elsewhere[..]), "", 0),
        "/secret" => (None, &secret[..], secret.len()),
        _ => (None, path, path.len()),
    };
    let status = if location.is_some() { "302 Found" } else { "200 OK" };
    let location = location.map_or_else(String::new, |it| format!("Location: {it}\r\n"));
    write!(stream, "HTTP/1.1 {status}\r\n{location}Content-Length: {len}\r\n\r\n{body}")?;
    if path == "/reset" {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

pub(crate) fn fetch_failures() -> Outcome {
    let port = serve_oddly()?;
    let url = |path: &str| format!("http://10.9.0.1:{port}/{path}");
    let garbage = TcpListener::bind("[::]:0")?;
    let https = format!("https://10.9.0.1:{}/", garbage.local_addr()?.port());
    thread::spawn(move || {
        for mut stream in garbage.incoming().map_while(std::result::Result::ok) {
            let _ = stream.write_all(b"this is no TLS\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let folder = TempDir::new()?;
    let cert = folder.path().join("cert.pem").to_string_lossy().into_owned();
    let made = rcgen::generate_simple_self_signed(["10.9.0.1".to_owned()])?;
    fs::write(&cert, made.cert.pem())?;
    for (arguments, status, written, said) in [
        (&[&url("part")[..]][..], 18, "a part", "receiving http://10.9.0.1"),
        (&["--cacert", &cert, &https], 35, "", "TLS with 10.9.0.1"),
        (&["-L", &url("loop")], 47, "", "more than 50 redirections"),
        (&["-L", "--max-redirs", "1", &url("twice")], 47, "", "more than 1 redirections"),
        (&["-L", &url("file")], 1, "", "file:///etc/passwd"),
        (&[&url("silence")], 52, "", "asking for http://10.9.0.1"),
    ] {
        let failed = tool("fetch", arguments)?.output()?;
        assert_eq!(failed.status.code(), Some(status), "{arguments:?}: {failed:?}");
        assert_eq!(text(&failed.stdout), written, "{arguments:?}");
        let error = text(&failed.stderr);
        assert!(error.contains(said) && error.lines().count() == 1, "{arguments:?}: {error}");
    }
    let full = tool("fetch", &[&url("page")])?.stdout(fs::File::create("/dev/full")?).output()?;
    assert_eq!(full.status.code(), Some(23), "{full:?}");
    // A reset may overtake what was sent before it.
    let reset = tool("fetch", &[&url("reset")])?.output()?;
    assert_eq!(reset.status.code(), Some(56), "{reset:?}");
    Ok(())
}

pub(crate) fn fetch_redirected() -> Outcome {
    let port = serve_oddly()?;
    let url = |path: &str| format!("http://10.9.0.1:{port}/{path}");
    let fetch = |arguments: &[&str]| output(&mut tool("fetch", arguments)?);

    assert_eq!(fetch(&["-L", &url("twice")])?, "/page?a=1");
    let about = ["-L", "--json", "-o", "/dev/null", &url("twice")];
    let about = objects(&mut tool("fetch", &about)?)?;
    assert_eq!((&about[0]["redirects"], &about[0]["status"]), (&2.into(), &200.into()));
    assert_eq!(about[0]["url"], url("page?a=1"));
    // Without the flag the answer is the page.
    assert_eq!(fetch(&[&url("same")])?, "moved\n");
    // Another server is told no secret of this one's.
    let secret = ["-L", "-H", "Authorization: Basic eA=="];
    assert_eq!(fetch(&[&secret[..], &[&url("same")]].concat())?, "basic ea==");
    assert_eq!(fetch(&[&secret[..], &[&url("other")]].concat())?, "none");
    Ok(())
}

/// Starts a tool, gives it this, and returns what it prints.
fn talk(tool: &mut Command, input: &str) -> Result<Output> {
    let mut child = spawn(tool)?;
    child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

fn spawn(tool: &mut Command) -> Result<Child> {
    Ok(tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

pub(crate) fn connect() -> Outcome {
    let listener = TcpListener::bind("[::]:0")?;
    let target = format!("10.9.0.1:{}", listener.local_addr()?.port());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = String::new();
        stream.read_to_string(&mut request)?;
        stream.write_all(request.to_uppercase().as_bytes())?;
        drop(stream);
        // The next one is only a look at the port.
        listener.accept().map(|_| ())
    });

    let carried = talk(&mut tool("connect", &[&target])?, "hello kernel\n")?;
    assert_eq!((text(&carried.stdout), carried.status.code()), ("HELLO KERNEL\n".into(), Some(0)));
    assert!(tool("connect", &["-z", &target])?.status()?.success());
    server.join().map_err(|_| "the server panicked")??;
    for arguments in [&["-z", "10.9.0.1:1"][..], &["-z", "-w", "0.2", "10.9.0.99:1"]] {
        let failed = tool("connect", arguments)?.output()?;
        assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    }

    let echo = UdpSocket::bind("[::]:0")?;
    let target = format!("[fd00::1]:{}", echo.local_addr()?.port());
    thread::spawn(move || {
        let mut buffer = [0; 1000];
        while let Ok((len, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..len], from);
        }
    });
    let carried = talk(&mut tool("connect", &["-u", "-w", "3", &target])?, "a datagram")?;
    assert_eq!((text(&carried.stdout), carried.status.code()), ("a datagram".into(), Some(0)));
    Ok(())
}

pub(crate) fn connect_tls() -> Outcome {
    program("openssl")?;
    let clear = tool("connect", &["--insecure", "10.9.0.1:4433"])?.output()?;
    assert_eq!(clear.status.code(), Some(1), "{clear:?}");
    assert!(text(&clear.stderr).contains("--insecure needs --tls"), "{clear:?}");
    let folder = TempDir::new()?;
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let made = rcgen::generate_simple_self_signed(["10.9.0.1".to_owned()])?;
    fs::write(file("cert.pem"), made.cert.pem())?;
    fs::write(file("key.pem"), made.signing_key.serialize_pem())?;
    let other = rcgen::generate_simple_self_signed(["10.9.0.1".to_owned()])?;
    fs::write(file("other.pem"), other.cert.pem())?;
    let mut openssl = program("openssl")?;
    // It sends each line back, reversed.
    openssl.args(["s_server", "-accept", "4433", "-rev"]);
    let server =
        Daemon::start(openssl.args(["-cert", &file("cert.pem"), "-key", &file("key.pem")]))?;
    server.expect_output("ACCEPT")?;

    let connect = |ca: &str, target: &str| {
        talk(&mut tool("connect", &["--tls", "--cacert", &file(ca), target])?, "hello tls\n")
    };
    let carried = connect("cert.pem", "10.9.0.1:4433")?;
    assert_eq!((text(&carried.stdout), carried.status.code()), ("slt olleh\n".into(), Some(0)));
    for (ca, target) in [("other.pem", "10.9.0.1:4433"), ("cert.pem", "[fd00::1]:4433")] {
        let failed = connect(ca, target)?;
        assert_eq!((failed.status.code(), failed.stdout.len()), (Some(1), 0), "{ca} {target}");
        let error = text(&failed.stderr);
        assert!(error.contains("invalid peer certificate"), "{error}");
    }
    Ok(())
}

pub(crate) fn listen() -> Outcome {
    program("nc")?;
    program("openssl")?;
    let nc = |arguments: &[&str], input: &str| talk(program("nc")?.args(arguments), input);
    let mut listening = Daemon::start(&mut tool("listen", &["7000"])?)?;
    listening.expect_output("listening on [::]:7000")?;
    listening.close_input();
    nc(&["-N", "10.9.0.2", "7000"], "hello stack\n")?;
    listening.expect_line("hello stack")?;
    assert_eq!(listening.status()?.code(), Some(0));

    let listening = Daemon::start(&mut tool("listen", &["-u", "-w", "10", "7000"])?)?;
    listening.expect_output("listening on [::]:7000")?;
    nc(&["-u", "-w", "1", "10.9.0.2", "7000"], "a datagram\n")?;
    listening.expect_line("a datagram")?;
    drop(listening);

    let folder = TempDir::new()?;
    let cert = folder.path().join("cert.pem").to_string_lossy().into_owned();
    let arguments = ["--echo", "--keep", "--tls", "--save-cert", &cert, "7001"];
    let mut listening = Daemon::start(&mut tool("listen", &arguments)?)?;
    listening.expect_output("listening on [::]:7001")?;
    for address in ["10.9.0.2", "fd00::2"] {
        let target = if address.contains(':') { format!("[{address}]") } else { address.into() };
        let mut openssl = program("openssl")?;
        openssl.args(["s_client", "-connect", &format!("{target}:7001"), "-CAfile", &cert]);
        openssl.args(["-verify_ip", address, "-verify_return_error", "-quiet", "-no_ign_eof"]);
        let mut client = Daemon::start(&mut openssl)?;
        client.write_line("hello tls")?;
        client.expect_line("hello tls")?;
    }
    listening.signal("TERM")?;
    assert_eq!(listening.status()?.code(), Some(0));
    Ok(())
}

/// What each subcommand prints with `--json`, so that a script can read it.
pub(crate) fn json() -> Outcome {
    let _names = dnsmasq(&["--address=/web.test/10.9.0.1"])?;
    let url = format!("http://10.9.0.1:{}/page", serve_page(1)?);
    let mut tested = BTreeSet::new();
    for (name, arguments) in [
        ("ping", &["-c", "1", "10.9.0.1"][..]),
        ("resolve", &["--dns", "10.9.0.1", "web.test"]),
        ("fetch", &["-o", "/dev/null", &url]),
    ] {
        let all = objects(tool(name, arguments)?.arg("--json"))?;
        assert!(!all.is_empty() && all.iter().all(Value::is_object), "{name}: {all:?}");
        tested.insert(name.to_owned());
    }
    let flags = ["perf", "client", "tcp://", "-t", "0.2", "--json"];
    let all = objects(netstack()?.args(flags).stdin(Stdio::null()))?;
    assert!(all.len() >= 2 && all.iter().all(|it| it["event"].is_string()), "{all:?}");
    tested.insert("perf client".into());

    let folder = TempDir::new()?;
    let control = folder.path().join("control").to_string_lossy().into_owned();
    let arguments = ["perf", "server", "--json", "--one-off", "--control", &control];
    let mut server = Daemon::start(netstack()?.args(arguments).args(NETWORK))?;
    let line = server.expect_output("5201")?;
    assert!(serde_json::from_str::<Value>(&line)?.is_object(), "{line}");
    tested.insert("perf server".into());
    // Of this server.
    for (name, is_array) in [
        ("ss -a", true),
        ("counters", false),
        ("routes", true),
        ("neighbours", true),
        ("links", false),
    ] {
        let mut tool = netstack()?;
        tool.args(name.split(' ')).args(["--json", "--control", &control]);
        let shown: Value = serde_json::from_str(&output(&mut tool)?)?;
        assert_eq!((shown.is_array(), shown.is_object()), (is_array, !is_array), "{name}: {shown}");
        tested.insert(name.split(' ').next().unwrap_or_default().to_owned());
    }
    server.signal("TERM")?;
    server.status()?;

    let mut have = BTreeSet::new();
    for path in subcommands()? {
        if help(&path, "--help")?.contains(" --json") {
            have.insert(path.join(" "));
        }
    }
    assert_eq!(tested, have);
    Ok(())
}
