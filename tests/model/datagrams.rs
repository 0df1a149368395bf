//! A model of UDP sockets, and of the datagrams in flight to them.

use crate::plan::Plan;
use crate::sequence::piece;
use netstack::netsocket::UdpSocket;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::io::Result;
use std::net::SocketAddr;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) socket: Rc<UdpSocket>,
    pub(crate) address: SocketAddr,
    /// The datagrams sent to it and not yet received, with their senders, in order.
    expected: VecDeque<(SocketAddr, u64, usize)>,
    /// The stacks have stopped: datagrams in flight are lost.
    is_stopped: bool,
}

/// The bound on datagrams in flight to one socket, since beyond its own bound it would drop some.
const UNDER_WAY_MAX: usize = 100_000;
/// The cost of a datagram besides its payload, in bytes.
const OVERHEAD: usize = 200;
/// Each begins with its number.
const NUMBER: usize = 8;

impl Socket {
    pub(crate) fn new(socket: UdpSocket, is_stopped: bool) -> Self {
        let address = socket.local_addr().expect("never fails");
        Self { socket: Rc::new(socket), address, expected: VecDeque::new(), is_stopped }
    }

    pub(crate) fn has_room(&self, len: usize) -> bool {
        let under_way: usize = self.expected.iter().map(|(_, _, len)| len + OVERHEAD).sum();
        under_way + len < UNDER_WAY_MAX
    }

    pub(crate) fn expects_something(&self) -> bool {
        !self.expected.is_empty()
    }

    pub(crate) fn sent(&mut self, from: SocketAddr, number: u64, len: usize) {
        self.expected.push_back((from, number, len));
    }

    /// Compares a datagram, received with `room` bytes, with the one sent.
    pub(crate) fn received(&mut self, result: Result<(&[u8], SocketAddr)>, room: usize) {
        if let Some(index) = self.look(result, room) {
            self.expected.remove(index);
        }
    }

    fn look(&self, result: Result<(&[u8], SocketAddr)>, room: usize) -> Option<usize> {
        let (bytes, from) = match result {
            Ok(received) => received,
            Err(error) => {
                assert!(self.is_stopped, "receiving failed with {error}");
                return None;
            }
        };
        // Those of one sender are in order.
        let index = self.expected.iter().position(|(sender, ..)| *sender == from);
        let index = index.unwrap_or_else(|| panic!("{from} sent nothing that is not received"));
        let (_, number, len) = self.expected[index];
        let sent = datagram(number, len);
        let n = len.min(room);
        assert!(bytes == &sent[..n], "not datagram {number} of {len} bytes, from {from}");
        Some(index)
    }

    pub(crate) async fn receive(&mut self, room: usize, plan: Plan) {
        let mut buffer = vec![0; room];
        let socket = self.socket.clone();
        if let Some(received) = plan.run(socket.recv_from(&mut buffer)).await {
            self.received(received.map(|(n, from)| (&buffer[..n], from)), room);
        }
    }

    pub(crate) async fn peek(&mut self, room: usize, plan: Plan) {
        let mut buffer = vec![0; room];
        if let Some(peeked) = plan.run(self.socket.peek_from(&mut buffer)).await {
            self.look(peeked.map(|(n, from)| (&buffer[..n], from)), room);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }
}

/// The datagram of a number.
pub(crate) fn datagram(number: u64, len: usize) -> Vec<u8> {
    let mut datagram = number.to_be_bytes().to_vec();
    datagram.extend_from_slice(piece(number, 0, len - NUMBER));
    datagram
}

/// Small ones, ones that are sent in fragments, and now and then one of nearly the largest size.
pub(crate) fn random_len(random: &mut StdRng) -> usize {
    match random.random_range(0..20) {
        0 => random.random_range(NUMBER..60_000),
        1..5 => random.random_range(NUMBER..5000),
        _ => random.random_range(NUMBER..100),
    }
}
