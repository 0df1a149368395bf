//! Throughput over VXLAN: this stack beside the kernel, in the same run.
//!
//! `cargo bench -p netstack --bench overlay`, as an ordinary user: it makes two network namespaces,
//! joined by a veth. Each row is one TCP connection; the near end is the client.

#![expect(clippy::print_stdout, reason = "the figures")]

mod end;

use anyhow::{Context, Result, bail, ensure};
use end::{End, Kind};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Which of the processes this is, and what its end of the network is.
const ROLE: &str = "NETSTACK_BENCH_ROLE";
const FAR_KIND: &str = "NETSTACK_BENCH_FAR";
/// The near and the far end of the veth.
const UNDERLAY: [&str; 2] = ["192.168.78.1", "192.168.78.2"];

fn main() -> Result<()> {
    match env::var(ROLE).as_deref() {
        Ok("near") => near(),
        Ok("far") => far(),
        _ => {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
            let status = unshare.arg(env::current_exe()?).env(ROLE, "near").status();
            ensure!(status.context("unshare")?.success(), "the run in a namespace has failed");
            Ok(())
        }
    }
}

/// The client of each row.
fn near() -> Result<()> {
    println!("{:<20} {:>14} {:>14}", "VXLAN, near - far", "to far", "to near");
    for (near, far) in [
        (Kind::Kernel, Kind::Kernel),
        (Kind::Kernel, Kind::Ours),
        (Kind::Ours, Kind::Kernel),
        (Kind::Ours, Kind::Ours),
    ] {
        let mut peer = Peer::start(far)?;
        let end = End::new(near, UNDERLAY[0], UNDERLAY[1], "10.9.0.1/24")?;
        let [up, down] = end.measure("10.9.0.2:5001")?;
        println!("{:<20} {:>9.2} Gbit/s {:>6.2} Gbit/s", format!("{near} - {far}"), up, down);
        drop(end);
        peer.child.kill()?;
        peer.child.wait()?;
        ip("link delete v0")?;
    }
    Ok(())
}

/// The server, in a namespace of its own. It goes on with each line of its input.
fn far() -> Result<()> {
    println!("ready");
    line(&mut BufReader::new(std::io::stdin()))?;
    set_up(UNDERLAY[1])?;
    let kind = if env::var(FAR_KIND)? == "ours" { Kind::Ours } else { Kind::Kernel };
    let end = End::new(kind, UNDERLAY[1], UNDERLAY[0], "10.9.0.2/24")?;
    end.serve("10.9.0.2:5001", || println!("serving"))
}

/// The other process.
struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it, and waits until it serves.
    fn start(kind: Kind) -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net").arg(env::current_exe()?);
        unshare.env(ROLE, "far").env(FAR_KIND, kind.to_string());
        let mut child = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?);
        let mut peer = Self { child, lines };
        line(&mut peer.lines)?;
        ip(&format!("link add v0 type veth peer name v0 netns {}", peer.child.id()))?;
        set_up(UNDERLAY[0])?;
        writeln!(peer.child.stdin.as_mut().context("no input")?)?;
        line(&mut peer.lines)?;
        Ok(peer)
    }
}

fn line(lines: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    match lines.read_line(&mut line)? {
        0 => bail!("the other process has ended"),
        _ => Ok(()),
    }
}

fn set_up(address: &str) -> Result<()> {
    ip(&format!("address add {address}/24 dev v0"))?;
    ip("link set lo up")?;
    ip("link set v0 up")
}

/// Runs ip with these arguments.
fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status().context("ip")?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}
