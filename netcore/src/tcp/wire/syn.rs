//! The SYN of this end, once more: smoltcp repeats it by its own timer alone.

use super::{MSS_DEFAULT, Wire};
use crate::ip;
use crate::link::{LinkCapabilities, Offload};
use crate::output::Checksums;
use crate::wire::{
    ChecksumCapabilities, IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    TcpTimestampRepr,
};

impl Wire {
    /// The SYN that was sent, with the acknowledgement of the peer's if there is one. What depends on
    /// this end alone is filled in when it leaves.
    pub(crate) fn syn(&self) -> Option<TcpRepr<'static>> {
        let (local, remote) = (self.flow.local(), self.flow.remote());
        let is_answer = self.remote_isn.is_some();
        Some(TcpRepr {
            src_port: local.port(),
            dst_port: remote.port(),
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(self.local_isn? as i32),
            ack_number: self.expected().map(|expected| TcpSeqNumber(expected as i32)),
            window_len: 0,
            window_scale: (self.is_scaled || !is_answer).then_some(0),
            max_seg_size: Some(MSS_DEFAULT),
            sack_permitted: self.has_sack || !is_answer,
            sack_ranges: [None; 3],
            timestamp: self.stamps.is_offered().then_some(TcpTimestampRepr::new(0, 0)),
            payload: &[],
        })
    }

    /// Writes the SYN into a packet that has just the room for it.
    pub(crate) fn write_syn(
        &mut self,
        packet: &mut [u8],
        syn: &TcpRepr<'_>,
        (checksums, capabilities): (Checksums, &LinkCapabilities),
    ) -> Offload {
        let ends = (self.flow.local().ip(), self.flow.remote().ip());
        let header = ip::repr(ends.0, ends.1, IpProtocol::Tcp, syn.buffer_len(), self.hop_limit);
        header.emit(&mut *packet, &ip::header_checksums_only());
        let mut segment = TcpPacket::new_unchecked(&mut packet[header.header_len()..]);
        let ignored = ChecksumCapabilities::ignored();
        syn.emit(&mut segment, &ends.0.into(), &ends.1.into(), &ignored);
        self.finish(packet, checksums, capabilities)
    }
}
