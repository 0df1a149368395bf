//! Two ts_netstack_smoltcp stacks joined in memory.

use anyhow::Result;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ts_netstack_smoltcp::netcore::{self, Config, NetstackControl};
use ts_netstack_smoltcp::{CreateSocket, HasChannel, Netstack, WakingPipe, WakingPipeDev};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The figure to measure
    test: Test,
    /// The largest IP packet, in bytes
    #[arg(long, value_name = "N", default_value_t = 1500)]
    mtu: usize,
    /// The buffers of each connection, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    buffer: usize,
    /// The number of idle connections
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u16,
    /// For how long
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Test {
    /// One stream: Gbit/s
    Bulk,
    /// 64 bytes there and back: µs
    Rr,
    /// Connections per second
    Conn,
}

const NEAR: [u8; 4] = [10, 0, 0, 1];
const FAR: [u8; 4] = [10, 0, 0, 2];
const BLOCK: usize = 64 * 1024;

fn client(port: u16) -> SocketAddr {
    (NEAR, port).into()
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let config = Config {
        tcp_buffer_size: args.buffer,
        mtu: args.mtu,
        command_channel_capacity: Some(1024),
        ..Default::default()
    };
    let mtu = args.mtu;
    let start = |pipe, address: [u8; 4]| {
        let medium = netcore::smoltcp::phy::Medium::Ip;
        let mut stack = Netstack::new(WakingPipeDev { pipe, mtu, medium }, config.clone());
        let channel = stack.command_channel();
        tokio::spawn(async move { stack.run_tokio().await });
        async move { channel.set_ips([address.into()]).await.map(|_| channel) }
    };
    let (near, far) = WakingPipe::bounded(512);
    let (near, far) = (start(near, NEAR).await?, start(far, FAR).await?);
    let server: SocketAddr = (FAR, protocol::PORT).into();
    let listener = far.tcp_listen(server).await?;
    let mut held = Vec::new();
    for k in 0..args.idle {
        let (a, b) = tokio::join!(near.tcp_connect(client(2000 + k), server), listener.accept());
        held.push((a?, b?));
    }
    let (a, b) = tokio::join!(near.tcp_connect(client(1000), server), listener.accept());
    let (mut a, mut b) = (a?, b?);
    let time = Duration::from_secs_f64(args.seconds);
    let start = Instant::now();
    let figures = match args.test {
        Test::Bulk => {
            tokio::spawn(async move {
                let block = vec![7; BLOCK];
                while a.write_all(&block).await.is_ok() {}
            });
            let (mut block, mut bytes) = (vec![0; BLOCK], 0);
            while start.elapsed() < time {
                bytes += b.read(&mut block).await?;
            }
            let rate = bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9;
            serde_json::json!({ "gbit_s": rate })
        }
        Test::Rr => {
            tokio::spawn(async move {
                let mut block = [0; 64];
                while let Ok(n @ 1..) = b.read(&mut block).await {
                    if b.write_all(&block[..n]).await.is_err() {
                        break;
                    }
                }
            });
            let (mut message, mut samples) = ([0; 64], Vec::new());
            while start.elapsed() < time {
                let sent = Instant::now();
                a.write_all(&message).await?;
                a.read_exact(&mut message).await?;
                samples.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            samples.sort_by(f64::total_cmp);
            let at = |quantile: f64| samples[((samples.len() - 1) as f64 * quantile) as usize];
            serde_json::json!({ "rtt_p50_us": at(0.5), "rtt_p99_us": at(0.99) })
        }
        Test::Conn => {
            tokio::spawn(async move { while listener.accept().await.is_ok() {} });
            let mut made = 0;
            while start.elapsed() < time {
                let port = 20_000 + (made % 40_000) as u16;
                if near.tcp_connect(client(port), server).await.is_err() {
                    break;
                }
                made += 1;
            }
            serde_json::json!({ "connections_s": f64::from(made) / start.elapsed().as_secs_f64() })
        }
    };
    println!("{figures}");
    // Its tasks have no end of their own.
    std::process::exit(0);
}
