//! Stacks in WireGuard tunnels, with wireguard-go at the other end: 10.8.0.1 and fd08::1 are the
//! kernel's, behind wireguard-go, and 10.8.0.2 and fd08::2 the stack's.

use super::names::with_resolv_conf;
use super::{failure, output, serve_page_on, text};
use crate::daemon::{Daemon, PATIENCE, dnsmasq};
use crate::namespace::{Outcome, netstack, program};
use netstack::wireguard::{Config, Key, WireGuardCounters, WireGuardDevice};
use netstack::{Builder, Stack, TcpStream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::{noise, sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Keys are any 32 bytes.
pub(crate) const OWN: Key = Key::from_bytes([2; 32]);
const OTHER: Key = Key::from_bytes([3; 32]);
pub(crate) const OF_GO: Key = Key::from_bytes([1; 32]);

/// wireguard-go with an interface of the kernel.
pub(crate) struct WireGuardGo {
    daemon: Option<Daemon>,
    /// Its number in /proc, which is not that of this process's namespace.
    pid: String,
    port: u16,
    pub(crate) folder: TempDir,
}

impl WireGuardGo {
    /// Starts it with the stack's key and allowed addresses, and more of `[Peer]`.
    pub(crate) fn start(more: &str) -> super::Result<Self> {
        program("wg")?;
        program("wireguard-go")?;
        command("ip", &["link", "set", "lo", "up"])?;
        // Free at this moment, and nobody else is in this namespace.
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut go = Self { daemon: None, pid: String::new(), port, folder: TempDir::new()? };
        go.restart(more)?;
        Ok(go)
    }

    fn restart(&mut self, more: &str) -> super::Result<()> {
        self.daemon = None;
        // A folder for its socket which is not the machine's.
        let script = "read pid rest < /proc/self/stat && echo \"pid $pid\" && mount -t tmpfs none /run && mkdir /run/wireguard && exec \"$@\"";
        let mut go = program("unshare")?;
        go.args(["--mount", "sh", "-c", script, "sh"]);
        go.arg(program("wireguard-go")?.get_program()).args(["--foreground", "wg0"]);
        let daemon = Daemon::start(go.env("LOG_LEVEL", "verbose"))?;
        daemon.expect_output("pid ")?[4..].clone_into(&mut self.pid);
        daemon.expect_output("UAPI listener started")?;
        self.daemon = Some(daemon);
        let (key, public, port) = (OF_GO.to_base64(), OWN.public().to_base64(), self.port);
        self.set(&format!(
            "[Interface]\nPrivateKey = {key}\nListenPort = {port}\n[Peer]\nPublicKey = {public}\n\
             AllowedIPs = 10.8.0.2/32, fd08::2/128\n{more}\n"
        ))?;
        for network in ["10.8.0.1/24", "fd08::1/64"] {
            command("ip", &["address", "add", network, "dev", "wg0", "nodad"])?;
        }
        command("ip", &["link", "set", "wg0", "up"])
    }

    fn set(&self, config: &str) -> super::Result<()> {
        let path = self.folder.path().join("go.conf");
        std::fs::write(&path, config)?;
        self.wg(&["setconf", "wg0", &path.display().to_string()]).map(drop)
    }

    /// `wg`, where the socket is.
    fn wg(&self, arguments: &[&str]) -> super::Result<String> {
        let mut wg = program("nsenter")?;
        wg.arg(format!("--mount=/proc/{}/ns/mnt", self.pid)).arg(program("wg")?.get_program());
        let output = wg.args(arguments).stdin(Stdio::null()).output()?;
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(failure(&wg, &output)) }
    }

    /// How many bytes it has received from the stack.
    fn received(&self) -> super::Result<u64> {
        let shown = self.wg(&["show", "wg0", "transfer"])?;
        Ok(shown.split_whitespace().nth(1).ok_or("no peer")?.parse()?)
    }

    /// The file of the stack, with more lines at its end, and this key.
    fn file(&self, key: Key, endpoint: u16, more: &str) -> super::Result<PathBuf> {
        let path = self.folder.path().join("stack.conf");
        let (key, public) = (key.to_base64(), OF_GO.public().to_base64());
        let file = format!(
            "[Interface]\nPrivateKey = {key}\nAddress = 10.8.0.2/32, fd08::2/128\n\
             [Peer]\nPublicKey = {public}\nEndpoint = localhost:{endpoint}\n{more}\n"
        );
        std::fs::write(&path, file.replace("localhost", "127.0.0.1"))?;
        Ok(path)
    }
}

const ALL: &str = "AllowedIPs = 10.8.0.0/24, fd08::/64";

fn command(name: &str, arguments: &[&str]) -> super::Result<()> {
    let mut command = program(name)?;
    let output = command.args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() { Ok(()) } else { Err(failure(&command, &output)) }
}

/// A program under `netstack run` in the tunnel of this file.
fn in_tunnel(file: &std::path::Path, name: &str) -> super::Result<Command> {
    let mut run = netstack()?;
    run.args(["run", "--report", "--link", &format!("wg://{}", file.display()), "--"]);
    run.arg(program(name)?.get_program()).stdin(Stdio::null());
    Ok(run)
}

/// A stack in the tunnel of this file, with what its device counts and its UDP port.
async fn stack(file: &std::path::Path) -> super::Result<(Stack, WireGuardCounters, u16)> {
    let config = Config::read(file)?;
    let device = WireGuardDevice::open(&config)?;
    let (counters, port) = (device.counters(), device.local_port()?);
    Ok((config.configure(Builder::new()).spawn(device)?, counters, port))
}

/// The kernel pings the stack, and the stack the kernel.
pub(crate) fn pings() -> Outcome {
    let go = WireGuardGo::start("")?;
    let file = go.file(OWN, go.port, &format!("{ALL}\nPersistentKeepalive = 25"))?;
    for (target, size) in [("10.8.0.1", "1392"), ("fd08::1", "1372")] {
        let mut ping = netstack()?;
        ping.args(["ping", "--link", &format!("wg://{}", file.display()), "--count", "3"]);
        ping.args(["--interval", "0.05", "--size", size, target]);
        let output = ping.stdin(Stdio::null()).output()?;
        let shown = text(&output.stdout);
        assert!(shown.contains("3 received"), "{shown}{}", text(&output.stderr));
    }

    Runtime::new()?.block_on(async {
        let (stack, counters, _) = stack(&file).await?;
        // It begins, because it is to keep the peer alive.
        until(|| counters.handshakes() == 1).await?;
        for target in ["10.8.0.2", "fd08::2"] {
            let mut ping = program("ping")?;
            // The largest packet of the tunnel.
            let size = if target.contains(':') { "1372" } else { "1392" };
            ping.args(["-c", "3", "-i", "0.05", "-s", size, "-M", "do", target]);
            let output = tokio::task::spawn_blocking(move || ping.output()).await??;
            let shown = text(&output.stdout);
            assert!(shown.contains("3 received, 0% packet loss"), "{shown}");
        }
        assert_eq!((counters.not_allowed(), counters.dropped_incoming()), (0, 0));
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}

/// A page, while one datagram in a hundred is lost in each direction.
pub(crate) fn curl(host: &str) -> Outcome {
    const LEN: usize = 100_000_000;
    let go = WireGuardGo::start("")?;
    let path = Path::start(go.port, 100)?;
    let file = go.file(OWN, path.port()?, ALL)?;
    let port = serve_page_on(TcpListener::bind("[::]:0")?, noise(LEN))?;
    let expected = sha256(&noise(LEN));
    let url = format!("http://{host}:{port}/");
    let mut curl = in_tunnel(&file, "curl")?;
    let page = output(curl.args(["-sS", "--max-time", "100", &url]))?;
    assert_eq!(sha256(&page), expected);
    let lost = path.lost.load(Ordering::Relaxed);
    assert!(lost > 500, "{lost} datagrams were lost");
    Ok(())
}

/// A key that the peer does not know, addresses that it does not allow, and ones that the stack does
/// not.
pub(crate) fn strangers() -> Outcome {
    let go = WireGuardGo::start("")?;
    let port = serve_page_on(TcpListener::bind("[::]:0")?, b"a page".to_vec())?;
    let url = format!("http://10.8.0.1:{port}/");
    let fails = |file: &std::path::Path, flags: &[&str], status| -> Outcome {
        let mut run = netstack()?;
        run.args(["run", "--link", &format!("wg://{}", file.display())]).args(flags).arg("--");
        run.arg(program("curl")?.get_program()).args(["-s", "--connect-timeout", "1", &url]);
        let output = run.stdin(Stdio::null()).output()?;
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        Ok(())
    };
    // 28 is a timeout of curl's, and 7 a refusal, here for want of a route or a peer.
    fails(&go.file(OTHER, go.port, ALL)?, &[], 28)?;
    assert_eq!(go.received()?, 0, "another key");
    fails(&go.file(OWN, go.port, ALL)?, &["--address", "10.8.0.9/24"], 28)?;
    assert!(go.received()? > 0, "an address that the peer does not allow");
    let other = go.file(OWN, go.port, "AllowedIPs = 10.8.0.7/32")?;
    fails(&other, &[], 7)?;
    // A route without a peer.
    fails(&other, &["--address", "10.8.0.2/24"], 7)?;

    // The kernel is not among the stack's allowed addresses.
    let file = go.file(OWN, go.port, "AllowedIPs = 10.8.0.7/32\nPersistentKeepalive = 1")?;
    Runtime::new()?.block_on(async {
        let (stack, counters, _) = stack(&file).await?;
        until(|| counters.handshakes() == 1).await?;
        let mut ping = program("ping")?;
        ping.args(["-c", "3", "-i", "0.05", "-W", "0.2", "10.8.0.2"]);
        let output = tokio::task::spawn_blocking(move || ping.output()).await??;
        assert!(text(&output.stdout).contains("0 received"), "{}", text(&output.stdout));
        until(|| counters.not_allowed() == 3).await?;
        assert_eq!(counters.received(), 0);
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}

/// The endpoints of both ends move while connections are used.
pub(crate) fn moves() -> Outcome {
    let go = WireGuardGo::start("")?;
    let path = Path::start(go.port, 0)?;
    let file = go.file(OWN, path.port()?, ALL)?;
    Runtime::new()?.block_on(async {
        let (stack, counters, _) = stack(&file).await?;
        let (mut stream, mut kernel) = connection(&stack).await?;
        exchange(&mut stream, &mut kernel).await?;

        path.turn()?;
        exchange(&mut stream, &mut kernel).await?;

        assert_eq!(counters.handshakes(), 1, "the keys are the same");
        drop(stream);
        Ok::<_, super::Failure>(stack.shutdown(Duration::from_secs(1)).await?)
    })?;

    let file = go.file(OWN, go.port, ALL)?;
    Runtime::new()?.block_on(async {
        let (stack, counters, _) = stack(&file).await?;
        let (mut stream, mut kernel) = connection(&stack).await?;
        exchange(&mut stream, &mut kernel).await?;

        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        go.wg(&["set", "wg0", "listen-port", &port.to_string()])?;
        kernel.write_all(b"from elsewhere")?;
        let mut read = [0; 14];
        timeout(PATIENCE, stream.read_exact(&mut read)).await??;
        assert_eq!(&read, b"from elsewhere");
        exchange(&mut stream, &mut kernel).await?;

        assert_eq!(counters.handshakes(), 1, "the keys are the same");
        drop(stream);
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}

/// wireguard-go ends and comes back without its session: handshakes go on below a connection.
pub(crate) fn restart() -> Outcome {
    let mut go = WireGuardGo::start("")?;
    let file = go.file(OWN, go.port, ALL)?;
    Runtime::new()?.block_on(async {
        let (stack, counters, port) = stack(&file).await?;
        let (mut stream, mut kernel) = connection(&stack).await?;
        exchange(&mut stream, &mut kernel).await?;

        // It knows where the stack is, and begins at once.
        let more = format!("Endpoint = 127.0.0.1:{port}\nPersistentKeepalive = 1");
        go.restart(&more)?;
        until(|| counters.handshakes() >= 2).await?;
        exchange(&mut stream, &mut kernel).await?;

        // It forgets the session and begins again, while the interface stays.
        let public = OWN.public().to_base64();
        go.wg(&["set", "wg0", "peer", &public, "remove"])?;
        let endpoint = format!("127.0.0.1:{port}");
        let mut set = vec!["set", "wg0", "peer", &public, "endpoint", &endpoint];
        set.extend(["persistent-keepalive", "1", "allowed-ips", "10.8.0.2/32"]);
        go.wg(&set)?;
        until(|| counters.handshakes() >= 3).await?;
        exchange(&mut stream, &mut kernel).await?;

        drop(stream);
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}

/// A name that only the server in the tunnel has, for a program on the stack's sockets, and for one on
/// the kernel's in a namespace.
pub(crate) fn names() -> Outcome {
    let go = WireGuardGo::start("")?;
    let _server = dnsmasq(&["--address=/intranet.test/10.8.0.1"])?;
    let resolv = go.folder.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 127.0.0.53\n")?;
    let resolv = resolv.to_str().ok_or("a path")?;
    let file = go.file(OWN, go.port, &format!("{ALL}\n[Interface]\nDNS = 10.8.0.1"))?;
    let port = serve_page_on(TcpListener::bind("[::]:0")?, b"a page".to_vec())?;
    let url = format!("http://intranet.test:{port}/");
    for flags in [&[][..], &["--netns"]] {
        let mut run = netstack()?;
        run.arg("run").args(flags).args(["--link", &format!("wg://{}", file.display()), "--"]);
        run.arg(program("curl")?.get_program()).args(["-sS", "--max-time", "20", &url]);
        let output = with_resolv_conf(resolv, &run)?.stdin(Stdio::null()).output()?;
        assert_eq!(text(&output.stdout), "a page", "{flags:?}: {}", text(&output.stderr));
    }
    Ok(())
}

/// What is wrong in a file is named with its line, and what is ignored is named once.
pub(crate) fn mistakes() -> Outcome {
    let folder = TempDir::new()?;
    let path = folder.path().join("stack.conf");
    let key = OWN.to_base64();
    let run = |file: &str| -> super::Result<(Option<i32>, String)> {
        std::fs::write(&path, file)?;
        let output = in_tunnel(&path, "true")?.output()?;
        Ok((output.status.code(), text(&output.stderr)))
    };
    for (file, expected) in [
        ("[Interface]\nPrivateKey = x".into(), "stack.conf: line 2: PrivateKey: not a key"),
        (format!("[Interface]\nPrivateKey = {key}"), "the file has no Address"),
        (
            format!("[Interface]\nPrivateKey = {key}\nAddress = 10.8.0.2/24\nMTU = 500"),
            "an MTU of 500 is too small",
        ),
    ] {
        let (status, shown) = run(&file)?;
        assert!(status == Some(125) && shown.contains(expected), "{status:?} {shown}");
    }
    let file = format!(
        "[Interface]\nPrivateKey = {key}\nAddress = 10.8.0.2/24\nPostUp = true\nPostUp = true\n"
    );
    let (status, shown) = run(&file)?;
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(shown.matches("not for a stack, ignored: PostUp\n").count(), 1, "{shown}");
    for (mode, is_open) in [(0o604, true), (0o600, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        let shown = run(&file)?.1;
        assert_eq!(shown.contains("the private key is open to others"), is_open, "{shown}");
    }
    Ok(())
}

/// A connection of the stack to the kernel.
async fn connection(stack: &Stack) -> super::Result<(TcpStream, std::net::TcpStream)> {
    let listener = TcpListener::bind("[::]:0")?;
    let port = listener.local_addr()?.port();
    let target = SocketAddr::from(([10, 8, 0, 1], port));
    let stream = timeout(PATIENCE, stack.net().tcp_connect(target)).await??;
    Ok((stream, listener.accept()?.0))
}

/// A message in each direction.
async fn exchange(stream: &mut TcpStream, kernel: &mut std::net::TcpStream) -> Outcome {
    kernel.set_read_timeout(Some(PATIENCE))?;
    let mut read = [0; 5];
    stream.write_all(b"there").await?;
    let kernel = tokio::task::block_in_place(|| kernel.read_exact(&mut read).map(|()| kernel))?;
    assert_eq!(&read, b"there");
    kernel.write_all(b"back!")?;
    timeout(PATIENCE, stream.read_exact(&mut read)).await??;
    assert_eq!(&read, b"back!");
    Ok(())
}

async fn until(is_so: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err("it does not come".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Datagrams between the stack and wireguard-go, some of which are lost.
struct Path {
    near: Arc<UdpSocket>,
    far: Arc<Mutex<Arc<UdpSocket>>>,
    /// Where the stack is.
    stack: Arc<Mutex<Option<SocketAddr>>>,
    losses: Arc<Mutex<StdRng>>,
    /// One in this many is lost; with 0 none.
    one_in: u32,
    lost: Arc<AtomicUsize>,
}

impl Path {
    fn start(to: u16, one_in: u32) -> super::Result<Self> {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
        let path = Self {
            near: near.clone(),
            far: Arc::new(Mutex::new(Arc::new(UdpSocket::bind("127.0.0.1:0")?))),
            stack: Arc::default(),
            losses: Arc::new(Mutex::new(StdRng::seed_from_u64(1))),
            one_in,
            lost: Arc::default(),
        };
        let (far, stack, is_lost) = (path.far.clone(), path.stack.clone(), path.losing());
        thread::spawn(move || -> io::Result<()> {
            let mut buffer = [0; 2048];
            loop {
                let (len, from) = near.recv_from(&mut buffer)?;
                *stack.lock().expect("not poisoned") = Some(from);
                let far = far.lock().expect("not poisoned").clone();
                if !is_lost() {
                    far.send_to(&buffer[..len], ("127.0.0.1", to))?;
                }
            }
        });
        path.carry_back();
        Ok(path)
    }

    fn port(&self) -> io::Result<u16> {
        self.near.local_addr().map(|address| address.port())
    }

    /// Gives the stack another port, as a network address translator does after a time.
    fn turn(&self) -> super::Result<()> {
        *self.far.lock().expect("not poisoned") = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
        self.carry_back();
        Ok(())
    }

    /// Carries what comes to the present port.
    fn carry_back(&self) {
        let (near, stack, is_lost) = (self.near.clone(), self.stack.clone(), self.losing());
        let far = self.far.lock().expect("not poisoned").clone();
        thread::spawn(move || -> io::Result<()> {
            let mut buffer = [0; 2048];
            loop {
                let len = far.recv(&mut buffer)?;
                let stack = *stack.lock().expect("not poisoned");
                if let Some(stack) = stack
                    && !is_lost()
                {
                    near.send_to(&buffer[..len], stack)?;
                }
            }
        });
    }

    fn losing(&self) -> impl Fn() -> bool + Send + 'static {
        let (losses, one_in, lost) = (self.losses.clone(), self.one_in, self.lost.clone());
        move || {
            let mut losses = losses.lock().expect("not poisoned");
            let is_lost = one_in > 0 && losses.random_range(0..one_in) == 0;
            lost.fetch_add(usize::from(is_lost), Ordering::Relaxed);
            is_lost
        }
    }
}
