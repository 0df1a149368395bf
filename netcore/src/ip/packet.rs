//! A received packet.

use crate::command::raw::Version;
use crate::ip::{self, IpHeader};
use crate::link;
use crate::wire::TcpPacket;
use bytes::Bytes;
use std::ops::Range;

/// A received packet and its parsed header.
pub(crate) struct Packet {
    /// The IP packet, without link-layer padding.
    pub(crate) bytes: Bytes,
    /// The rest of it behind `bytes`: the payload of a TCP segment whose headers are `bytes`.
    pub(crate) rest: Vec<Bytes>,
    /// Upper bound of the size of the buffer behind `bytes`.
    pub(crate) buffer_bytes: usize,
    pub(crate) header: IpHeader,
    /// Whether the transport checksum need not be verified.
    pub(crate) is_checksum_good: bool,
}

/// The origin of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Link,
    /// In a broadcast or multicast frame.
    LinkToMany,
    Own,
}

impl Packet {
    /// Bytes of the rest.
    #[inline]
    pub(crate) fn rest_len(&self) -> usize {
        if self.rest.is_empty() { 0 } else { self.rest.iter().map(Bytes::len).sum() }
    }

    /// Puts the packet into one piece.
    #[inline]
    pub(crate) fn linearize(&mut self) {
        if !self.rest.is_empty() {
            self.put_together();
        }
    }

    #[cold]
    fn put_together(&mut self) {
        self.bytes = link::linear(&self.bytes, &std::mem::take(&mut self.rest));
        self.buffer_bytes = self.bytes.len();
        self.header.payload.end = self.bytes.len();
    }

    /// The payload of the IP packet, but for the rest.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.header.payload.start..]
    }

    /// A part of the packet for a queue, and the bytes to count for it: a copy, or a slice if it is
    /// most of the buffer that it keeps alive.
    pub(crate) fn keep(&self, range: Range<usize>) -> (Bytes, usize) {
        match link::kept_bytes(range.len(), self.buffer_bytes) {
            Some(kept) => (self.bytes.slice(range), kept),
            None => (Bytes::copy_from_slice(&self.bytes[range.clone()]), range.len()),
        }
    }

    /// Replaces the IP header by one without options or extension headers.
    pub(crate) fn strip_extensions(&mut self) {
        self.rebuild(self.bytes.len());
    }

    /// The headers of a TCP segment, as a packet of its own that shares no memory with this one.
    pub(crate) fn without_data(&self) -> Self {
        let header_len = usize::from(TcpPacket::new_unchecked(self.payload()).header_len());
        let end = self.header.payload.start + header_len;
        let mut headers = Self {
            bytes: self.bytes.clone(),
            rest: Vec::new(),
            buffer_bytes: self.bytes.len(),
            header: self.header.clone(),
            is_checksum_good: true,
        };
        match end < self.bytes.len() {
            true => headers.rebuild(end),
            false => headers.bytes = Bytes::copy_from_slice(&self.bytes),
        }
        headers
    }

    /// Rebuilds the packet from the transport's part of it, up to `end`.
    fn rebuild(&mut self, end: usize) {
        let payload = &self.bytes[self.header.payload.start..end];
        let header = &self.header;
        let repr = ip::repr(
            header.source,
            header.destination,
            header.protocol,
            payload.len(),
            header.hop_limit,
        );
        let start = repr.header_len();
        let mut bytes = vec![0; start + payload.len()];
        repr.emit(&mut bytes[..], &ip::header_checksums_only());
        bytes[start..].copy_from_slice(payload);
        self.header.payload = start..bytes.len();
        self.header.has_extensions = false;
        self.buffer_bytes = bytes.len();
        self.bytes = bytes.into();
    }

    pub(crate) fn version(&self) -> Version {
        if self.header.source.is_ipv4() { Version::V4 } else { Version::V6 }
    }
}
