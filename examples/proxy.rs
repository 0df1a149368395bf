//! Two stacks in a program: connections to one are carried on from the other.
//!
//! ```sh
//! cargo run --release -p examples --example proxy -- 10.10.0.1:80 \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24
//! curl http://10.9.0.2:8080/
//! ```
//!
//! `netstack proxy` speaks HTTP and SOCKS5 on a link, with the other end on any link or this machine.

use anyhow::{Context, Result};
use examples::{Network, flags, println};
use netstack::Builder;
use netstack::device::{InterfaceConfig, Tun};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::io::copy_bidirectional;

/// Carries TCP connections from port 8080 of a stack on one TUN to a server beyond another, tun1
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    front: Network,
    /// The server
    #[arg(value_parser = flags::endpoint)]
    target: SocketAddr,
}

fn main() -> ExitCode {
    examples::run(async |Args { front, target }| -> Result<()> {
        let front = front.start()?;
        let tun = Tun::open(&InterfaceConfig {
            name: "tun1".into(),
            host_addresses: vec!["10.10.0.1/24".parse()?],
            ..InterfaceConfig::default()
        })?;
        let back = Builder::new().address("10.10.0.2/24".parse()?).spawn(tun)?;

        let (listener, net) = (front.net().tcp_listen("[::]:8080").await?, back.net().clone());
        println!("carrying connections on [::]:8080 to {target}");
        let serving = async {
            loop {
                let (mut client, peer) = listener.accept().await?;
                let net = net.clone();
                tokio::spawn(async move {
                    let mut server = net.tcp_connect(target).await.with_context(|| target)?;
                    let (up, down) = copy_bidirectional(&mut client, &mut server).await?;
                    println!("{peer}: {up} bytes up, {down} bytes down");
                    Ok::<_, anyhow::Error>(())
                });
            }
        };
        examples::serve([front, back], serving).await
    })
}
