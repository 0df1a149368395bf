use super::super::file::INTERFACES_MAX;
use super::*;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::time::Duration;

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
                let [EnhancedPacketOption::Flags(flags), ..] = block.options[..] else {
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

    assert_eq!(lock(&recorder.0).interfaces(), INTERFACES_MAX);
    assert_eq!(disk.frames().len(), INTERFACES_MAX + 10);
}

#[tokio::test(start_paused = true)]
async fn the_last_blocks_are_the_statistics_of_each_interface() {
    let disk = Disk::new(usize::MAX);
    let recorder = Recorder::new(disk.clone());
    let [near, far] = ["near", "far"].map(|name| recorder.interface(name, Medium::Ip));
    near.record(Instant::now(), Direction::Outbound, b"one");
    near.pass_over();
    far.record_commented(Instant::now(), Direction::Inbound, b"two", "dropped: malformed");
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop((near, far, recorder));

    let bytes = disk.0.lock().expect("not poisoned").0.clone();
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a section");
    let (mut comments, mut statistics) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block") {
            Block::EnhancedPacket(block) => {
                comments.extend(block.options.into_iter().filter_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.into_owned()),
                    _ => None,
                }));
            }
            Block::InterfaceStatistics(block) => {
                let counted = block.options.iter().filter_map(|option| match option {
                    InterfaceStatisticsOption::IsbIfRecv(count)
                    | InterfaceStatisticsOption::IsbFilterAccept(count)
                    | InterfaceStatisticsOption::IsbOsDrop(count) => Some(*count),
                    _ => None,
                });
                statistics.push((block.interface_id, counted.collect::<Vec<_>>()));
            }
            _ => assert!(statistics.is_empty(), "the statistics are the last blocks"),
        }
    }
    assert_eq!(comments, ["dropped: malformed"]);
    assert_eq!(statistics, [(0, vec![2, 1, 0]), (1, vec![1, 1, 0])]);
}

#[tokio::test(start_paused = true)]
async fn a_server_hello_is_written_behind_secrets_that_come_soon() {
    const HELLO: [u8; 6] = [22, 3, 3, 0, 90, 2];
    let mut hello = vec![0; 40];
    (hello[0], hello[9], hello[32]) = (0x45, 6, 5 << 4);
    hello.extend(HELLO);
    let disk = Disk::new(usize::MAX);
    let recorder = Recorder::new(disk.clone());
    let interface = recorder.interface("", Medium::Ip);
    let record_many = || {
        for _ in 0..100 {
            interface.record(Instant::now(), Direction::Inbound, &[0; 1000]);
        }
    };
    interface.record(Instant::now(), Direction::Outbound, b"before");
    interface.record(Instant::now(), Direction::Inbound, &hello);

    record_many();
    assert_eq!(disk.frames().len(), 1, "what is before it is written");
    recorder.log_secret("LABEL", &[1; 32], &[2; 32]);
    tokio::time::advance(Duration::from_millis(100)).await;
    record_many();

    let bytes = disk.0.lock().expect("not poisoned").0.clone();
    let at = |part: &[u8]| bytes.windows(part.len()).position(|window| window == part);
    let (before, secret, hello) = (at(b"before"), at(b"LABEL"), at(&HELLO));
    assert!(
        before.is_some() && before < secret && secret < hello,
        "{before:?} {secret:?} {hello:?}"
    );
    assert!(disk.frames().len() > 100);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_buffer_waits_for_secrets() {
    let mut hello = vec![0; 40];
    (hello[0], hello[9], hello[32]) = (0x45, 6, 5 << 4);
    hello.extend([22, 3, 3, 0, 90, 2]);
    let disk = Disk::new(usize::MAX);
    let recorder = Recorder::new(disk.clone());
    let interface = recorder.interface("", Medium::Ip);
    interface.record(Instant::now(), Direction::Inbound, &hello);

    for _ in 0..2000 {
        interface.record(Instant::now(), Direction::Inbound, &[0; 1000]);
    }

    assert!(disk.frames().len() > 1000);
    assert_eq!(recorder.statistics().lost, 0);
}
