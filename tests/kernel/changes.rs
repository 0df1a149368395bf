//! Changes to the addresses, routes and link of a running stack, by `netstack set`.

use crate::daemon::{Daemon, Failure, PATIENCE, dhcp_server, settled};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::vde::until;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const PORT: u16 = 5000;

/// An echo on a TAP, whose network can be changed.
struct Server {
    daemon: Daemon,
    control: PathBuf,
    _folder: TempDir,
}

impl Server {
    fn start(flags: &[&str]) -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let control = folder.path().join("control");
        let mut listen = netstack()?;
        listen.args(["listen", "--keep", "--echo", "5000", "--tap", "tap0"]);
        listen.args(["--host-address", "10.0.0.1/24"]).args(flags).arg("--control").arg(&control);
        let daemon = Daemon::start(&mut listen)?;
        Ok(Self { daemon, control, _folder: folder })
    }

    /// One that listens already.
    fn listening(flags: &[&str]) -> Result<Self, Failure> {
        let server = Self::start(flags)?;
        server.daemon.expect_output("listening on [::]:5000")?;
        Ok(server)
    }

    /// A tool that asks it.
    fn command(&self, line: &str) -> Result<Command, Failure> {
        let mut command = netstack()?;
        command.args(line.split(' ')).env("NETSTACK_CONTROL", &self.control);
        Ok(command)
    }

    fn set(&self, change: &str) -> Outcome {
        assert_eq!(output(&mut self.command(&format!("set {change}"))?)?, "");
        Ok(())
    }

    /// Waits until a tool shows this line.
    fn until_shown(&self, tool: &str, line: &str) -> Outcome {
        until(line, || Ok(output(&mut self.command(tool)?)?.lines().any(|shown| shown == line)))
    }
}

/// Pings an address, and has nc receive its echo.
fn assert_answers(address: &str) -> Outcome {
    let text = output(program("ping")?.args(["-c", "3", "-i", "0.1", "-W", "5", address]))?;
    assert!(text.contains("3 received, 0% packet loss"), "{text}");
    let mut nc = program("nc")?
        .args(["-N", "-w", "10", address, &PORT.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = nc.stdin.take().ok_or("no input")?;
    input.write_all(format!("hello {address}\n").as_bytes())?;
    drop(input);
    let echoed = nc.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&echoed.stdout), format!("hello {address}\n"));
    Ok(())
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((address, PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn assert_lives(mut stream: &TcpStream) -> Outcome {
    stream.write_all(b"still there?")?;
    let mut echoed = [0; 12];
    stream.read_exact(&mut echoed)?;
    assert_eq!(&echoed, b"still there?");
    Ok(())
}

fn assert_reset(mut stream: &TcpStream) {
    let ended = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
}

pub(crate) fn by_command() -> Outcome {
    for name in ["nc", "ping"] {
        program(name)?;
    }
    let v6 = ["--host-address", "fc00::1:1/64", "--address", "fc00::1:50/64"];
    let server = Server::listening(&[&["--address", "10.0.0.50/24"], &v6[..]].concat())?;
    // Without "tentative" behind it.
    server.until_shown("links", "    inet6 fc00::1:50/64")?;
    settled()?;
    for address in ["10.0.0.50", "fc00::1:50"] {
        assert_answers(address)?;
    }

    let stays = connect("10.0.0.50")?;
    assert_lives(&stays)?;
    server.set("address 10.0.0.60/24")?;
    server.until_shown("links", "    inet 10.0.0.60/24")?;
    assert_answers("10.0.0.60")?;
    let goes = connect("10.0.0.60")?;
    assert_lives(&goes)?;
    assert_lives(&stays)?;
    server.set("no-address 10.0.0.60")?;
    assert_reset(&goes);
    assert_lives(&stays)?;

    server.set("route 192.0.2.0/24 10.0.0.1")?;
    server.until_shown("routes", "192.0.2.0/24 via 10.0.0.1")?;
    server.set("no-route 192.0.2.0/24")?;
    let routes = output(&mut server.command("routes")?)?;
    assert!(!routes.contains("192.0.2.0/24"), "{routes}");
    server.set("name-servers 10.0.0.1 fc00::1:1")?;
    for line in ["    name server 10.0.0.1", "    name server fc00::1:1"] {
        server.until_shown("links", line)?;
    }
    for (change, shown) in
        [("mtu 1400", "link up, mtu 1400"), ("down", "link down, mtu 1400"), ("up", "link up, mtu")]
    {
        server.set(change)?;
        let links = output(&mut server.command("links")?)?;
        assert!(links.starts_with(shown), "{links}");
    }
    // When a link comes up, the address may be in use there: duplicate address detection runs
    // again.
    let links = output(&mut server.command("links")?)?;
    assert!(links.contains("    inet6 fc00::1:50/64 tentative\n"), "{links}");
    server.until_shown("links", "    inet6 fc00::1:50/64")?;
    assert_lives(&stays)?;

    server.set("no-address 10.0.0.50")?;
    assert_reset(&stays);
    assert_answers("fc00::1:50")
}

pub(crate) fn by_dhcp() -> Outcome {
    program("dnsmasq")?;
    let server = Server::start(&["--dhcp"])?;
    server.daemon.expect_output("dhcp: discover")?;
    let range = "--dhcp-range=10.0.0.100,10.0.0.100,2m";
    let _server = dhcp_server(&["--port=0", range, "--dhcp-option=6,10.0.0.53"])?;
    // It listens once it has an address.
    server.daemon.expect_output("listening on [::]:5000")?;
    for (tool, line) in [
        ("links", "    inet 10.0.0.100/24"),
        ("routes", "default via 10.0.0.1"),
        ("links", "    name server 10.0.0.53"),
    ] {
        server.until_shown(tool, line)?;
    }
    assert_lives(&connect("10.0.0.100")?)
}

pub(crate) fn bad_commands() -> Outcome {
    let server = Server::listening(&["--address", "10.0.0.50/24"])?;
    let network = || output(&mut server.command("links --json")?);
    let before = network()?;
    for (change, status, error) in [
        ("address 10.0.0.999/24", 2, "\"10.0.0.999\" is not an IP address"),
        ("address 10.0.0.51", 2, "the prefix length is missing, for example \"10.0.0.51/24\""),
        ("address 224.0.0.1/24", 1, "address not available"),
        ("no-address 10.0.0.51", 1, "address not available"),
        ("route 192.0.2.0/24 by", 2, "not an IP address"),
        ("no-route 192.0.2.0/24", 1, "no route"),
        ("mtu many", 1, "\"many\" is no number of bytes"),
        ("mtu 100", 1, "the MTU is too small: at least 576 bytes"),
        ("name-servers here", 2, "not an IP address"),
        ("please", 2, "unrecognized subcommand"),
    ] {
        let output = server.command(&format!("set {change}"))?.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{change}: {said}");
        assert!(said.contains(error), "{change}: {said}");
        assert!(status == 2 || said.lines().count() == 1, "{change}: {said}");
    }
    assert_eq!(network()?, before);
    Ok(())
}
