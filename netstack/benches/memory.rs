//! Two stacks joined in memory: one stream, a ping-pong, and connections per second.

use netsocket::{TcpListener, TcpStream};
use netstack::{Pair, Stack};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn idle(near: &Stack, listener: &TcpListener, n: usize) -> Vec<(TcpStream, TcpStream)> {
    let mut held = Vec::new();
    for _ in 0..n {
        let (a, b) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
        held.push((a.unwrap(), b.unwrap().0));
    }
    held
}

async fn bulk(a: TcpStream, mut b: TcpStream, time: Duration) -> f64 {
    let mut a = a;
    let task = tokio::spawn(async move {
        let block = vec![7u8; 65536];
        while a.write_all(&block).await.is_ok() {}
    });
    let mut block = vec![0u8; 65536];
    let (mut bytes, start) = (0usize, Instant::now());
    while start.elapsed() < time {
        bytes += b.read(&mut block).await.unwrap();
    }
    let rate = bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9;
    task.abort();
    rate
}

async fn rr(mut a: TcpStream, mut b: TcpStream, time: Duration) -> (f64, f64) {
    let task = tokio::spawn(async move {
        let mut block = [0u8; 64];
        while let Ok(n @ 1..) = b.read(&mut block).await {
            b.write_all(&block[..n]).await.unwrap();
        }
    });
    let (mut message, mut samples, start) = ([0u8; 64], Vec::new(), Instant::now());
    while start.elapsed() < time {
        let sent = Instant::now();
        a.write_all(&message).await.unwrap();
        a.read_exact(&mut message).await.unwrap();
        samples.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    samples.sort_by(f64::total_cmp);
    task.abort();
    (samples[samples.len() / 2], samples[samples.len() * 99 / 100])
}

async fn conn(near: &Stack, listener: TcpListener, time: Duration) -> f64 {
    let task = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let (mut made, start) = (0u32, Instant::now());
    while start.elapsed() < time {
        let t = Instant::now();
        drop(near.net().tcp_connect("10.0.0.2:80").await.unwrap());
        if t.elapsed() > Duration::from_millis(2) {
            println!("slow {made} {:?}", t.elapsed());
            if made < 20 {
                println!("{}", near.net().snapshot().await.unwrap());
            }
        }
        made += 1;
        if made > 10000 {
            break;
        }
    }
    task.abort();
    made as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let time = Duration::from_secs(2);
    let mode = std::env::args().nth(1).unwrap_or_default();
    let mode = &*mode.leak();
    for (threads, jumbo, idles) in [
        (false, true, 0),
        (false, false, 0),
        (true, true, 0),
        (true, false, 0),
        (false, true, 10000),
    ] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::spawn(async move {
            let pair = Pair::new().jumbo(jumbo);
            let (near, far) = if threads { pair.spawn_threads().unwrap() } else { pair.spawn().unwrap() };
            let listener = far.net().tcp_listen("10.0.0.2:80").await.unwrap();
            let held = idle(&near, &listener, idles).await;
            let mut two = idle(&near, &listener, 2).await;
            let (a, b) = two.pop().unwrap();
            let rate = if mode != "rr" { bulk(a, b, time).await } else { 0.0 };
            let (a, b) = two.pop().unwrap();
            let rr = if mode != "bulk" {rr(a, b, time).await } else { (0.0,0.0) };
            let conn = if mode == "bulk" { 0.0 } else { conn(&near, listener, time).await };
            println!("threads {threads} jumbo {jumbo} idle {idles}: {rate:.2} Gbit/s, rr p50 {:.1} p99 {:.1} us, {conn:.0} conn/s", rr.0, rr.1);
            drop(held);
            }).await.unwrap();
        });
    }
}
