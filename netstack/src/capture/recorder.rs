//! Writing pcapng.

use crate::direction::Direction;
use netcore::Medium;
use netcore::isolation::isolated;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A pcapng file being written. Cheap to clone; the buffer is flushed when the last clone,
/// interface and [`Capture`](super::Capture) is dropped.
///
/// Timestamps, in nanoseconds, are the system time at which the recorder was made plus the time
/// passed on tokio's clock: system clock steps do not matter, and in a test with paused time they
/// are virtual.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<File>>);

/// One of the interfaces of a file.
#[derive(Debug, Clone)]
pub struct Interface {
    file: Arc<Mutex<File>>,
    id: u32,
}

/// Counters of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RecorderStatistics {
    /// Frames that were recorded.
    pub frames: u64,
    /// Frames that found no room because the writer failed.
    pub lost: u64,
}

/// The encoder's buffer and the writer behind it.
struct File {
    /// Encodes into memory, which cannot fail.
    encoder: PcapNgWriter<Vec<u8>>,
    writer: Box<dyn Write + Send>,
    /// How much of the encoded bytes the writer has taken, of a block that it took in part.
    written: usize,
    snap_bytes: usize,
    has_failed: bool,
    /// The writer panicked, and is not called again.
    is_broken: bool,
    started: (SystemTime, Instant),
    statistics: RecorderStatistics,
}

/// So much is encoded before it is written.
const WRITE_BYTES: usize = 64 * 1024;
/// So much is kept for a writer that fails, which it gets should it work again.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a frame's block besides the frame: header, padding, options and length.
const BLOCK_OVERHEAD: usize = 64;
/// How many interfaces a file has; all that come later are one together.
const INTERFACES_MAX: usize = 1024;
/// Nanoseconds: the negative power of ten of a second.
const NANOSECONDS: u8 = 9;
/// The snap length that means unlimited.
const SNAP_BYTES_MAX: usize = 262_144;

impl Recorder {
    /// Begins a file.
    ///
    /// The writer is called in the task or thread that records a frame, so a slow one delays that:
    /// pass a file or memory, and give anything slower a thread of its own. A failure is logged
    /// once and the write is retried; frames that do not fit the buffer meanwhile are
    /// [lost](RecorderStatistics::lost), and the recorded device is not disturbed. A panic counts
    /// as a failure, after which the writer is not called again.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        let encoder = PcapNgWriter::new(Vec::new()).expect("writing to memory does not fail");
        Self(Arc::new(Mutex::new(File {
            encoder,
            writer: Box::new(writer),
            written: 0,
            snap_bytes: SNAP_BYTES_MAX,
            has_failed: false,
            is_broken: false,
            started: (SystemTime::now(), Instant::now()),
            statistics: RecorderStatistics::default(),
        })))
    }

    /// Limits the bytes kept of each frame.
    #[must_use]
    pub fn snap_bytes(self, bytes: usize) -> Self {
        lock(&self.0).snap_bytes = bytes.clamp(1, SNAP_BYTES_MAX);
        self
    }

    /// Adds an interface. A file has at most 1,024 of them; beyond that, all are the last one.
    pub fn interface(&self, name: &str, medium: Medium) -> Interface {
        let id = lock(&self.0).add_interface(name, medium);
        Interface { file: self.0.clone(), id }
    }

    /// Writes the buffer, and flushes the writer.
    ///
    /// # Errors
    ///
    /// The error of the writer.
    pub fn flush(&self) -> io::Result<()> {
        lock(&self.0).flush()
    }

    /// The counters so far.
    pub fn statistics(&self) -> RecorderStatistics {
        lock(&self.0).statistics
    }
}

impl Interface {
    /// Records a frame with its time and direction.
    pub fn record(&self, at: Instant, direction: Direction, frame: &[u8]) {
        lock(&self.file).add_frame(self.id, at, direction, frame);
    }
}

impl File {
    fn add_interface(&mut self, name: &str, medium: Medium) -> u32 {
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
        count as u32
    }

    fn add_frame(&mut self, interface: u32, at: Instant, direction: Direction, frame: &[u8]) {
        let kept = &frame[..frame.len().min(self.snap_bytes)];
        if !self.has_room(kept.len()) {
            self.write_out();
            if !self.has_room(kept.len()) {
                self.statistics.lost += 1;
                return;
            }
        }
        self.grow(kept.len());
        let flags = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: self.time_of(at),
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(kept),
            options: vec![EnhancedPacketOption::Flags(flags)],
        };
        self.encoder.write_pcapng_block(block).expect("memory, and an interface of this file");
        self.statistics.frames += 1;
        if self.encoder.get_ref().len() >= WRITE_BYTES && !self.has_failed {
            self.write_out();
        }
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
        let result = self.write_all();
        if let Err(error) = &result
            && !self.has_failed
        {
            tracing::warn!(%error, "a capture cannot be written");
        }
        self.has_failed = result.is_err();
        result
    }

    /// Resumes exactly behind the last byte that the writer took, so that the file stays readable.
    fn write_all(&mut self) -> io::Result<()> {
        while let left @ [_, ..] = &self.encoder.get_ref()[self.written..] {
            let writer = &mut self.writer;
            match call(&mut self.is_broken, || writer.write(left)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.encoder.get_mut().clear();
        self.written = 0;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.try_write_out()?;
        let writer = &mut self.writer;
        call(&mut self.is_broken, || writer.flush())
    }
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
        // There is no caller left to return an error to.
        let _ = self.flush();
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("statistics", &self.statistics).finish_non_exhaustive()
    }
}

fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    /// A shared in-memory disk with limited room.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn new(room: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn set_room(&self, room: usize) {
            self.0.lock().expect("not poisoned").1 = room;
        }

        /// The data, time, direction and original length of each frame.
        fn frames(&self) -> Vec<(Vec<u8>, Duration, u32, u32)> {
            let bytes = self.0.lock().expect("not poisoned").0.clone();
            let mut reader = PcapNgReader::new(&bytes[..]).expect("a section");
            let mut frames = Vec::new();
            while let Some(block) = reader.next_block() {
                if let Block::EnhancedPacket(block) = block.expect("a whole block") {
                    let [EnhancedPacketOption::Flags(flags)] = block.options[..] else {
                        panic!("no direction")
                    };
                    let data = block.data.to_vec();
                    frames.push((data, block.timestamp, flags, block.original_len));
                }
            }
            frames
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().expect("not poisoned");
            let taken = bytes.len().min(disk.1.saturating_sub(disk.0.len()));
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_read_back_with_their_times_and_directions() {
        let disk = Disk::new(usize::MAX);
        let recorder = Recorder::new(disk.clone()).snap_bytes(100);
        let interface = recorder.interface("near", Medium::Ethernet);
        let start = Instant::now();
        let later = start + Duration::from_nanos(1_000_000_007);

        interface.record(start, Direction::Inbound, &[1; 60]);
        interface.record(later, Direction::Outbound, &[2; 1514]);
        recorder.flush().expect("room");

        let frames = disk.frames();
        assert_eq!((&frames[0].0, frames[0].2, frames[0].3), (&vec![1; 60], 1, 60));
        assert_eq!((&frames[1].0, frames[1].2, frames[1].3), (&vec![2; 100], 2, 1514));
        assert_eq!(frames[1].1 - frames[0].1, later - start);
    }

    #[test]
    fn buffer_is_flushed_when_the_last_handle_is_dropped() {
        let disk = Disk::new(usize::MAX);
        let recorder = Recorder::new(disk.clone());
        let interface = recorder.interface("", Medium::Ip);
        drop(recorder);
        interface.record(Instant::now(), Direction::Outbound, b"packet");

        drop(interface);

        assert_eq!(disk.frames().len(), 1);
    }

    #[test]
    fn a_full_disk_loses_frames_and_the_file_stays_readable() {
        let disk = Disk::new(100_001);
        let recorder = Recorder::new(disk.clone());
        let interface = recorder.interface("", Medium::Ethernet);
        let mut frames = 0_u64;
        while recorder.statistics().lost < 10 {
            interface.record(Instant::now(), Direction::Inbound, &[7; 1500]);
            frames += 1;
        }
        assert!(recorder.flush().is_err());

        disk.set_room(usize::MAX);
        interface.record(Instant::now(), Direction::Inbound, &[8; 1500]);
        recorder.flush().expect("room again");

        assert_eq!(disk.frames().len() as u64, frames + 1 - 10);
        assert_eq!(disk.frames().last().expect("one").0, [8; 1500]);
        assert_eq!(recorder.statistics(), RecorderStatistics { frames: frames - 9, lost: 10 });
    }

    #[test]
    fn a_writer_that_panics_is_not_called_again() {
        struct Panics(Arc<Mutex<u32>>);
        impl Write for Panics {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                panic!("as the test wants");
            }

            fn flush(&mut self) -> io::Result<()> {
                panic!("as the test wants, too");
            }
        }
        let calls = Arc::new(Mutex::new(0));
        let recorder = Recorder::new(Panics(calls.clone()));
        let interface = recorder.interface("", Medium::Ip);
        while recorder.statistics().lost < 10 {
            interface.record(Instant::now(), Direction::Inbound, &[7; 1500]);
        }

        let flushed = recorder.flush().map_err(|error| error.to_string());

        assert_eq!(flushed.err().as_deref(), Some("the writer of the capture panicked"));
        drop((recorder, interface));
        assert_eq!(*calls.lock().expect("not poisoned"), 1);
    }

    #[test]
    fn interfaces_are_bounded() {
        let disk = Disk::new(usize::MAX);
        let recorder = Recorder::new(disk.clone());
        for number in 0..INTERFACES_MAX + 10 {
            let interface = recorder.interface(&number.to_string(), Medium::Ethernet);
            interface.record(Instant::now(), Direction::Inbound, b"frame");
        }
        recorder.flush().expect("room");

        assert_eq!(lock(&recorder.0).encoder.interfaces().len(), INTERFACES_MAX);
        assert_eq!(disk.frames().len(), INTERFACES_MAX + 10);
    }
}
