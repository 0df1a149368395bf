//! Every bound of `Config`: the behaviour at the bound, and the recovery from it.

mod commands;
mod datagram;
mod ethernet;
#[path = "../harness/mod.rs"]
mod harness;
mod ip;
mod tcp;

use bytes::Bytes;
use harness::peer::Peer;
use harness::{Pair, Side, addr};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::{Command, DropReason, Error, SocketId, udp};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Each field of `Config` that is a bound, and its test.
const TESTS: [(&str, fn()); 27] = [
    ("commands_max", commands::full_command_queue_returns_would_block),
    ("commands_per_socket_max", commands::pending_commands_of_a_socket_are_limited),
    ("sockets_max", commands::full_socket_table_refuses_sockets_and_drops_syns),
    ("tcp.recv_buffer_bytes", tcp::receive_buffer_and_queue_bound_unread_bytes),
    ("tcp.recv_buffer_bytes_max", tcp::receive_window_grows_up_to_its_bound),
    ("tcp.send_buffer_bytes", tcp::send_buffer_bounds_bytes_in_flight),
    ("tcp.send_buffer_bytes_max", tcp::send_buffer_grows_up_to_its_bound),
    ("tcp.memory_bytes_max", tcp::memory_of_all_connections_is_bounded),
    ("tcp.stream_queue_bytes", tcp::full_stream_queue_blocks_the_writer),
    ("tcp.backlog_max", tcp::full_backlog_drops_syns),
    ("tcp.half_open_per_listener_max", tcp::full_listener_evicts_its_oldest_half_open_connection),
    ("tcp.half_open_max", tcp::full_stack_evicts_its_oldest_half_open_connection),
    ("datagram.queue_bytes", datagram::full_datagram_queues_drop_input_and_refuse_output),
    ("datagram.memory_bytes_max", datagram::memory_of_all_sockets_is_bounded),
    ("ip.addresses_max", ip::full_address_table_refuses_new_addresses),
    ("ip.routes_max", ip::full_route_table_refuses_new_routes),
    ("tcp.mss_max", tcp::mss_max_limits_segments_in_both_directions),
    ("tcp.split_segments_max", tcp::acknowledged_bytes_split_so_many_segments),
    ("ip.path_mtus_max", ip::least_recently_used_path_mtu_is_evicted),
    ("ip.name_servers_max", ip::name_servers_and_search_domains_are_limited),
    ("datagram.groups_per_socket_max", datagram::group_memberships_of_a_socket_are_limited),
    ("ip.loopback_packets_max", ip::loopback_packets_wait_for_space_in_the_queue),
    ("ip.replies_max", ip::full_reply_queue_drops_replies),
    ("ip.fragments_bytes_max", ip::full_reassembly_evicts_the_oldest_incomplete_packet),
    ("ethernet.neighbours_max", ethernet::least_recently_used_neighbour_is_evicted),
    (
        "ethernet.neighbour_queue_bytes",
        ethernet::unresolved_neighbour_queues_only_the_newest_packets,
    ),
    ("tcp.time_wait_max", tcp::full_time_wait_evicts_its_oldest_connection),
];

#[test]
fn every_bound_of_the_configuration_has_a_test() {
    let sources = [
        ("", include_str!("../../src/config/mod.rs")),
        ("datagram.", include_str!("../../src/config/datagram.rs")),
        ("ethernet.", include_str!("../../src/config/ethernet.rs")),
        ("ip.", include_str!("../../src/config/ip.rs")),
        ("tcp.", include_str!("../../src/config/tcp.rs")),
    ];
    let fields = sources.iter().flat_map(|(group, source)| {
        source.lines().filter_map(move |line| {
            let name = line.trim().strip_prefix("pub ")?.split_once(':')?.0;
            let is_bound = name.ends_with("_max") || name.ends_with("_bytes");
            is_bound.then(|| format!("{group}{name}"))
        })
    });

    let tested: BTreeSet<_> = TESTS.iter().map(|(field, _)| (*field).to_owned()).collect();

    assert_eq!(fields.collect::<BTreeSet<_>>(), tested);
}

fn would_block() -> Result<(), Error> {
    Err(Error::WouldBlock)
}

fn dropped(pair: &Pair, reason: DropReason) -> u64 {
    pair.far.stack.counters().dropped(reason)
}

fn close(pair: &mut Pair, listener: SocketId) {
    pair.call(Side::Far, Some(listener), netcore::tcp::Command::Close).expect("a listener");
}

/// Peers on ports from here on.
fn peers(port: u16, count: u16) -> Vec<Peer> {
    let address = Ipv4Addr::new(10, 0, 0, 3);
    (port..port + count).map(|port| Peer::new(address, port)).collect()
}

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> Arc<DatagramQueue> {
    opened(pair, side, udp::Command::Bind { endpoint: addr(endpoint) })
}

fn opened(pair: &mut Pair, side: Side, command: impl Into<Command>) -> Arc<DatagramQueue> {
    match pair.call(side, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn send(socket: &DatagramQueue, to: &str, payload: &[u8]) -> Result<(), Error> {
    let payload = Bytes::copy_from_slice(payload);
    socket.try_send(Datagram::new(addr(to), payload))
}
