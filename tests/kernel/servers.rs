//! The examples `tls`, `chat` and `proxy`, and `netstack proxy` between two stacks, with the clients that people have
//! for such servers.

use crate::namespace::{Outcome, program};
use crate::programs::{Server, output};
use crate::web::start;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) fn tls() -> Outcome {
    program("openssl")?;
    let certificate = tempfile::NamedTempFile::new()?;
    let file = certificate.path().to_str().ok_or("a path that is no text")?;
    let _server = Server::start("tls", &["--certificate", file])?;
    for (target, address) in [("10.9.0.2:443", "10.9.0.2"), ("[fd00::2]:443", "fd00::2")] {
        let mut openssl = program("openssl")?;
        openssl.args(["s_client", "-connect", target, "-CAfile", file, "-verify_ip", address]);
        // Only the server's output is wanted, and the end of the input ends the session.
        openssl.args(["-verify_return_error", "-quiet", "-no_ign_eof"]);
        let mut client = Talker::start(&mut openssl)?;

        client.write_line("hello tls")?;

        assert_eq!(client.read_line()?, "hello tls");
        client.leave()?;
    }
    Ok(())
}

/// A second stack, from which connections go.
const SECOND: [&str; 11] = [
    "--on-stack",
    "--to-link",
    "tun://tun1",
    "--to-host-address",
    "10.10.0.1/24",
    "--to-address",
    "10.10.0.2/24",
    "--to-host-address",
    "fd01::1/64",
    "--to-address",
    "fd01::2/64",
];

pub(crate) fn proxy() -> Outcome {
    program("curl")?;
    let _proxy = start(&[&["proxy"], &SECOND[..]].concat(), "proxy for http and socks5 on")?;
    for (front, target, back) in [
        ("10.9.0.2", "10.10.0.1", "10.10.0.2"),
        ("[fd00::2]", "[fd01::1]", "fd01::2"),
        ("10.9.0.2", "[fd01::1]", "fd01::2"),
    ] {
        let proxy = format!("http://{front}:1080");
        for tunnel in [&["--proxytunnel"][..], &[]] {
            let (port, served) = serve_one_page(target)?;
            let mut curl = program("curl")?;
            curl.args(["-sS", "-x", &proxy, &format!("http://{target}:{port}/")]).args(tunnel);

            let page = output(&mut curl)?;

            assert_eq!(page, "a page\n", "{front} to {target}");
            let client = served.join().map_err(|_| "the server panicked")??;
            assert_eq!(client, back.parse::<IpAddr>()?, "it comes from the other stack");
        }
    }

    for (path, flags, expected) in [
        ("http://10.10.0.1:1/", &["--proxytunnel", "-w", "%{http_connect}"][..], "502"),
        ("http://name/", &["--proxytunnel", "-w", "%{http_connect}"], "502"),
        ("http://10.10.0.1:1/", &["-w", "%{http_code}"], "502"),
    ] {
        let mut curl = program("curl")?;
        curl.args(["-s", "-o", "/dev/null", "-x", "http://10.9.0.2:1080", path]).args(flags);
        let status = String::from_utf8(curl.output()?.stdout)?;
        assert_eq!(status, expected, "{path}");
    }
    Ok(())
}

pub(crate) fn forward() -> Outcome {
    program("curl")?;
    // Listens on all addresses before the TUN is there.
    let (port, served) = serve_one_page("[::]")?;
    let target = format!("10.10.0.1:{port}");
    let flags = [&["proxy", "--forward", &target], &SECOND[..]].concat();
    let _proxy = start(&flags, &format!("forwarding to {target} on [::]:1080"))?;

    let page = output(program("curl")?.args(["-sS", "http://[fd00::2]:1080/"]))?;

    assert_eq!(page, "a page\n");
    let client = served.join().map_err(|_| "the server panicked")??;
    assert_eq!(client.to_canonical(), "10.10.0.2".parse::<IpAddr>()?);
    Ok(())
}

/// The example.
pub(crate) fn two_stacks() -> Outcome {
    program("curl")?;
    let (port, served) = serve_one_page("[::]")?;
    let _proxy = Server::start("proxy", &[&format!("10.10.0.1:{port}")])?;

    let page = output(program("curl")?.args(["-sS", "http://[fd00::2]:8080/"]))?;

    assert_eq!(page, "a page\n");
    let client = served.join().map_err(|_| "the server panicked")??;
    assert_eq!(client.to_canonical(), "10.10.0.2".parse::<IpAddr>()?);
    Ok(())
}

/// Serves one page from the kernel; returns its port and then the peer.
fn serve_one_page(host: &str) -> Result<(u16, JoinHandle<std::io::Result<IpAddr>>)> {
    let listener = TcpListener::bind(format!("{host}:0"))?;
    let port = listener.local_addr()?.port();
    let served = thread::spawn(move || {
        let (mut stream, peer) = listener.accept()?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\na page\n")?;
        Ok(peer.ip())
    });
    Ok((port, served))
}

pub(crate) fn chat_in_tasks() -> Outcome {
    chat(&[])
}

pub(crate) fn chat_in_threads() -> Outcome {
    chat(&["--blocking"])
}

fn chat(flags: &[&str]) -> Outcome {
    program("nc")?;
    let _server = Server::start("chat", flags)?;
    let mut first = Talker::start(program("nc")?.args(["-N", "10.9.0.2", "6667"]))?;
    assert!(first.read_line()?.ends_with(" joined"));
    let mut second = Talker::start(program("nc")?.args(["-N", "fd00::2", "6667"]))?;
    let joined = second.read_line()?;
    assert!(joined.starts_with("[fd00::1]:") && joined.ends_with(" joined"), "{joined}");
    assert_eq!(first.read_line()?, joined);

    first.write_line("hello")?;
    let heard = second.read_line()?;
    assert!(heard.starts_with("[::ffff:10.9.0.1]:") && heard.ends_with(": hello"), "{heard}");
    second.write_line("and hello to you")?;
    assert!(first.read_line()?.ends_with(": and hello to you"), "own lines do not come back");

    second.leave()?;
    let left = first.read_line()?;
    assert!(left.starts_with("[fd00::1]:") && left.ends_with(" left"), "{left}");
    first.leave()
}

/// A program that is talked to line by line.
struct Talker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Talker {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().ok_or("no input")?;
        let from = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, to, from })
    }

    fn write_line(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.to, "{line}")?)
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Closes its input, and waits until it has exited successfully.
    fn leave(mut self) -> Outcome {
        drop(self.to);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }
}
