//! Links to VDE switches and between VDE plugs, with Debian's programs at the other end.

use crate::daemon::{Daemon, Failure, PATIENCE, dnsmasq};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::wire::builder;
use netstack::Stack;
use netstack::link::LinkUrl;
use netstack::netsocket::netcore::Network;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A switch with a management socket.
pub(crate) struct Switch {
    daemon: Daemon,
    folder: TempDir,
}

impl Switch {
    /// Ours.
    pub(crate) fn ours(flags: &[&str]) -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let mut switch = netstack()?;
        switch.arg("switch").arg("--vde").arg(folder.path().join("lan"));
        switch.arg("--management").arg(folder.path().join("management")).args(flags);
        let daemon = Daemon::start(&mut switch)?;
        daemon.expect_output("serving ports at ")?;
        Ok(Self { daemon, folder })
    }

    /// Debian's, with four ports.
    pub(crate) fn debians() -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let mut switch = program("vde_switch")?;
        switch.arg("-s").arg(folder.path().join("lan")).args(["-n", "4"]);
        let daemon = Daemon::start(switch.arg("-M").arg(folder.path().join("management")))?;
        let switch = Self { daemon, folder };
        until("management", || Ok(UnixStream::connect(switch.management()).is_ok()))?;
        Ok(switch)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("lan")
    }

    pub(crate) fn management(&self) -> PathBuf {
        self.folder.path().join("management")
    }

    pub(crate) fn url(&self) -> String {
        format!("vde://{}", self.directory().display())
    }

    /// The answer to a command, as `printf COMMAND | socat - UNIX-CONNECT:…` prints it.
    pub(crate) fn ask(&self, command: &str) -> Result<String, Failure> {
        let mut stream = UnixStream::connect(self.management())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let (mut answer, mut buffer) = (String::new(), [0; 4096]);
        while !answer.contains("1000 Success") {
            if answer.contains("vde$ 10") && answer.ends_with('\n') {
                return Err(format!("{command}: {answer}").into());
            }
            match stream.read(&mut buffer)? {
                0 => return Err(format!("the session has ended: {answer}").into()),
                read => answer += &String::from_utf8_lossy(&buffer[..read]),
            }
        }
        Ok(answer)
    }

    /// Waits until a command shows this, or does not any longer.
    pub(crate) fn until_shown(&self, command: &str, text: &str, is_shown: bool) -> Outcome {
        until(text, || Ok(self.ask(command)?.contains(text) == is_shown))
    }
}

/// Waits for something.
pub(crate) fn until(what: &str, is_so: impl Fn() -> Result<bool, Failure>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(format!("it took too long: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A namespace behind a link of VDE, with both addresses of a host, until this is dropped.
pub(crate) fn vdens(url: &str, host: u8) -> Result<Daemon, Failure> {
    let script = format!(
        "ip address add 10.9.0.{host}/24 dev vde0; ip address add fd00::{host}/64 dev vde0 nodad; \
         ip link set vde0 up; echo ready; while read command; do $command; echo done; done"
    );
    program("busybox")?;
    let daemon = Daemon::start(program("vdens")?.args([url, "/bin/sh", "-c", &script]))?;
    daemon.expect_line("ready")?;
    Ok(daemon)
}

/// Pings both addresses of a host from a namespace. The user there has no number, which only busybox
/// accepts.
pub(crate) fn ping_from(vdens: &mut Daemon, host: u8) -> Outcome {
    for address in [format!("10.9.0.{host}"), format!("fd00::{host}")] {
        vdens.write_line(&format!("busybox ping -A -c 2 -W 5 {address}"))?;
        vdens.expect_output(" 2 packets received, ")?;
        vdens.expect_line("done")?;
    }
    Ok(())
}

/// Runs a test beside a stack on a link, host 2.
fn with_stack(url: &str, test: impl AsyncFnOnce(Stack) -> Outcome) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stack = builder().spawn(url.parse::<LinkUrl>()?.open()?)?;
        let usable = |network: &Network| {
            network.link.hardware_address.is_some()
                && network.link.has_carrier
                && network.tentative.is_empty()
        };
        stack.net().watch_network().wait_for(usable).await?;
        test(stack).await
    })
}

fn files(folder: &Path) -> Result<Vec<String>, Failure> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok::<_, Failure>(entry?.file_name().to_string_lossy().into_owned())
    };
    std::fs::read_dir(folder)?.map(name).collect()
}

/// A client's connection is its first act, and its address is new on the link.
pub(crate) fn at_once() -> Outcome {
    let switch = Switch::ours(&[])?;
    let url = switch.url();
    let tool = |host: u8, flags: &[&str]| -> Result<Command, Failure> {
        let mut tool = netstack()?;
        tool.args(flags).args(["--link", &url, "--address", &format!("fd00::{host}/64")]);
        Ok(tool)
    };
    let mut listen = tool(2, &["listen", "--echo", "--keep", "7"])?;
    let server = Daemon::start(&mut listen)?;
    server.expect_output("listening")?;

    output(&mut tool(3, &["connect", "--zero", "[fd00::2]:7"])?)?;

    let folder = TempDir::new()?;
    std::fs::write(folder.path().join("page"), "a page")?;
    let mut serve = tool(4, &["http-server"])?;
    let server = Daemon::start(serve.arg(folder.path()))?;
    server.expect_output("serving")?;
    let page = output(&mut tool(5, &["fetch", "http://[fd00::4]/page"])?)?;
    assert_eq!(page, "a page");
    Ok(())
}

/// Two namespaces of Debian's vdens and a stack on our switch.
pub(crate) fn on_our_switch() -> Outcome {
    program("vdens")?;
    let switch = Switch::ours(&[])?;
    let mut near = vdens(&switch.url(), 50)?;
    let far = vdens(&format!("{}[7]", switch.url()), 51)?;
    with_stack(&switch.url(), async |stack| {
        for host in [51, 2] {
            ping_from(&mut near, host)?;
        }

        let ports = switch.ask("port/print")?;
        for number in ["Port 0001 ", "Port 0002 ", "Port 0007 "] {
            assert!(ports.contains(number), "{ports}");
        }
        assert!(ports.contains(": vdens user="), "{ports}");
        assert!(ports.contains(": kernel-"), "the stack's program is named: {ports}");
        assert!(switch.ask("hash/print")?.contains(" to port: 007 "), "{ports}");
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })?;
    // A client that is killed leaves nothing either.
    drop(far);
    switch.until_shown("port/print", "Port 0002 ", false)?;
    switch.until_shown("port/print", "Port 0007 ", false)?;
    assert_eq!(files(&switch.directory())?.len(), 2, "the control socket and that of port 1");
    Ok(())
}

/// Virtual LANs, and the end of the switch by a signal.
pub(crate) fn vlans_of_our_switch() -> Outcome {
    program("vdens")?;
    let mut switch = Switch::ours(&["--vlan", "1=10", "--vlan", "2=10", "--vlan", "3=20"])?;
    let mut first = vdens(&switch.url(), 50)?;
    let _second = vdens(&switch.url(), 51)?;
    let _third = vdens(&switch.url(), 52)?;

    ping_from(&mut first, 51)?;
    first.write_line("busybox ping -c 1 -W 1 10.9.0.52")?;
    first.expect_output(" 0 packets received")?;
    let ports = switch.ask("port/print 3")?;
    assert!(ports.contains("Port 0003 untagged_vlan=0020 "), "{ports}");

    switch.daemon.signal("TERM")?;
    assert!(switch.daemon.status()?.success());
    assert_eq!(files(switch.folder.path())?, [""; 0], "the directory is removed");
    Ok(())
}

/// A killed switch ends the stack, and its socket files do not stop the next one.
pub(crate) fn killed_switch() -> Outcome {
    let mut switch = Switch::ours(&[])?;
    with_stack(&switch.url(), async |stack| {
        switch.daemon.signal("KILL")?;
        switch.daemon.status()?;
        let ended = tokio::time::timeout(PATIENCE, stack.ended()).await?;
        assert!(ended.is_ok(), "in good order: {ended:?}");
        Ok(())
    })?;
    let mut again = netstack()?;
    let again = Daemon::start(again.arg("switch").arg("--vde").arg(switch.directory()))?;
    again.expect_output("serving ports at ")?;

    let mut third = netstack()?;
    let third = third.arg("switch").arg("--vde").arg(switch.directory()).output()?;
    let error = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(1), "{error}");
    assert!(error.contains("Address already in use"), "{error}");
    Ok(())
}

/// A stack on Debian's switch.
pub(crate) fn on_debians_switch() -> Outcome {
    for name in ["vdens", "vde_switch"] {
        program(name)?;
    }
    let mut switch = Switch::debians()?;
    let mut near = vdens(&switch.url(), 50)?;
    with_stack(&format!("{}[3]", switch.url()), async |stack| {
        ping_from(&mut near, 2)?;
        let ports = switch.ask("port/print")?;
        let pid = std::process::id();
        assert!(ports.contains("Port 0003 ") && ports.contains(&format!("pid={pid}")), "{ports}");
        let sockets = files(&switch.directory())?;
        assert!(!sockets.iter().any(|name| name.starts_with('.')), "unlinked: {sockets:?}");

        // Its ports are numbered up to 4; it does not answer to others.
        let ninth = format!("{}[9]", switch.url()).parse::<LinkUrl>()?.open()?;
        let ended = tokio::time::timeout(PATIENCE, builder().spawn(ninth)?.ended()).await?;
        let error = ended.err().ok_or("a port beyond the last")?;
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("port 9 is taken or there is none"), "{error}");

        stack.shutdown(Duration::from_secs(1)).await?;
        switch.until_shown("port/print", &format!("pid={pid}"), false)
    })?;
    with_stack(&switch.url(), async |stack| {
        switch.daemon.signal("KILL")?;
        switch.daemon.status()?;
        let ended = tokio::time::timeout(PATIENCE, stack.ended()).await?;
        assert!(ended.is_ok(), "in good order: {ended:?}");
        Ok(())
    })
}

/// Two ends of which either may come first, and come back. Debian's knows the form with datagrams.
pub(crate) fn ptp() -> Outcome {
    program("vdens")?;
    let folder = TempDir::new()?;
    let url = format!("ptp://{}", folder.path().join("link").display());
    with_stack(&format!("{url}[dgram]"), async |_stack| {
        for _ in 0..2 {
            let mut peer = vdens(&url, 50)?;
            ping_from(&mut peer, 2)?;
        }
        Ok(())
    })?;
    std::fs::remove_file(folder.path().join("link+"))?;
    assert_eq!(files(folder.path())?, [""; 0], "the file is removed");
    let mut peer = vdens(&url, 50)?;
    for _ in 0..2 {
        with_stack(&url, async |stack| {
            // The other end is connected to the last stack until it has sent something, and has the
            // hardware address of that.
            for command in ["ip neighbour flush dev vde0", "busybox ping -c 1 -W 1 10.9.0.2"] {
                peer.write_line(command)?;
                peer.expect_line("done")?;
            }
            ping_from(&mut peer, 2)?;
            stack.shutdown(Duration::from_secs(1)).await?;
            Ok(())
        })?;
    }
    Ok(())
}

/// An address from libslirp, and a page through it from a server of the kernel, whose name comes from
/// the name server of the host.
pub(crate) fn slirp() -> Outcome {
    for name in ["vde_plug", "dnsmasq"] {
        program(name)?;
    }
    output(program("ip")?.args(["link", "set", "lo", "up"]))?;
    let _names = dnsmasq(&["--port=53", "--address=/web.test/10.0.2.2"])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || answer(&listener));
    let switch = Switch::ours(&[])?;
    let _slirp = slirp_to(&switch)?;
    switch.until_shown("port/print", "Port 0001 ", true)?;

    let mut fetch = netstack()?;
    fetch.args(["fetch", "--link", &switch.url(), "--dhcp", "-v"]);
    let fetched = fetch.arg(format!("http://web.test:{port}/")).stdin(Stdio::null()).output()?;

    let steps = String::from_utf8_lossy(&fetched.stderr).into_owned();
    assert!(steps.contains("dhcp: bound to address 10.0.2.15"), "{steps}");
    assert!(steps.contains("servers=[10.0.2.3]\n"), "{steps}");
    assert!(fetched.status.success(), "{steps}");
    assert_eq!(fetched.stdout, PAGE, "{steps}");
    server.join().map_err(|_| "the server panicked")??;
    Ok(())
}

/// libslirp on the switch, whose host has the name server of this namespace.
fn slirp_to(switch: &Switch) -> Result<Daemon, Failure> {
    let names = switch.folder.path().join("resolv.conf");
    std::fs::write(&names, "nameserver 127.0.0.1\n")?;
    let script = "mount --bind \"$1\" /etc/resolv.conf && exec vde_plug slirp:// \"$2\"";
    let mut unshare = program("unshare")?;
    unshare.args(["--mount", "/bin/sh", "-c", script, "sh"]);
    Daemon::start(unshare.arg(names).arg(switch.url()))
}

const PAGE: &[u8] = b"hello from the host";

/// Answers one request.
fn answer(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PAGE.len());
    stream.write_all(&[head.as_bytes(), PAGE].concat())
}
