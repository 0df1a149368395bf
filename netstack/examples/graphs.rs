//! Draws a loss and its repair, once for each congestion controller.
//!
//! `cargo run -p netstack --features plot --example graphs -- docs` makes the pictures of
//! docs/loss.md again. The network is simulated, so they are the same on every machine.

use netstack::sim::{self, Host, LinkConfig, Record};
use netstack::{Config, CongestionControl, Direction, TcpConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BYTES: usize = 500_000;
/// A round trip of 40 ms, and a queue for three of them.
const DELAY: Duration = Duration::from_millis(20);
const BITS_PER_SECOND: u64 = 10_000_000;
const QUEUE_PACKETS: usize = 100;
/// Which data segments are lost, besides the last one: one, and three in a row.
const LOST: [usize; 4] = [60, 200, 201, 202];
const FIN: u8 = 1;
/// Where the flags of a TCP segment are in an IPv4 packet without options.
const FLAGS: usize = 33;
const HEADERS: usize = 40;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    for control in [CongestionControl::Cubic, CongestionControl::Reno, CongestionControl::Bbr] {
        let record = sim::run(1, |sim| async move {
            let link = LinkConfig::new().delay(DELAY).bandwidth(BITS_PER_SECOND);
            let config = Config {
                tcp: TcpConfig { congestion_control: control, ..TcpConfig::default() },
                ..Config::default()
            };
            let client = sim.host().config(config).link(link.queue(QUEUE_PACKETS)).spawn()?;
            let server = sim.host().spawn()?;
            lose(&client);
            upload(&client, &server).await
        })?;
        save(&record, control.name(), &folder)?;
    }
    Ok(())
}

/// Sends some bytes, and records how.
async fn upload(client: &Host, server: &Host) -> io::Result<Record> {
    let remote = "10.0.0.2:80".parse().expect("an address");
    let record = client.record(remote);
    let listener = server.net().tcp_listen(remote).await?;
    let receive = async {
        let (mut stream, _) = listener.accept().await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let send = async {
        let mut stream = client.net().tcp_connect(remote).await?;
        stream.write_all(&vec![7; BYTES]).await?;
        stream.shutdown().await?;
        // The peer closes when it has everything.
        stream.read_to_end(&mut Vec::new()).await
    };
    tokio::try_join!(receive, send)?;
    Ok(record)
}

fn lose(client: &Host) {
    let (mut sent, mut has_lost_last) = (0, false);
    client.set_filter(move |direction, packet| {
        if direction == Direction::Inbound || packet.len() <= HEADERS {
            return true;
        }
        sent += 1;
        let is_last = !has_lost_last && packet[FLAGS] & FIN != 0;
        has_lost_last |= is_last;
        !is_last && !LOST.contains(&sent)
    });
}

fn save(record: &Record, control: &str, folder: &Path) -> io::Result<()> {
    let path = folder.join(format!("repair-{control}.svg"));
    record.write_svg(&path, &format!("{control}: 500 kB over 10 Mbit/s and 40 ms"))?;
    record.write_csv(&path.with_extension("csv"))
}
