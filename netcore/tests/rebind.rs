//! Ports of handles that were dropped.

mod harness;

use harness::{Pair, Side, addr};
use netcore::queue::SocketQueue;
use netcore::{tcp, udp};

#[test]
fn the_port_of_a_dropped_listener_is_free_for_the_next_command() {
    let mut pair = Pair::new();
    let options = tcp::ListenOptions::default();
    let command = tcp::Command::Listen { local: addr("10.0.0.2:80"), options };
    let listening = pair.call(Side::Far, None, command.clone()).expect("a free port");
    let (_, Some(SocketQueue::Accept(queue))) = listening else {
        panic!("listening gave {listening:?}");
    };

    // As a handle does when it is dropped.
    queue.close();
    let again = pair.listen(Side::Far, "10.0.0.2:80");

    let listener = again.expect("a free port");
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn dropped_udp_socket_frees_its_port_at_once() {
    let mut pair = Pair::new();
    let command = udp::Command::Bind { endpoint: addr("10.0.0.2:9") };
    for _ in 0..2 {
        let bound = pair.call(Side::Far, None, command.clone()).expect("a free port");
        let (_, Some(SocketQueue::Datagram(queue))) = bound else {
            panic!("binding gave {bound:?}");
        };
        queue.close();
    }
}
