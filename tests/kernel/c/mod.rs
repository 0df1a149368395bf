//! C programs with `netstack.h`, compiled here, and the kernel as the other end.

mod programs;

use crate::daemon::{Daemon, dhcp_server, dnsmasq};
use crate::namespace::{Outcome, program};
use programs::{Linking, Program, Tool, compile, compile_by_pkg_config, run, run_to_end};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// The port of the servers.
const PORT: u16 = 5000;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn echo() -> Outcome {
    echo_with(Tool::None)
}

pub(crate) fn epoll() -> Outcome {
    epoll_with(Tool::None)
}

pub(crate) fn side_by_side() -> Outcome {
    side_by_side_with(Tool::None)
}

pub(crate) fn calls() -> Outcome {
    calls_with(Tool::None)
}

pub(crate) fn under_valgrind() -> Outcome {
    program("valgrind")?;
    for run in [echo_with, epoll_with, side_by_side_with, calls_with] {
        run(Tool::Valgrind)?;
    }
    Ok(())
}

/// One socket answers both families, while addresses come and go.
fn echo_with(tool: Tool) -> Outcome {
    let program = compile("capi/examples/echo.c")?;
    let config = "tap://tap0,host=10.0.0.1/24,host=fc00::1/64,ip=10.0.0.50/24,ip=fc00::1:50/64";
    let mut server = Daemon::start(run(&program, tool)?.arg(config))?;
    server.expect_line("listening")?;
    nc("10.0.0.50", "over IPv4\n")?;
    server.expect_line("client ::ffff:10.0.0.1")?;
    server.expect_line("closed")?;
    nc("fc00::1:50", "over IPv6\n")?;
    server.expect_line("client fc00::1")?;
    server.expect_line("closed")?;

    let mut kept = connect("10.0.0.50")?;
    for (command, answer, alive) in [
        ("add 10.0.0.60/24", "add 10.0.0.60: done", "10.0.0.60"),
        ("add fc00::1:60/64", "add fc00::1:60: done", "fc00::1:60"),
    ] {
        server.write_line(command)?;
        server.expect_line(answer)?;
        nc(alive, "over an added address\n")?;
        server.expect_line("closed")?;
    }
    server.write_line("list")?;
    server.expect_line("ns0 fc00::1:60")?;
    let mut ended = connect("10.0.0.60")?;
    // One that nobody has accepted ends without a word.
    server.expect_line("client ::ffff:10.0.0.1")?;
    server.write_line("del 10.0.0.60/24")?;
    server.expect_line("del 10.0.0.60: done")?;
    let end = ended.read(&mut [0]);
    assert!(end.is_err(), "the address is gone, and so is its connection: {end:?}");
    server.expect_line("closed")?;
    server.write_line("del 10.0.0.60/24")?;
    server.expect_output("del 10.0.0.60: ns_addr_del: ")?;
    exchange(&mut kept, b"beside them")?;

    // Its connection and listener are open.
    server.close_input();
    server.expect_line("ns_delstack: the stack has 2 open sockets")?;
    server.expect_line("ended")?;
    assert!(server.status()?.success());
    assert_eq!(kept.read(&mut [0])?, 0);
    Ok(())
}

/// Edge-triggered connections, and datagrams.
fn epoll_with(tool: Tool) -> Outcome {
    let program = compile("capi/examples/epoll.c")?;
    let config = "tun://tun0,host=10.0.0.1/24,ip=10.0.0.50/24,name=vde0";
    let mut server = Daemon::start(run(&program, tool)?.arg(config))?;
    server.expect_line("listening")?;
    let mut clients = (0..20).map(|_| connect("10.0.0.50")).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..3 {
        for client in &mut clients {
            exchange(client, &[7; 3000])?;
        }
    }
    let udp = UdpSocket::bind("0.0.0.0:0")?;
    udp.set_read_timeout(Some(PATIENCE))?;
    for payload in [&b"a datagram"[..], b"", &[1; 1400]] {
        udp.send_to(payload, ("10.0.0.50", PORT))?;
        let mut answer = [0; 2000];
        let (len, sender) = udp.recv_from(&mut answer)?;
        assert_eq!((&answer[..len], sender.port()), (payload, PORT));
    }
    for client in &mut clients {
        client.shutdown(Shutdown::Write)?;
        assert_eq!(client.read(&mut [0])?, 0);
    }
    server.close_input();
    server.expect_line("ended")?;
    assert!(server.status()?.success());
    Ok(())
}

/// Two stacks and the kernel have the same port in one process.
fn side_by_side_with(tool: Tool) -> Outcome {
    runs_side_by_side(&compile(SIDE_BY_SIDE)?, tool)
}

/// By what pkg-config says of the library as it is installed.
pub(crate) fn installed_shared() -> Outcome {
    runs_side_by_side(&compile_by_pkg_config(SIDE_BY_SIDE, Linking::Shared)?, Tool::None)
}

/// Likewise.
pub(crate) fn installed_static() -> Outcome {
    runs_side_by_side(&compile_by_pkg_config(SIDE_BY_SIDE, Linking::Static)?, Tool::None)
}

const SIDE_BY_SIDE: &str = "capi/examples/side_by_side.c";

fn runs_side_by_side(program: &Program, tool: Tool) -> Outcome {
    let output = run_to_end(&mut run(program, tool)?)?;
    assert_eq!(output, "one\ntwo\nkernel\nended\n");
    Ok(())
}

/// The call that makes a stack returns when it has an address.
pub(crate) fn dhcp() -> Outcome {
    let compiled = compile("capi/examples/echo.c")?;
    for arguments in
        ["tuntap add dev tap0 mode tap", "address add 10.0.0.1/24 dev tap0", "link set tap0 up"]
    {
        let output = program("ip")?.args(arguments.split(' ')).output()?;
        assert!(output.status.success(), "{arguments}: {output:?}");
    }
    let _leases = dhcp_server(&["--port=0", "--dhcp-range=10.0.0.50,10.0.0.50,2m"])?;
    let mut server = Daemon::start(run(&compiled, Tool::None)?.arg("tap://tap0,dhcp"))?;
    server.expect_line("listening")?;
    nc("10.0.0.50", "over DHCP\n")?;
    server.write_line("list")?;
    server.expect_line("ns0 10.0.0.50")?;
    Ok(())
}

/// What each call returns.
fn calls_with(tool: Tool) -> Outcome {
    let program = compile("tests/kernel/c/calls.c")?;
    let _names = dnsmasq(&["--local=/test/", "--address=/a.test/10.1.2.3"])?;
    let port = echo_server()?;
    let output = run_to_end(run(&program, tool)?.arg(port.to_string()))?;
    assert_eq!(output, "done\n");
    Ok(())
}

pub(crate) fn netlink() -> Outcome {
    let program = compile("tests/kernel/c/netlink.c")?;
    assert_eq!(run_to_end(&mut run(&program, Tool::None)?)?, "done\n");
    Ok(())
}

/// Sends a text with nc, which must come back.
fn nc(address: &str, text: &str) -> Outcome {
    let mut nc = program("nc")?;
    nc.args(["-N", "-w", "20", address, &PORT.to_string()]);
    let mut nc = nc.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    nc.stdin.take().ok_or("no input")?.write_all(text.as_bytes())?;
    let output = nc.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{address}");
    Ok(())
}

/// Connects; a new address may be unreachable for some moments, until it is known to be unique.
fn connect(address: &str) -> Result<TcpStream, crate::daemon::Failure> {
    let address = SocketAddr::new(address.parse::<IpAddr>()?, PORT);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Outcome {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, bytes);
    Ok(())
}

/// The kernel's echo server, with TCP and UDP on one port.
fn echo_server() -> Result<u16, crate::daemon::Failure> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    let udp = UdpSocket::bind(("0.0.0.0", port))?;
    thread::spawn(move || {
        let mut datagram = [0; 2000];
        while let Ok((len, sender)) = udp.recv_from(&mut datagram) {
            let _ = udp.send_to(&datagram[..len], sender);
        }
    });
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(port)
}
