//! Tables whose bounds count entries.

use crate::neighbours::request;
use crate::streams::Peer;
use crate::wire::{Host, OWN, PEER, packet};
use bytes::Bytes;
use netcore::Medium;
use netcore::device::smoltcp::wire::{Icmpv4Packet, IpProtocol, TcpControl};
use netcore::queue::{Datagram, SocketQueue};
use netcore::{Config, Route, TcpConfig, tcp, udp};
use std::net::{IpAddr, Ipv4Addr};

/// A table, and what is to fill it.
pub(crate) struct Table {
    /// The field of `Config`, or the fields.
    pub(crate) bound: &'static str,
    pub(crate) max: usize,
    pub(crate) input: &'static str,
    /// What an entry may take on the heap, with its share of empty places.
    pub(crate) entry_bytes_max: usize,
    config: Config,
    medium: Medium,
    /// What is there before the input.
    open: fn(&mut Host) -> Vec<SocketQueue>,
    flood: fn(&mut Host, &[SocketQueue], usize),
    count: fn(&mut Host, &[SocketQueue]) -> usize,
}

const TIME_WAIT: usize = 4096;
/// Sockets that each join as many groups as they may.
const MEMBERS: usize = 64;
const PORT: u16 = 1000;
/// Larger than the paths of the test take, and small enough for its link.
const DATAGRAM_BYTES: usize = 1_400;

pub(crate) fn tables() -> [Table; 5] {
    let config = Config::default();
    [
        Table {
            bound: "time_wait_max",
            max: TIME_WAIT,
            input: "connections of twice as many peers",
            entry_bytes_max: 512,
            config: Config {
                tcp: TcpConfig { time_wait_max: TIME_WAIT, ..config.tcp.clone() },
                ..config.clone()
            },
            medium: Medium::Ip,
            open: listen,
            flood: close_connections,
            count: |host, _| host.stack.snapshot().time_wait.len(),
        },
        Table {
            bound: "path_mtus_max",
            max: config.ip.path_mtus_max,
            input: "forged \"too big\" for twice as many",
            entry_bytes_max: 256,
            config: config.clone(),
            medium: Medium::Ip,
            open: |host| vec![bind(host, PORT)],
            flood: narrow_paths,
            count: count_narrow_paths,
        },
        Table {
            bound: "groups_per_socket_max * 64",
            max: MEMBERS * config.datagram.groups_per_socket_max,
            input: "each socket joins twice as many",
            entry_bytes_max: 512,
            config: config.clone(),
            medium: Medium::Ethernet,
            open: |host| (0..MEMBERS).map(|index| bind(host, PORT + index as u16)).collect(),
            flood: join_groups,
            count: leave_groups,
        },
        Table {
            bound: "routes_max",
            max: config.ip.routes_max,
            input: "twice as many /32 are added",
            entry_bytes_max: 1024,
            config: config.clone(),
            medium: Medium::Ip,
            open: |_| Vec::new(),
            flood: add_routes,
            count: |host, _| host.stack.routes().len(),
        },
        Table {
            bound: "neighbours_max",
            max: config.ethernet.neighbours_max,
            input: "pings of 1 from twice as many",
            entry_bytes_max: 1024,
            config,
            medium: Medium::Ethernet,
            open: |_| Vec::new(),
            flood: ping_from_many,
            count: |host, _| host.stack.snapshot().neighbours.len(),
        },
    ]
}

impl Table {
    /// How many entries there are after the input, and how many bytes it has left on the heap.
    pub(crate) fn fill(&self) -> (usize, usize) {
        let mut host = Host::new(self.config.clone(), self.medium);
        let sockets = (self.open)(&mut host);
        let counted = allocation_counter::measure(|| {
            (self.flood)(&mut host, &sockets, self.max);
            host.link.sent = Vec::new();
        });
        let heap = usize::try_from(counted.bytes_current).expect("something is held");
        ((self.count)(&mut host, &sockets), heap)
    }
}

/// One of many hosts beside the stack.
fn other(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    [10, 1, high, low].into()
}

fn bind(host: &mut Host, port: u16) -> SocketQueue {
    host.call(udp::Command::Bind { endpoint: (OWN, port).into() }).1.expect("a socket")
}

fn listen(host: &mut Host) -> Vec<SocketQueue> {
    let local = (OWN, 80).into();
    let (_, listener) = host.call(tcp::Command::Listen { local, options: Default::default() });
    vec![listener.expect("a listener")]
}

fn close_connections(host: &mut Host, sockets: &[SocketQueue], max: usize) {
    let SocketQueue::Accept(listener) = &sockets[0] else { panic!("no listener") };
    for number in 0..2 * max {
        let mut peer = Peer::connect(host, PORT + number as u16);
        listener.try_accept().expect("a connection").close();
        host.poll();
        peer.hear(host);
        peer.send(host, TcpControl::Fin, &[]);
        host.link.sent.clear();
    }
}

fn send(host: &mut Host, socket: &SocketQueue, to: Ipv4Addr) {
    let SocketQueue::Datagram(socket) = socket else { panic!("no datagrams") };
    let payload = Bytes::from_static(&[7; DATAGRAM_BYTES]);
    socket.try_send(Datagram::new((to, 9).into(), payload)).expect("room");
    host.poll();
}

/// Answers a datagram to each host with "fragmentation needed" (RFC 792, RFC 1191 section 4).
fn narrow_paths(host: &mut Host, sockets: &[SocketQueue], max: usize) {
    for number in 0..2 * max {
        host.link.sent.clear();
        send(host, &sockets[0], other(number));
        let quoted = &host.link.sent[0][..28];
        let mut message = vec![3, 4, 0, 0, 0, 0, 2, 64];
        message.extend_from_slice(quoted);
        Icmpv4Packet::new_unchecked(&mut message[..]).fill_checksum();
        host.take(&packet(PEER, IpProtocol::Icmp, &message));
    }
}

/// A datagram on a narrow path leaves in pieces.
fn count_narrow_paths(host: &mut Host, sockets: &[SocketQueue]) -> usize {
    let is_narrow = |number: &usize| {
        host.link.sent.clear();
        send(host, &sockets[0], other(*number));
        host.link.sent.len() > 1
    };
    (0..2 * Config::default().ip.path_mtus_max).filter(is_narrow).count()
}

fn join_groups(host: &mut Host, sockets: &[SocketQueue], max: usize) {
    let each = 2 * max / sockets.len();
    for (socket, number) in pairs(sockets, each) {
        let SocketQueue::Datagram(socket) = socket else { panic!("no datagrams") };
        // Refused at the bound, which the count shows.
        let _ = socket.join(group(number));
        host.poll();
        host.link.sent.clear();
    }
}

/// A group that can be left was joined.
fn leave_groups(_: &mut Host, sockets: &[SocketQueue]) -> usize {
    let each = 2 * Config::default().datagram.groups_per_socket_max;
    let is_member = |(socket, number): &(&SocketQueue, usize)| match socket {
        SocketQueue::Datagram(socket) => socket.leave(group(*number)).is_ok(),
        _ => false,
    };
    pairs(sockets, each).filter(is_member).count()
}

/// Each socket with each of its numbers.
fn pairs(sockets: &[SocketQueue], each: usize) -> impl Iterator<Item = (&SocketQueue, usize)> {
    let numbers = move |index| (0..each).map(move |number| index * each + number);
    let indexed = sockets.iter().enumerate();
    indexed.flat_map(move |(index, socket)| numbers(index).map(move |number| (socket, number)))
}

fn group(number: usize) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    [239, 1, high, low].into()
}

fn add_routes(host: &mut Host, _: &[SocketQueue], max: usize) {
    for number in 0..2 * max {
        let [.., high, low] = number.to_be_bytes();
        let destination = format!("192.168.{high}.{low}/32").parse().expect("a network");
        let route = Route { destination, ..Route::default_via(PEER.into()) };
        // Refused at the bound, which the count shows.
        let _ = host.stack.add_route(route);
    }
}

fn ping_from_many(host: &mut Host, _: &[SocketQueue], max: usize) {
    let request = request(1);
    for number in 0..2 * max {
        host.take(&packet(other(number), IpProtocol::Icmp, &request));
        host.link.sent.clear();
    }
}
