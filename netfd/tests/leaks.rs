//! What connections leave behind: nothing. A test of its own, because it counts the descriptors of
//! the process.
#![cfg(target_os = "linux")]

use netstack::Stack;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const CONNECTIONS: usize = 10_000;
/// At a time.
const BATCH: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn ten_thousand_connections_leave_nothing() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (near, far) = {
        let _guard = runtime.enter();
        netstack::pair().expect("a runtime")
    };
    let listener = listen(&runtime, &far);
    let before = descriptors();

    for batch in 0..CONNECTIONS / BATCH {
        use_and_close(&runtime, &near, &listener, batch);
    }

    kill_a_child(&runtime, &near, &listener);
    // Only the listener is left.
    wait_until(|| sockets(&runtime, &near) == 0 && sockets(&runtime, &far) == 1);
    // The tasks give their descriptors back after the sockets.
    wait_until(|| descriptors() == before);
    drop(listener);
    wait_until(|| sockets(&runtime, &far) == 0);
}

fn listen(runtime: &Runtime, far: &Stack) -> OwnedFd {
    let listening = far.net().tcp_listen("10.0.0.2:80");
    runtime.block_on(async {
        netfd::from_listener(listening.await.expect("a free port")).expect("descriptors")
    })
}

/// A batch of connections, each used and then closed in one of four ways.
fn use_and_close(runtime: &Runtime, near: &Stack, listener: &OwnedFd, batch: usize) {
    let mut pairs = Vec::new();
    for _ in 0..BATCH {
        let client = connect(runtime, near);
        pairs.push((client, netfd::accept(listener).expect("a client").0));
    }
    for (i, (client, server)) in pairs.into_iter().enumerate() {
        send(&client, b"hello", SendFlags::NOSIGNAL).expect("a connection");
        let mut buf = [0; 5];
        match (batch + i) % 4 {
            0 => {
                let read = recv(&server, &mut buf[..], RecvFlags::WAITALL).expect("a connection");
                assert_eq!(read.1, 5);
                // Both in order.
                drop((client, server));
            }
            1 => {
                wait_readable(&server);
                // With bytes unread: a reset.
                drop(server);
                wait_readable(&client);
            }
            2 => {
                shutdown(&client, Shutdown::Write).expect("a connection");
                let read = recv(&server, &mut buf[..], RecvFlags::WAITALL).expect("a connection");
                assert_eq!(read.1, 5);
                send(&server, b"bye", SendFlags::NOSIGNAL).expect("the other half is open");
                drop(server);
                wait_readable(&client);
            }
            _ => {
                // Nothing was read at either end.
                drop((server, client));
            }
        }
    }
}

/// A child has the only copies, and is killed.
fn kill_a_child(runtime: &Runtime, near: &Stack, listener: &OwnedFd) {
    let client = connect(runtime, near);
    let (server, _) = netfd::accept(listener).expect("a client");
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(client).stdout(Stdio::null());
    let mut child = command.spawn().expect("sleep");
    drop(command);
    child.kill().expect("a child");
    child.wait().expect("a child");
    wait_readable(&server);
}

fn connect(runtime: &Runtime, near: &Stack) -> OwnedFd {
    let connecting = near.net().tcp_connect("10.0.0.2:80");
    runtime.block_on(async {
        netfd::from_stream(connecting.await.expect("a listener")).expect("descriptors")
    })
}

fn wait_readable(fd: &OwnedFd) {
    poll(&mut [PollFd::new(fd, PollFlags::IN)], None).expect("a descriptor");
}

fn sockets(runtime: &Runtime, stack: &Stack) -> usize {
    runtime.block_on(stack.net().snapshot()).expect("it runs").sockets.len()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("proc").count()
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come to rest");
        std::thread::sleep(Duration::from_millis(10));
    }
}
