//! A gateway whose guests are peers of a WireGuard tunnel.

use super::{Guest, MACHINE, Result, prepare};
use crate::daemon::{Daemon, PATIENCE, dnsmasq};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::wireguard::{OF_GO, OWN, WireGuardGo};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use tests::noise;

/// The addresses of the gateway, which those of the stack are in the tests of tunnels, and of the guest.
const GATEWAY: [&str; 2] = ["10.8.0.2", "fd08::2"];
const PEER: [&str; 2] = ["10.8.0.1", "fd08::1"];

/// wireguard-go, whose interface is that of a guest, and the gateway's file and port.
fn tunnel() -> Result<(Guest, WireGuardGo, String)> {
    prepare()?;
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let go = WireGuardGo::start(&format!(
        "AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 127.0.0.1:{port}\nPersistentKeepalive = 1"
    ))?;
    let guest = Guest::new()?;
    // Its sockets stay on this machine.
    output(program("ip")?.args(["link", "set", "wg0", "netns", &guest.path()]))?;
    let ip = |arguments: &str| output(guest.program("ip")?.args(arguments.split(' ')));
    ip("link set lo up")?;
    for (address, len) in PEER.into_iter().zip(["24", "64"]) {
        ip(&format!("address add {address}/{len} dev wg0"))?;
    }
    ip("link set wg0 up")?;
    ip("route add default dev wg0")?;
    ip("-6 route add default dev wg0")?;
    let file = go.folder.path().join("gateway.conf").display().to_string();
    fs::write(
        &file,
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {port}\nAddress = 10.8.0.2/24, fd08::2/64\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = 10.8.0.1/32, fd08::1/128\n",
            OWN.to_base64(),
            OF_GO.public().to_base64()
        ),
    )?;
    Ok((guest, go, format!("wg://{file}")))
}

/// Streams of a guest over both families, a name, and a port of this machine that leads to it.
pub(crate) fn peers() -> Outcome {
    let (guest, _go, link) = tunnel()?;
    let server = guest.run(|| Ok(TcpListener::bind("0.0.0.0:0")?))?;
    let own = TcpListener::bind("[::]:0")?.local_addr()?.port();
    let publish = format!("{own}:{}:{}", PEER[0], server.local_addr()?.port());
    let mut gateway = netstack()?;
    gateway.args(["gateway", "--link", &link, "--dns", "127.0.0.1", "-p", &publish]);
    let gateway = Daemon::start(&mut gateway)?;
    gateway.expect_output("netstack gateway: 10.8.0.2/24, fd08::2/64 on wg://")?;

    let echo = TcpListener::bind("[::]:0")?;
    let port = echo.local_addr()?.port();
    for ip in MACHINE {
        let to = SocketAddr::new(ip.parse()?, port);
        let sent = noise(1_000_000);
        let back = thread::scope(|scope| {
            scope.spawn(|| echo.accept().and_then(|(stream, _)| send_back(stream)));
            guest.run(|| Ok(ask(TcpStream::connect_timeout(&to, PATIENCE)?, &sent)?))
        })?;
        assert!(back == sent, "{ip}: {} bytes", back.len());
    }

    // The gateway is the name server, too.
    let _server = dnsmasq(&["--listen-address=127.0.0.1", "--address=/web.test/192.0.2.1"])?;
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x04test\0\0\x01\0\x01";
    for server in GATEWAY {
        let to = SocketAddr::new(server.parse()?, 53);
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = guest.run(|| Ok(UdpSocket::bind(any)?))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(query, to)?;
        let mut answer = [0; 512];
        let n = socket.recv(&mut answer)?;
        assert!(answer[..n].ends_with(&[192, 0, 2, 1]), "{server}");
    }

    let mut client = TcpStream::connect(("127.0.0.1", own))?;
    client.set_read_timeout(Some(PATIENCE))?;
    let (stream, peer) = server.accept()?;
    assert_eq!(peer.ip().to_string(), GATEWAY[0]);
    drop(stream);
    assert_eq!(client.read(&mut [0])?, 0);
    Ok(())
}

/// What a tunnel does not have is named.
pub(crate) fn mistakes() -> Outcome {
    let (_guest, go, link) = tunnel()?;
    let refused = |link: &str, flags: &[&str]| -> Result<String> {
        let gateway = netstack()?.args(["gateway", "--link", link]).args(flags).output()?;
        assert_eq!(gateway.status.code(), Some(1));
        Ok(String::from_utf8_lossy(&gateway.stderr).into_owned())
    };
    let shown = refused(&link, &["-p", "8080:80"])?;
    assert!(shown.contains("name the guest, as in 8080:10.8.0.2:80"), "{shown}");
    let other = go.folder.path().join("other.conf");
    fs::write(&other, format!("[Interface]\nPrivateKey = {}\n", OWN.to_base64()))?;
    let shown = refused(&format!("wg://{}", other.display()), &[])?;
    assert!(shown.contains("the file has no Address, which is the gateway's"), "{shown}");
    let shown = refused(&link, &["--link", "tap://tap0"])?;
    assert!(shown.contains("must be the only one"), "{shown}");
    Ok(())
}

fn send_back(mut stream: TcpStream) -> std::io::Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    stream.write_all(&all)
}

/// Sends, ends its half and reads to the end.
fn ask(mut stream: TcpStream, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    Ok(back)
}
