//! Defaults of an unused socket.

use crate::case::Backends::Both;
use crate::case::{ALL, Case, SYNC_AND_TOKIO, TOKIO, case};
use crate::world::World;
use netstack::netsocket;

pub(crate) const CASES: &[Case] = &[
    case!(72, "a fresh socket reports its buffer sizes", TOKIO, Both, buffers),
    case!(72, "a fresh socket has the kernel's options", TOKIO, Both, options),
    case!(73, "a listener has the time to live of its socket", ALL, Both, listener),
    case!(74, "a fresh datagram socket has the kernel's options", SYNC_AND_TOKIO, Both, datagrams),
];

macro_rules! bodies {
    ($backend:ident, $socket:ty) => {
        mod $backend {
            pub(super) async fn buffers(socket: $socket) {
                assert!(socket.send_buffer_size().expect("open") >= 4096);
                assert!(socket.recv_buffer_size().expect("open") >= 4096);
                socket.set_send_buffer_size(70_000).expect("open");
                socket.set_recv_buffer_size(70_000).expect("open");
                assert!(socket.send_buffer_size().expect("open") >= 70_000);
                assert!(socket.recv_buffer_size().expect("open") >= 70_000);
            }

            pub(super) async fn options(socket: $socket) {
                assert!(!socket.keepalive().expect("open"));
                assert!(!socket.nodelay().expect("open"));
                assert!(socket.take_error().expect("open").is_none());
                assert!(!socket.reuseaddr().expect("open"));
                for value in [true, false] {
                    socket.set_reuseaddr(value).expect("open");
                    assert_eq!(socket.reuseaddr().expect("open"), value);
                    socket.set_keepalive(value).expect("open");
                    assert_eq!(socket.keepalive().expect("open"), value);
                    socket.set_nodelay(value).expect("open");
                    assert_eq!(socket.nodelay().expect("open"), value);
                }
            }
        }
    };
}

bodies!(kernel, tokio::net::TcpSocket);
bodies!(ours, super::netsocket::TcpSocket);

async fn buffers(world: World) {
    match world.is_ours() {
        true => ours::buffers(our_socket(&world)).await,
        false => kernel::buffers(kernels_socket(&world)).await,
    }
}

async fn options(world: World) {
    match world.is_ours() {
        true => ours::options(our_socket(&world)).await,
        false => kernel::options(kernels_socket(&world)).await,
    }
}

fn our_socket(world: &World) -> netsocket::TcpSocket {
    match world.near.addresses[0].is_ipv4() {
        true => world.near.net().tcp_socket_v4(),
        false => world.near.net().tcp_socket_v6(),
    }
}

fn kernels_socket(world: &World) -> tokio::net::TcpSocket {
    let socket = match world.near.addresses[0].is_ipv4() {
        true => tokio::net::TcpSocket::new_v4(),
        false => tokio::net::TcpSocket::new_v6(),
    };
    socket.expect("a descriptor")
}

async fn listener(world: World) {
    let (listener, address) = world.listen().await;
    assert_eq!(listener.ttl().expect("open"), 64);
    listener.set_ttl(9).expect("valid");
    assert_eq!(listener.ttl().expect("open"), 9);

    let client = world.near.connect(address).await.expect("a listener");
    let (server, _) = listener.accept().await.expect("a client");

    assert_eq!(client.ttl().expect("open"), 64);
    assert_eq!(server.ttl().expect("open"), 9);
}

async fn datagrams(world: World) {
    let near = world.near.bind_udp(world.near.address(0)).await.expect("a free port");

    assert!(!near.broadcast().expect("open"));
    assert!(near.multicast_loop_v4().expect("open"));
    assert_eq!(near.multicast_ttl_v4().expect("open"), 1);
    assert_eq!(near.ttl().expect("open"), 64);
    assert!(near.take_error().expect("open").is_none());
}
