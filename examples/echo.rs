//! Echoes TCP and UDP, over IPv4 and IPv6.
//!
//! ```sh
//! cargo run --release -p examples --example echo -- --port 7 \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24 \
//!     --host-address fd00::1/64 --address fd00::2/64
//! nc 10.9.0.2 7
//! ```

use anyhow::{Context, Result};
use examples::{Network, flags, println};
use netstack::netsocket::{TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;

/// Echoes TCP and UDP on all addresses of a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = flags::port)]
    port: u16,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let stack = args.network.start()?;
        // One socket on [::] takes both families.
        let address = format!("[::]:{}", args.port);
        let listener = stack.net().tcp_listen(&address).await.context(address.clone())?;
        let socket = stack.net().udp_bind(&address).await.context(address.clone())?;
        println!("echo on {address}");
        let echoing = async {
            tokio::select! {
                result = echo_streams(listener) => result,
                result = echo_datagrams(socket) => result,
            }
        };
        examples::serve([stack], echoing).await
    })
}

async fn echo_streams(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            match echo(stream).await {
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<u64> {
    let (mut from, mut to) = stream.split();
    // Returns when the peer has sent its last byte; dropping the stream then sends ours.
    tokio::io::copy(&mut from, &mut to).await
}

async fn echo_datagrams(socket: UdpSocket) -> Result<()> {
    loop {
        let (datagram, peer) = socket.recv_bytes_from().await?;
        // A datagram that cannot be sent back counts as lost.
        let _ = socket.send_to(&datagram, peer).await;
    }
}
