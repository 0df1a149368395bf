//! A server and the load on it, in a namespace of their own.

use crate::figures::Figures;
use crate::{load, loopback, small};
use anyhow::{Context, Result, anyhow, bail};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The part that runs inside.
#[derive(clap::Args)]
pub(crate) struct Inside {
    #[arg(long)]
    idle: usize,
    #[arg(long)]
    seconds: f64,
    /// Small packets instead of streams
    #[arg(long)]
    small: bool,
    #[arg(long)]
    congestion_control: String,
    /// The server is on the kernel's loopback
    #[arg(long)]
    loopback: bool,
    /// The server's program and its arguments
    #[arg(last = true, required = true)]
    server: Vec<String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Streams, round trips and connections, beside idle connections.
    Streams { idle: usize },
    /// Single bytes and datagrams.
    Small,
}

/// How long a server may take until it listens.
const STARTING: Duration = Duration::from_secs(10);

/// Runs a server under the load in a new namespace, and returns its figures.
pub(crate) fn measure(
    server: &[String],
    (load, seconds): (Load, f64),
    congestion_control: &str,
    is_loopback: bool,
) -> Result<Figures> {
    let mut command = Command::new("unshare");
    // However this process ends, nothing stays behind.
    command.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
    command.arg(std::env::current_exe()?).arg("inside");
    command.args(["--seconds", &seconds.to_string()]);
    match load {
        Load::Streams { idle } => command.args(["--idle", &idle.to_string()]),
        Load::Small => command.args(["--idle", "0", "--small"]),
    };
    command.args(["--congestion-control", congestion_control]);
    if is_loopback {
        command.arg("--loopback");
    }
    command.arg("--").args(server);
    // The last line of a program's output is then the reason.
    command.env("RUST_BACKTRACE", "0");
    let output = command.stdin(Stdio::null()).output().context("unshare")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().rev().find(|line| !line.trim().is_empty());
        bail!("{}", reason.unwrap_or("it ended without a message"));
    }
    serde_json::from_slice(&output.stdout).context("the output of the load")
}

/// The inside of [`measure`]: prints the figures.
pub(crate) async fn run(inside: &Inside) -> Result<()> {
    // So that many connections one after the other find ports.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000").context("ports")?;
    std::fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").context("tcp_tw_reuse")?;
    loopback::bring_up().context("the loopback interface does not come up")?;
    let address = if inside.loopback { [127, 0, 0, 1] } else { protocol::STACK };
    let address = SocketAddr::from((address, protocol::PORT));
    let mut server = Server::start(&inside.server)?;
    server.wait_for(address).await?;
    let target = load::Target { server: address, congestion_control: &inside.congestion_control };
    let measured = match inside.small {
        false => load::measure(target, inside.idle, inside.seconds).await,
        true => small::measure(target, inside.seconds).await,
    };
    match measured {
        Ok(mut figures) => {
            if let Some(bytes) = server.resident_bytes() {
                figures.0.insert("resident_mib".to_owned(), bytes as f64 / f64::from(1 << 20));
            }
            println!("{}", serde_json::to_string(&figures)?);
            Ok(())
        }
        Err(error) => Err(match server.ended()? {
            Some(end) => error.context(end),
            None => error,
        }),
    }
}

/// A server's process, which ends with this.
struct Server(Child);

impl Server {
    fn start(command: &[String]) -> Result<Self> {
        let (program, arguments) = command.split_first().context("no server is named")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| program.clone())?;
        Ok(Self(child))
    }

    /// Waits until it accepts connections.
    async fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < STARTING {
            if let Some(end) = self.ended()? {
                return Err(anyhow!(end));
            }
            let connecting = tokio::net::TcpStream::connect(address);
            let limit = Duration::from_millis(500);
            if let Ok(Ok(_)) = tokio::time::timeout(limit, connecting).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("it does not answer at {address}");
    }

    /// How it has ended, if it has.
    fn ended(&mut self) -> Result<Option<String>> {
        Ok(self.0.try_wait()?.map(|status| format!("the server has ended: {status}")))
    }

    fn resident_bytes(&self) -> Option<usize> {
        // This /proc numbers processes as those outside do, and the child's id is another there.
        let children = std::fs::read_to_string("/proc/thread-self/children").ok()?;
        let pid: u32 = children.split_whitespace().next()?.parse().ok()?;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        statm.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
