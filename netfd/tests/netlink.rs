//! Requests to a netlink server through its sockets' descriptors.
#![cfg(feature = "netlink")]

use netfd::Mode;
use netfd::netlink::{
    Address, Own, Protocol, Refusal, Reports, Server, Socket, Subject, netlink_pair,
};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_OVERRUN, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressMessage};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netstack::Stack;
use netstack::netsocket::netcore::Network;
use netstack::netsocket::netcore::control::{Command, Response};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A program with a netlink socket, over a stack.
struct World {
    near: OwnedFd,
    socket: Arc<Socket>,
    stack: Stack,
    _far: Stack,
}

const PATIENCE: Duration = Duration::from_secs(30);
/// The group of IPv4 addresses.
const ADDRESSES: u32 = 1 << 4;

impl World {
    async fn new(reports: Reports) -> Self {
        let (stack, far) = netstack::pair().expect("a runtime");
        let server = Server::start(Own::new(stack.net(), "net0")).await.expect("a stack");
        let (near, end) = netlink_pair(Mode::Blocking).expect("a pair");
        set_socket_timeout(&near, Timeout::Recv, Some(PATIENCE)).expect("a socket");
        let (socket, service) =
            Socket::open(&server, (libc::SOCK_RAW, Protocol::Route), reports, 77, end);
        tokio::spawn(service.run());
        Self { near, socket, stack, _far: far }
    }

    fn send(&self, message: RouteNetlinkMessage, flags: u16) {
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (NLM_F_REQUEST | flags, 5);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.near, &bytes, SendFlags::NOSIGNAL).expect("an open pair");
    }

    /// The next datagram; the thread waits for it.
    fn datagram(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let receive = || recv(&self.near, &mut buffer[..], RecvFlags::empty());
        let (_, len) = tokio::task::block_in_place(receive).expect("a datagram");
        buffer.truncate(len);
        buffer
    }

    /// The messages of the next datagram.
    fn messages(&self) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
        let datagram = self.datagram();
        let (mut rest, mut messages) = (&datagram[..], Vec::new());
        while !rest.is_empty() {
            let len = NetlinkBuffer::new_checked(rest).expect("a message").length() as usize;
            messages.push(NetlinkMessage::deserialize(&rest[..len]).expect("a message"));
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        messages
    }

    /// The code of an acknowledgement.
    fn code(&self) -> i32 {
        match self.messages().pop().expect("a message").payload {
            NetlinkPayload::Error(error) => error.raw_code(),
            other => panic!("{other:?}"),
        }
    }
}

fn address(last: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: AddressFamily::Inet,
        prefix_len: 24,
        index: 2,
        ..Default::default()
    };
    message.attributes = vec![AddressAttribute::Local(Ipv4Addr::new(10, 7, 0, last).into())];
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_ends_with_its_end() {
    let world = World::new(Reports::Message).await;

    world.send(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP);

    let messages = world.messages();
    assert_eq!(messages.len(), 3, "lo, net0, and the end");
    assert!(
        messages.iter().all(|it| it.header.sequence_number == 5 && it.header.port_number == 77)
    );
    assert!(matches!(messages[2].payload, NetlinkPayload::Done(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_acknowledged_and_told() {
    let world = World::new(Reports::Message).await;
    world.socket.bind(Address { port: 0, groups: ADDRESSES }).expect("a free port");

    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    world.send(RouteNetlinkMessage::NewAddress(address(1)), flags);

    assert_eq!(world.code(), 0);
    let told = world.messages().remove(0);
    assert_eq!((told.header.message_type, told.header.port_number), (20, 0));
    let network = world.stack.net().network();
    assert!(network.addresses.contains(&"10.7.0.1/24".parse().expect("a network")));
    world.send(RouteNetlinkMessage::NewAddress(address(1)), flags);
    assert_eq!(world.code(), -libc::EEXIST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_is_told() {
    let world = World::new(Reports::Message).await;
    world.socket.bind(Address { port: 0, groups: ADDRESSES }).expect("a free port");

    let address = "10.7.0.9/24".parse().expect("a network");
    world.stack.net().control().add_address(address).await.expect("a host's");

    assert_eq!(world.messages()[0].header.message_type, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_told_that_it_has_missed_something() {
    for reports in [Reports::Error, Reports::Message] {
        let world = World::new(reports).await;
        world.socket.bind(Address { port: 0, groups: ADDRESSES }).expect("a free port");
        let control = world.stack.net().control();
        let change: ipnet::IpNet = "10.7.0.9/24".parse().expect("a network");

        // More than the pair and the queue hold.
        for _ in 0..4000 {
            control.add_address(change).await.expect("a host's");
            control.remove_address(change.addr()).await.expect("it was added");
        }

        let mut told = 0;
        if reports == Reports::Error {
            assert!(world.socket.take_missed(), "its next call fails with ENOBUFS");
        } else {
            let is_overrun = |datagram: &[u8]| {
                NetlinkBuffer::new_checked(datagram).expect("a message").message_type()
                    == NLMSG_OVERRUN
            };
            while !is_overrun(&world.datagram()) {
                told += 1;
            }
            assert!(told < 8000, "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_fail_and_harm_nothing() {
    let world = World::new(Reports::Message).await;
    for kind in 0..300_u16 {
        let mut bytes = vec![0xff; 19];
        bytes[..4].copy_from_slice(&19_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        send(&world.near, &bytes, SendFlags::NOSIGNAL).expect("an open pair");

        let code = world.code();
        assert_eq!(code != 0, kind >= 16, "{kind}: {code}");
    }
}

/// A stack that counts how often it is watched, and asked.
#[derive(Clone)]
struct Counted {
    own: Own,
    watched: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Subject for Counted {
    fn interface(&self) -> &str {
        self.own.interface()
    }

    async fn ask(&self, command: Command) -> Result<Option<Response>, Refusal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.own.ask(command).await
    }

    async fn changed(&self, seen: u64) -> Result<Arc<Network>, Refusal> {
        self.watched.fetch_add(1, Ordering::Relaxed);
        self.own.changed(seen).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_idle_while_nobody_listens_to_neighbours() {
    /// The group of neighbours.
    const NEIGHBOURS: u32 = 1 << 2;
    let (stack, _far) = netstack::pair().expect("a runtime");
    let (watched, asked) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let own = Own::new(stack.net(), "net0");
    let counted = Counted { own, watched: watched.clone(), asked: asked.clone() };
    let server = Server::start(counted).await.expect("a stack");
    let (_near, end) = netlink_pair(Mode::Blocking).expect("a pair");
    let (socket, service) =
        Socket::open(&server, (libc::SOCK_RAW, Protocol::Route), Reports::Message, 77, end);
    let count = || (watched.load(Ordering::Relaxed), asked.load(Ordering::Relaxed));

    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(), (1, 1), "one to begin with");

    socket.bind(Address { port: 0, groups: NEIGHBOURS }).expect("a free port");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (_, looks) = count();
    assert!((10..=12).contains(&looks), "{looks} questions in ten seconds");

    socket.bind(Address { port: 0, groups: 0 }).expect("a free port");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = count();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(), idle);

    // The task behind it ends with the last handle.
    drop((socket, service, server));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&watched), 1);
}
