//! Names, for programs with resolvers of their own.

use super::{KERNEL, output, run, serve_page, text};
use crate::daemon::dnsmasq;
use crate::namespace::{Outcome, program};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// A command that finds another resolv.conf in its place.
pub(super) fn with_resolv_conf(path: &str, inner: &Command) -> super::Result<Command> {
    let mut outer = program("unshare")?;
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    outer.args(["--mount", "sh", "-c", script, path]);
    outer.arg(inner.get_program()).args(inner.get_args());
    Ok(outer)
}

/// A program that asks the server of the host's resolv.conf is answered by the stack's.
pub(crate) fn by_the_servers_of_the_stack() -> Outcome {
    let _server = dnsmasq(&["--address=/web.test/10.9.0.1"])?;
    let folder = TempDir::new()?;
    let path = folder.path().join("resolv.conf");
    let path = path.to_str().ok_or("a path")?;
    fs::write(path, "nameserver 127.0.0.53\n")?;
    let port = serve_page(b"a page".to_vec())?;
    let url = format!("http://web.test:{port}/");
    let lookup = "import socket; print(socket.gethostbyname('web.test'))";
    for (name, arguments, expected) in [
        ("curl", &["-sS", &url][..], "a page"),
        ("python3", &["-c", lookup], &format!("{KERNEL}\n")),
        ("busybox", &["wget", "-q", "-O", "-", &url], "a page"),
    ] {
        let mut inner = run()?;
        inner.args(["--dns", KERNEL, "--"]).arg(program(name)?.get_program()).args(arguments);
        let shown = output(&mut with_resolv_conf(path, &inner)?)?;
        assert_eq!(text(&shown), expected, "{name}");
    }
    Ok(())
}
