//! Stacks that are joined by links of the operating system, without privileges.

#![cfg(target_os = "linux")]

mod datagrams;
mod guest;
mod overlay;
mod ptp;
mod streams;
mod switches;
mod vde;

use netstack::device::Device;
use netstack::link::LinkUrl;
use netstack::{Builder, Config, EthernetConfig, Stack};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// After this long a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Both addresses of host 2.
const FAR: [&str; 2] = ["10.0.0.2:80", "[fd00::2]:80"];

/// A stack that is host 1 or 2, without duplicate address detection.
fn stack(host: u8, device: impl Device) -> Stack {
    let ethernet = EthernetConfig { dad_transmits: 0, ..EthernetConfig::default() };
    let builder = Builder::new().config(Config { ethernet, ..Config::default() });
    let builder = builder.address(format!("10.0.0.{host}/24").parse().expect("valid"));
    let builder = builder.address(format!("fd00::{host}/64").parse().expect("valid"));
    builder.spawn(device).expect("a runtime")
}

/// A stack on the link of a URL.
fn stack_on(host: u8, url: &str) -> Stack {
    let url: LinkUrl = url.parse().expect("right");
    stack(host, url.open().unwrap_or_else(|error| panic!("{url}: {error}")))
}

/// The path of a socket in a URL.
fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// Sends bytes to an echo over both families, and has them back.
async fn exchange(near: &Stack, far: &Stack, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|index| (index * 31 / 7) as u8).collect();
    for address in FAR {
        let one = async {
            let listener = far.net().tcp_listen(address).await.expect("free");
            let echo = async {
                let (mut stream, _) = listener.accept().await?;
                let (mut from, mut to) = stream.split();
                let copied = tokio::io::copy(&mut from, &mut to).await;
                to.shutdown().await?;
                copied
            };
            let client = async {
                let mut stream = near.net().tcp_connect(address).await.expect("a listener");
                let (mut from, mut to) = stream.split();
                let writing = async {
                    to.write_all(&sent).await?;
                    to.shutdown().await
                };
                let mut back = Vec::new();
                let (written, read) = tokio::join!(writing, from.read_to_end(&mut back));
                written.expect("written");
                read.expect("read");
                assert!(back == sent, "{address}: {} bytes came back", back.len());
            };
            let (echoed, ()) = tokio::join!(echo, client);
            assert_eq!(echoed.expect("echoed"), bytes as u64);
        };
        timeout(PATIENCE, one).await.unwrap_or_else(|_| panic!("{address}: it took too long"));
    }
}

/// Shuts a stack down, and its device with it.
async fn end(stack: Stack) {
    stack.shutdown(Duration::from_secs(1)).await.expect("in good order");
}
