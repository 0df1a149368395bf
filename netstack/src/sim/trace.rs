//! The packets of a run, with their times.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::time::Duration;

/// The last packets that hosts sent, and a hash of all of them.
#[derive(Debug, Default)]
pub(super) struct Trace {
    packets: VecDeque<Record>,
    hasher: DefaultHasher,
}

/// The beginning of a packet.
#[derive(Debug)]
struct Record {
    at: Duration,
    len: usize,
    head: Box<[u8]>,
}

/// How many packets are kept.
const PACKETS_MAX: usize = 65_536;
/// The captured bytes of each: the headers and the start of the payload.
const HEAD_BYTES_MAX: usize = 256;
/// `LINKTYPE_RAW`: packets begin with an IP header of either version.
const LINK_TYPE: u32 = 101;
/// For timestamps in microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;

impl Trace {
    pub(super) fn record(&mut self, at: Duration, packet: &[u8]) {
        (at, packet).hash(&mut self.hasher);
        if self.packets.len() == PACKETS_MAX {
            self.packets.pop_front();
        }
        let head = packet[..packet.len().min(HEAD_BYTES_MAX)].into();
        self.packets.push_back(Record { at, len: packet.len(), head });
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Writes the classic pcap format (draft-ietf-opsawg-pcap section 4), whose numbers have 32
    /// bits.
    pub(super) fn write_pcap(&self, mut file: impl Write) -> io::Result<()> {
        let version = 2 | 4 << 16;
        for word in [MAGIC, version, 0, 0, HEAD_BYTES_MAX as u32, LINK_TYPE] {
            file.write_all(&word.to_le_bytes())?;
        }
        for record in &self.packets {
            let (seconds, micros) = (record.at.as_secs() as u32, record.at.subsec_micros());
            for word in [seconds, micros, record.head.len() as u32, record.len as u32] {
                file.write_all(&word.to_le_bytes())?;
            }
            file.write_all(&record.head)?;
        }
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_header_and_a_record_for_each_packet() {
        let mut trace = Trace::default();
        trace.record(Duration::from_micros(1_000_002), &[0x45; 300]);
        let mut file = Vec::new();

        trace.write_pcap(&mut file).expect("memory");

        assert_eq!(file.len(), 24 + 16 + 256);
        assert_eq!(&file[..6], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0]);
        assert_eq!(file[24..40], [1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 44, 1, 0, 0]);
    }
}
