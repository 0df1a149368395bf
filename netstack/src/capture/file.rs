//! The encoder of pcapng, and the writer behind it.

use super::RecorderStatistics;
use super::hold::Hold;
use crate::direction::Direction;
use netcore::Medium;
use netcore::isolation::isolated;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The encoder's buffer and the writer behind it.
pub(super) struct File {
    /// Encodes into memory, which cannot fail.
    encoder: PcapNgWriter<Vec<u8>>,
    writer: Box<dyn Write + Send>,
    /// How much of the encoded bytes the writer has taken, of a block that it took in part.
    written: usize,
    /// Where the first frame of the encoded bytes begins.
    first_frame: Option<usize>,
    hold: Hold,
    pub(super) snap_bytes: usize,
    has_failed: bool,
    /// The writer panicked, and is not called again.
    is_broken: bool,
    started: (SystemTime, Instant),
    pub(super) statistics: RecorderStatistics,
    interfaces: Vec<InterfaceCounters>,
}

/// Counters of an interface, for its statistics block.
#[derive(Debug, Clone, Copy)]
struct InterfaceCounters {
    medium: Medium,
    recorded: u64,
    lost: u64,
    /// Frames that a filter has passed over.
    filtered: u64,
}

/// So much is encoded before it is written.
const WRITE_BYTES: usize = 64 * 1024;
/// So much is kept for a writer that fails, which it gets should it work again.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// At this length of the buffer nothing waits for secrets.
const HELD_BYTES_MAX: usize = BUFFER_BYTES_MAX / 2;
/// Bytes of a frame's block besides the frame: header, padding, options and length.
const BLOCK_OVERHEAD: usize = 64;
/// How many interfaces a file has; all that come later are one together.
pub(super) const INTERFACES_MAX: usize = 1024;
/// Nanoseconds: the negative power of ten of a second.
const NANOSECONDS: u8 = 9;
/// The snap length that means unlimited.
pub(super) const SNAP_BYTES_MAX: usize = 262_144;
/// A Decryption Secrets Block, and the secrets of TLS in it (draft-ietf-opsawg-pcapng section 4.7).
const SECRETS_BLOCK: u32 = 10;
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// The longest comment, in bytes: an option has at most 65,535.
const COMMENT_BYTES_MAX: usize = 1024;

impl File {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Self {
        let encoder = PcapNgWriter::new(Vec::new()).expect("writing to memory does not fail");
        Self {
            encoder,
            writer,
            written: 0,
            first_frame: None,
            hold: Hold::default(),
            snap_bytes: SNAP_BYTES_MAX,
            has_failed: false,
            is_broken: false,
            started: (SystemTime::now(), Instant::now()),
            statistics: RecorderStatistics::default(),
            interfaces: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    pub(super) fn add_interface(&mut self, name: &str, medium: Medium) -> u32 {
        let count = self.encoder.interfaces().len();
        let linktype = match medium {
            Medium::Ethernet => DataLink::ETHERNET,
            _ => DataLink::RAW,
        };
        if count >= INTERFACES_MAX {
            return count as u32 - 1;
        }
        let name = if count + 1 == INTERFACES_MAX { "all others" } else { name };
        let mut options = vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)];
        if !name.is_empty() {
            let end = name.floor_char_boundary(NAME_BYTES_MAX);
            options.insert(0, InterfaceDescriptionOption::IfName(Cow::Borrowed(&name[..end])));
        }
        let snaplen = self.snap_bytes as u32;
        let block = InterfaceDescriptionBlock { linktype, snaplen, options };
        self.encoder.write_pcapng_block(block).expect("writing to memory does not fail");
        self.interfaces.push(InterfaceCounters { medium, recorded: 0, lost: 0, filtered: 0 });
        count as u32
    }

    pub(super) fn add_frame(
        &mut self,
        interface: u32,
        at: Instant,
        direction: Direction,
        frame: &[u8],
        comment: &str,
    ) {
        let kept = &frame[..frame.len().min(self.snap_bytes)];
        let comment = &comment[..comment.floor_char_boundary(COMMENT_BYTES_MAX)];
        if !self.make_room(kept.len() + comment.len()) {
            self.statistics.lost += 1;
            self.interfaces[interface as usize].lost += 1;
            return;
        }
        let flags = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        let mut options = vec![EnhancedPacketOption::Flags(flags)];
        if !comment.is_empty() {
            options.push(EnhancedPacketOption::Comment(Cow::Borrowed(comment)));
        }
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: self.time_of(at),
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(kept),
            options,
        };
        let offset = self.encoder.get_ref().len();
        self.first_frame.get_or_insert(offset);
        if direction == Direction::Inbound {
            self.hold.received(offset, at, frame, self.interfaces[interface as usize].medium);
        }
        self.encoder.write_pcapng_block(block).expect("memory, and an interface of this file");
        self.statistics.frames += 1;
        self.interfaces[interface as usize].recorded += 1;
        self.write_if_full();
    }

    /// Notes a frame that a filter has passed over.
    pub(super) fn pass_over(&mut self, interface: u32) {
        self.interfaces[interface as usize].filtered += 1;
    }

    /// Adds a line of a key log, unless it finds no room: in front of the frames that are not written
    /// yet. The first one to decrypt came before its secret, which its receiver has made of it.
    pub(super) fn add_secret(&mut self, line: &str) {
        if !self.make_room(line.len()) {
            return;
        }
        let padding = line.len().next_multiple_of(4) - line.len();
        let mut body = TLS_KEY_LOG.to_ne_bytes().to_vec();
        body.extend((line.len() as u32).to_ne_bytes());
        body.extend(line.as_bytes());
        body.extend(std::iter::repeat_n(0, padding));
        let block = UnknownBlock::new(SECRETS_BLOCK, body.len() as u32, &body);
        let end = self.encoder.get_ref().len();
        self.encoder.write_pcapng_block(block).expect("writing to memory does not fail");
        if let Some(first) = self.first_frame.filter(|first| *first >= self.written) {
            let buffer = self.encoder.get_mut();
            let len = buffer.len() - end;
            buffer[first..].rotate_right(len);
            self.first_frame = Some(first + len);
            self.hold.moved(len);
        }
        self.write_if_full();
    }

    /// Adds the statistics of each interface (section 4.6).
    fn add_statistics(&mut self) {
        let [start, end] = [self.started.1, Instant::now()].map(|at| words(self.time_of(at)));
        for (id, counters) in (0..).zip(std::mem::take(&mut self.interfaces)) {
            let accepted = counters.recorded + counters.lost;
            let block = InterfaceStatisticsBlock {
                interface_id: id,
                timestamp: end,
                options: vec![
                    InterfaceStatisticsOption::IsbStartTime(start),
                    InterfaceStatisticsOption::IsbEndTime(end),
                    InterfaceStatisticsOption::IsbIfRecv(accepted + counters.filtered),
                    InterfaceStatisticsOption::IsbFilterAccept(accepted),
                    InterfaceStatisticsOption::IsbOsDrop(counters.lost),
                    InterfaceStatisticsOption::IsbUsrDeliv(counters.recorded),
                ],
            };
            self.encoder.write_pcapng_block(block).expect("memory, and an interface of this file");
        }
    }

    fn write_if_full(&mut self) {
        if self.encoder.get_ref().len() >= WRITE_BYTES && !self.has_failed {
            // The failure is noted, and the rest of the buffer kept.
            let _ = self.try_write_settled();
        }
    }

    /// Makes room for a block with `len` bytes besides its headers; returns whether there is.
    fn make_room(&mut self, len: usize) -> bool {
        if !self.has_room(len) {
            self.write_out();
            if !self.has_room(len) {
                return false;
            }
        }
        self.grow(len);
        true
    }

    fn has_room(&self, len: usize) -> bool {
        self.encoder.get_ref().len() + len + BLOCK_OVERHEAD <= BUFFER_BYTES_MAX
    }

    /// Makes room for a frame of `len` bytes, and for no more than the bound: a vector that doubles
    /// would pass it.
    fn grow(&mut self, len: usize) {
        let buffer = self.encoder.get_mut();
        let needed = buffer.len() + len + BLOCK_OVERHEAD;
        if needed > buffer.capacity() && 2 * needed > BUFFER_BYTES_MAX {
            buffer.reserve_exact(BUFFER_BYTES_MAX - buffer.len());
        }
    }

    /// Since 1970.
    fn time_of(&self, at: Instant) -> Duration {
        let (system, tokio) = self.started;
        let started = system.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        started + at.saturating_duration_since(tokio)
    }

    /// Writes the encoded blocks, and logs a failure once.
    fn write_out(&mut self) {
        // The failure is noted, and the rest of the buffer kept.
        let _ = self.try_write_out();
    }

    fn try_write_out(&mut self) -> io::Result<()> {
        self.try_write(self.encoder.get_ref().len())
    }

    /// The same without what waits for secrets, as long as there is room for it.
    fn try_write_settled(&mut self) -> io::Result<()> {
        let len = self.encoder.get_ref().len();
        let limit = match len >= HELD_BYTES_MAX {
            true => len,
            false => self.hold.limit(Instant::now(), len),
        };
        self.try_write(limit)
    }

    /// Writes so many bytes of the buffer.
    fn try_write(&mut self, limit: usize) -> io::Result<()> {
        let result = self.write_up_to(limit);
        if let Err(error) = &result
            && !self.has_failed
        {
            tracing::warn!(%error, "a capture cannot be written");
        }
        self.has_failed = result.is_err();
        result
    }

    /// Resumes exactly behind the last byte that the writer took, so that the file stays readable.
    fn write_up_to(&mut self, limit: usize) -> io::Result<()> {
        // A failure may have left more behind than is to be written now.
        let limit = limit.max(self.written);
        while let left @ [_, ..] = &self.encoder.get_ref()[self.written..limit] {
            let writer = &mut self.writer;
            match call(&mut self.is_broken, || writer.write(left)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.encoder.get_mut().drain(..limit);
        self.hold.written(limit);
        // The next block is a frame that waits, if there is one.
        let is_empty = self.encoder.get_ref().is_empty();
        (self.written, self.first_frame) = (0, (!is_empty).then_some(0));
        Ok(())
    }

    /// As [`flush`](Self::flush), without the frames that wait for secrets.
    pub(super) fn flush_settled(&mut self) -> io::Result<()> {
        self.try_write_settled()?;
        let writer = &mut self.writer;
        call(&mut self.is_broken, || writer.flush())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.try_write_out()?;
        let writer = &mut self.writer;
        call(&mut self.is_broken, || writer.flush())
    }
}

/// A time in nanoseconds as two words, the high one first, which the encoder writes as one number.
fn words(time: Duration) -> u64 {
    let nanos = time.as_nanos() as u64;
    if cfg!(target_endian = "little") { nanos.rotate_left(32) } else { nanos }
}

/// Calls a writer, for which a panic is the last of its failures.
fn call<R>(is_broken: &mut bool, write: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    if *is_broken {
        return Err(io::Error::other("the writer of the capture panicked"));
    }
    isolated(write).unwrap_or_else(|panic| {
        *is_broken = true;
        Err(io::Error::other(format!("the writer of the capture panicked: {panic}")))
    })
}

/// The length of an option has 16 bits; no interface name is longer than this.
const NAME_BYTES_MAX: usize = 255;

impl Drop for File {
    fn drop(&mut self) {
        self.add_statistics();
        // There is no caller left to return an error to.
        let _ = self.flush();
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("statistics", &self.statistics).finish_non_exhaustive()
    }
}
