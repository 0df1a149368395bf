//! Questions about sockets to a netlink server.
#![cfg(feature = "netlink")]

use netfd::Mode;
use netfd::netlink::{Address, Own, Protocol, Reports, Server, Socket, netlink_pair};
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, Parseable,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId as Name, StateFlags,
};
use netlink_packet_sock_diag::{SOCK_DESTROY, SOCK_DIAG_BY_FAMILY};
use netstack::Stack;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;
/// The length of a header.
const HEADER: usize = 16;

/// A program with a netlink socket, over a stack.
struct World {
    near: OwnedFd,
    socket: Arc<Socket>,
    stack: Stack,
    _far: Stack,
}

impl World {
    async fn new() -> Self {
        let (stack, far) = netstack::pair().expect("a runtime");
        let server = Server::start(Own::new(stack.net(), "net0")).await.expect("a stack");
        let (near, end) = netlink_pair(Mode::Blocking).expect("a pair");
        set_socket_timeout(&near, Timeout::Recv, Some(PATIENCE)).expect("a socket");
        let kind = (libc::SOCK_RAW, Protocol::SockDiag);
        let (socket, service) = Socket::open(&server, kind, Reports::Message, 77, end);
        tokio::spawn(service.run());
        Self { near, socket, stack, _far: far }
    }

    /// Sends a request, and returns the messages up to the last.
    fn ask(&self, kind: u16, flags: u16, payload: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut header = NetlinkHeader::default();
        (header.message_type, header.flags) = (kind, NLM_F_REQUEST | flags);
        header.length = (HEADER + payload.len()) as u32;
        let mut bytes = vec![0; HEADER + payload.len()];
        header.emit(&mut bytes);
        bytes[HEADER..].copy_from_slice(payload);
        send(&self.near, &bytes, SendFlags::NOSIGNAL).expect("an open pair");
        let mut messages = Vec::new();
        let is_end = |kind: u16| [NLMSG_DONE, NLMSG_ERROR].contains(&kind);
        while messages.last().is_none_or(|(kind, _)| !is_end(*kind)) {
            let mut buffer = vec![0; 65_536];
            let receive = || recv(&self.near, &mut buffer[..], RecvFlags::empty());
            let (_, len) = tokio::task::block_in_place(receive).expect("a datagram");
            let mut rest = &buffer[..len];
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let len = message.length() as usize;
                messages.push((message.message_type(), rest[HEADER..len].to_vec()));
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        messages
    }

    /// The IPv4 sockets of a protocol.
    fn sockets(&self, protocol: u8) -> Vec<InetResponse> {
        let mut messages =
            self.ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request(protocol, Name::new_v4()));
        let end = messages.pop().map(|(kind, _)| kind);
        assert_eq!(end, Some(NLMSG_DONE));
        let parse = |(_, payload): &(u16, Vec<u8>)| InetResponse::parse(&payload[..]);
        messages.iter().map(parse).collect::<Result<_, _>>().expect("well-formed messages")
    }

    /// The error number of the answer.
    fn code(&self, kind: u16, payload: &[u8]) -> i32 {
        let (last, payload) = self.ask(kind, NLM_F_ACK, payload).pop().expect("an end");
        assert_eq!(last, NLMSG_ERROR);
        -i32::from_ne_bytes(*payload.first_chunk().expect("a code"))
    }
}

fn request(protocol: u8, socket_id: Name) -> Vec<u8> {
    let extensions = ExtensionFlags::all();
    let states = StateFlags::all();
    let family = libc::AF_INET as u8;
    let request = InetRequest { family, protocol, extensions, states, socket_id };
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    bytes
}

fn ports(sockets: &[InetResponse]) -> Vec<u16> {
    sockets.iter().map(|it| it.header.socket_id.source_port).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_shown_by_protocol_and_aborted() {
    let world = World::new().await;
    let net = world.stack.net();
    let listener = net.tcp_listen("127.0.0.1:80").await.expect("a free port");
    let (client, accepted) = tokio::join!(net.tcp_connect("127.0.0.1:80"), listener.accept());
    let (client, _accepted) = (client.expect("a listener"), accepted.expect("a client"));
    let _udp = net.udp_bind("127.0.0.1:53").await.expect("a free port");

    let (tcp, udp) = (world.sockets(TCP), world.sockets(UDP));

    assert_eq!((tcp.len(), ports(&udp)), (3, vec![53]));
    let own = client.local_addr().expect("a connection").port();
    let of_client = tcp.iter().find(|it| it.header.socket_id.source_port == own);
    let InetResponse { header, nlas } = of_client.expect("that of the client");
    assert_eq!((header.state, header.socket_id.destination_port), (1, 80));
    assert!(nlas.contains(&Nla::Congestion("cubic".into())), "{nlas:?}");
    let is_info = |nla: &Nla| matches!(nla, Nla::TcpInfo(info) if info[0] == 1);
    assert!(nlas.iter().any(is_info), "{nlas:?}");

    let abort = request(TCP, header.socket_id.clone());
    assert_eq!(world.code(SOCK_DESTROY, &abort), 0);
    let ended = client.recv_bytes(1).await.map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionAborted));
    assert_eq!(world.code(SOCK_DESTROY, &abort), libc::ENOENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_many_sockets_has_each_once() {
    let world = World::new().await;
    let mut sockets = Vec::new();
    for port in 1000..1700 {
        let bound = world.stack.net().udp_bind(format!("127.0.0.1:{port}"));
        sockets.push(bound.await.expect("a free port"));
    }

    let mut shown = ports(&world.sockets(UDP));

    shown.sort_unstable();
    assert_eq!(shown, (1000..1700).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_and_unknown_questions_fail() {
    let world = World::new().await;
    let whole = request(TCP, Name::new_v4());
    let with_filter = |bytes: &[u8]| {
        let len = (4 + bytes.len()) as u16;
        [&whole[..], &len.to_ne_bytes(), &1_u16.to_ne_bytes(), bytes].concat()
    };

    assert_eq!(world.code(SOCK_DIAG_BY_FAMILY, &[]), libc::EINVAL);
    assert_eq!(world.code(SOCK_DIAG_BY_FAMILY, &whole[..55]), libc::EINVAL);
    assert_eq!(world.code(SOCK_DIAG_BY_FAMILY, &with_filter(&[0; 4])), libc::EINVAL);
    assert_eq!(world.code(SOCK_DIAG_BY_FAMILY, &request(33, Name::new_v4())), libc::ENOENT);
    assert_eq!(world.code(SOCK_DIAG_BY_FAMILY, &whole), libc::ENOENT, "of no such socket");
    assert_eq!(world.code(18, &whole), libc::EOPNOTSUPP);
    let groups = Address { port: 0, groups: 1 };
    assert_eq!(world.socket.bind(groups), Err(Errno::OPNOTSUPP));
    // Of UNIX sockets a stack has none.
    let unix = [&[libc::AF_UNIX as u8][..], &[0; 23]].concat();
    let answer = world.ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &unix);
    assert_eq!(answer.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [NLMSG_DONE]);
}
