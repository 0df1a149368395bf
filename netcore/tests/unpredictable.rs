//! Initial sequence numbers are unpredictable (RFC 9293 section 3.4.1).

mod harness;

use harness::{Pair, Side};
use netcore::Medium;
use netcore::device::smoltcp::iface::{self, Interface, SocketSet};
use netcore::device::smoltcp::socket::tcp;
use netcore::device::smoltcp::time::Instant;
use netcore::device::smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Packet, TcpPacket};
use netcore::{Error, Pipe, PipeDev};
use std::cell::RefCell;
use std::rc::Rc;

/// The initial sequence numbers of four connections of a stack, one right after the other.
fn sequence_numbers() -> [u32; 4] {
    let mut pair = Pair::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = seen.clone();
    pair.wire = Box::new(move |packet| {
        sink.borrow_mut().extend(initial_sequence(&packet));
        Some(packet)
    });
    for port in 81..85 {
        let refused = pair.connect(Side::Near, &format!("10.0.0.2:{port}"));
        assert_eq!(refused.err(), Some(Error::Refused));
    }
    let numbers = seen.take();
    numbers.try_into().expect("one SYN for each")
}

/// The same of smoltcp without this stack around it.
fn sequence_numbers_of_bare_smoltcp(seed: u64) -> [u32; 4] {
    let (pipe, wire) = Pipe::unbounded();
    let mut device = PipeDev { pipe, medium: Medium::Ip.into(), mtu: 1500 };
    let mut config = iface::Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut device, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, 1), 24)).expect("room for one");
    });
    let mut sockets = SocketSet::new(Vec::new());
    [81, 82, 83, 84].map(|port| {
        let buffer = || tcp::SocketBuffer::new(vec![0; 1024]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        let remote = (IpAddress::v4(10, 0, 0, 2), port);
        socket.connect(interface.context(), remote, 50_000 + port).expect("valid ends");
        sockets.add(socket);
        interface.poll(Instant::ZERO, &mut device, &mut sockets);
        initial_sequence(&wire.rx.try_recv().expect("a SYN")).expect("a SYN")
    })
}

fn initial_sequence(packet: &[u8]) -> Option<u32> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    (segment.syn() && !segment.ack()).then(|| segment.seq_number().0 as u32)
}

/// smoltcp's generator: a state of 64 bits, of which each number shows 32.
#[derive(Clone, Copy)]
struct Generator(u64);

const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;

impl Generator {
    fn next(self) -> Self {
        Self(self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT))
    }

    fn output(self) -> u32 {
        (self.0 >> (29 - (self.0 >> 61))) as u32
    }

    /// What a state with this output may look like: all but its low bits, and how many those are.
    fn candidates(output: u32) -> impl Iterator<Item = (u64, u32)> {
        (0..8u32).flat_map(move |top| {
            (0..1u64 << top).map(move |hidden| {
                let low = 29 - top;
                (u64::from(top) << 61 | hidden << (low + 32) | u64::from(output) << low, low)
            })
        })
    }
}

/// Finds the state behind three numbers and returns the fourth.
///
/// The low bits of two successive states are a point near a lattice that only the multiplier
/// decides, so each pair of candidates costs one rounding.
fn predict(numbers: [u32; 3]) -> Option<u32> {
    let [short, long] = reduced_basis();
    for (first, first_low) in Generator::candidates(numbers[0]) {
        for (second, second_low) in Generator::candidates(numbers[1]) {
            let carry = Generator(first).next().0.wrapping_sub(second);
            let target = (1 << first_low >> 1, (1 << second_low >> 1) - i128::from(carry));
            let a = nearest(target.0 * long.1 - target.1 * long.0);
            let b = nearest(target.1 * short.0 - target.0 * short.1);
            let low = a * short.0 + b * long.0;
            if !(0..1 << first_low).contains(&low) {
                continue;
            }
            let state = Generator(first | low as u64).next();
            if state.output() == numbers[1] && state.next().output() == numbers[2] {
                return Some(state.next().next().output());
            }
        }
    }
    None
}

/// A number divided by the determinant of the lattice, and rounded.
fn nearest(number: i128) -> i128 {
    (number + (1 << 63)) >> 64
}

/// The two shortest vectors of the lattice of all (x, multiplier * x modulo 2⁶⁴), by Gauss; in the
/// order in which their determinant is positive.
fn reduced_basis() -> [(i128, i128); 2] {
    let norm = |v: (i128, i128)| v.0 as f64 * v.0 as f64 + v.1 as f64 * v.1 as f64;
    let (mut short, mut long) = ((1, i128::from(MULTIPLIER)), (0, 1 << 64));
    loop {
        if norm(short) > norm(long) {
            std::mem::swap(&mut short, &mut long);
        }
        let dot = short.0 as f64 * long.0 as f64 + short.1 as f64 * long.1 as f64;
        let times = (dot / norm(short)).round() as i128;
        if times == 0 {
            break;
        }
        long = (long.0 - times * short.0, long.1 - times * short.1);
    }
    if short.0 * long.1 - short.1 * long.0 < 0 {
        long = (-long.0, -long.1);
    }
    [short, long]
}

#[test]
fn three_isns_do_not_predict_the_fourth() {
    for seed in [0, 1, 0x0123_4567_89ab_cdef] {
        let [numbers @ .., fourth] = sequence_numbers_of_bare_smoltcp(seed);
        assert_eq!(predict(numbers), Some(fourth), "of bare smoltcp they do");
    }

    let [numbers @ .., _] = sequence_numbers();

    assert_eq!(predict(numbers), None);
}

#[test]
fn identical_stacks_choose_different_isns() {
    let (one, other) = (sequence_numbers(), sequence_numbers());

    assert!(one.iter().zip(other).all(|(a, b)| *a != b), "{one:?} {other:?}");
}
