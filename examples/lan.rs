//! Five stacks on a switch in this process, which send greetings to each other. No privileges.
//!
//! ```sh
//! cargo run --release -p examples --example lan -- --pcap lan.pcapng
//! tshark -r lan.pcapng
//! ```

use anyhow::{Context, Result, ensure};
use examples::{flags, println};
use futures::future::try_join_all;
use netstack::capture::Recorder;
use netstack::netsocket::{TcpListener, UdpSocket};
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use netstack::{Builder, Stack};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Stacks on a switch in this process, which send greetings to each other
#[derive(clap::Parser)]
struct Args {
    /// How many stacks there are
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = flags::number::<u8>(2..=64, 5))]
    stacks: u8,
    /// Record every frame in this file, which tshark and Wireshark read
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// Where stacks announce themselves.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
const ANNOUNCE_PORT: u16 = 7000;
const HELLO_PORT: u16 = 7001;
/// How long the stacks may take to find each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stack on the LAN, which replies to greetings.
struct Host {
    address: Ipv4Addr,
    stack: Stack,
    announcements: UdpSocket,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let switch = Switch::new(SwitchConfig::default());
        let recording = match &args.pcap {
            Some(path) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                let (recorder, monitor) = (Recorder::new(file), switch.monitor());
                let task = recorder.clone();
                Some((recorder, tokio::spawn(async move { monitor.record(&task).await })))
            }
            None => None,
        };
        lan(&switch, args.stacks).await?;
        // Returns when the switch is dropped.
        drop(switch);
        if let Some((recorder, task)) = recording {
            task.await?;
            recorder.flush().context("writing the capture")?;
            println!("{} frames recorded", recorder.statistics().frames);
        }
        Ok(())
    })
}

async fn lan(switch: &Switch, stacks: u8) -> Result<()> {
    let hosts = try_join_all((1..=stacks).map(|number| Host::start(switch, number))).await?;
    let met = examples::until_stopped(meet(switch, &hosts)).await;
    for host in hosts {
        host.stack.shutdown(Duration::from_secs(1)).await?;
    }
    met
}

/// Sends a greeting from each host to each other.
async fn meet(switch: &Switch, hosts: &[Host]) -> Result<()> {
    let others = hosts.len() - 1;
    let found = try_join_all(hosts.iter().map(|host| host.find(others)));
    let found = tokio::time::timeout(PATIENCE, found).await.context("finding each other")??;

    let mut greetings = 0;
    for (host, found) in hosts.iter().zip(found) {
        let replies = try_join_all(found.iter().map(|peer| host.hello(*peer))).await?;
        println!("{}:", host.address);
        for reply in replies {
            println!("  {reply}");
            greetings += 1;
        }
    }
    println!("{} stacks, {greetings} greetings", hosts.len());

    println!("\n{:<10} {:>8} {:>8} {:>8} {:>8}", "port", "received", "sent", "flooded", "dropped");
    for port in switch.ports() {
        let counts = port.statistics;
        println!(
            "{:<10} {:>8} {:>8} {:>8} {:>8}",
            port.name,
            counts.received.frames,
            counts.sent.frames,
            counts.flooded,
            counts.dropped_total()
        );
    }
    Ok(())
}

impl Host {
    async fn start(switch: &Switch, number: u8) -> Result<Self> {
        let address = Ipv4Addr::new(10, 0, 0, number);
        let name = format!("host {number}");
        let port = switch.port(PortConfig { name, ..PortConfig::default() })?;
        let stack = Builder::new().address(format!("{address}/24").parse()?).spawn(port)?;
        let announcements = stack.net().udp_bind(("0.0.0.0", ANNOUNCE_PORT)).await?;
        announcements.join_multicast_v4(GROUP, Ipv4Addr::UNSPECIFIED)?;
        let listener = stack.net().tcp_listen((address, HELLO_PORT)).await?;
        tokio::spawn(greet(listener, address));
        Ok(Self { address, stack, announcements })
    }

    /// Announces itself, and waits for the announcements of this many others.
    async fn find(&self, others: usize) -> Result<BTreeSet<IpAddr>> {
        self.announcements.send_to(b"here I am", (GROUP, ANNOUNCE_PORT)).await?;
        let mut found = BTreeSet::new();
        let mut buffer = [0; 64];
        while found.len() < others {
            let (_, from) = self.announcements.recv_from(&mut buffer).await?;
            // Multicast is looped back.
            if from.ip() != self.address {
                found.insert(from.ip());
            }
        }
        Ok(found)
    }

    /// Sends a greeting to another over TCP and returns its reply.
    async fn hello(&self, peer: IpAddr) -> Result<String> {
        let mut stream = self.stack.net().tcp_connect((peer, HELLO_PORT)).await?;
        stream.write_all(format!("hello from {}", self.address).as_bytes()).await?;
        stream.shutdown().await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        ensure!(reply.starts_with(&format!("{peer} heard")), "{peer} replied {reply:?}");
        Ok(reply)
    }
}

/// Replies to all greetings.
async fn greet(listener: TcpListener, address: Ipv4Addr) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut hello = String::new();
        stream.read_to_string(&mut hello).await?;
        stream.write_all(format!("{address} heard: {hello}").as_bytes()).await?;
        stream.shutdown().await?;
    }
}
