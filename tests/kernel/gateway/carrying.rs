//! What guests send, on sockets of this machine.

use super::{GATEWAY, GUEST, Guest, MACHINE, NOWHERE, Result, configured, gateway, prepare};
use crate::namespace::Outcome;
use crate::programs::output;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;
use tests::{noise, sha256};

const PATIENCE: Duration = Duration::from_secs(20);

fn address(ip: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(ip.parse()?, port))
}

/// A server of this machine on both families, which calls this for each connection.
fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<u16> {
    let listener = TcpListener::bind("[::]:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let each = &each;
        thread::scope(|scope| {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                scope.spawn(move || each(stream));
            }
        });
    });
    Ok(port)
}

/// Sends everything back once the other end has shut its half down.
fn echo(mut stream: TcpStream) {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let _ = stream.write_all(&all);
}

/// Connects from the guest.
fn connect(guest: &Guest, to: SocketAddr) -> std::io::Result<TcpStream> {
    let connected = guest.run(move || Ok(TcpStream::connect_timeout(&to, PATIENCE)));
    let stream = connected.map_err(std::io::Error::other)??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Bytes and ends cross in both directions and families, also without offload.
pub(crate) fn streams() -> Outcome {
    let (guest, _gateway) = configured(&["--mtu", "65520"])?;
    let port = serve(echo)?;
    for ip in MACHINE {
        let mut stream = connect(&guest, address(ip, port)?)?;
        let sent = noise(10_000_000);
        let writing = (stream.try_clone()?, sent.clone());
        let writer = thread::spawn(move || {
            let (mut stream, sent) = writing;
            stream.write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        writer.join().map_err(|_| "a panic")??;
        assert_eq!(sha256(&received), sha256(&sent), "{ip}");
    }
    Ok(())
}

/// A SYN is answered as the destination answers this machine.
pub(crate) fn refusals() -> Outcome {
    let (guest, _gateway) = configured(&[])?;
    let closed = TcpListener::bind("[::]:0")?.local_addr()?.port();
    let loopback = serve(echo)?;
    for (ip, port) in [
        (MACHINE[0], closed),
        (MACHINE[1], closed),
        // Without --host-loopback.
        (GATEWAY[0], loopback),
        (GATEWAY[1], loopback),
    ] {
        let error = connect(&guest, address(ip, port)?).expect_err(ip);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{ip}: {error}");
    }
    let error = connect(&guest, address(NOWHERE, 80)?).expect_err(NOWHERE);
    let unreachable = [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable];
    assert!(unreachable.contains(&error.kind()), "{error}");
    Ok(())
}

/// A reset of one end is one of the other.
pub(crate) fn resets() -> Outcome {
    let (guest, _gateway) = configured(&[])?;
    let reset = |stream: &TcpStream| SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let port = serve(move |mut stream| {
        let _ = stream.write_all(b"last words");
        let _ = stream.read(&mut [0; 1]);
        let _ = reset(&stream);
    })?;
    let mut stream = connect(&guest, address(MACHINE[0], port)?)?;
    let mut words = [0; 10];
    stream.read_exact(&mut words)?;
    assert_eq!(&words, b"last words");
    stream.write_all(b"!")?;
    let error = stream.read(&mut words).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");

    let (seen, sees) = std::sync::mpsc::channel();
    let port = serve(move |mut stream| {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = seen.send(stream.read(&mut [0; 1]).map_err(|error| error.kind()));
    })?;
    let stream = connect(&guest, address(MACHINE[1], port)?)?;
    reset(&stream)?;
    drop(stream);
    assert_eq!(sees.recv_timeout(PATIENCE)?, Err(ErrorKind::ConnectionReset));
    Ok(())
}

/// A guest has so many connections and no more, and gets another when one has ended.
pub(crate) fn bounds() -> Outcome {
    let (guest, _gateway) = configured(&["--connections-max", "2"])?;
    let to = address(MACHINE[0], serve(echo)?)?;
    let first = connect(&guest, to)?;
    let _second = connect(&guest, to)?;
    let error = connect(&guest, to).expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    first.shutdown(Shutdown::Write)?;
    assert_eq!((&first).read(&mut [0; 1])?, 0);
    drop(first);
    let deadline = std::time::Instant::now() + PATIENCE;
    while connect(&guest, to).is_err() {
        assert!(std::time::Instant::now() < deadline, "the first has ended");
    }
    Ok(())
}

/// Datagrams of all sizes come back from where they were sent to.
pub(crate) fn datagrams() -> Outcome {
    let (guest, _gateway) = configured(&[])?;
    let server = UdpSocket::bind("[::]:0")?;
    let port = server.local_addr()?.port();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((n, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..n], from);
        }
    });
    for (own, ip) in GUEST.into_iter().zip(MACHINE) {
        let own = address(own, 0)?;
        let socket = guest.run(move || Ok(UdpSocket::bind(own)?))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        for len in [0, 1, 1400, 9000, 60_000] {
            let (sent, mut buffer) = (noise(len), vec![0; 65_536]);
            socket.send_to(&sent, address(ip, port)?)?;
            let (n, from) = socket.recv_from(&mut buffer)?;
            assert_eq!((from, n), (address(ip, port)?, len));
            assert!(buffer[..n] == sent[..], "{len} bytes");
        }
    }
    Ok(())
}

/// A guest has so many UDP sockets and no more. Those that it has go on.
pub(crate) fn flows() -> Outcome {
    let (guest, _gateway) = configured(&["--flows-max", "2"])?;
    let server = UdpSocket::bind((MACHINE[0], 0))?;
    let to = server.local_addr()?;
    thread::spawn(move || {
        let mut buffer = [0; 8];
        while let Ok((n, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..n], from);
        }
    });
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(guest.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            Ok(socket)
        })?);
    }
    let is_answered = |socket: &UdpSocket, patience| -> Result<bool> {
        socket.set_read_timeout(Some(patience))?;
        socket.send(b"ask")?;
        match socket.recv(&mut [0; 8]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            answer => Ok(answer? == 3),
        }
    };
    for _ in 0..2 {
        assert!(is_answered(&sockets[0], PATIENCE)? && is_answered(&sockets[1], PATIENCE)?);
        assert!(!is_answered(&sockets[2], Duration::from_millis(500))?, "one too many");
    }
    Ok(())
}

/// The machine answers through the gateway, the gateway by itself, and nobody where nobody is.
pub(crate) fn pings() -> Outcome {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
    let (guest, _gateway) = configured(&[])?;
    for ip in MACHINE.into_iter().chain(GATEWAY) {
        let text = output(guest.program("ping")?.args(["-c", "3", "-i", "0.05", "-W", "5", ip]))?;
        assert!(text.contains("3 received, 0% packet loss"), "{text}");
    }
    let nobody = guest.program("ping")?.args(["-c", "1", "-W", "1", NOWHERE]).output()?;
    assert!(!nobody.status.success(), "{nobody:?}");
    Ok(())
}

/// A service on a loopback address is at the gateway's address.
pub(crate) fn loopback() -> Outcome {
    let (guest, _gateway) = configured(&["--host-loopback"])?;
    for (ip, gateway) in ["127.0.0.1", "::1"].into_iter().zip(GATEWAY) {
        let listener = TcpListener::bind(address(ip, 0)?)?;
        let port = listener.local_addr()?.port();
        let _stream = connect(&guest, address(gateway, port)?)?;
        assert_eq!(listener.accept()?.1.ip(), ip.parse::<IpAddr>()?);

        let server = UdpSocket::bind(address(ip, 0)?)?;
        let to = address(gateway, server.local_addr()?.port())?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = guest.run(move || Ok(UdpSocket::bind(any)?))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(b"ask")?;
        let (n, from) = server.recv_from(&mut [0; 8])?;
        server.send_to(b"answer", from)?;
        assert_eq!((n, socket.recv(&mut [0; 8])?), (3, 6));
    }
    Ok(())
}

/// Ports of this machine lead to the guest, over TCP and UDP.
pub(crate) fn published() -> Outcome {
    prepare()?;
    let guest = Guest::new()?;
    let (tcp, udp) =
        guest.run(|| Ok((TcpListener::bind("0.0.0.0:0")?, UdpSocket::bind("0.0.0.0:0")?)))?;
    let (own_tcp, own_udp) = (
        TcpListener::bind("[::]:0")?.local_addr()?.port(),
        UdpSocket::bind("[::]:0")?.local_addr()?.port(),
    );
    let tcp_port = format!("{own_tcp}:{}", tcp.local_addr()?.port());
    let udp_port = format!("{own_udp}:{}:{}/udp", GUEST[0], udp.local_addr()?.port());
    let closed = guest.run(|| Ok(TcpListener::bind("0.0.0.0:0")?.local_addr()?.port()))?;
    let own_closed = TcpListener::bind("[::]:0")?.local_addr()?.port();
    let closed_port = format!("127.0.0.1:{own_closed}:{closed}");
    let flags =
        ["--configure", "-p", &tcp_port, "-p", &udp_port, "-p", &closed_port].map(str::to_owned);
    let _gateway = gateway(&guest, &flags)?;

    for ip in [MACHINE[0], MACHINE[1], "127.0.0.1"] {
        let mut client = TcpStream::connect(address(ip, own_tcp)?)?;
        let (mut server, peer) = tcp.accept()?;
        assert_eq!(peer.ip(), GATEWAY[0].parse::<IpAddr>()?);
        client.write_all(b"hello")?;
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer)?;
        drop(server);
        assert_eq!((&buffer, client.read(&mut [0; 1])?), (b"hello", 0));

        let any = if ip.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let client = UdpSocket::bind(any)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.connect(address(ip, own_udp)?)?;
        client.send(b"ask")?;
        let (n, from) = udp.recv_from(&mut buffer)?;
        udp.send_to(b"answer", from)?;
        assert_eq!((n, client.recv(&mut [0; 8])?), (3, 6));
    }
    // It is open here, and refused there.
    let mut client = TcpStream::connect(address("127.0.0.1", own_closed)?)?;
    let error = client.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    Ok(())
}
