//! Many stacks in one process, one after the other, beside the kernel's: dropped stacks leave
//! nothing behind. The only test of its process, since it counts the resources of the process.
#![cfg(target_os = "linux")]

use netstack::netsocket::Version;
use netstack::{Pair, Stack};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Pairs of stacks, half of them tasks and half of them threads.
const ROUNDS: usize = 500;
/// Stacks made before the first measurement, for allocations that are made once and kept.
const WARM_UP: usize = 100;
/// How much the memory may grow from then on: allocators keep freed memory.
const GROWTH_BYTES: usize = 16 << 20;

/// Resources of a process.
#[derive(Debug)]
struct Holdings {
    threads: usize,
    descriptors: usize,
    resident_bytes: usize,
}

impl Holdings {
    fn now() -> Self {
        let pages = fs::read_to_string("/proc/self/statm").expect("proc is there");
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        let count = |path| fs::read_dir(path).expect("proc is there").count();
        Self {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
            resident_bytes: pages.expect("a number") * 4096,
        }
    }

    /// Waits until there are no more threads and descriptors than before: a thread takes some time
    /// to end.
    fn settle(&self) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = Self::now();
            if now.threads <= self.threads && now.descriptors <= self.descriptors {
                return now;
            }
            assert!(Instant::now() < deadline, "{now:?} is more than {self:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Opens sockets of every kind on two stacks, and drops the stacks while all of them are there.
async fn round(near: Stack, far: Stack) {
    let listener = far.net().tcp_listen("[::]:80").await.expect("free");
    let (client, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
    let (mut client, (mut server, _)) = (client.expect("a listener"), accepted.expect("a client"));
    client.write_all(&[7; 10_000]).await.expect("open");
    server.read_exact(&mut [0; 5000]).await.expect("open");
    let udp = near.net().udp_bind("[::]:0").await.expect("free");
    udp.send_to(b"hello", "10.0.0.2:9").await.expect("room");
    let ping = near.net().ping("10.0.0.2".parse().expect("an address")).await.expect("free");
    let raw = near.net().raw(Version::V4, 253).await.expect("room");
    let net = near.net().clone();
    let connecting = tokio::spawn(async move { net.tcp_connect("10.0.0.99:80").await.map(drop) });
    let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
    tokio::task::yield_now().await;

    drop((near, far));

    for waits in [connecting, accepting] {
        let ended = waits.await.expect("no panic").map_err(|error| error.kind());
        assert_eq!(ended, Err(ErrorKind::BrokenPipe));
    }
    assert!(client.write_all(&[7; 1 << 20]).await.is_err(), "its stack is gone");
    drop((client, server, udp, ping, raw));
}

/// Traffic on the kernel's sockets meanwhile.
fn echo_in_the_kernel(listener: &TcpListener) {
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (mut server, _) = listener.accept().expect("a client");
    client.write_all(b"hello").expect("open");
    let mut echo = [0; 5];
    server.read_exact(&mut echo).expect("open");
    assert_eq!(&echo, b"hello");
}

#[test]
fn nothing_is_left_of_a_thousand_stacks() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let kernel = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let make = |index: usize| {
        runtime.block_on(async {
            let pair = Pair::new().jumbo(index.is_multiple_of(3));
            let is_threads = index.is_multiple_of(2);
            let made = if is_threads { pair.spawn_threads() } else { pair.spawn() };
            let (near, far) = made.expect("a runtime");
            round(near, far).await;
        });
        echo_in_the_kernel(&kernel);
    };
    let at_first = Holdings::now();
    (0..WARM_UP).for_each(make);
    let warm = at_first.settle();

    for index in WARM_UP..WARM_UP + ROUNDS {
        make(index);
        if index % 50 == 0 {
            at_first.settle();
        }
    }

    let end = at_first.settle();
    assert!(end.resident_bytes < warm.resident_bytes + GROWTH_BYTES, "{end:?}, but {warm:?}");
}
