//! The server of the performance comparison: the first byte of a connection selects the behaviour.
//!
//! | byte | the server |
//! |---|---|
//! | `U` | reads and discards until the end of the stream |
//! | `D` | writes 64 KiB blocks until the client disconnects |
//! | `R` | echoes |
//! | `X` | shuts its side down at once |
//! | `I` | reads and waits |
//!
//! Datagrams to the same port are echoed.

use anyhow::Result;
use bytes::Bytes;
use examples::{Network, flags, println};
use netstack::netsocket::{TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{self, Runtime};

/// Serves the performance tests on a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = flags::port)]
    port: u16,
    /// Run the stack on a thread of its own instead of as a task
    #[arg(long)]
    thread: bool,
    /// How many threads serve, the stack among them if it has none of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = flags::number::<usize>(1..=1024, 4))]
    workers: usize,
    /// How long the stack polls before it sleeps, in microseconds [default: 100]
    #[arg(long, value_name = "N", value_parser = flags::number::<u64>(0..=u64::MAX, 100))]
    spin: Option<u64>,
}

impl Args {
    /// With a single thread no wake-up crosses from one to another.
    fn runtime(&self) -> std::io::Result<Runtime> {
        match self.workers {
            1 => runtime::Builder::new_current_thread().enable_all().build(),
            n => runtime::Builder::new_multi_thread().worker_threads(n).enable_all().build(),
        }
    }
}

fn main() -> ExitCode {
    examples::run_on(Args::runtime, async |args: Args| -> Result<()> {
        let (builder, interface) = args.network.prepare()?;
        let builder = match args.spin {
            Some(micros) => builder.spin(Duration::from_micros(micros)),
            None => builder,
        };
        let stack = match args.thread {
            true => interface.spawn_thread(builder)?,
            false => interface.spawn(builder)?,
        };
        let listener = stack.net().tcp_listen(("::", args.port)).await?;
        let datagrams = stack.net().udp_bind(("::", args.port)).await?;
        tokio::spawn(async move { echo(&datagrams).await.ok() });
        println!("serving on port {}", args.port);
        let serving = async {
            loop {
                let (stream, _) = listener.accept().await?;
                // A client that disconnects ends only its own connection.
                tokio::spawn(async { serve(stream).await.ok() });
            }
        };
        examples::serve([stack], serving).await
    })
}

const BLOCK: usize = 64 * 1024;

async fn echo(socket: &UdpSocket) -> std::io::Result<()> {
    loop {
        let (datagram, client) = socket.recv_bytes_from().await?;
        // One that finds no room is lost, as on any link.
        let _ = socket.try_send_to(&datagram, client);
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    match stream.read_u8().await? {
        b'U' => while !stream.recv_bytes(BLOCK).await?.is_empty() {},
        b'D' => {
            let block = Bytes::from(vec![0; BLOCK]);
            loop {
                stream.send_bytes(block.clone()).await?;
            }
        }
        b'R' => {
            let mut block = vec![0; BLOCK];
            loop {
                match stream.read(&mut block).await? {
                    0 => break,
                    n => stream.write_all(&block[..n]).await?,
                }
            }
        }
        b'I' => while !stream.recv_bytes(1).await?.is_empty() {},
        _ => {}
    }
    stream.shutdown().await
}
