//! One source for two families of sockets: code that compiles for the kernel's sockets compiles for
//! ours, and gives the same results.
//!
//! `async_surface.rs` names every method and bound of `tokio::net`'s sockets that needs no file
//! descriptor, `blocking_surface.rs` those of `std::net`'s. `kernel.rs` and `ours.rs` import the
//! sockets.

#![allow(clippy::duplicate_mod, reason = "that is the point")]

mod kernel;
mod ours;

use netstack::Pair;
use std::net::SocketAddr;

/// The results of a surface, a line for each call.
type Seen = Vec<String>;

/// The addresses that a surface may use: one to listen on and one to connect from.
#[derive(Clone, Copy)]
struct Addresses {
    server: SocketAddr,
    client: SocketAddr,
}

const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "127.0.0.1:0"];
const JOINED: [&str; 2] = ["10.0.0.2:0", "10.0.0.1:0"];

fn addresses([server, client]: [&str; 2]) -> Addresses {
    Addresses {
        server: server.parse().expect("an address"),
        client: client.parse().expect("an address"),
    }
}

fn assert_same(ours: &Seen, kernel: &Seen) {
    for (ours, kernel) in ours.iter().zip(kernel) {
        assert_eq!(ours, kernel);
    }
    assert_eq!(ours.len(), kernel.len());
}

#[tokio::test]
async fn the_async_sockets_are_tokios() {
    let of_kernel = kernel::asynchronous(addresses(LOOPBACK)).await.expect("the kernel's answer");
    let (near, far) = Pair::new().spawn().expect("a runtime");
    let of_ours = ours::asynchronous(near.net(), far.net(), addresses(JOINED)).await;

    assert_same(&of_ours.expect("an answer"), &of_kernel);
}

#[test]
fn the_blocking_sockets_are_stds() {
    let of_kernel = kernel::blocking(addresses(LOOPBACK)).expect("the kernel's answer");
    let (near, far) = Pair::new().spawn_threads().expect("two threads");
    let of_ours = ours::blocking(&near.net().blocking(), &far.net().blocking(), addresses(JOINED));

    assert_same(&of_ours.expect("an answer"), &of_kernel);
}
