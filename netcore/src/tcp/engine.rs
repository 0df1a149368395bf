//! Driving smoltcp: one packet in, one socket, some packets out.
//!
//! smoltcp's [`Interface`] is used for the TCP state machine alone. It believes in a link of the
//! largest MTU and answers for every address; addresses, routes, fragments and the MSS are this
//! crate's business, in front of it and behind it. So a set with a single socket is all it needs
//! to see, and nothing in it has to be changed when an address or the MTU does.

use crate::time::Instant;
use crate::wire::HardwareAddress;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
pub(crate) use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time;

/// Where smoltcp's packets go.
pub(crate) trait Sink {
    /// Whether the next packet can be taken.
    fn has_room(&mut self) -> bool;

    /// Takes one packet of `len` bytes, which `fill` writes.
    fn take<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R;
}

/// The TCP engine.
pub(crate) struct Engine(Interface);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// MTU in smoltcp's configuration: any IP packet fits, so it neither fragments nor refuses
/// (IPv6 segments to be cut by the link it would drop otherwise).
const MTU: usize = 65_575;

impl Engine {
    pub(crate) fn new(now: Instant) -> Self {
        // It draws no number that leaves the stack: connections begin on interfaces of their own.
        Self(interface(0, now))
    }

    /// Shows one IP packet to the set's socket. What the socket answers at once goes to `sink`.
    pub(crate) fn receive<S: Sink>(
        &mut self,
        now: Instant,
        packet: &[u8],
        set: &mut SocketSet<'_>,
        sink: &mut S,
    ) {
        self.0.poll_ingress_single(now.into(), &mut OnePacket { packet: Some(packet), sink }, set);
    }

    /// Lets the set's socket emit at most one packet; returns whether it did.
    pub(crate) fn emit<S: Sink>(
        &mut self,
        now: Instant,
        set: &mut SocketSet<'_>,
        sink: &mut S,
    ) -> bool {
        let device = &mut OnePacket { packet: None, sink };
        self.0.poll_egress(now.into(), device, set) == PollResult::SocketStateChanged
    }

    /// When the set's socket wants to be polled again; `None` if it waits for a packet or a call.
    pub(crate) fn poll_at(&mut self, now: Instant, set: &SocketSet<'_>) -> Option<Instant> {
        self.0.poll_at(now.into(), set).map(Instant::from)
    }

    /// An interface on which the next connection gets `isn` as its initial sequence number.
    pub(crate) fn for_handshake(isn: u32, now: Instant) -> Interface {
        interface(seed_for(isn), now)
    }

    /// Shows a SYN to a listening socket, which takes `isn` as its initial sequence number.
    pub(crate) fn receive_syn<S: Sink>(
        isn: u32,
        now: Instant,
        packet: &[u8],
        set: &mut SocketSet<'_>,
        sink: &mut S,
    ) {
        let device = &mut OnePacket { packet: Some(packet), sink };
        Self::for_handshake(isn, now).poll_ingress_single(now.into(), device, set);
    }
}

fn interface(seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut Blank, now.into());
    interface.set_any_ip(true);
    interface
}

fn capabilities() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = MTU;
    // Checked before smoltcp sees a packet and written after it made one, but for the IPv4 header.
    capabilities.checksum = crate::ip::header_checksums_only();
    capabilities
}

/// The seed with which a fresh interface draws `isn` for its first connection.
///
/// smoltcp's generator is a permuted linear congruential one, which is no secret and can be run
/// backwards. A fresh interface draws one 16-bit identifier first, and again if that is 0. Should a
/// feature of smoltcp that another crate turns on draw more, the number differs from `isn`, and is
/// just as hard to guess.
fn seed_for(isn: u32) -> u64 {
    const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
    const INCREMENT: u64 = 0x7590_ef39;
    const INVERSE: u64 = inverse(MULTIPLIER);
    let back = |state: u64| state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE);
    // With the three highest bits 0 the generator gives bits 29 to 60 of its state.
    let output = |state: u64| (state >> (29 - (state >> 61))) as u32;
    for low in 0..u64::from(u16::MAX) {
        let drawn = back(u64::from(isn) << 29 | low);
        let first = output(drawn);
        if (first ^ first >> 16) as u16 != 0 {
            return back(drawn);
        }
    }
    unreachable!("one of 65,535 identifiers is not 0")
}

/// The inverse of an odd number modulo 2⁶⁴, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

/// A device that has one packet to give, or none, and sends into a sink.
struct OnePacket<'p, 's, S> {
    packet: Option<&'p [u8]>,
    sink: &'s mut S,
}

impl<S: Sink> Device for OnePacket<'_, '_, S> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = ToSink<'a, S>
    where
        Self: 'a;

    fn receive(&mut self, _now: time::Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        Some((Received(self.packet.take()?), ToSink(self.sink)))
    }

    fn transmit(&mut self, _now: time::Instant) -> Option<Self::TxToken<'_>> {
        self.sink.has_room().then_some(ToSink(self.sink))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // Read by smoltcp for nothing: an interface keeps those it was made with.
        capabilities()
    }
}

struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct ToSink<'a, S>(&'a mut S);

impl<S: Sink> TxToken for ToSink<'_, S> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.take(len, f)
    }
}

/// Nothing but capabilities, for making an interface.
struct Blank;

impl Device for Blank {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = ToSink<'a, Nowhere>;

    fn receive(&mut self, _now: time::Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _now: time::Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn has_room(&mut self) -> bool {
        false
    }

    fn take<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        fill(&mut vec![0; len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::solo::SoloSocket;
    use crate::wire::{IpAddress, Ipv4Packet, TcpPacket};

    struct Collect(Vec<Vec<u8>>);

    impl Sink for Collect {
        fn has_room(&mut self) -> bool {
            true
        }

        fn take<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
            let mut packet = vec![0; len];
            let result = fill(&mut packet);
            self.0.push(packet);
            result
        }
    }

    #[test]
    fn a_connection_begins_with_the_sequence_number_it_was_given() {
        let now = Instant::ZERO;
        for isn in [0, 1, 0x1234_5678, u32::MAX] {
            let mut solo = SoloSocket::new();
            let mut interface = Engine::for_handshake(isn, now);
            let remote = (IpAddress::v4(10, 0, 0, 2), 80);
            let local = (IpAddress::v4(10, 0, 0, 1), 50_000);
            solo.tcp_mut().connect(interface.context(), remote, local).expect("valid ends");
            let mut sent = Collect(Vec::new());

            Engine::new(now).emit(now, solo.set_mut(), &mut sent);

            let syn = Ipv4Packet::new_checked(&sent.0[0]).expect("a packet");
            let syn = TcpPacket::new_checked(syn.payload()).expect("a segment");
            assert!(syn.syn());
            assert_eq!(syn.seq_number().0 as u32, isn);
        }
    }
}
