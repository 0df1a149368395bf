//! The kernel's sockets on one end, the stack's on the other.

use crate::namespace::{Outcome, skip};
use crate::wire::{KERNEL, STACK, Wire, at, builder, open_tun, with_stack_on};
use netstack::Direction;
use netstack::Stack;
use netstack::device::InterfaceOffload;
use netstack::netsocket::TcpStream;
use netstack::sim::{Impaired, LinkConfig};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as KernelStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::{noise, sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs blocking calls on kernel sockets beside the stack.
pub(crate) async fn kernel<T: Send + 'static>(
    calls: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    Ok(tokio::task::spawn_blocking(calls).await??)
}

pub(crate) fn clients(wire: Wire) -> Outcome {
    wire.with_stack(async |stack| {
        let listener = stack.net().tcp_listen("[::]:7").await?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream));
            }
        });
        for address in STACK {
            let data = noise(10 << 20);
            let expected = sha256(&data);
            let received = kernel(move || {
                let mut stream = KernelStream::connect(at(address, 7))?;
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

async fn echo(mut stream: TcpStream) -> std::io::Result<u64> {
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await
}

pub(crate) fn servers(wire: Wire) -> Outcome {
    wire.with_stack(async |stack| {
        for address in KERNEL {
            let listener = TcpListener::bind(at(address, 0))?;
            let port = listener.local_addr()?.port();
            let serving = kernel(move || {
                let (mut stream, _) = listener.accept()?;
                let mut received = Vec::new();
                stream.read_to_end(&mut received)?;
                stream.write_all(sha256(&received).as_bytes())
            });
            let data = noise(10 << 20);
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

pub(crate) fn impaired() -> Outcome {
    let link = LinkConfig::new().loss(0.05).delay(Duration::from_millis(10));
    let device = open_tun(InterfaceOffload::Off).map(|tun| Impaired::new(tun, link, 1));
    let impairment = device.as_ref().map(Impaired::impairment).ok();
    with_stack_on(device, async |stack| {
        let listener = stack.net().tcp_listen("10.9.0.2:7").await?;
        let (up, down) = (noise(1_000_000), noise(1_000_001));
        let (expected_up, expected_down) = (sha256(&up), sha256(&down));
        let client = kernel(move || {
            let mut stream = KernelStream::connect("10.9.0.2:7")?;
            let mut writer = stream.try_clone()?;
            let writing = std::thread::spawn(move || {
                writer.write_all(&up)?;
                writer.shutdown(Shutdown::Write)
            });
            let mut received = Vec::new();
            stream.read_to_end(&mut received)?;
            writing.join().expect("no panic")?;
            Ok(received)
        });
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            let (mut from, mut to) = stream.split();
            let sending = async {
                to.write_all(&down).await?;
                to.shutdown().await
            };
            let mut received = Vec::new();
            let (sent, read) = tokio::join!(sending, from.read_to_end(&mut received));
            sent?;
            read?;
            // Until the peer has everything.
            Ok((received, stream))
        };

        let (received, served) = tokio::join!(client, server);

        let served: std::io::Result<_> = served;
        assert_eq!(sha256(&served?.0), expected_up);
        assert_eq!(sha256(&received?), expected_down);
        Ok(())
    })?;
    let impairment = impairment.ok_or("without a device nothing ran")?;
    for direction in [Direction::Outbound, Direction::Inbound] {
        let counters = impairment.counters(direction);
        assert!(counters.lost > 10 && counters.lost < counters.sent / 10, "{counters:?}");
    }
    Ok(())
}

/// The first datagram is fragments that may have to wait until the kernel is found.
pub(crate) fn datagrams(wire: Wire) -> Outcome {
    wire.with_stack(async |stack| {
        for (ours, kernels) in STACK.into_iter().zip(KERNEL) {
            let socket = stack.net().udp_bind(at(ours, 9)).await?;
            let peer = UdpSocket::bind(at(kernels, 0))?;
            peer.set_read_timeout(Some(Duration::from_secs(10)))?;
            let peer_address = peer.local_addr()?;
            for len in [65_000, 0, 1, 1400, 1472, 1473, 5000, 9000] {
                let sent = noise(len);
                socket.send_to(&sent, peer_address).await?;
                let echo = peer.try_clone()?;
                let heard = kernel(move || {
                    let mut heard = vec![0; 70_000];
                    let (n, from) = echo.recv_from(&mut heard)?;
                    heard.truncate(n);
                    echo.send_to(&heard, from)?;
                    Ok((heard, from))
                });
                let (heard, from) = heard.await?;
                assert_eq!((heard.len(), from.to_string()), (len, at(ours, 9)));
                assert!(heard == sent, "{len} bytes from {ours}");

                let (echoed, from) = socket.recv_bytes_from().await?;
                assert_eq!((echoed.len(), from), (len, peer_address));
                assert!(echoed == sent, "{len} bytes to {ours}");
            }
        }
        Ok(())
    })
}

pub(crate) fn refusals() -> Outcome {
    Wire::Tun.with_stack(async |stack| {
        for (ours, kernels) in STACK.into_iter().zip(KERNEL) {
            let to_us = kernel(move || {
                Ok(KernelStream::connect(at(ours, 1234)).map_err(|error| error.kind()).err())
            });
            assert_eq!(to_us.await?, Some(ErrorKind::ConnectionRefused));
            let to_kernel = stack.net().tcp_connect(at(kernels, 1234)).await;
            assert_eq!(to_kernel.map_err(|e| e.kind()).err(), Some(ErrorKind::ConnectionRefused));

            let socket = stack.net().udp_bind(at(ours, 0)).await?;
            socket.connect(at(kernels, 1234)).await?;
            socket.send(b"anybody?").await?;
            let answer = socket.recv(&mut [0; 10]).await;
            assert_eq!(answer.map_err(|e| e.kind()).err(), Some(ErrorKind::ConnectionRefused));

            let peer = UdpSocket::bind(at(kernels, 0))?;
            peer.connect(at(ours, 1234))?;
            peer.set_read_timeout(Some(Duration::from_secs(10)))?;
            let answer = kernel(move || {
                peer.send(b"anybody?")?;
                Ok(peer.recv(&mut [0; 10]).map_err(|error| error.kind()).err())
            });
            assert_eq!(answer.await?, Some(ErrorKind::ConnectionRefused));
        }
        Ok(())
    })
}

pub(crate) fn half_close() -> Outcome {
    Wire::Tun.with_stack(async |stack| {
        let listener = stack.net().tcp_listen("10.9.0.2:80").await?;
        let client = kernel(|| {
            let mut stream = KernelStream::connect("10.9.0.2:80")?;
            stream.write_all(b"request")?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            let mut request = String::new();
            stream.read_to_string(&mut request).await?;
            // The other half is open for as long as it takes.
            tokio::time::sleep(Duration::from_millis(200)).await;
            stream.write_all(format!("answer to {request}").as_bytes()).await?;
            stream.shutdown().await
        };
        let (answer, served) = tokio::join!(client, server);
        served?;
        assert_eq!(answer?, "answer to request");
        Ok(())
    })
}

pub(crate) fn many_connections() -> Outcome {
    Wire::Tun.with_stack(async |stack| {
        let listener = stack.net().tcp_listen("10.9.0.2:80").await?;
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await?;
                    stream.write_all(&byte).await
                });
            }
        });
        kernel(|| {
            for index in 0..1000u32 {
                let mut stream = KernelStream::connect("10.9.0.2:80")?;
                stream.write_all(&[index as u8])?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                assert_eq!(answer, [index as u8]);
            }
            Ok(())
        })
        .await?;
        server.abort();
        let _ = server.await;

        // The last acknowledgements are in flight.
        let start = Instant::now();
        loop {
            let snapshot = stack.net().snapshot().await?;
            if snapshot.sockets.is_empty() && snapshot.buffer_bytes == 0 {
                return Ok(());
            }
            assert!(start.elapsed() < Duration::from_secs(5), "left behind:\n{snapshot}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

pub(crate) fn deleted_interface() -> Outcome {
    let mut ip = crate::namespace::program("ip")?;
    Wire::Tun.with_stack(async |stack| {
        let listener = stack.net().tcp_listen("10.9.0.2:80").await?;
        assert!(ip.args(["link", "delete", "tun0"]).status()?.success());

        let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await?;

        assert_eq!(accepted.map_err(|error| error.kind()).err(), Some(ErrorKind::BrokenPipe));
        let ended = stack.ended().await.map_err(|error| error.to_string());
        assert_eq!(ended.err().as_deref(), Some("the network device tun0 was removed"));
        Ok(())
    })
}

/// The stack is on a thread of its own, whose wake-ups are only the stack's; those of a runtime's
/// threads are also the runtime's.
pub(crate) fn idle() -> Outcome {
    let tun = match open_tun(InterfaceOffload::Preferred) {
        Ok(tun) => tun,
        Err(error) => return skip(&error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let before = threads()?;
        let stack = builder().spawn_thread(tun)?;
        let made: Vec<PathBuf> =
            threads()?.into_iter().filter(|thread| !before.contains(thread)).collect();
        let [thread] = &made[..] else { panic!("{made:?} instead of one thread") };
        let listener = stack.net().tcp_listen("10.9.0.2:80").await?;
        let held = kernel(|| (0..1000).map(|_| KernelStream::connect("10.9.0.2:80")).collect());
        let held: Vec<KernelStream> = held.await?;
        let mut accepted = Vec::new();
        for _ in 0..1000 {
            accepted.push(listener.accept().await?);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;

        let (frames, before) = (received(&stack).await?, sleeps(thread)?);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let slept = sleeps(thread)? - before;
        let frames = received(&stack).await? - frames;

        // The kernel solicits routers now and then.
        assert!(frames < 10, "{frames} frames are traffic");
        // It may have carried out the last command just before.
        assert!(slept <= frames + 1, "woken {slept} times for {frames} frames");
        assert_eq!((held.len(), accepted.len()), (1000, 1000));
        Ok(())
    })
}

/// The threads of this process.
fn threads() -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir("/proc/self/task")?.map(|thread| Ok(thread?.path())).collect()
}

/// How often a thread has slept, and so been woken.
fn sleeps(thread: &Path) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let status = std::fs::read_to_string(thread.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(line.ok_or("no such line")?.trim().parse()?)
}

async fn received(stack: &Stack) -> std::io::Result<u64> {
    Ok(stack.net().snapshot().await?.counters.frames_received)
}
