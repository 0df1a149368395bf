//! Received packets whose payload stands elsewhere, in slices.

use crate::counters::DropReason;
use crate::ip::IpHeader;
use crate::ip::layer::IpLayer;
use crate::ip::packet::{Origin, Packet};
use crate::link::Frame;
use crate::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpProtocol, Ipv4Packet, Ipv6Packet, TCP_HEADER_LEN, TcpPacket,
};

impl IpLayer {
    /// Takes a packet in slices, if the first has the headers of a plain TCP segment and nothing
    /// else; `None`, and the frame as it was, for any other.
    pub(crate) fn receive_scattered(
        &self,
        frame: &mut Frame,
        origin: Origin,
    ) -> Result<Option<Packet>, DropReason> {
        let Some(header) = parse(&frame.data, frame.len() - frame.data.len()) else {
            return Ok(None);
        };
        self.check_source(&header, &frame.data)?;
        self.check_destination(&header, &frame.data, origin)?;
        Ok(Some(Packet {
            buffer_bytes: frame.data.len(),
            bytes: std::mem::take(&mut frame.data),
            rest: std::mem::take(&mut frame.rest),
            header,
            is_checksum_good: true,
        }))
    }
}

/// Reads the headers of a TCP segment whose payload of `rest` bytes stands elsewhere: `bytes` are an
/// IP header without options or extensions, and a TCP header. `None` for any other packet.
fn parse(bytes: &[u8], rest: usize) -> Option<IpHeader> {
    let (source, destination, hop_limit, start) = match bytes.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_unchecked(bytes.get(..IPV4_HEADER_LEN)?);
            let is_plain = usize::from(packet.header_len()) == IPV4_HEADER_LEN
                && packet.next_header() == IpProtocol::Tcp
                && !packet.more_frags()
                && packet.frag_offset() == 0
                && usize::from(packet.total_len()) == bytes.len() + rest
                && packet.verify_checksum();
            is_plain.then(|| {
                let ends = (packet.src_addr().into(), packet.dst_addr().into());
                (ends.0, ends.1, packet.hop_limit(), IPV4_HEADER_LEN)
            })?
        }
        6 => {
            let packet = Ipv6Packet::new_unchecked(bytes.get(..IPV6_HEADER_LEN)?);
            let is_plain =
                packet.next_header() == IpProtocol::Tcp && packet.total_len() == bytes.len() + rest;
            is_plain.then(|| {
                let ends = (packet.src_addr().into(), packet.dst_addr().into());
                (ends.0, ends.1, packet.hop_limit(), IPV6_HEADER_LEN)
            })?
        }
        _ => return None,
    };
    let segment = bytes.get(start..).filter(|segment| segment.len() >= TCP_HEADER_LEN)?;
    let header_len = usize::from(TcpPacket::new_unchecked(segment).header_len());
    (header_len == segment.len()).then_some(IpHeader {
        source,
        destination,
        protocol: IpProtocol::Tcp,
        hop_limit,
        payload: start..bytes.len(),
        has_extensions: false,
        fragment: None,
    })
}
