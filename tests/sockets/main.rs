//! Sockets on running stacks, in virtual time where they wait.

mod blocking;
mod cancel;
mod datagrams;
mod errors;
mod info;
mod intercepting;
mod isolation;
mod lifetime;
mod owners;
mod readiness;
mod streams;
mod suspend;
mod without_tokio;

use netstack::netsocket::{TcpListener, TcpStream};
use netstack::{Pair, Stack};
use tests::all_is_gone;

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
