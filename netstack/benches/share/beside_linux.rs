//! A stream of this stack beside one of Linux, through one bottleneck, in real time.
//!
//! Both senders, a stack and the kernel behind a TAP, and the receiver, a stack behind the bottleneck,
//! are on one switch, in a network namespace of their own.

use crate::bottleneck::{DELAY, TIME};
use crate::{BITS_PER_SECOND, QUEUES};
use netstack::device::{InterfaceConfig, InterfaceOffload, Tap};
use netstack::sim::{Impaired, LinkConfig};
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use netstack::{Builder, CongestionControl, Direction, IpNet};
use socket2::{Domain, Socket, Type};
use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Set in the process inside of the namespace.
const INSIDE: &str = "NETSTACK_BENCH_INSIDE";

const LINUX: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const SENDER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Measures in a namespace; returns the table's rows.
pub(crate) fn measure() -> Result<String, Box<dyn Error>> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net"]).arg(std::env::current_exe()?);
    let output = unshare.env(INSIDE, "").output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Measures each queue, inside.
pub(crate) fn run() {
    for queue in QUEUES {
        match goodputs(queue) {
            Ok([ours, linux]) => println!(
                "| CUBIC | {queue} | {ours:.1} | {linux:.1} | {:.2} |",
                ours / (ours + linux)
            ),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The goodput of this stack and of Linux in the second half of the time.
fn goodputs(queue: usize) -> Result<[f64; 2], Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let port = || PortConfig { jumbo: false, ..PortConfig::default() };
        let switch = Switch::new(SwitchConfig::default());
        let tap = Tap::open(&InterfaceConfig {
            name: "tap0".into(),
            host_addresses: vec![network(LINUX)?],
            offload: InterfaceOffload::Off,
            ..InterfaceConfig::default()
        })?;
        let _uplink = switch.uplink(tap, port())?;

        let link = LinkConfig::new().delay(DELAY);
        let device = Impaired::new(switch.port(port())?, link.clone(), 1);
        let bottleneck = link.bandwidth(BITS_PER_SECOND).queue(queue);
        device.impairment().set_link_of(Direction::Inbound, bottleneck);
        let receiver = Builder::new().address(network(RECEIVER)?).spawn(device)?;
        let sender = Builder::new().address(network(SENDER)?).spawn(switch.port(port())?)?;

        let listener = receiver.net().tcp_listen((RECEIVER, 7)).await?;
        let start = Instant::now();
        let mut stream = sender.net().tcp_connect((RECEIVER, 7)).await?;
        stream.set_congestion_control(Some(CongestionControl::Cubic))?;
        let (ours, _) = listener.accept().await?;
        let linux = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        linux.set_tcp_congestion(b"cubic")?;
        let sending = std::thread::spawn(move || {
            if linux.connect(&SocketAddr::from((RECEIVER, 7)).into()).is_err() {
                return;
            }
            let mut stream = TcpStream::from(linux);
            let block = vec![7; 64 * 1024];
            while stream.write_all(&block).is_ok() {}
        });
        let (theirs, _) = listener.accept().await?;
        let sender = tokio::spawn(async move {
            let block = vec![7; 64 * 1024];
            while stream.write_all(&block).await.is_ok() {}
        });
        let receiving = [ours, theirs].map(|stream| tokio::spawn(receive(stream, start)));
        let mut goodputs = [0.0; 2];
        for (goodput, receiving) in goodputs.iter_mut().zip(receiving) {
            *goodput = receiving.await??;
        }
        // Both senders got a reset, since there was more to read.
        sender.await?;
        tokio::task::spawn_blocking(move || sending.join())
            .await?
            .map_err(|_| "the sender panicked")?;
        Ok(goodputs)
    })
}

/// An address with the length of its prefix.
fn network(address: Ipv4Addr) -> Result<IpNet, Box<dyn Error>> {
    Ok(format!("{address}/24").parse()?)
}

async fn receive(mut stream: netstack::TcpStream, start: Instant) -> std::io::Result<f64> {
    let (mut block, mut bytes) = (vec![0; 64 * 1024], 0);
    while let Ok(count) = timeout_at(start + TIME, stream.read(&mut block)).await {
        let count = count?;
        if start.elapsed() >= TIME / 2 {
            bytes += count;
        }
    }
    Ok(bytes as f64 * 8.0 / (TIME / 2).as_secs_f64() / 1e6)
}
