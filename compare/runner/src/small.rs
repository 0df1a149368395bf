//! Small packets: many connections that send single bytes beside a download, and datagrams.

use crate::figures::Figures;
use crate::load::{PATIENCE, Target, download, open, round_trip};
use anyhow::{Context, Result, bail};
use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::time::MissedTickBehavior;

/// The connections that send single bytes.
const TRICKLERS: usize = 2_000;
/// The time between two bytes of one of them.
const INTERVAL: Duration = Duration::from_millis(10);
/// The payload of a datagram.
const DATAGRAM: usize = 64;
/// The datagrams that are under way at a time.
const WINDOW: usize = 64;
/// After this time all datagrams under way are lost.
const LOST: Duration = Duration::from_millis(20);

/// Takes every figure of a server.
pub(crate) async fn measure(server: Target<'_>, seconds: f64) -> Result<Figures> {
    let time = Duration::from_secs_f64(seconds);
    let mut figures = Figures::default();
    let mut put = |key: &str, value: f64| figures.0.insert(key.to_owned(), value);
    let address = server.server;
    let echo = tokio::task::spawn_blocking(move || echo_datagrams(address, time));
    put("datagrams_s", echo.await?.context("datagrams")?);
    put("alone_gbit_s", download(server, time).await.context("a download")? / 1e9);
    let mut tricklers = Vec::with_capacity(TRICKLERS);
    for made in 0..TRICKLERS {
        let opened = open(server, b'U').await;
        let mut stream = opened.with_context(|| format!("trickling connection {made}"))?;
        tricklers.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stream.write_all(&[1]).await.is_ok() {
                ticks.tick().await;
            }
        }));
    }
    let (rate, times) = tokio::join!(download(server, time), round_trip(server, time));
    put("beside_gbit_s", rate.context("a download beside those that trickle")? / 1e9);
    put("beside_p99_ms", times.context("round trips beside those that trickle")?.1 / 1e3);
    if tricklers.iter().any(|one| one.is_finished()) {
        bail!("a trickling connection has ended");
    }
    tricklers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(figures)
}

/// Datagrams that a server has echoed, in a second.
fn echo_datagrams(server: std::net::SocketAddr, time: Duration) -> Result<f64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(LOST))?;
    let (mut datagram, mut under_way, mut echoed) = ([1; DATAGRAM], 0, 0_u32);
    let (mut start, mut last) = (None, Instant::now());
    // The time begins with the first echo: some servers need a moment for a new flow.
    while start.is_none_or(|start: Instant| start.elapsed() < time) {
        while under_way < WINDOW {
            socket.send(&datagram)?;
            under_way += 1;
        }
        match socket.recv(&mut datagram) {
            Ok(_) => {
                start.get_or_insert_with(Instant::now);
                last = Instant::now();
                under_way -= 1;
                echoed += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => under_way = 0,
            Err(error) => return Err(error.into()),
        }
        if last.elapsed() > PATIENCE {
            bail!("no datagram was echoed for {PATIENCE:?}");
        }
    }
    Ok(f64::from(echoed) / time.as_secs_f64())
}
