//! A scripted DHCP server.

use crate::device::PipeEnd;
use crate::wire::ChecksumCapabilities;
use crate::wire::{DhcpMessageType, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use bytes::Bytes;
use std::net::Ipv4Addr;

pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
pub(super) const MASK: [u8; 4] = [255, 255, 255, 0];

/// A message from the client.
#[derive(Debug, Clone)]
pub(super) struct ClientMessage {
    pub(super) kind: DhcpMessageType,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) wants_broadcast: bool,
    pub(super) own: Ipv4Addr,
    message: Vec<u8>,
}

impl ClientMessage {
    /// Reads a packet, if it is one to a DHCP server.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let ip = Ipv4Packet::new_checked(packet).ok()?;
        if ip.next_header() != IpProtocol::Udp {
            return None;
        }
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        if udp.dst_port() != 67 {
            return None;
        }
        assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        assert_eq!(udp.src_port(), 68);
        let message = udp.payload().to_vec();
        assert!(message.len() >= 300, "as BOOTP wants");
        assert_eq!(message[..3], [1, 1, 6]);
        let mut asked = Self {
            kind: DhcpMessageType::Unknown(0),
            source: ip.src_addr(),
            destination: ip.dst_addr(),
            wants_broadcast: message[10] == 0x80,
            own: <[u8; 4]>::try_from(&message[12..16]).ok()?.into(),
            message,
        };
        asked.kind = asked.option(53)?[0].into();
        Some(asked)
    }

    pub(super) fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.message[240..];
        while let [found, len, tail @ ..] = rest
            && *found != 255
        {
            let (data, tail) = tail.split_at(usize::from(*len));
            if *found == kind {
                return Some(data);
            }
            rest = tail;
        }
        None
    }

    /// An answer to it that leases nothing yet.
    pub(super) fn answer(&self, kind: DhcpMessageType) -> ServerMessage {
        let mut header = self.message[..240].to_vec();
        header[0] = 2;
        let mut said =
            ServerMessage { source: SERVER, to: Ipv4Addr::BROADCAST, header, options: Vec::new() };
        if !self.own.is_unspecified() {
            said.to = self.own;
        }
        said.set(53, &[kind.into()]).set(54, &SERVER.octets());
        said
    }

    /// An answer that leases an address for two minutes.
    pub(super) fn lease(&self, kind: DhcpMessageType, own: Ipv4Addr) -> ServerMessage {
        let mut said = self.answer(kind);
        said.header[16..20].copy_from_slice(&own.octets());
        said.set(1, &MASK).set(3, &SERVER.octets()).set(51, &120_u32.to_be_bytes());
        said.set(6, &[10, 7, 0, 53]).set(15, b"lan").set(26, &1400_u16.to_be_bytes());
        said
    }
}

/// An answer from the server.
#[derive(Debug, Clone)]
pub(super) struct ServerMessage {
    pub(super) source: Ipv4Addr,
    to: Ipv4Addr,
    pub(super) header: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

impl ServerMessage {
    pub(super) fn set(&mut self, kind: u8, data: &[u8]) -> &mut Self {
        self.unset(kind);
        self.options.push((kind, data.to_vec()));
        self
    }

    pub(super) fn unset(&mut self, kind: u8) -> &mut Self {
        self.options.retain(|(known, _)| *known != kind);
        self
    }

    /// To the address that it leases, as of a server that disregards the broadcast flag.
    pub(super) fn unicast(&mut self) -> &mut Self {
        self.to = <[u8; 4]>::try_from(&self.header[16..20]).expect("four bytes").into();
        self
    }

    /// As another server.
    pub(super) fn by(&mut self, server: Ipv4Addr) -> &mut Self {
        self.source = server;
        self.set(54, &server.octets())
    }

    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = self.header.clone();
        for (kind, data) in &self.options {
            message.push(*kind);
            message.push(data.len() as u8);
            message.extend(data);
        }
        message.push(255);
        message
    }

    pub(super) fn packet(&self) -> Bytes {
        packet(self.source, self.to, &self.message())
    }
}

/// A datagram from a server's port to a client's.
pub(super) fn packet(source: Ipv4Addr, destination: Ipv4Addr, message: &[u8]) -> Bytes {
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Udp,
        payload_len: 8 + message.len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; 28 + message.len()];
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &checksums);
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut packet[20..]),
        &source.into(),
        &destination.into(),
        message.len(),
        |payload| payload.copy_from_slice(message),
        &checksums,
    );
    packet.into()
}

/// The far end of a client's link.
pub(super) struct Server(pub(super) PipeEnd);

impl Server {
    /// The client's next message.
    pub(super) async fn asked(&self) -> ClientMessage {
        loop {
            let packet = self.0.recv().await.expect("a running stack");
            if let Some(asked) = ClientMessage::read(&packet) {
                return asked;
            }
        }
    }

    /// The client's next message, which has this type.
    pub(super) async fn expect(&self, kind: DhcpMessageType) -> ClientMessage {
        let asked = self.asked().await;
        assert_eq!(asked.kind, kind, "{asked:?}");
        asked
    }

    pub(super) async fn send(&self, answer: &ServerMessage) {
        assert!(self.0.send(answer.packet()).await, "a running stack");
    }

    /// Leases an address to a client that begins; returns its last message.
    pub(super) async fn lease(&self, own: Ipv4Addr) -> ClientMessage {
        let asked = self.expect(DhcpMessageType::Discover).await;
        self.send(&asked.lease(DhcpMessageType::Offer, own)).await;
        let asked = self.expect(DhcpMessageType::Request).await;
        self.send(&asked.lease(DhcpMessageType::Ack, own)).await;
        asked
    }
}
