//! `netstack proxy`, with curl, with Chromium, and by hand.

use crate::browser::Browser;
use crate::daemon::{Daemon, Failure, PATIENCE};
use crate::namespace::{Outcome, program};
use crate::programs::output;
use crate::web::{curl, start, status};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::noise;

type Result<T> = std::result::Result<T, Failure>;

const SERVES: &str = "proxy for http and socks5 on";

/// A proxy on a TUN, in a namespace that has its loopback.
fn proxy(flags: &[&str]) -> Result<Daemon> {
    output(program("ip")?.args(["link", "set", "lo", "up"]))?;
    start(&[&["proxy"], flags].concat(), SERVES)
}

/// What is reached through the stack: this machine, over the TUN.
const TARGET: &str = "10.9.0.1";

/// A server of this machine on all addresses, which answers with the line of the request, but only when so
/// many requests have come; its port.
pub(crate) fn serve_page(at_once: usize) -> Result<u16> {
    let listener = TcpListener::bind("[::]:0")?;
    let port = listener.local_addr()?.port();
    let waiting = Arc::new((Mutex::new(0), Condvar::new()));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let waiting = waiting.clone();
            // A client that has left is its own affair.
            std::thread::spawn(move || answer(stream, at_once, &waiting));
        }
    });
    Ok(port)
}

fn answer(
    mut stream: TcpStream,
    at_once: usize,
    (come, changed): &(Mutex<usize>, Condvar),
) -> std::io::Result<()> {
    let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            len => request.extend(&bytes[..len]),
        }
    }
    let mut come = come.lock().expect("no thread has panicked");
    *come += 1;
    changed.notify_all();
    while *come < at_once {
        come = changed.wait(come).expect("no thread has panicked");
    }
    drop(come);
    let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    let len = line.len() + 1;
    let status = if line.contains("/missing") { "404 Not Found" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{line}\n"
    )
}

pub(crate) fn proxies() -> Outcome {
    program("curl")?;
    let port = serve_page(1)?;
    // Each way: from the machine through the stack, and from the stack's link through the machine.
    for (flags, at, targets) in [
        (&[][..], "127.0.0.1:1080", ["10.9.0.1", "[fd00::1]"]),
        (&["--on-stack"], "10.9.0.2:1080", ["127.0.0.1", "[::1]"]),
    ] {
        let _proxy = proxy(flags)?;
        for target in targets {
            let url = format!("http://{target}:{port}/page");
            let http = format!("http://{at}");
            for arguments in [
                &["--proxy", &http, &url][..],
                &["--proxytunnel", "--proxy", &http, &url],
                &["--proxy", &format!("socks5://{at}"), &url],
                &["--proxy", &format!("socks5h://{at}"), &url],
            ] {
                // It has the server's path, and nothing of the proxy.
                let page = output(curl(arguments)?.args(["--noproxy", ""]))?;
                assert_eq!(page, "GET /page HTTP/1.1\n", "{arguments:?}");
            }
        }
        let closed = format!("http://{}:1/", targets[0]);
        let http = format!("http://{at}");
        assert_eq!(status(&["--noproxy", "", "--proxy", &http, &closed])?, "502");
        let socks = format!("socks5://{at}");
        let refused = curl(&["--noproxy", "", "--proxy", &socks, &closed])?.output()?;
        assert_eq!(refused.status.code(), Some(97), "{refused:?}");
        assert_eq!(status(&[&format!("http://{at}/")])?, "400");
    }
    Ok(())
}

pub(crate) fn datagrams() -> Outcome {
    let _proxy = proxy(&[])?;
    let echo = UdpSocket::bind("10.9.0.1:0")?;
    let target = echo.local_addr()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((len, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..len], from);
        }
    });
    let mut control = TcpStream::connect("127.0.0.1:1080")?;
    control.write_all(&[5, 1, 0])?;
    let mut answer = [0; 2];
    control.read_exact(&mut answer)?;
    assert_eq!(answer, [5, 0]);
    control.write_all(&[5, 3, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let mut reply = [0; 10];
    control.read_exact(&mut reply)?;
    assert_eq!(reply[..4], [5, 0, 0, 1]);
    let relay = (Ipv4Addr::LOCALHOST, u16::from_be_bytes([reply[8], reply[9]]));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut head = vec![0, 0, 0, 1, 10, 9, 0, 1];
    head.extend(target.port().to_be_bytes());
    for len in [0, 1, 1400, 20_000] {
        let datagram = [head.clone(), noise(len)].concat();
        socket.send_to(&datagram, relay)?;
        let mut buffer = vec![0; 65_536];
        let (received, _) = socket.recv_from(&mut buffer)?;
        assert_eq!(buffer[..received], datagram, "{len}");
    }

    // The association ends with its connection.
    drop(control);
    socket.connect(relay)?;
    let deadline = Instant::now() + PATIENCE;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    loop {
        let gone = socket.send(&head).and_then(|_| socket.recv(&mut [0; 100]));
        if gone.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "the association is still there");
    }
}

pub(crate) fn intercepted() -> Outcome {
    program("curl")?;
    let port = serve_page(1)?;
    let _proxy = proxy(&["--on-stack", "--intercept"])?;
    // An address of this machine, to which only this client's packets go over the TUN.
    for command in [
        "addr add 198.51.100.7/32 dev lo",
        "rule add pref 100 lookup local",
        "rule del pref 0",
        "rule add pref 50 from 10.9.0.1 to 198.51.100.7 lookup 100",
        "route add default dev tun0 table 100",
    ] {
        output(program("ip")?.args(command.split(' ')))?;
    }
    fs::write("/proc/sys/net/ipv4/conf/tun0/accept_local", "1")?;
    let url = |port| format!("http://198.51.100.7:{port}/page");

    let page = output(&mut curl(&["--interface", "10.9.0.1", &url(port)])?)?;

    assert_eq!(page, "GET /page HTTP/1.1\n");
    // Those that know of it are served, too.
    let own = format!("http://127.0.0.1:{port}/own");
    let page = output(&mut curl(&["--noproxy", "", "--proxy", "socks5h://10.9.0.2:1080", &own])?)?;
    assert_eq!(page, "GET /own HTTP/1.1\n");
    // A SYN is answered as the destination answers it.
    let refused = curl(&["--interface", "10.9.0.1", &url(1)])?.output()?;
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    Ok(())
}

/// A thousand curls' worth of connections, all of which are there before the first is answered.
pub(crate) fn many() -> Outcome {
    program("curl")?;
    let all = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: all, maximum: all })?;
    let port = serve_page(1000)?;
    let _proxy = proxy(&[])?;
    let url = format!("http://{TARGET}:{port}/[1-250]");

    let mut curls = Vec::new();
    for flags in [
        &["--proxy", "http://127.0.0.1:1080"][..],
        &["--proxytunnel", "--proxy", "http://127.0.0.1:1080"],
        &["--proxy", "socks5://127.0.0.1:1080"],
        &["--proxy", "socks5h://127.0.0.1:1080"],
    ] {
        let mut curl = curl(flags)?;
        curl.args(["--parallel", "--parallel-immediate", "--parallel-max", "250"]);
        let child = curl.arg(&url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        curls.push(child);
    }

    for curl in curls {
        let output = curl.wait_with_output()?;
        let pages = String::from_utf8_lossy(&output.stdout);
        let mut pages: Vec<&str> = pages.lines().collect();
        pages.sort_unstable();
        let mut expected: Vec<_> = (1..=250).map(|page| format!("GET /{page} HTTP/1.1")).collect();
        expected.sort_unstable();
        assert_eq!(pages, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

pub(crate) fn browser() -> Outcome {
    program("chromium")?;
    program("openssl")?;
    let port = serve_page(1)?;
    let _proxy = proxy(&[])?;
    let folder = TempDir::new()?;
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let made = rcgen::generate_simple_self_signed([TARGET.to_owned()])?;
    fs::write(&cert, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    let mut openssl = program("openssl")?;
    openssl.args(["s_server", "-accept", "10.9.0.1:443", "-www", "-cert"]).arg(&cert);
    let openssl = Daemon::start(openssl.arg("-key").arg(&key))?;
    openssl.expect_output("ACCEPT")?;
    let plain = format!("http://{TARGET}:{port}/page");
    let tls = format!("https://{TARGET}/");

    for proxy in ["http://127.0.0.1:1080", "socks5://127.0.0.1:1080"] {
        let proxy = format!("--proxy-server={proxy}");
        // By a request with a whole URL, and by CONNECT; by SOCKS5 both.
        for (url, shown) in [(&plain, "GET /page HTTP/1.1"), (&tls, "s_server")] {
            let flags = [&proxy, "--ignore-certificate-errors"];
            let mut browser = Browser::open_with(&flags, url, 1200)?;
            let text = "(document.body?.innerText ?? '')";
            browser.wait_until(&format!("{text}.includes('{shown}')"))?;
        }
    }
    Ok(())
}
