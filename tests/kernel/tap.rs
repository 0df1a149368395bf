//! The kernel on one end of an Ethernet link, the stack on the other.

use crate::namespace::{Outcome, program, skip};
use crate::programs::output;
use netstack::device::{Tap, TapConfig, TunOffload};
use netstack::netsocket::netcore::{Error, Network};
use netstack::{Builder, Stack};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use tests::{noise, sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The two ends of the link, in both families.
const KERNEL: [&str; 2] = ["10.9.0.1", "fd00::1"];
const STACK: [&str; 2] = ["10.9.0.2", "fd00::2"];
const BYTES: usize = 4 << 20;

fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Runs a test with a stack on a TAP whose addresses are in use.
fn with_stack(offload: TunOffload, test: impl AsyncFnOnce(Stack) -> Outcome) -> Outcome {
    let tap = match Tap::open(&TapConfig {
        name: "tap0".into(),
        host_addresses: vec!["10.9.0.1/24".parse()?, "fd00::1/64".parse()?],
        offload,
        ..TapConfig::default()
    }) {
        Ok(tap) => tap,
        Err(error) => return skip(&error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let builder = Builder::new().address("10.9.0.2/24".parse()?).address("fd00::2/64".parse()?);
        let stack = builder.spawn(tap)?;
        let usable = |network: &Network| {
            network.link.hardware_address.is_some() && network.tentative.is_empty()
        };
        stack.net().watch_network().wait_for(usable).await?;
        test(stack).await
    })
}

/// Runs blocking calls on kernel sockets beside the stack.
async fn kernel<T: Send + 'static>(
    calls: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    Ok(tokio::task::spawn_blocking(calls).await??)
}

pub(crate) fn clients() -> Outcome {
    clients_on(TunOffload::Preferred)
}

pub(crate) fn plain_clients() -> Outcome {
    clients_on(TunOffload::Off)
}

fn clients_on(offload: TunOffload) -> Outcome {
    with_stack(offload, async |stack| {
        let listener = stack.net().tcp_listen("[::]:7").await?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        for address in STACK {
            let data = noise(BYTES);
            let expected = sha256(&data);
            let received = kernel(move || {
                let mut stream = TcpStream::connect(at(address, 7))?;
                let mut writer = stream.try_clone()?;
                let writing = std::thread::spawn(move || {
                    writer.write_all(&data)?;
                    writer.shutdown(Shutdown::Write)
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received)?;
                writing.join().expect("no panic")?;
                Ok(received)
            });
            assert_eq!(sha256(&received.await?), expected, "{address}");
        }
        Ok(())
    })
}

pub(crate) fn servers() -> Outcome {
    servers_on(TunOffload::Preferred)
}

pub(crate) fn plain_servers() -> Outcome {
    servers_on(TunOffload::Off)
}

fn servers_on(offload: TunOffload) -> Outcome {
    with_stack(offload, async |stack| {
        for address in KERNEL {
            let listener = TcpListener::bind(at(address, 0))?;
            let port = listener.local_addr()?.port();
            let serving = kernel(move || {
                let (mut stream, _) = listener.accept()?;
                let mut received = Vec::new();
                stream.read_to_end(&mut received)?;
                stream.write_all(sha256(&received).as_bytes())
            });
            let data = noise(BYTES);
            let mut stream = stack.net().tcp_connect(at(address, port)).await?;
            let answering = async {
                stream.write_all(&data).await?;
                stream.shutdown().await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                Ok(answer)
            };

            let (answer, served) = tokio::join!(answering, serving);

            served?;
            let answer: std::io::Result<String> = answer;
            assert_eq!(answer?, sha256(&data), "{address}");
        }
        Ok(())
    })
}

/// The first datagrams wait until the kernel is found, however many fragments they are.
pub(crate) fn datagrams() -> Outcome {
    with_stack(TunOffload::Preferred, async |stack| {
        for (ours, theirs) in STACK.into_iter().zip(KERNEL) {
            let socket = stack.net().udp_bind(at(ours, 9)).await?;
            let echo = UdpSocket::bind(at(theirs, 9))?;
            echo.set_read_timeout(Some(Duration::from_secs(10)))?;
            for len in [65_000, 1, 1472, 1473, 9000] {
                let sent = noise(len);
                socket.send_to(&sent, at(theirs, 9)).await?;
                let echo = echo.try_clone()?;
                let echoed = kernel(move || {
                    let mut buffer = vec![0; 65_535];
                    let (len, peer) = echo.recv_from(&mut buffer)?;
                    echo.send_to(&buffer[..len], peer)
                });
                assert_eq!(echoed.await?, len, "{ours}");
                let mut buffer = vec![0; 65_535];
                let (received, _) = socket.recv_from(&mut buffer).await?;
                assert_eq!(buffer[..received], sent, "{ours}");
            }
        }
        Ok(())
    })
}

pub(crate) fn ping() -> Outcome {
    program("ping")?;
    program("ip")?;
    with_stack(TunOffload::Preferred, async |stack| {
        let network = stack.net().network();
        let hardware_address = network.link.hardware_address.ok_or("Ethernet")?.to_string();
        for address in STACK {
            let text = kernel(move || {
                let mut ping = program("ping").map_err(std::io::Error::other)?;
                output(ping.args(["-c", "20", "-i", "0.05", address]))
                    .map_err(std::io::Error::other)
            });
            let text = text.await?;
            assert!(text.contains("20 received, 0% packet loss"), "{text}");
            let known = output(program("ip")?.args(["neigh", "show", address]))?;
            assert!(known.contains(&hardware_address), "{known}");
            let is_known = ["REACHABLE", "STALE", "DELAY"].iter().any(|word| known.contains(word));
            assert!(is_known, "{known}");
        }
        // It has announced itself, and so is known by its link-local address when that is used.
        let link_local = network.addresses.iter().map(|own| own.addr().to_string());
        let link_local = link_local.into_iter().find(|own| own.starts_with("fe80"));
        let target = format!("{}%tap0", link_local.ok_or("no link-local address")?);
        let text = kernel(move || {
            let mut ping = program("ping").map_err(std::io::Error::other)?;
            output(ping.args(["-c", "5", "-i", "0.05", &target])).map_err(std::io::Error::other)
        });
        let text = text.await?;
        assert!(text.contains("5 received, 0% packet loss"), "{text}");
        Ok(())
    })
}

pub(crate) fn nobody() -> Outcome {
    with_stack(TunOffload::Preferred, async |stack| {
        for address in ["10.9.0.77", "fd00::77"] {
            let connecting = stack.net().tcp_connect(at(address, 9));
            let outcome = tokio::time::timeout(Duration::from_secs(20), connecting).await?;
            let error = outcome.err().ok_or("nobody is there")?;
            assert_eq!(error.kind(), Error::HostUnreachable.kind(), "{address}: {error}");
        }
        Ok(())
    })
}

pub(crate) fn duplicate() -> Outcome {
    with_stack(TunOffload::Preferred, async |stack| {
        stack.net().control().add_address("fd00::1/64".parse()?).await?;

        let settled = |network: &Network| network.tentative.is_empty();
        let network = tokio::time::timeout(Duration::from_secs(10), async {
            stack.net().watch_network().wait_for(settled).await
        });
        let network = network.await??;

        assert!(network.addresses.iter().all(|own| own.addr().to_string() != "fd00::1"));
        assert_eq!(stack.net().snapshot().await?.counters.duplicate_addresses, 1);
        Ok(())
    })
}
