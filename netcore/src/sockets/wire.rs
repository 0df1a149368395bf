//! What a connection's segments look like on the wire, and what smoltcp may see of them.

use crate::flow_table::FlowKey;
use crate::link::{LinkCapabilities, Offload};
use crate::output::{Checksums, write_checksum};
use smoltcp::wire::{IpProtocol, TcpPacket};
use std::net::SocketAddr;
use std::num::NonZeroU16;

/// The wire's view of one connection: what its segments say that smoltcp does not know.
#[derive(Debug)]
pub(crate) struct Wire {
    flow: FlowKey,
    /// The largest segment that this end takes, as it announces it.
    local_mss: u16,
    /// The payload of a full segment to the peer.
    segment_bytes: u16,
    /// The peer's initial sequence number, once it is known.
    remote_isn: Option<u32>,
    /// Bytes that were taken out of the receive buffer so far.
    taken: u32,
    /// One past the highest sequence number sent.
    sent_end: Option<u32>,
    /// The last acknowledgement sent.
    acknowledged: Option<u32>,
}

/// What the MSS is if a SYN does not say (RFC 9293 section 3.7.1).
const MSS_DEFAULT: u16 = 536;
/// Below this an MTU leaves too little room for data; Linux refuses smaller ones for IPv4.
const MSS_MIN: u16 = 48;
/// The headers without options.
const TCP_HEADER: usize = 20;

impl Wire {
    pub(crate) fn new(flow: FlowKey, mtu: usize) -> Self {
        let headers = ip_header_len(flow.local()) + TCP_HEADER;
        let local_mss = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX).max(MSS_MIN);
        Self {
            flow,
            local_mss,
            segment_bytes: MSS_DEFAULT.min(local_mss),
            remote_isn: None,
            taken: 0,
            sent_end: None,
            acknowledged: None,
        }
    }

    pub(crate) fn flow(&self) -> FlowKey {
        self.flow
    }

    /// The payload of a full segment to the peer, in bytes.
    pub(crate) fn segment_bytes(&self) -> usize {
        usize::from(self.segment_bytes)
    }

    /// Notes a SYN of the peer and returns it as smoltcp may see it: with an MSS that this end's
    /// MTU allows.
    pub(crate) fn received_syn(&mut self, packet: &[u8], tcp_start: usize) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let mut segment = TcpPacket::new_unchecked(&mut packet[tcp_start..]);
        self.remote_isn = Some(segment.seq_number().0 as u32);
        if let Some(mss) = mss_option(segment.options_mut()) {
            // A zero is as good as none, to Linux and to smoltcp.
            let announced = match u16::from_be_bytes(*mss) {
                0 => MSS_DEFAULT,
                announced => announced.max(MSS_MIN),
            };
            self.segment_bytes = announced.min(self.local_mss);
            *mss = self.segment_bytes.to_be_bytes();
        }
        packet
    }

    /// Notes that bytes were taken out of the receive buffer.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.taken = self.taken.wrapping_add(bytes as u32);
    }

    /// The sequence number of the first byte that would come next into an empty receive buffer.
    pub(crate) fn next_expected(&self) -> Option<u32> {
        Some(self.remote_isn?.wrapping_add(1).wrapping_add(self.taken))
    }

    /// One past the highest sequence number sent, and the last acknowledgement sent.
    pub(crate) fn sent(&self) -> Option<(u32, u32)> {
        Some((self.sent_end?, self.acknowledged?))
    }

    fn note_sent(&mut self, segment: &TcpPacket<&mut [u8]>) {
        let end = (segment.seq_number() + segment.segment_len()).0 as u32;
        if self.sent_end.is_none_or(|before| (end.wrapping_sub(before) as i32) > 0) {
            self.sent_end = Some(end);
        }
        if segment.ack() {
            self.acknowledged = Some(segment.ack_number().0 as u32);
        }
    }

    /// Completes a packet that smoltcp wrote.
    pub(crate) fn finish(
        &mut self,
        packet: &mut [u8],
        checksums: Checksums,
        capabilities: &LinkCapabilities,
    ) -> Offload {
        let (local, remote) = (self.flow.local(), self.flow.remote());
        let start = ip_header_len(local);
        let mut segment = TcpPacket::new_unchecked(&mut packet[start..]);
        if segment.syn()
            && let Some(mss) = mss_option(segment.options_mut())
        {
            *mss = self.local_mss.to_be_bytes();
        }
        self.note_sent(&segment);
        let payload = segment.payload_mut().len();
        let is_jumbo = payload > self.segment_bytes() && capabilities.segment_bytes_max.is_some();
        let ends = (local.ip(), remote.ip());
        Offload {
            checksum: write_checksum(packet, start, ends, IpProtocol::Tcp, checksums),
            segment_bytes: NonZeroU16::new(self.segment_bytes).filter(|_| is_jumbo),
        }
    }
}

pub(crate) fn ip_header_len(address: SocketAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// The value of the MSS option, if there is one and all options before it are well-formed.
fn mss_option(mut options: &mut [u8]) -> Option<&mut [u8; 2]> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MSS: u8 = 2;
    loop {
        match options {
            [] | [END, ..] => return None,
            [NO_OPERATION, rest @ ..] => options = rest,
            [MSS, 4, value @ ..] => return value.first_chunk_mut(),
            [_, len, ..] if *len >= 2 => {
                let len = usize::from(*len);
                options = options.get_mut(len..)?;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mss_is_found_behind_other_options() {
        assert_eq!(mss_option(&mut [2, 4, 5, 0xb4]), Some(&mut [5, 0xb4]));
        assert_eq!(mss_option(&mut [1, 1, 3, 3, 7, 2, 4, 5, 0xb4]), Some(&mut [5, 0xb4]));
    }

    #[test]
    fn broken_options_have_no_mss() {
        for options in [
            &mut [][..],
            &mut [0, 2, 4, 5, 5],
            &mut [2],
            &mut [2, 4, 5],
            &mut [3, 0, 2, 4, 5, 5],
            &mut [3, 40, 2, 4],
        ] {
            assert_eq!(mss_option(options), None);
        }
    }
}
