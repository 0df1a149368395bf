//! Addresses from real servers and routers on the kernel's end of a TAP.

use crate::daemon::{Daemon, Failure, PATIENCE, dhcp_server, settled};
use crate::namespace::{Outcome, example, program, skip};
use crate::programs::output;
use netstack::device::{InterfaceConfig, Tap};
use netstack::netsocket::netcore::Network;
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use netstack::{Builder, Stack, dhcp, slaac};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;
use tempfile::TempDir;

/// dnsmasq's shortest lease is two minutes, but T1 can be set.
const RENEW_SOON: &str = "--dhcp-option-force=option:T1,5";

/// The address in "address A, netmask B".
fn bound(httpd: &Daemon) -> Result<Ipv4Addr, Failure> {
    let line = httpd.expect_output("dhcp: bound to address ")?;
    assert!(line.ends_with(", netmask 255.255.255.0, gateway 10.7.0.1"), "{line}");
    let address = line.split(' ').nth(4).ok_or("no address")?;
    Ok(address.trim_end_matches(',').parse()?)
}

/// Requests the server's page.
fn assert_serves(address: Ipv4Addr) -> Outcome {
    let url = format!("http://{address}:10000/");
    let page = output(program("curl")?.args(["-sS", "--max-time", "10", &url]))?;
    assert_eq!(page, "hello\n");
    Ok(())
}

pub(crate) fn dhcp() -> Outcome {
    for name in ["dnsmasq", "curl", "ping"] {
        program(name)?;
    }
    let mut httpd = example("httpd")?;
    httpd.args(["--tap", "tap0", "--dhcp", "--port", "10000", "--host-address", "10.7.0.1/24"]);
    let httpd = Daemon::start(&mut httpd)?;
    if let Err(error) = httpd.expect_output("serving http on [::]:10000") {
        return skip(&error.to_string());
    }
    let server = dhcp_server(&["--port=0", "--dhcp-range=10.7.0.100,10.7.0.200,2m", RENEW_SOON])?;
    for step in ["dhcp: discover", "dhcp: offer of 10.7.0.", "dhcp: request", "dhcp: ack"] {
        httpd.expect_output(step)?;
    }
    let first = bound(&httpd)?;
    assert!((100..=200).contains(&first.octets()[3]), "{first}");

    let pinged = program("ping")?.args(["-c", "6", "-i", "0.2", &first.to_string()]).output()?;
    let text = String::from_utf8_lossy(&pinged.stdout).into_owned();
    assert!(text.contains("6 received, 0% packet loss"), "{text}");
    assert_serves(first)?;
    server.expect_output(&format!("DHCPACK(tap0) {first}"))?;
    server.expect_output(&format!("DHCPREQUEST(tap0) {first}"))?;
    server.expect_output(&format!("DHCPACK(tap0) {first}"))?;
    httpd.expect_output("dhcp: renewing")?;
    assert_eq!(bound(&httpd)?, first);

    // A server that has no record of the lease, and has other addresses.
    let mut stream = TcpStream::connect((first, 10000))?;
    stream.write_all(b"GET / HTTP/1.1\r\n")?;
    drop(server);
    let server = dhcp_server(&["--port=0", "--dhcp-range=10.7.0.50,10.7.0.60,2m", RENEW_SOON])?;
    server.expect_output(&format!("DHCPNAK(tap0) {first}"))?;
    httpd.expect_output("dhcp: nak from 10.7.0.1")?;
    httpd.expect_output("dhcp: lost")?;
    let second = bound(&httpd)?;
    assert!((50..=60).contains(&second.octets()[3]), "{second}");
    stream.set_read_timeout(Some(PATIENCE))?;
    let ended = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    assert_serves(second)
}

/// Makes a TAP that outlives its stack, runs `start` with it, and then a stack on it.
fn with_stack(
    builder: Builder,
    start: impl FnOnce() -> Result<Daemon, Failure>,
    test: impl AsyncFnOnce(Stack, &Daemon) -> Outcome,
) -> Outcome {
    // Whether it is there is found out by opening it.
    program("ip")?.args(["tuntap", "add", "dev", "tap0", "mode", "tap"]).output()?;
    let tap = match Tap::open(&InterfaceConfig {
        name: "tap0".into(),
        host_addresses: vec!["10.7.0.1/24".parse()?, "fd00:7::1/64".parse()?],
        ..InterfaceConfig::default()
    }) {
        Ok(tap) => tap,
        Err(error) => return skip(&error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let context = runtime.enter();
    settled()?;
    let daemon = start()?;
    drop(context);
    runtime.block_on(async { test(builder.spawn(tap)?, &daemon).await })
}

pub(crate) fn released() -> Outcome {
    let host_name = Some("userspace".into());
    let builder = Builder::new().dhcp(dhcp::Config { host_name, ..Default::default() });
    let options = ["--dhcp-option=6,10.7.0.53", "--dhcp-option=119,lan,example.org"];
    let route = "--dhcp-option=121,192.0.2.0/24,10.7.0.9,0.0.0.0/0,10.7.0.1";
    let flags =
        [&["--port=0", "--dhcp-range=10.7.0.100,10.7.0.200,2m", route][..], &options].concat();
    let start = || dhcp_server(&flags);
    with_stack(builder, start, async |stack, server| {
        let mut watch = stack.net().watch_network();
        let is_bound = |now: &Network| now.addresses.iter().any(|own| own.addr().is_ipv4());
        let bound = tokio::time::timeout(PATIENCE, watch.wait_for(is_bound)).await??;
        let own = bound.addresses.iter().find(|own| own.addr().is_ipv4()).ok_or("an address")?;
        assert_eq!(bound.name_servers, ["10.7.0.53".parse::<IpAddr>()?]);
        assert_eq!(bound.search_domains, ["lan", "example.org"]);
        let routes = bound.routes.iter().map(|it| (it.destination.to_string(), it.gateway));
        let expected = [("192.0.2.0/24", "10.7.0.9"), ("0.0.0.0/0", "10.7.0.1")];
        let expected = expected.map(|(net, via)| (net.to_string(), via.parse().ok()));
        assert_eq!(routes.collect::<Vec<_>>(), expected);
        server.expect_output("client provides name: userspace")?;

        stack.shutdown(Duration::from_secs(10)).await?;

        server.expect_output(&format!("DHCPRELEASE(tap0) {}", own.addr()))?;
        Ok(())
    })
}

/// Reads the server's log first: the interface is gone once the last stack is.
pub(crate) fn released_by_several() -> Outcome {
    program("dnsmasq")?;
    let tap = match Tap::open(&InterfaceConfig {
        name: "tap0".into(),
        host_addresses: vec!["10.7.0.1/24".parse()?],
        ..InterfaceConfig::default()
    }) {
        Ok(tap) => tap,
        Err(error) => return skip(&error.to_string()),
    };
    let server = dhcp_server(&["--port=0", "--dhcp-range=10.7.0.100,10.7.0.200,2m"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let leases = runtime.block_on(async {
        let switch = Switch::new(SwitchConfig::default());
        let uplink = switch.uplink(tap, PortConfig::default())?;
        let (mut stacks, mut leases) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let port = switch.port(PortConfig::default())?;
            let stack = Builder::new().dhcp(dhcp::Config::default()).spawn(port)?;
            let mut watch = stack.net().watch_network();
            let v4 =
                |now: &Network| now.addresses.iter().map(|own| own.addr()).find(IpAddr::is_ipv4);
            let bound = watch.wait_for(|now| v4(now).is_some());
            let bound = tokio::time::timeout(PATIENCE, bound).await??;
            leases.extend(v4(&bound));
            stacks.push(stack);
        }

        for stack in stacks {
            stack.shutdown(Duration::from_secs(10)).await?;
        }
        drop(uplink);
        Ok::<_, Failure>(leases)
    })?;
    // The interface goes with it, as when a program ends.
    drop(runtime);

    for lease in leases {
        server.expect_output(&format!("DHCPRELEASE(tap0) {lease}"))?;
    }
    Ok(())
}

pub(crate) fn slaac_of_dnsmasq() -> Outcome {
    let start = || {
        let flags = [
            "--port=0",
            "--enable-ra",
            "--dhcp-range=fd00:7::,ra-only",
            "--dhcp-range=10.7.0.9,static",
        ];
        let server = "--dhcp-option=option6:dns-server,[fd00:7::53]";
        dhcp_server(&[&flags[..], &[server]].concat())
    };
    with_stack(Builder::new().slaac(slaac::Config::default()), start, async |stack, _| {
        routed(stack).await
    })
}

pub(crate) fn slaac_of_radvd() -> Outcome {
    let start = || {
        let folder = TempDir::new()?;
        let config = folder.path().join("radvd.conf");
        let text = "interface tap0 { AdvSendAdvert on; MaxRtrAdvInterval 4; MinRtrAdvInterval 3; \
                    AdvLinkMTU 1400; prefix fd00:7::/64 { }; RDNSS fd00:7::53 { }; DNSSL lan { }; };";
        std::fs::write(&config, text)?;
        let mut radvd = program("radvd")?;
        radvd.args(["--nodaemon", "--logmethod", "stderr", "--debug", "1"]);
        radvd.arg("--config").arg(&config).arg("--pidfile").arg(folder.path().join("pid"));
        let mut daemon = Daemon::start(&mut radvd)?;
        daemon.folder = Some(folder);
        daemon.expect_output("version")?;
        Ok(daemon)
    };
    with_stack(Builder::new().slaac(slaac::Config::default()), start, async |stack, _| {
        let mut watch = stack.net().watch_network();
        let is_configured = |now: &Network| now.link.mtu == 1400 && now.search_domains == ["lan"];
        tokio::time::timeout(PATIENCE, watch.wait_for(is_configured)).await??;
        routed(stack).await
    })
}

/// Waits until the stack has a usable address, a default route and a name server, and answers at
/// that address.
async fn routed(stack: Stack) -> Outcome {
    let is_global = |address: IpAddr| address.to_string().starts_with("fd00:7::");
    let is_routed = |now: &Network| {
        let mut addresses = now.addresses.iter().map(|own| own.addr());
        addresses.any(|own| is_global(own) && !now.tentative.contains(&own))
            && now.routes.iter().any(|route| route.destination.prefix_len() == 0)
            && now.name_servers.iter().any(|server| is_global(*server))
    };
    let mut watch = stack.net().watch_network();
    let now = tokio::time::timeout(PATIENCE, watch.wait_for(is_routed)).await??;
    let own = now.addresses.iter().find(|own| is_global(own.addr())).ok_or("an address")?;
    assert_eq!(own.prefix_len(), 64);
    let listener = stack.net().tcp_listen("[::]:80").await?;
    let own = own.addr();
    let connecting = tokio::task::spawn_blocking(move || TcpStream::connect((own, 80)));
    tokio::time::timeout(PATIENCE, listener.accept()).await??;
    connecting.await??;
    Ok(())
}
