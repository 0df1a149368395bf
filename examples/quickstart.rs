//! A tour in three steps, without any privileges: a web server and its client on two stacks, a
//! transfer between them, and one packet driven by hand.
//!
//! ```sh
//! cargo run --release -p examples --example quickstart
//! ```

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use examples::{flags, print, println};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use netcore::device::smoltcp::{phy::Medium, time::Instant};
use netcore::{Config, HasChannel, Netstack, Pipe, PipeDev, Response, udp};
use netstack::{Net, blocking};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Shows three uses, on two stacks joined in memory
#[derive(clap::Parser)]
struct Args {
    /// How many MiB to move in the second step
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = flags::number::<u64>(1..=1 << 40, 4096))]
    size: u64,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let (near, far) = netstack::pair()?;
        let (nets, size) = ([near.net().clone(), far.net().clone()], args.size << 20);
        examples::finish([near, far], tour(nets, size)).await
    })
}

async fn tour([near, far]: [Net; 2], size: u64) -> Result<()> {
    println!("1. Two stacks in this process, 10.0.0.1 and 10.0.0.2, joined by a pipe.");
    web_server_and_client(&near, &far).await.context("step 1")?;
    println!(
        "\n2. A transfer from one to the other. In memory a TCP packet has up to 64 KiB and no"
    );
    println!("   checksum, as with offload; with packets of 1500 bytes the rate is lower.");
    transfer(&near, &far, size).await.context("step 2")?;
    println!("\n3. A third stack, driven by hand: no runtime, no thread, no clock.");
    one_packet_by_hand().context("step 3")?;
    println!("\nNext: the same over a TUN, with curl. See the README.");
    Ok(())
}

/// An axum server in tokio on one stack, and a plain thread that fetches from it on the other.
async fn web_server_and_client(near: &Net, far: &Net) -> Result<()> {
    let listener = far.tcp_listen("10.0.0.2:80").await?;
    let app = Router::new().route("/", get("hello from a userspace stack\n"));
    let server = tokio::spawn(async { axum::serve(listener, app).await });
    println!("   axum serves http://10.0.0.2/ as a tokio task.");

    let net = near.blocking();
    let client = std::thread::spawn(move || fetch(&net));
    let page = tokio::task::spawn_blocking(|| client.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    print!("   A blocking client in a plain thread got: {page}");
    server.abort();
    Ok(())
}

/// Fetches a page with nothing but `Read` and `Write`.
fn fetch(net: &blocking::Net) -> Result<String> {
    let mut stream = net.tcp_connect("10.0.0.2:80")?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 10.0.0.2\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut page) = (String::new(), String::new());
    reader.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "the server answered {}", line.trim());
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    reader.read_to_string(&mut page)?;
    Ok(page)
}

/// Sends this many bytes over one TCP connection.
async fn transfer(near: &Net, far: &Net, size: u64) -> Result<()> {
    let listener = far.tcp_listen("10.0.0.2:5001").await?;
    let (sender, receiver) = tokio::join!(near.tcp_connect("10.0.0.2:5001"), listener.accept());
    let (mut sender, (mut receiver, _)) = (sender?, receiver?);
    let sending = tokio::spawn(async move {
        let block = vec![0x5a; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let len = left.min(block.len() as u64);
            sender.write_all(&block[..len as usize]).await?;
            left -= len;
        }
        sender.shutdown().await
    });

    let style = "   [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}";
    let bar = ProgressBar::new(size).with_style(ProgressStyle::with_template(style)?);
    let (mut block, mut received) = (vec![0; 64 * 1024], 0);
    let start = std::time::Instant::now();
    loop {
        match receiver.read(&mut block).await? {
            0 => break,
            n => received += n as u64,
        }
        bar.set_position(received);
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish();
    sending.await??;
    ensure!(received == size, "{received} of {size} bytes arrived");
    let gigabits = size as f64 * 8.0 / seconds / 1e9;
    println!(
        "   {} in {seconds:.2} s: {gigabits:.1} Gbit/s, every byte counted.",
        HumanBytes(size)
    );
    Ok(())
}

/// The core alone: commands go in, and the packet comes out of a pipe.
fn one_packet_by_hand() -> Result<()> {
    let mut stack = Netstack::new(Config::default(), Instant::ZERO);
    let channel = stack.command_channel();
    let thread = std::thread::spawn(move || {
        for _ in 0..2 {
            if let Some(cmd) = stack.wait_for_cmd_blocking(None) {
                stack.process_one_cmd(cmd);
            }
        }
        stack
    });
    let endpoint = ([127, 0, 0, 1], 1000).into();
    let response = channel.request_blocking(None, udp::Command::Bind { endpoint })?;
    println!("   request:  udp bind 127.0.0.1:1000\n   response: {response:?}");
    let Response::Udp(udp::Response::Bound { handle, .. }) = response else { unreachable!() };
    let send = udp::Command::Send { endpoint: ([1, 2, 3, 4], 80).into(), buf: "hello".into() };
    channel.request_nonblocking(Some(handle), send)?;

    let mut stack = thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?;
    let (near, far) = Pipe::unbounded();
    stack.poll_device_io(Instant::ZERO, &mut PipeDev { pipe: near, medium: Medium::Ip, mtu: 1500 });
    let packet = far.rx.recv()?;
    println!("   one poll, one packet of {} bytes: {:02x?}", packet.len(), &packet[..]);
    ensure!(packet.ends_with(b"hello"), "the packet does not end with the payload sent");
    Ok(())
}
