//! Changes to the addresses, routes and link of a running stack, by the example `ifconfig`.

use crate::daemon::{Daemon, PATIENCE, dhcp_server, settled};
use crate::namespace::{Outcome, example, program};
use crate::programs::output;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

const PORT: u16 = 5000;

/// Starts the example on a TAP, with these flags.
fn ifconfig(flags: &[&str]) -> Result<Daemon, Box<dyn std::error::Error + Send + Sync>> {
    let mut ifconfig = example("ifconfig")?;
    ifconfig.args(["--tap", "tap0", "--host-address", "10.0.0.1/24"]).args(flags);
    let ifconfig = Daemon::start(&mut ifconfig)?;
    ifconfig.expect_output("echo on [::]:5000")?;
    Ok(ifconfig)
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
    let mut ifconfig = ifconfig(&[&["--address", "10.0.0.50/24"], &v6[..]].concat())?;
    // Without "tentative" behind it.
    ifconfig.expect_line("  address fc00::1:50/64")?;
    settled()?;
    for address in ["10.0.0.50", "fc00::1:50"] {
        assert_answers(address)?;
    }

    let stays = connect("10.0.0.50")?;
    assert_lives(&stays)?;
    ifconfig.write_line("add 10.0.0.60/24")?;
    ifconfig.expect_line("  address 10.0.0.60/24")?;
    assert_answers("10.0.0.60")?;
    let goes = connect("10.0.0.60")?;
    assert_lives(&goes)?;
    assert_lives(&stays)?;
    ifconfig.write_line("del 10.0.0.60")?;
    assert_reset(&goes);
    assert_lives(&stays)?;

    for (command, shown) in [
        ("route add 192.0.2.0/24 via 10.0.0.1", "  route 192.0.2.0/24 via 10.0.0.1"),
        ("route del 192.0.2.0/24", "  address fc00::1:50/64"),
        ("dns 10.0.0.1 fc00::1:1", "  dns fc00::1:1"),
    ] {
        ifconfig.write_line(command)?;
        ifconfig.expect_line(shown)?;
    }
    for (command, shown) in
        [("mtu 1400", "link up mtu 1400"), ("down", "link down mtu 1400"), ("up", "link up mtu")]
    {
        ifconfig.write_line(command)?;
        ifconfig.expect_output(shown)?;
    }
    // When a link comes up, the address may be in use there: duplicate address detection runs
    // again.
    ifconfig.expect_line("  address fc00::1:50/64 tentative")?;
    ifconfig.expect_line("  address fc00::1:50/64")?;
    assert_lives(&stays)?;

    ifconfig.write_line("del 10.0.0.50")?;
    assert_reset(&stays);
    assert_answers("fc00::1:50")
}

pub(crate) fn by_dhcp() -> Outcome {
    program("dnsmasq")?;
    let mut ifconfig = ifconfig(&["--dhcp"])?;
    let range = "--dhcp-range=10.0.0.100,10.0.0.100,2m";
    let _server = dhcp_server(&["--port=0", range, "--dhcp-option=6,10.0.0.53"])?;
    ifconfig.expect_line("  address 10.0.0.100/24")?;
    ifconfig.write_line("show")?;
    for line in ["  address 10.0.0.100/24", "  route 0.0.0.0/0 via 10.0.0.1", "  dns 10.0.0.53"] {
        ifconfig.expect_line(line)?;
    }
    assert_lives(&connect("10.0.0.100")?)
}

pub(crate) fn bad_commands() -> Outcome {
    for (command, error) in [
        ("add 10.0.0.999/24", "\"10.0.0.999\" is not an IP address"),
        ("add 10.0.0.51", "the prefix length is missing, for example \"10.0.0.51/24\""),
        ("add 224.0.0.1/24", "address not available"),
        ("del 10.0.0.51", "address not available"),
        ("route add 192.0.2.0/24 by 10.0.0.1", "a route is NETWORK/PREFIX [via GATEWAY]"),
        ("route del 192.0.2.0/24", "no route"),
        ("mtu many", "\"many\": not a whole number"),
        ("mtu 100", "the MTU is too small: at least 576 bytes"),
        ("dns here", "\"here\": not an IP address"),
        ("please", "not one of show, add, del"),
    ] {
        let mut ifconfig = ifconfig(&["--address", "10.0.0.50/24"])?;
        for line in ["show", "", command, "add 10.0.0.60/24"] {
            // Nothing is read after the invalid line.
            let _ = ifconfig.write_line(line);
        }
        let line = ifconfig.expect_output(&format!("ifconfig: line 3: {command}: "))?;
        assert!(line.contains(error), "{line}");
        assert_eq!(ifconfig.status()?.code(), Some(1), "{line}");
    }
    Ok(())
}

pub(crate) fn at_a_terminal() -> Outcome {
    let mut script = program("script")?;
    let path = example("ifconfig")?.get_program().to_string_lossy().into_owned();
    let command = format!("{path} --tap tap0 --address 10.0.0.50/24");
    let mut ifconfig = Daemon::start(script.args(["-qec", &command, "/dev/null"]))?;
    ifconfig.expect_output("echo on [::]:5000")?;
    ifconfig.write_line("please")?;
    ifconfig.expect_output("please: not one of show, add, del")?;
    ifconfig.write_line("add 10.0.0.60/24")?;
    ifconfig.expect_output("  address 10.0.0.60/24")?;
    // The end of the input, as a terminal has it.
    ifconfig.write_line("\u{4}")?;
    assert_eq!(ifconfig.status()?.code(), Some(0));
    Ok(())
}
