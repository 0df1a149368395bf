//! How the examples and the tools end on a signal, and their logs.

use crate::daemon::{Daemon, Failure, PATIENCE, dhcp_server};
use crate::fetching::make_tap;
use crate::namespace::{Outcome, example, ours};
use crate::programs::without_tun;
use std::io::{Read, Write};
use std::net::TcpStream;

fn start(name: &str, flags: &[&str]) -> Result<Daemon, Failure> {
    let mut command = ours(name)?;
    command.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
    Daemon::start(command.args(flags))
}

pub(crate) fn serving(name: &str, flags: &[&str], says: &str) -> Result<Daemon, Failure> {
    let server = start(name, flags)?;
    if let Err(error) = server.expect_output(says) {
        without_tun(&error.to_string())?;
    }
    Ok(server)
}

pub(crate) fn server() -> Outcome {
    for (name, port, signal) in [
        ("echo", 7, "TERM"),
        ("httpd", 80, "INT"),
        ("chat", 6667, "TERM"),
        ("tls", 443, "INT"),
        ("netstack proxy --on-stack", 1080, "TERM"),
        ("netstack http-server", 80, "INT"),
        ("netstack listen --keep --echo 7", 7, "TERM"),
        ("proxy 10.10.0.1:1", 8080, "INT"),
        ("perf_server", 80, "TERM"),
    ] {
        let mut server = serving(name, &[], " on ")?;
        let mut client = TcpStream::connect(("10.9.0.2", port))?;
        client.set_read_timeout(Some(PATIENCE))?;
        server.signal(signal)?;
        // An end or a reset, and no time-out.
        let mut rest = Vec::new();
        let heard = client.read_to_end(&mut rest).map_err(|error| error.kind());
        assert!(matches!(heard, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)), "{heard:?}");
        drop(client);
        assert_eq!(server.status()?.code(), Some(0), "{name}");
    }
    Ok(())
}

pub(crate) fn ping() -> Outcome {
    for (target, status) in [("10.9.0.1", 0), ("10.9.0.9", 1)] {
        let flags = ["--count", "100", "--timeout", "0.2", target];
        let mut ping = serving("netstack ping", &flags, "PING ")?;
        ping.expect_output("icmp_seq=1")?;
        ping.signal("INT")?;
        ping.expect_output(&format!("--- {target} ping statistics ---"))?;
        ping.expect_output(if status == 0 { ", 0% packet loss" } else { ", 100% packet loss" })?;
        assert_eq!(ping.status()?.code(), Some(status));
    }
    let mut ping = start("netstack ping", &["192.0.2.1"])?;
    ping.expect_output("netstack: 192.0.2.1: no route")?;
    assert_eq!(ping.status()?.code(), Some(2));
    Ok(())
}

pub(crate) fn lease() -> Outcome {
    make_tap()?;
    let dhcp = dhcp_server(&["--port=0", "--dhcp-range=10.0.0.100,10.0.0.150,2m"])?;
    for signal in ["TERM", "INT"] {
        let mut server = Daemon::start(example("httpd")?.args(["--tap", "tap0", "--dhcp"]))?;
        server.expect_output("dhcp: bound to address 10.0.0.")?;
        server.signal(signal)?;
        dhcp.expect_output("DHCPRELEASE(tap0) 10.0.0.")?;
        assert_eq!(server.status()?.code(), Some(0));
    }
    Ok(())
}

pub(crate) fn second_signal() -> Outcome {
    let mut server = serving("echo", &["-v"], "echo on ")?;
    // A peer that keeps its side open holds the shutdown until its deadline.
    let mut client = TcpStream::connect(("10.9.0.2", 7))?;
    client.set_read_timeout(Some(PATIENCE))?;
    // Not only connected, which the kernel's side is before the server has accepted: a listener
    // that is closed resets unaccepted connections.
    client.write_all(b"x")?;
    client.read_exact(&mut [0])?;
    server.signal("TERM")?;
    assert_eq!(client.read(&mut [0])?, 0);
    server.signal("TERM")?;
    assert_eq!(server.status()?.code(), Some(128 + 15));
    Ok(())
}

pub(crate) fn log() -> Outcome {
    let server = serving("echo", &["-v"], "listener bound local=[::]:7")?;
    let client = TcpStream::connect(("10.9.0.2", 7))?;
    let ends = format!("local=10.9.0.2:7 remote={}}}: netcore::tcp", client.local_addr()?);
    server.expect_output(&format!("{ends}: connection accepted"))?;
    drop(client);
    server.expect_output(&format!("{ends}: connection closed"))?;

    // With unread data the kernel resets.
    let mut client = TcpStream::connect(("10.9.0.2", 7))?;
    let ends = format!("local=10.9.0.2:7 remote={}}}: netcore::tcp", client.local_addr()?);
    client.write_all(b"payload")?;
    client.peek(&mut [0])?;
    drop(client);
    server
        .expect_output(&format!("{ends}: connection reset reason=connection reset by the peer"))?;
    Ok(())
}
