//! A TCP segment, as far as the rules are concerned.

#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The stack's port comes first in what it sends.
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) window: u16,
    pub(super) flags: u8,
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) has_sack_permitted: bool,
    /// TSval and TSecr.
    pub(super) stamp: Option<(u32, u32)>,
    pub(super) blocks: Vec<(u32, u32)>,
    pub(super) payload: usize,
}

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

impl Segment {
    /// The TCP segment of an IPv4 packet, or of an IPv6 packet without extension headers.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let (header, total) = match packet.first()? >> 4 {
            4 if *packet.get(9)? == 6 => {
                (usize::from(packet[0] & 15) * 4, usize::from(u16_at(packet, 2)?))
            }
            6 if *packet.get(6)? == 6 => (40, 40 + usize::from(u16_at(packet, 4)?)),
            _ => return None,
        };
        let tcp = packet.get(header..total)?;
        let offset = usize::from(tcp.get(12)? >> 4) * 4;
        let mut segment = Self {
            ports: (u16_at(tcp, 0)?, u16_at(tcp, 2)?),
            sequence: u32_at(tcp, 4)?,
            acknowledgment: u32_at(tcp, 8)?,
            window: u16_at(tcp, 14)?,
            flags: *tcp.get(13)?,
            mss: None,
            scale: None,
            has_sack_permitted: false,
            stamp: None,
            blocks: Vec::new(),
            payload: tcp.len().checked_sub(offset)?,
        };
        segment.parse_options(tcp.get(20..offset)?)?;
        Some(segment)
    }

    fn parse_options(&mut self, mut options: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = options {
            if *kind == 0 {
                break;
            }
            if *kind == 1 {
                options = rest;
                continue;
            }
            let len = usize::from(*rest.first()?);
            let value = options.get(2..len)?;
            match kind {
                2 => self.mss = u16_at(value, 0),
                3 => self.scale = value.first().copied(),
                4 => self.has_sack_permitted = true,
                5 => {
                    let blocks = value.chunks_exact(8);
                    let blocks = blocks.map(|block| Some((u32_at(block, 0)?, u32_at(block, 4)?)));
                    self.blocks = blocks.collect::<Option<_>>()?;
                }
                8 => self.stamp = Some((u32_at(value, 0)?, u32_at(value, 4)?)),
                _ => {}
            }
            options = options.get(len..)?;
        }
        Some(())
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence numbers that it takes.
    pub(super) fn len(&self) -> u64 {
        self.payload as u64 + u64::from(self.has(SYN)) + u64::from(self.has(FIN))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
