//! Many connections over one TUN: each gets its share.

use crate::namespace::Outcome;
use crate::sockets::kernel;
use crate::wire::Wire;
use netstack::Stack;
use netstack::netsocket::TcpStream;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as KernelStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const STREAMS: usize = 8;
/// What Jain's index must be: more than 0.5, where half of the streams starve. It is 0.99 on an idle
/// machine, but with other load a scheduler serves the clients' threads unevenly, down to 0.66, flood
/// after flood. `netcore/tests/fairness.rs` is exact: it counts turns.
const FAIR: f64 = 0.6;
/// The beginning of a stream is slow start.
const WARM_UP: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_millis(1500);
/// The fairest of so many floods counts: a stack that is unfair makes all of them uneven.
const FLOODS: usize = 10;
const BLOCK: usize = 64 * 1024;
const CLIENT_BUFFER: usize = 128 * 1024;
const ROUND_TRIPS: usize = 300;
const MESSAGE: usize = 64;
/// How many bytes of each stream of a flood may arrive during one round trip: those in flight when
/// it begins, and as much again. At 10 Gbit/s that of four streams takes 5 ms.
const OVERTAKING_MAX: u64 = 3 << 19;

/// The direction of the bytes, as the client sees it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

pub(crate) fn shares() -> Outcome {
    Wire::Tun.with_stack(async |stack| {
        for way in [Way::Up, Way::Down] {
            let mut found = Vec::new();
            while found.last().is_none_or(|index| *index < FAIR) {
                assert!(found.len() < FLOODS, "{way:?}: {found:.3?}");
                found.push(jain(&shares_of(&stack, way).await?));
            }
        }
        Ok(())
    })
}

/// How much each of eight new streams carries.
async fn shares_of(stack: &Stack, way: Way) -> std::io::Result<Vec<f64>> {
    let flood = Flood::start(stack, way, STREAMS).await?;
    tokio::time::sleep(WARM_UP).await;
    let before = flood.counts();
    tokio::time::sleep(TIME).await;
    let after = flood.counts();
    flood.stop().await?;
    Ok(after.iter().zip(&before).map(|(after, before)| (after - before) as f64).collect())
}

/// Jain's index: 1 if all have the same, 1/n if one has everything.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) =
        shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    sum * sum / (shares.len() as f64 * squares)
}

pub(crate) fn delay() -> Outcome {
    Wire::Tun.with_stack(async |stack| {
        let listener = stack.net().tcp_listen("10.9.0.2:7").await?;
        let echo = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await
        });
        let up = Flood::start(&stack, Way::Up, 2).await?;
        let down = Flood::start(&stack, Way::Down, 2).await?;
        tokio::time::sleep(WARM_UP).await;
        let counts: Vec<_> = up.counts.iter().chain(&down.counts).cloned().collect();
        let arrived = move || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();

        let ping_pong = kernel(move || {
            let mut stream = KernelStream::connect("10.9.0.2:7")?;
            stream.set_nodelay(true)?;
            let (mut times, mut bytes) = (Vec::new(), Vec::new());
            for _ in 0..ROUND_TRIPS {
                let (sent, before) = (Instant::now(), arrived());
                stream.write_all(&[7; MESSAGE])?;
                stream.read_exact(&mut [0; MESSAGE])?;
                times.push(sent.elapsed());
                bytes.push(arrived() - before);
            }
            stream.shutdown(Shutdown::Write)?;
            Ok((times, bytes))
        });
        let (mut times, mut bytes) = ping_pong.await?;

        up.stop().await?;
        down.stop().await?;
        assert_eq!(echo.await??, (ROUND_TRIPS * MESSAGE) as u64);
        times.sort_unstable();
        bytes.sort_unstable();
        let at = |percent: usize| (ROUND_TRIPS - 1) * percent / 100;
        let (median, p99, overtaken) = (times[at(50)], times[at(99)], bytes[at(50)]);
        let found = format!("median {median:?}, p99 {p99:?}, {overtaken} bytes in between");
        eprintln!("{found}");
        // There was a flood.
        assert!(bytes.iter().sum::<u64>() > (ROUND_TRIPS * BLOCK / 4) as u64, "{found}");
        // Not the times: on a busy machine they are those of its scheduler.
        assert!(overtaken <= 4 * OVERTAKING_MAX, "{found}");
        Ok(())
    })
}

/// Streams that send at full rate, until they are stopped.
struct Flood {
    is_over: Arc<AtomicBool>,
    /// Bytes that have arrived, of each stream.
    counts: Vec<Arc<AtomicU64>>,
    ends: Vec<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Flood {
    async fn start(stack: &Stack, way: Way, streams: usize) -> std::io::Result<Self> {
        let listener = stack.net().tcp_listen("10.9.0.2:0").await?;
        let address = listener.local_addr()?;
        let mut flood = Self { is_over: Arc::default(), counts: Vec::new(), ends: Vec::new() };
        for _ in 0..streams {
            let count = Arc::new(AtomicU64::new(0));
            flood.counts.push(count.clone());
            let connecting = tokio::task::spawn_blocking(move || connect(address));
            let (client, accepted) = tokio::join!(connecting, listener.accept());
            let (client, server) = (client??, accepted?.0);
            let (is_over, arrived) = (flood.is_over.clone(), count.clone());
            flood.ends.push(tokio::task::spawn_blocking(move || match way {
                Way::Up => send(client, &is_over),
                Way::Down => receive(client, &arrived),
            }));
            let is_over = flood.is_over.clone();
            flood.ends.push(tokio::spawn(async move {
                match way {
                    Way::Up => receive_here(server, &count).await,
                    Way::Down => send_here(server, &is_over).await,
                }
            }));
        }
        Ok(flood)
    }

    fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Closes the streams.
    async fn stop(self) -> std::io::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        for end in self.ends {
            end.await??;
        }
        Ok(())
    }
}

/// A client with the same window and congestion control as the others, whatever the machine's
/// defaults are: BBR's pacing timers compete with the stack for the processor.
///
/// Every kernel has Reno and allows it to all users; the default may be restricted to privileged
/// users of the initial namespace.
fn connect(address: SocketAddr) -> std::io::Result<KernelStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if socket.set_tcp_congestion(b"cubic").is_err() {
        socket.set_tcp_congestion(b"reno")?;
    }
    socket.set_recv_buffer_size(CLIENT_BUFFER)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn send(mut stream: KernelStream, is_over: &AtomicBool) -> std::io::Result<()> {
    let block = vec![7; BLOCK];
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)
}

fn receive(mut stream: KernelStream, count: &AtomicU64) -> std::io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(n) => count.fetch_add(n as u64, Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
    }
}

async fn send_here(mut stream: TcpStream, is_over: &AtomicBool) -> std::io::Result<()> {
    let block = vec![7; BLOCK];
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&block).await?;
    }
    stream.shutdown().await
}

async fn receive_here(mut stream: TcpStream, count: &AtomicU64) -> std::io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match stream.read(&mut block).await? {
            0 => return Ok(()),
            n => count.fetch_add(n as u64, Ordering::Relaxed),
        };
    }
}
