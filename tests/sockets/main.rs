//! The sockets on running stacks. What waits does so in virtual time.

mod blocking;
mod cancel;
mod datagrams;
mod errors;
mod lifetime;
mod streams;

use netstack::netsocket::{TcpListener, TcpStream};
use netstack::{Pair, Stack};

/// Two stacks joined by packets as they are on a wire.
fn pair() -> (Stack, Stack) {
    Pair::new().jumbo(false).spawn().expect("a runtime")
}

/// A connection from `near` to `far`, and the listener.
async fn connect(near: &Stack, far: &Stack) -> (TcpStream, TcpStream, TcpListener) {
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    let (client, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
    (client.expect("a listener"), accepted.expect("a client").0, listener)
}

/// Waits until both socket tables are empty, and the buffers given back.
async fn all_is_gone(stacks: [&Stack; 2]) {
    for stack in stacks {
        // Longer than any state that a connection can be left in.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1000);
        loop {
            let snapshot = stack.net().snapshot().await.expect("a running stack");
            let is_empty = snapshot.sockets.is_empty() && snapshot.time_wait.is_empty();
            if is_empty && snapshot.buffer_bytes == 0 && snapshot.timers == 0 {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "left behind:\n{snapshot}");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
}
