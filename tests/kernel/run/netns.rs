//! `--netns`: the kernel's sockets in a namespace of their own, relayed.

use super::{KERNEL, failure, on_stack_with, serve_page, text};
use crate::daemon::dnsmasq;
use crate::namespace::{Outcome, program};
use std::fs;
use std::net::TcpListener;
use tempfile::TempDir;
use tests::{noise, sha256};

const LEN: usize = 20_000_000;

/// The relay answers a SYN as the destination does.
pub(crate) fn curl() -> Outcome {
    let port = serve_page(noise(LEN))?;
    let url = format!("http://{KERNEL}:{port}/");
    let mut curl = on_stack_with(&["--netns"], "curl")?;
    let got = curl.args(["-sS", "--max-time", "60", &url]).output()?;
    if sha256(&got.stdout) != sha256(&noise(LEN)) {
        return Err(format!("{}: {} bytes", text(&got.stderr), got.stdout.len()).into());
    }
    assert!(text(&got.stderr).contains(" 0 connections left"), "{}", text(&got.stderr));

    let closed = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    let url = format!("http://{KERNEL}:{closed}/");
    let mut curl = on_stack_with(&["--netns"], "curl")?;
    let refused = curl.args(["-s", "--max-time", "60", &url]).output()?;
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
    Ok(())
}

/// The stack's name servers answer at the address that resolv.conf names.
pub(crate) fn names() -> Outcome {
    let _server = dnsmasq(&["--address=/web.test/10.9.0.1"])?;
    let folder = TempDir::new()?;
    let path = folder.path().join("resolv.conf");
    fs::write(&path, "nameserver 127.0.0.53\n")?;
    let lookup = "import socket; print(socket.gethostbyname('web.test'))";
    let mut inner = on_stack_with(&["--netns", "--dns", KERNEL], "python3")?;
    inner.args(["-c", lookup]);
    let mut outer = program("unshare")?;
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    outer.args(["--mount", "sh", "-c", script]).arg(&path);
    outer.arg(inner.get_program()).args(inner.get_args());
    let done = outer.output()?;
    match text(&done.stdout) == format!("{KERNEL}\n") {
        true => Ok(()),
        false => Err(failure(&outer, &done)),
    }
}
