//! A guest on a link of ours, and behind the gateway.

use super::{Guest, Result};
use crate::daemon::{Daemon, PATIENCE};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::vde::{Switch, vdens};
use axum::Router;
use axum::routing::get;
use netstack::link::LinkUrl;
use netstack::{Builder, Stack};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::{noise, sha256};
use tokio::runtime::Runtime;

/// Of what the guest loads.
const LEN: usize = 10_000_000;

/// What a guest does at an address: it pings, and loads a page with a sum.
fn visit(address: &str, port: u16) -> String {
    format!(
        "ping -c 3 -W 30 {address} | grep 'packets received'
         echo sum $(wget -q -O - http://{address}:{port}/ | sha256sum)\n"
    )
}

/// Expects what a visit prints.
fn visited(guest: &Guest) -> Result<()> {
    guest.console.expect_output("3 packets transmitted, 3 packets received")?;
    guest.console.expect_output(&format!("sum {}", sha256(&noise(LEN))))?;
    Ok(())
}

/// A stack with a web server, on a link.
async fn server(link: &str) -> Result<Stack> {
    let url: LinkUrl = link.parse()?;
    let builder = Builder::new().address("10.9.0.1/24".parse()?);
    let stack = builder.spawn(url.open()?)?;
    let listener = stack.net().tcp_listen("0.0.0.0:80").await?;
    let page = axum::body::Bytes::from(noise(LEN));
    let app = Router::new().route("/", get(move || async move { page }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(stack)
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A guest that was killed is followed by another on the same socket.
pub(crate) fn stream() -> Outcome {
    let folder = TempDir::new()?;
    let path = folder.path().join("vm").display().to_string();
    let runtime = runtime()?;
    let stack = runtime.block_on(server(&format!("unix-stream://{path}[listen]")))?;
    let netdev = format!("stream,id=n,server=off,addr.type=unix,addr.path={path}");
    let address = "ip address add 10.9.0.2/24 dev eth0\n";

    // It has the connection, and a transfer under way.
    let endless = "while true; do wget -q -O /dev/null http://10.9.0.1/ && echo loaded; done";
    let guest = Guest::boot(&netdev, &format!("{address}{endless}"))?;
    guest.console.expect_output("loaded")?;
    drop(guest);
    let mut guest = Guest::boot(&netdev, &format!("{address}{}", visit("10.9.0.1", 80)))?;
    visited(&guest)?;
    assert!(guest.console.status()?.success());
    Ok(runtime.block_on(stack.shutdown(Duration::from_secs(1)))?)
}

/// A stack that has ended is followed by another on the same socket.
pub(crate) fn datagrams() -> Outcome {
    let folder = TempDir::new()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ours, theirs) = (path("ours"), path("theirs"));
    let runtime = runtime()?;
    let link = format!("unix-dgram://{theirs}[local='{ours}']");
    let stack = runtime.block_on(server(&link))?;
    let netdev = format!(
        "dgram,id=n,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"
    );
    let script = format!(
        "ip address add 10.9.0.2/24 dev eth0\n{}\
         while ping -c 1 -W 5 10.9.0.1 > /dev/null; do :; done\n\
         echo gone\n\
         until ping -c 1 -W 1 10.9.0.1 > /dev/null; do :; done\n{}",
        visit("10.9.0.1", 80),
        visit("10.9.0.1", 80)
    );
    let mut guest = Guest::boot(&netdev, &script)?;
    visited(&guest)?;
    runtime.block_on(stack.shutdown(Duration::from_secs(1)))?;
    guest.console.expect_output("gone")?;
    let stack = runtime.block_on(server(&link))?;
    visited(&guest)?;
    assert!(guest.console.status()?.success());
    Ok(runtime.block_on(stack.shutdown(Duration::from_secs(1)))?)
}

/// A guest, namespaces of Debian's vdens and a stack reach each other on our switch.
pub(crate) fn vde() -> Outcome {
    program("vdens")?;
    let switch = Switch::ours(&[])?;
    let runtime = runtime()?;
    let stack = runtime.block_on(server(&switch.url()))?;
    let (mut near, _far) = (vdens(&switch.url(), 50)?, vdens(&switch.url(), 51)?);
    let script = format!(
        "ip address add 10.9.0.3/24 dev eth0\n\
         ping -c 4 -W 30 10.9.0.51 | grep 'packets received'\n{}\
         while ping -c 1 -W 5 10.9.0.1 > /dev/null; do :; done",
        visit("10.9.0.1", 80)
    );
    let netdev = format!("vde,id=n,sock={}", switch.directory().display());
    let mut guest = Guest::boot(&netdev, &script)?;
    guest.console.expect_output("4 packets transmitted, 4 packets received")?;
    visited(&guest)?;
    for host in [51, 1, 3] {
        near.write_line(&format!("busybox ping -A -c 2 -W 5 10.9.0.{host}"))?;
        near.expect_output(" 2 packets received, ")?;
        near.expect_line("done")?;
    }
    switch.until_shown("port/print", ": QEMU user=", true)?;
    runtime.block_on(stack.shutdown(Duration::from_secs(1)))?;
    assert!(guest.console.status()?.success());
    switch.until_shown("port/print", ": QEMU user=", false)
}

/// Behind the gateway a guest reaches this machine's server, also after a new gateway has taken the
/// place of one that was killed.
pub(crate) fn gateway() -> Outcome {
    let ip = |arguments: &[&str]| output(program("ip")?.args(arguments));
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", "192.0.2.1/32", "dev", "lo"])?;
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
    let port = serve(Arc::new(noise(LEN)))?;
    let folder = TempDir::new()?;
    let path = folder.path().join("vm").display().to_string();
    let netdev = format!("stream,id=n,server=on,addr.type=unix,addr.path={path}");
    let script = format!(
        "echo 'ip address add $ip/$mask dev eth0; ip route add default via $router' > /tmp/bound\n\
         printf '#!/bin/sh\\n[ $1 = bound ] && . /tmp/bound\\nexit 0\\n' > /tmp/script\n\
         chmod +x /tmp/script\n\
         udhcpc -i eth0 -q -n -t 60 -T 1 -s /tmp/script 2>&1\n{}\
         while ping -c 1 -W 5 10.0.2.2 > /dev/null; do :; done\n\
         echo gone\n\
         until ping -c 1 -W 1 10.0.2.2 > /dev/null; do :; done\n{}",
        visit("192.0.2.1", port),
        visit("192.0.2.1", port)
    );
    let mut guest = Guest::boot(&netdev, &script)?;
    let start = || -> Result<Daemon> {
        // QEMU listens.
        let deadline = Instant::now() + PATIENCE;
        while !Path::new(&path).exists() {
            assert!(Instant::now() < deadline, "no socket of QEMU's");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut gateway = netstack()?;
        gateway.args(["gateway", "--link", &format!("unix-stream://{path}")]);
        let gateway = Daemon::start(&mut gateway)?;
        gateway.expect_output("netstack gateway: ")?;
        Ok(gateway)
    };
    let first = start()?;
    guest.console.expect_output("lease of 10.0.2.15 obtained")?;
    visited(&guest)?;
    drop(first);
    guest.console.expect_output("gone")?;
    let _second = start()?;
    visited(&guest)?;
    assert!(guest.console.status()?.success());
    Ok(())
}

/// This machine's web server: every page is this one.
fn serve(page: Arc<Vec<u8>>) -> Result<u16> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(std::result::Result::ok) {
            let page = page.clone();
            std::thread::spawn(move || {
                // The page does not depend on the request, which ends with an empty line.
                let lines = BufReader::new(stream.try_clone()?).lines();
                lines.map_while(std::result::Result::ok).find(|line| line.is_empty());
                write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", page.len())?;
                stream.write_all(&page)
            });
        }
    });
    Ok(port)
}
