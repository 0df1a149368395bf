//! A running program from outside: `netstack ss`, `why`, `top` and others, on its control socket.

use crate::daemon::Daemon;
use crate::namespace::{Outcome, netstack, program};
use crate::page;
use crate::programs::{Server, output};
use socket2::{Domain, SockFilter, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HTTPD: &str = "10.9.0.2:80";
/// As long as a cause may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a client downloads that is to be busy during the test.
pub(crate) const ENDLESS: &str = "GET /bytes/1000000000000 HTTP/1.1\r\nHost: a\r\n\r\n";

/// A web server with a control socket.
pub(crate) struct World {
    _server: Server,
    path: PathBuf,
    _folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("httpd");
        let text = path.to_str().ok_or("a path that is no text")?;
        let server = Server::start("httpd", &["--control", text])?;
        Ok(Self { _server: server, path, _folder: folder })
    }

    /// The path of its control socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The output of a subcommand.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.command(arguments)?)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = netstack()?;
        command.args(arguments).env("NETSTACK_CONTROL", &self.path);
        Ok(command)
    }

    /// Asks about a connection until the answer has all of these words.
    fn wait_for(&self, arguments: &[&str], client: SocketAddr, words: &[&str]) -> Result<()> {
        let port = format!(":{}", client.port());
        let address = client.to_string();
        let arguments: Vec<_> = arguments
            .iter()
            .map(|it| {
                if *it == "PORT" {
                    &port
                } else if *it == "ADDRESS" {
                    &address
                } else {
                    *it
                }
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.ask(&arguments)?.replace('\n', " ");
            if words.iter().all(|word| text.contains(word)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{arguments:?} has not {words:?}: {text}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A client, and the end of what it does.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    work: Option<JoinHandle<()>>,
}

impl Client {
    /// Connects, with a receive buffer of this size, if any.
    pub(crate) fn connect(buffer_bytes: Option<usize>) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(bytes) = buffer_bytes {
            // Before the SYN, which announces the window.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(&HTTPD.parse::<SocketAddr>()?.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let address = stream.local_addr()?;
        Ok(Self { stream, address, ends: Arc::default(), work: None })
    }

    pub(crate) fn request(mut self, text: &str) -> Result<Self> {
        self.stream.write_all(text.as_bytes())?;
        Ok(self)
    }

    /// Reads as fast as it can, until the test has ended.
    pub(crate) fn reading(self) -> Result<Self> {
        self.working(|stream| match stream.read(&mut [0; 65_536]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        })
    }

    /// Does this again and again, until the test has ended.
    fn working(
        mut self,
        work: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (mut stream, ends) = (self.stream.try_clone()?, self.ends.clone());
        self.work = Some(std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) && work(&mut stream).is_ok() {}
        }));
        Ok(self)
    }

    /// Has the kernel drop this part of what arrives for it.
    fn losing(self, part: f64) -> Result<Self> {
        const LOAD_RANDOM: (u16, u32) = (0x20, 0xffff_f000 + 56);
        let threshold = (part * f64::from(u32::MAX)) as u32;
        let filter = [
            SockFilter::new(LOAD_RANDOM.0, 0, 0, LOAD_RANDOM.1),
            // At least the threshold: taken; less: dropped.
            SockFilter::new(0x35, 0, 1, threshold),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ];
        socket2::SockRef::from(&self.stream).attach_filter(&filter)?;
        Ok(self)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(work) = self.work.take() {
            let _ = work.join();
        }
    }
}

/// Eight clients of different habits: for each, the cause that it is.
pub(crate) fn causes() -> Outcome {
    let world = World::new()?;
    let get = "GET /bytes/20000000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let put = "PUT /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    let fast = Client::connect(None)?.request(get)?.reading()?;
    let slow_reader = Client::connect(None)?.request(ENDLESS)?;
    let slow_writer = Client::connect(None)?.request(put)?.working(|stream| {
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(b"a few")
    })?;
    let lossy = Client::connect(None)?.losing(0.05)?.request(ENDLESS)?.reading()?;
    let tiny = Client::connect(Some(4096))?.request(ENDLESS)?.reading()?;
    let idle = Client::connect(None)?;
    let half_closed = Client::connect(None)?.request("GET / HTTP/1.0\r\n\r\n")?;
    let gone = Client::connect(None)?.request(ENDLESS)?.losing(1.0)?;

    let ss = ["ss", "-tiH", "dport", "=", "PORT"];
    let cases = [
        (&fast, &["ESTAB", "limit:idle", "bytes_acked:2000"][..], &["it is idle"][..]),
        (
            &slow_reader,
            &["ESTAB", "peer-window", "limit:peer-window"],
            &["limited by the peer's window", "its application does not read"],
        ),
        (
            &slow_writer,
            &["ESTAB", "limit:idle", "bytes_received:"],
            &["it is idle", "goes as fast as the peer sends", "0 bytes sent"],
        ),
        (&lossy, &["ESTAB", "retrans:", "bytes_retrans:"], &["lost", "were sent again"]),
        (
            &tiny,
            &["ESTAB", "limit:peer-window", "peer-window_limited:"],
            &["the peer offers a window of", "larger receive buffer"],
        ),
        (&idle, &["ESTAB", "limit:idle", "idle_limited:"], &["it is idle", "has sent nothing yet"]),
        (&half_closed, &["FIN-WAIT-2"], &["has closed its half, and the peer has not"]),
        (
            &gone,
            &["ESTAB", "limit:retransmission-timer", "backoff:"],
            &["limited by a retransmission timer", "the peer is gone"],
        ),
    ];
    for (client, in_ss, in_why) in cases {
        let states = ["ss", "-atiH", "dport", "=", "PORT"];
        let arguments = if in_ss == ["FIN-WAIT-2"] { &states } else { &ss };
        world.wait_for(arguments, client.address, in_ss)?;
        world.wait_for(&["why", "ADDRESS"], client.address, in_why)?;
    }
    let on_screen = cases.map(|(client, ..)| {
        let words: &[&str] = match client.address {
            // By turns.
            at if at == lossy.address => &["congestion-window", "retransmission-timer", "device"],
            at if at == gone.address => &["retransmission-timer"],
            at if at == slow_reader.address || at == tiny.address => &["peer-window"],
            at if at == half_closed.address => &["FIN-WAIT-2"],
            _ => &["idle"],
        };
        (client.address, words)
    });
    screen(&world, &on_screen)?;
    let on_page: Vec<_> = cases.iter().map(|(client, _, why)| (*client, *why)).collect();
    page::causes(&world, &on_page)
}

/// What a terminal shows of them, in the row of each one of these words.
fn screen(world: &World, rows: &[(SocketAddr, &[&str])]) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = first_screen(world)?;
        let missing = rows.iter().find(|(address, words)| {
            let row = shown.split(&address.to_string()).nth(1).unwrap_or_default();
            let row = row.split("10.9.0.1:").next().unwrap_or_default();
            !words.iter().any(|word| row.contains(word))
        });
        match missing {
            None => return Ok(()),
            Some(row) if Instant::now() > deadline => {
                return Err(format!("the terminal has not shown {row:?}: {shown}").into());
            }
            Some(_) => {}
        }
    }
}

/// `top` at a terminal of a known size.
struct Top {
    child: std::process::Child,
    keys: std::process::ChildStdin,
    shown: std::process::ChildStdout,
    text: String,
}

impl Top {
    /// Its shell says its number first, which is that of `top`, too.
    fn start(world: &World) -> Result<Self> {
        let mut script = program("script")?;
        let top = world.command(&["top"])?;
        let path = top.get_program().to_str().ok_or("a path that is no text")?;
        let command = format!("stty rows 30 cols 140; echo [$$]; exec {path} top --interval 0.2");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        script.env("NETSTACK_CONTROL", &world.path).env("TERM", "xterm").env("SHELL", "/bin/sh");
        let mut child =
            script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let keys = child.stdin.take().ok_or("no input")?;
        let shown = child.stdout.take().ok_or("no output")?;
        Ok(Self { child, keys, shown, text: String::new() })
    }

    /// What it has shown once all of this was there.
    fn wait_for(&mut self, words: &[&str]) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 65_536];
        while !words.iter().all(|word| self.text.contains(word)) {
            let n = self.shown.read(&mut bytes)?;
            self.text += &String::from_utf8_lossy(&bytes[..n]);
            if n == 0 || Instant::now() > deadline {
                let text = &self.text;
                return Err(format!("the terminal has not shown {words:?}: {text}").into());
            }
        }
        Ok(std::mem::take(&mut self.text))
    }
}

/// The first screen of `top`.
fn first_screen(world: &World) -> Result<String> {
    let mut top = Top::start(world)?;
    let first = top.wait_for(&[
        "httpd (pid",
        "8 connections",
        "peer-window",
        "retransmission-timer",
        "FIN-WAIT-2",
    ])?;
    // Sorted by what limits them, the first is opened.
    top.keys.write_all(b"l\r")?;
    top.wait_for(&["congestion window", "round trip", "limited"])?;
    top.keys.write_all(b"q")?;
    let status = top.child.wait()?;
    assert!(status.success(), "{status}");

    // A signal ends it, too, and leaves the terminal as it was.
    let mut top = Top::start(world)?;
    let shown = top.wait_for(&["httpd (pid"])?;
    let number = shown.split(['[', ']']).nth(1).ok_or("no number")?;
    program("kill")?.arg(number).status()?;
    top.wait_for(&["\u{1b}[?1049l"])?;
    assert_eq!(top.child.wait()?.code(), Some(143));
    Ok(first)
}

/// The slow reader among many is found with the two commands of the README.
pub(crate) fn slow_reader() -> Outcome {
    let world = World::new()?;
    let mut clients: Vec<_> =
        (0..1000).map(|_| TcpStream::connect(HTTPD)).collect::<io::Result<_>>()?;
    let slow = &mut clients[617];
    slow.write_all(ENDLESS.as_bytes())?;
    let address = slow.local_addr()?;
    world.wait_for(&["ss", "-t", "dport", "=", "PORT"], address, &["peer-window"])?;

    let found = world.ask(&["ss", "-t", "limit", "peer-window"])?;
    let lines: Vec<_> = found.lines().collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert!(lines[1].contains(&address.to_string()), "{found}");
    let id = lines[1].split_whitespace().nth(5).ok_or("no id")?;
    let why = world.ask(&["why", id])?.replace('\n', " ");
    assert!(why.contains("its application does not read"), "{why}");

    // The same for programs.
    let json = world.ask(&["ss", "-t", "--json"])?;
    assert_eq!(json.matches("\"kind\":\"tcp\"").count(), 1000);
    Ok(())
}

/// What changes the stack, and what shows its network.
pub(crate) fn changes() -> Outcome {
    let world = World::new()?;
    let mut client = TcpStream::connect(HTTPD)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let address = client.local_addr()?;

    let line = world.ask(&["ss", "-tH", "dport", "=", &format!(":{}", address.port())])?;
    let id = line.split_whitespace().nth(5).ok_or("no id")?;
    world.ask(&["kill", id])?;
    let reset = client.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(reset, Err(ErrorKind::ConnectionReset));

    world.ask(&["set", "address", "10.9.0.7/24"])?;
    world.ask(&["set", "route", "default", "10.9.0.1"])?;
    world.ask(&["set", "mtu", "1400"])?;
    let links = world.ask(&["links"])?;
    assert!(links.contains("mtu 1400") && links.contains("inet 10.9.0.7/24"), "{links}");
    assert!(world.ask(&["routes"])?.contains("default via 10.9.0.1"));
    assert_eq!(world.ask(&["neighbours"])?, "", "a TUN has none");
    TcpStream::connect("10.9.0.7:80")?;

    let counters = world.ask(&["counters"])?;
    assert!(counters.contains("connections established"), "{counters}");
    let rates = world.ask(&["counters", "--interval", "0.1", "--count", "1", "--all"])?;
    assert!(rates.contains("per second") && rates.contains("frames sent"), "{rates}");
    let listening = world.ask(&["ss", "-tlp"])?;
    assert!(listening.contains("stack=netstack"), "{listening}");
    assert!(listening.contains("LISTEN") && listening.contains("users:((\"httpd\""), "{listening}");
    assert!(listening.contains(",thread=main"), "{listening}");
    Ok(())
}

/// A capture from outside, as tshark reads it.
pub(crate) fn capture() -> Outcome {
    let mut tshark = program("tshark")?;
    let world = World::new()?;
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().to_str().ok_or("a path that is no text")?;
    let filter = ["capture", "tcp", "port", "80", "and", "host", "10.9.0.1", path];
    let mut capturing = Daemon::start(&mut world.command(&filter)?)?;
    let deadline = Instant::now() + PATIENCE;
    // A frame of each connection, until the capture has begun.
    while file.as_file().metadata()?.len() < 1000 {
        assert!(Instant::now() < deadline, "nothing was captured");
        let mut client = TcpStream::connect(HTTPD)?;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        client.read_to_end(&mut Vec::new())?;
    }
    capturing.signal("INT")?;
    let status = capturing.status()?;
    assert!(status.success(), "{status}");

    let shown = output(tshark.args(["-r", path, "-T", "fields", "-e", "frame.comment"]))?;
    assert!(shown.lines().count() >= 3 && shown.contains("ESTABLISHED"), "{shown}");
    assert!(shown.lines().all(|line| line.contains("socket ")), "{shown}");
    Ok(())
}

/// The messages for a stack that is not there.
pub(crate) fn nobody() -> Outcome {
    let folder = TempDir::new()?;
    let no_stack = |path: &Path, runtime: &Path| -> Result<String> {
        let mut command = netstack()?;
        command.arg("ss").env("NETSTACK_CONTROL", path).env("XDG_RUNTIME_DIR", runtime);
        let output = command.output()?;
        assert_eq!(output.status.code(), Some(1));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let stale = folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale)?);

    let missing = no_stack(&folder.path().join("none"), folder.path())?;
    assert!(missing.contains("there is no control socket"), "{missing}");
    let ended = no_stack(&stale, folder.path())?;
    assert!(ended.contains("the program with this control socket has ended"), "{ended}");
    let nowhere = no_stack(Path::new(""), folder.path())?;
    assert!(nowhere.contains("no stack found: --control PATH or $NETSTACK_CONTROL"), "{nowhere}");
    Ok(())
}
