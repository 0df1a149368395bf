//! How guests get their addresses and names.

use super::{Guest, MACHINE, NAME_SERVER, Result, configured, gateway, prepare};
use crate::daemon::dnsmasq;
use crate::namespace::{Outcome, netstack};
use crate::programs::output;
use netstack::link::LinkUrl;
use netstack::{Builder, Stack, dhcp, slaac};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// busybox's client gets a lease with everything in it, and the kernel an IPv6 address.
pub(crate) fn udhcpc() -> Outcome {
    prepare()?;
    let guest = Guest::new()?;
    let _gateway = gateway(&guest, &["--domain", "guests.test", "--mtu", "1400"])?;
    output(guest.program("ip")?.args(["link", "set", "tap0", "up"]))?;
    let folder = TempDir::new()?;
    let script = folder.path().join("script");
    let lease = folder.path().join("lease");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = bound ] && \
         echo \"$ip/$mask $router $dns $domain $mtu $lease $serverid\" > {}\nexit 0\n",
        lease.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let mut client = guest.program("busybox")?;
    client.args(["udhcpc", "-i", "tap0", "-f", "-q", "-n", "-t", "5", "-T", "1"]);
    client.args(["-O", "mtu", "-O", "domain", "-s"]);
    output(client.arg(&script))?;
    let expected = "10.0.2.15/24 10.0.2.2 10.0.2.3 guests.test 1400 86400 10.0.2.2\n";
    assert_eq!(fs::read_to_string(&lease)?, expected);

    // By the router advertisement, as much as the kernel takes of it.
    guest.until("ip", &["-6", "address", "show", "dev", "tap0", "scope", "global"], |text| {
        text.contains("inet6 fd00::") && !text.contains("tentative")
    })?;
    let routes = output(guest.program("ip")?.args(["-6", "route"]))?;
    assert!(routes.contains("default via fe80::"), "{routes}");
    Ok(())
}

/// A question of the guest is answered by the servers of this machine, over UDP and TCP.
pub(crate) fn names() -> Outcome {
    let (guest, _gateway) = configured(&["--dns", "127.0.0.1"])?;
    let _server = dnsmasq(&["--address=/web.test/192.0.2.1"])?;
    // The address of web.test.
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x04test\0\0\x01\0\x01";
    let expected: Ipv4Addr = MACHINE[0].parse()?;
    guest.run(|| {
        for server in [NAME_SERVER, "fd00::3"] {
            let server: IpAddr = server.parse()?;
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect((server, 53))?;
            socket.send(query)?;
            let mut answer = vec![0; 512];
            let n = socket.recv(&mut answer)?;
            assert!(answer[..2] == query[..2] && answer[..n].ends_with(&expected.octets()));

            let mut stream = TcpStream::connect((server, 53))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&(query.len() as u16).to_be_bytes())?;
            stream.write_all(query)?;
            stream.read_exact(&mut answer[..2])?;
            let n = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
            stream.read_exact(&mut answer[..n])?;
            assert!(answer[..n].ends_with(&expected.octets()), "{answer:?}");
        }
        Ok(())
    })
}

/// Guests on links of their own are on one LAN, with addresses that the gateway has given them.
pub(crate) fn several() -> Outcome {
    prepare()?;
    let folder = TempDir::new()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut gateway = netstack()?;
    gateway.arg("gateway");
    for name in ["a", "b"] {
        gateway.args(["--link", &format!("unix-stream://{}[listen]", path(name))]);
    }
    let gateway = crate::daemon::Daemon::start(&mut gateway)?;
    gateway.expect_output("netstack gateway: ")?;
    let page = std::net::TcpListener::bind("0.0.0.0:0")?;
    let port = page.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let [first, second] = [guest(&path("a")).await?, guest(&path("b")).await?];
        let addresses = [address(&first)?, address(&second)?];
        assert_ne!(addresses[0], addresses[1]);

        let listener = second.net().tcp_listen("0.0.0.0:7").await?;
        let mut client = first.net().tcp_connect((addresses[1], 7)).await?;
        let (mut server, peer) = listener.accept().await?;
        assert_eq!(peer.ip(), addresses[0]);
        client.write_all(b"hello").await?;
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).await?;
        assert_eq!(&buffer, b"hello");

        for stack in [&first, &second] {
            let _client = stack.net().tcp_connect((MACHINE[0], port)).await?;
            page.accept()?;
        }
        for stack in [first, second] {
            stack.shutdown(Duration::from_secs(1)).await?;
        }
        Ok(())
    })
}

/// A stack at a socket of the gateway, once it has its addresses.
async fn guest(path: &str) -> Result<Stack> {
    let url: LinkUrl = format!("unix-stream://{path}").parse()?;
    let builder = Builder::new().dhcp(dhcp::Config::default()).slaac(slaac::Config::default());
    let stack = builder.spawn(url.open()?)?;
    let has = |network: &netstack::netsocket::netcore::Network| {
        let is_wide = |own: IpAddr| match own {
            IpAddr::V4(_) => false,
            IpAddr::V6(own) => !own.is_unicast_link_local(),
        };
        network.addresses.iter().any(|own| own.addr().is_ipv4())
            && network.addresses.iter().any(|own| is_wide(own.addr()))
            && network.tentative.is_empty()
    };
    timeout(PATIENCE, stack.net().watch_network().wait_for(has)).await??;
    Ok(stack)
}

fn address(stack: &Stack) -> Result<IpAddr> {
    let network = stack.net().network();
    let mut addresses = network.addresses.iter().map(|own| own.addr());
    Ok(addresses.find(IpAddr::is_ipv4).ok_or("no address")?)
}
