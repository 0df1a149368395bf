//! A stack, and a link that hands it each packet as a small part of a large buffer.

use bytes::Bytes;
use netcore::Instant;
use netcore::Medium;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr};
use netcore::queue::SocketQueue;
use netcore::{
    Command, Config, EthernetConfig, FRAME_BUFFER_BYTES, Frame, FrameChecksum, HasChannel, Link,
    LinkCapabilities, Netstack, Offload, Response, Slot, SocketId,
};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The address of the stack.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Small frames may be part of a buffer of any size.
const SHARED_BUFFER_BYTES: usize = 256 * 1024;
const HARDWARE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub(crate) struct Host {
    pub(crate) stack: Netstack,
    pub(crate) link: Wire,
    now: Instant,
}

/// One packet in, and those out that have not been looked at.
pub(crate) struct Wire {
    medium: Medium,
    incoming: Option<Frame>,
    pub(crate) sent: Vec<Bytes>,
    /// Whether it takes what the stack sends.
    pub(crate) has_room: bool,
}

impl Host {
    pub(crate) fn new(config: Config, medium: Medium) -> Self {
        let hardware_address = Some(netcore::MacAddr(HARDWARE_ADDRESS));
        let config = Config {
            ethernet: EthernetConfig {
                hardware_address,
                dad_transmits: 0,
                ..config.ethernet.clone()
            },
            ..config
        };
        let mut stack = Netstack::new(config, Instant::ZERO);
        stack.add_address("10.0.0.1/8".parse().expect("a network")).expect("a host's address");
        let link = Wire { medium, incoming: None, sent: Vec::new(), has_room: true };
        let mut host = Self { stack, link, now: Instant::ZERO };
        host.poll();
        host.link.sent.clear();
        host
    }

    pub(crate) fn poll(&mut self) {
        while self.stack.poll_link(self.now, &mut self.link) {}
    }

    /// Gives the stack a packet.
    pub(crate) fn take(&mut self, packet: &[u8]) {
        self.link.incoming = Some(self.link.frame(packet));
        self.poll();
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.now += time;
        self.poll();
    }

    pub(crate) fn call(&mut self, command: impl Into<Command>) -> (Response, Option<SocketQueue>) {
        self.call_on(None, command)
    }

    /// A command for a socket.
    pub(crate) fn call_on(
        &mut self,
        socket: Option<SocketId>,
        command: impl Into<Command>,
    ) -> (Response, Option<SocketQueue>) {
        let channel = self.stack.command_channel();
        let mut reply = pin!(channel.call(socket, command));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            if let Poll::Ready(answer) = reply.as_mut().poll(&mut context) {
                return answer.expect("the command is carried out");
            }
            self.stack.process_cmds();
            self.poll();
        }
        panic!("the command was not answered");
    }
}

impl Wire {
    /// A packet as a part of the largest buffer that a link may have for it.
    fn frame(&self, packet: &[u8]) -> Frame {
        let len = packet.len() + if self.medium == Medium::Ethernet { 14 } else { 0 };
        let is_large = len >= FRAME_BUFFER_BYTES / 2;
        let mut buffer = vec![0; if is_large { FRAME_BUFFER_BYTES } else { SHARED_BUFFER_BYTES }];
        if self.medium == Medium::Ethernet {
            buffer[..6].copy_from_slice(&HARDWARE_ADDRESS);
            buffer[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
            buffer[12..14].copy_from_slice(&[8, 0]);
        }
        buffer[len - packet.len()..len].copy_from_slice(packet);
        Frame::new(Bytes::from(buffer).slice(..len), FrameChecksum::Trusted)
    }
}

impl Link for Wire {
    type Slot<'a> = Place<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(self.medium, 65_535)
    }

    fn receive(&mut self) -> Option<Frame> {
        self.incoming.take()
    }

    fn transmit(&mut self) -> Option<Self::Slot<'_>> {
        self.has_room.then_some(Place(&mut self.sent))
    }
}

pub(crate) struct Place<'a>(&'a mut Vec<Bytes>);

impl Slot for Place<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut packet = vec![0; len];
        let (result, _) = fill(&mut packet);
        self.0.push(packet.into());
        result
    }
}

/// A packet for the stack.
pub(crate) fn packet(from: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: OWN,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; ip.buffer_len() + payload.len()];
    packet[ip.buffer_len()..].copy_from_slice(payload);
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &ChecksumCapabilities::default());
    packet
}
