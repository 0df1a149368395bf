//! `netstack ping`, `resolve`, `fetch`, `connect` and `listen`, with the kernel and common programs.

use crate::daemon::{Daemon, Failure, dnsmasq};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::proxying::serve_page;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Failure>;

const NETWORK: [&str; 8] = [
    "--host-address",
    "10.9.0.1/24",
    "--address",
    "10.9.0.2/24",
    "--host-address",
    "fd00::1/64",
    "--address",
    "fd00::2/64",
];

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

    for (target, status) in [("10.9.0.99", 1), ("no.test", 2)] {
        let failed = tool("ping", &["-c", "1", "-W", "0.1", target])?.output()?;
        assert_eq!(failed.status.code(), Some(status), "{failed:?}");
    }
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
