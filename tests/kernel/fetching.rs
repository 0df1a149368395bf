//! Pages by `netstack fetch` and over a switch in this process, from the kernel behind a TAP.

use crate::daemon::{Daemon, Failure, PATIENCE, dhcp_server};
use crate::namespace::{Outcome, netstack, program, skip};
use crate::programs::output;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use netstack::device::{InterfaceConfig, Tap};
use netstack::netsocket::hyper::Connector;
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use netstack::{Builder, dhcp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::Arc;
use tempfile::TempDir;
use tests::noise;

const PAGE_BYTES: usize = 5 << 20;

/// Makes the TAP, so that servers are there before the stack is.
pub(crate) fn make_tap() -> Outcome {
    for arguments in [
        "tuntap add dev tap0 mode tap",
        "address add 10.0.0.1/24 dev tap0",
        "link set tap0 up",
        "link set lo up",
    ] {
        let made = program("ip")?.args(arguments.split(' ')).output()?;
        if !made.status.success() {
            let reason = String::from_utf8_lossy(&made.stderr);
            return skip(&format!("ip {arguments}: {}", reason.trim()));
        }
    }
    Ok(())
}

/// A DHCP server, and a name server with the kernel's address for web.test.
fn addresses_and_names() -> Result<Daemon, Failure> {
    let names = ["--port=53", "--address=/web.test/10.0.0.1"];
    dhcp_server(&[&["--dhcp-range=10.0.0.100,10.0.0.150,2m"], &names[..]].concat())
}

/// Serves a page on a kernel socket, until the process ends.
fn serve(page: Vec<u8>) -> Outcome {
    let listener = TcpListener::bind("[::]:80")?;
    let page = Arc::new(page);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let page = page.clone();
            std::thread::spawn(move || answer(stream, &page));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream, page: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body) = match request.starts_with("GET / ") {
        true => ("200 OK", page),
        false => ("404 Not Found", &b"no such page\n"[..]),
    };
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// Runs the tool with an address of its own from DHCP.
fn fetch(flags: &[&str]) -> Result<Output, Failure> {
    Ok(netstack()?.args(["fetch", "--tap", "tap0", "--dhcp"]).args(flags).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn page() -> Outcome {
    for name in ["curl", "dnsmasq", "tshark"] {
        program(name)?;
    }
    make_tap()?;
    let _server = addresses_and_names()?;
    serve(noise(PAGE_BYTES))?;
    let mut curl = program("curl")?;
    let known = curl.args(["-sS", "--resolve", "web.test:80:10.0.0.1", "http://web.test/"]);
    let known = known.output()?.stdout;
    assert_eq!(known.len(), PAGE_BYTES);
    let folder = TempDir::new()?;
    let capture = folder.path().join("fetch.pcapng");
    let capture = capture.to_str().ok_or("a path that is no text")?;

    let check = |fetched: &Output| {
        let steps = text(&fetched.stderr);
        assert!(fetched.status.success(), "{steps}");
        assert!(fetched.stdout == known, "{} bytes\n{steps}", fetched.stdout.len());
        for step in [
            "dhcp: bound to address 10.0.0.",
            "looking up host=web.test servers=[10.0.0.1]\n",
            "connecting host=web.test addresses=[10.0.0.1:80]\n",
            "connected peer=10.0.0.1:80\n",
            "answered status=200 OK",
            "received bytes=5242880\n",
        ] {
            assert!(steps.contains(step), "nothing of {step:?} in\n{steps}");
        }
    };
    for offload in [&[][..], &["--no-offload"]] {
        let flags = [&["-v", "--pcap", capture, "http://web.test/"], offload].concat();
        check(&fetch(&flags)?);

        let mut tshark = program("tshark")?;
        tshark.args(["-r", capture, "-T", "fields", "-e", "frame.packet_flags_direction"]);
        let read = output(tshark.args(["-e", "frame.protocols", "-e", "dns.qry.name"]))?;
        // Inbound and outbound.
        assert_recorded(&read, |line| line.starts_with("0x00000001\t"));
        assert_recorded(&read, |line| line.starts_with("0x00000002\t"));
    }

    let file = folder.path().join("page");
    let file = file.to_str().ok_or("a path that is no text")?;
    let by_hand = ["--address", "10.0.0.2/24", "--gateway", "10.0.0.1", "--dns", "10.0.0.1"];
    let mut fetch = netstack()?;
    fetch.args(["fetch", "--tap", "tap0"]).args(by_hand).args(["-o", file, "http://web.test/"]);
    let fetched = fetch.output()?;
    assert_eq!((fetched.status.code(), text(&fetched.stderr)), (Some(0), String::new()));
    assert!(fetched.stdout.is_empty() && std::fs::read(file)? == known);

    // By a switch, with the TAP on another port.
    let url = format!("vde://{}", folder.path().join("lan").display());
    let mut switch = netstack()?;
    switch.arg("switch").arg("--vde").arg(folder.path().join("lan"));
    let mut switch = Daemon::start(switch.args(["--uplink", "tap://tap0", "--monitor", capture]))?;
    switch.expect_output("serving ports at ")?;
    check(
        &netstack()?
            .args(["fetch", "-v", "--link", &url, "--dhcp", "http://web.test/"])
            .output()?,
    );
    switch.signal("TERM")?;
    assert!(switch.status()?.success());
    let mut tshark = program("tshark")?;
    tshark.args(["-r", capture, "-T", "fields", "-e", "frame.interface_name"]);
    let read = output(tshark.args(["-e", "frame.protocols", "-e", "dns.qry.name"]))?;
    let is_uplink = |line: &str| line.starts_with("tap://tap0\t");
    assert_recorded(&read, is_uplink);
    assert_recorded(&read, |line| !is_uplink(line));
    Ok(())
}

/// The DHCP server and the router come after the program has begun.
pub(crate) fn waits() -> Outcome {
    program("dnsmasq")?;
    make_tap()?;
    serve(b"a page\n".to_vec())?;
    let mut fetch = netstack()?;
    fetch.args(["fetch", "--tap", "tap0", "--dhcp", "http://10.0.0.1/"]);
    let mut fetched = Daemon::start(&mut fetch)?;
    fetched.expect_output("waiting for an address: no DHCP server has answered yet")?;
    let server = addresses_and_names()?;
    fetched.expect_line("a page")?;
    assert_eq!(fetched.status()?.code(), Some(0));
    drop(server);

    output(program("ip")?.args(["address", "add", "fd00:7::1/64", "dev", "tap0", "nodad"]))?;
    let mut fetch = netstack()?;
    fetch.args(["fetch", "--tap", "tap0", "--slaac", "http://[fd00:7::1]/"]);
    let mut fetched = Daemon::start(&mut fetch)?;
    fetched.expect_output("waiting for an address: no router has answered yet")?;
    let _router = dhcp_server(&[
        "--port=0",
        "--enable-ra",
        "--dhcp-range=fd00:7::,ra-only",
        "--dhcp-range=10.0.0.9,static",
    ])?;
    fetched.expect_line("a page")?;
    assert_eq!(fetched.status()?.code(), Some(0));
    Ok(())
}

/// Each protocol is in these lines of a capture.
fn assert_recorded(read: &str, is_of: impl Fn(&str) -> bool) {
    for (protocol, name) in
        [("eth:ethertype:arp", ""), ("udp:dhcp", ""), ("udp:dns", "web.test"), (":tcp", "")]
    {
        let is_it = |line: &&str| is_of(line) && line.contains(protocol) && line.contains(name);
        assert!(read.lines().any(|line| is_it(&line)), "{protocol}\n{read}");
    }
}

/// The same page over the same path, with a third port that gets no unicast.
pub(crate) fn third_port() -> Outcome {
    program("dnsmasq")?;
    make_tap()?;
    let _server = addresses_and_names()?;
    let page = noise(PAGE_BYTES);
    serve(page.clone())?;
    let tap =
        match Tap::open(&InterfaceConfig { name: "tap0".into(), ..InterfaceConfig::default() }) {
            Ok(tap) => tap,
            Err(error) => return skip(&error.to_string()),
        };
    tokio::runtime::Runtime::new()?.block_on(async {
        let switch = Switch::new(SwitchConfig::default());
        let third = switch.raw_port(PortConfig::default())?;
        let uplink = switch.uplink(tap, PortConfig::default())?;
        let port = switch.port(PortConfig::default())?;
        let stack = Builder::new().dhcp(dhcp::Config::default()).spawn(port)?;
        let mut watch = stack.net().watch_network();
        let bound = watch.wait_for(|now| now.addresses.iter().any(|own| own.addr().is_ipv4()));
        tokio::time::timeout(PATIENCE, bound).await??;

        let connector = Connector::new(stack.net().clone());
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build(connector);
        let response = client.get("http://web.test/".parse()?);
        let response = tokio::time::timeout(PATIENCE, response).await??;
        let fetched = tokio::time::timeout(PATIENCE, response.into_body().collect()).await??;
        assert!(fetched.to_bytes() == page);

        let (mut to_many, mut to_one) = (0, 0);
        while let Some(frame) = third.try_recv() {
            *if frame[0] & 1 == 1 { &mut to_many } else { &mut to_one } += 1;
        }
        // It gets multicast and broadcast frames, and no others.
        assert!(to_many >= 2 && to_one == 0, "{to_many} {to_one}");
        let ports = switch.ports();
        let moved = ports.iter().find(|port| port.id == uplink.id()).ok_or("the uplink's port")?;
        assert!(moved.statistics.received.frames > 50, "{moved:?}");
        Ok(())
    })
}

pub(crate) fn https() -> Outcome {
    for name in ["dnsmasq", "openssl"] {
        program(name)?;
    }
    make_tap()?;
    let _server = addresses_and_names()?;
    let folder = TempDir::new()?;
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    std::fs::write(file("ca.pem"), ca.self_signed(&ca_key)?.pem())?;
    std::fs::write(file("other.pem"), ca.self_signed(&KeyPair::generate()?)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["web.test".into()])?.signed_by(&key, &issuer)?;
    std::fs::write(file("server.pem"), certificate.pem())?;
    std::fs::write(file("key.pem"), key.serialize_pem())?;
    let mut openssl = program("openssl")?;
    openssl.args(["s_server", "-accept", "10.0.0.1:443", "-www"]);
    openssl.args(["-cert", &file("server.pem"), "-key", &file("key.pem")]);
    let openssl = Daemon::start(&mut openssl)?;
    openssl.expect_output("ACCEPT")?;

    let fetched = fetch(&["-v", "--cacert", &file("ca.pem"), "https://web.test/"])?;
    let (page, steps) = (text(&fetched.stdout), text(&fetched.stderr));
    assert!(fetched.status.success(), "{steps}");
    assert!(page.contains("s_server") && page.contains("</pre></BODY></HTML>"), "{page}");
    assert!(steps.contains("TLS version=Some(TLSv1_3) suite=Some(TLS13_"), "{steps}");

    for (ca, url, status, reason) in [
        (file("other.pem"), "https://web.test/", 60, "invalid peer certificate"),
        (file("ca.pem"), "https://10.0.0.1/", 60, "invalid peer certificate"),
        (file("key.pem"), "https://web.test/", 77, "no certificate"),
        (file("none.pem"), "https://web.test/", 77, "none.pem: "),
    ] {
        assert_fails(&fetch(&["--cacert", &ca, url])?, status, reason);
    }
    // The roots of this machine, if it has any.
    let fetched = fetch(&["https://web.test/"])?;
    let status = fetched.status.code().filter(|status| [60, 77].contains(status));
    assert_fails(&fetched, status.unwrap_or_default(), "certificate");
    Ok(())
}

/// This status, one line besides those of the DHCP client, and no page.
fn assert_fails(output: &Output, status: i32, reason: &str) {
    let said = text(&output.stderr);
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("dhcp: ")).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(status), 1), "{said}");
    assert!(lines[0].starts_with("netstack: "), "{said}");
    assert!(lines[0].contains(reason), "nothing of {reason:?} in {said}");
    assert!(output.stdout.is_empty());
}

pub(crate) fn failures() -> Outcome {
    program("dnsmasq")?;
    make_tap()?;
    // No DHCP server answers yet.
    let waiting = fetch(&["--timeout", "1", "http://web.test/"])?;
    assert_fails(&waiting, 28, "having an address: timed out");
    let waiting = fetch(&["--timeout", "3", "http://web.test/"])?;
    let said = text(&waiting.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("dhcp: ")).collect();
    assert_eq!(waiting.status.code(), Some(28));
    assert_eq!(lines[0], "netstack: waiting for an address: no DHCP server has answered yet");
    assert_eq!(lines.len(), 2, "{said}");
    let _server = addresses_and_names()?;
    serve(b"a page\n".to_vec())?;
    for (flags, status, reason) in [
        (&["http://no.test/"][..], 6, "no.test: "),
        (&["http://web.test:81/"], 7, "connecting to web.test:81: connection refused"),
        (&["--fail", "http://web.test/other"], 22, "http://web.test/other: 404 Not Found"),
        (&["-o", "/no/such/file", "http://web.test/"], 23, "/no/such/file: No such file"),
    ] {
        assert_fails(&fetch(flags)?, status, reason);
    }
    // Without the flag the page of an error is a page.
    let other = fetch(&["http://web.test/other"])?;
    assert_eq!((other.status.code(), text(&other.stdout)), (Some(0), "no such page\n".into()));
    Ok(())
}
