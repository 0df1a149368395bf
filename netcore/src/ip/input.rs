//! Received packets: checks and reassembly.

use crate::context::Context;
use crate::context::Part;
use crate::counters::DropReason;
use crate::ip::layer::IpLayer;
use crate::ip::packet::{Origin, Packet};
use crate::ip::{self, IpHeader};
use crate::link::{FRAME_BUFFER_BYTES, Link};
use crate::wire::IpProtocol;
use bytes::Bytes;

impl IpLayer {
    /// Takes a packet or fragment; returns a whole packet, and `None` while fragments are missing.
    #[inline]
    pub(crate) fn receive<L: Link>(
        &mut self,
        cx: &mut Context,
        mut bytes: Bytes,
        is_checksum_good: bool,
        origin: Origin,
        link: &mut L,
    ) -> Result<Option<Packet>, DropReason> {
        let mut header = match ip::parse(&bytes) {
            Ok(header) => header,
            Err(reason) => return Err(self.refuse(cx, &bytes, reason, origin, link)),
        };
        let mut buffer_bytes = match origin {
            // Each has an allocation of its own size.
            Origin::Own => bytes.len(),
            Origin::Link | Origin::LinkToMany => bytes.len().max(FRAME_BUFFER_BYTES),
        };
        bytes.truncate(header.payload.end);
        if origin != Origin::Own {
            self.check_source(&header, &bytes)?;
            self.check_destination(&header, &bytes, origin)?;
        }
        let mut is_checksum_good = is_checksum_good;
        if header.fragment.is_some() {
            let Some(whole) = self.reassemble(cx, &header, &bytes, origin, link)? else {
                return Ok(None);
            };
            (bytes, header) = whole;
            buffer_bytes = bytes.len();
            // The link has verified fragments only.
            is_checksum_good = false;
        }
        let packet = Packet { bytes, rest: Vec::new(), buffer_bytes, header, is_checksum_good };
        Ok(Some(packet))
    }

    /// Adds a fragment; returns the packet and its header once it is complete.
    fn reassemble<L: Link>(
        &mut self,
        cx: &mut Context,
        header: &IpHeader,
        bytes: &[u8],
        origin: Origin,
        link: &mut L,
    ) -> Result<Option<(Bytes, IpHeader)>, DropReason> {
        cx.at_work.part = Some(Part::Fragments);
        #[cfg(test)]
        cx.spring("fragments");
        let whole = self.reassembly.add(header, bytes, cx.now);
        for _ in 0..self.reassembly.evict() {
            self.outgoing.counters.drop(DropReason::FragmentExpired);
        }
        cx.at_work.part = None;
        let whole = match whole {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(reason) => return Err(self.refuse(cx, bytes, reason, origin, link)),
        };
        let header = match ip::parse(&whole) {
            Ok(header) => header,
            Err(reason) => return Err(self.refuse(cx, &whole, reason, origin, link)),
        };
        let is_discovery =
            header.protocol == IpProtocol::Icmpv6 && is_discovery(&whole[header.payload.start..]);
        // Fragments of fragments, and Neighbour Discovery (RFC 6980 section 5).
        if header.fragment.is_some() || is_discovery {
            return Err(DropReason::BadFragment);
        }
        Ok(Some((whole, header)))
    }
}

/// Whether an ICMPv6 message is one of Neighbour Discovery.
fn is_discovery(message: &[u8]) -> bool {
    matches!(message.first(), Some(133..=137))
}
