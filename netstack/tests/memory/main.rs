//! Memory that devices and switches keep for frames that are never read.
//!
//! `cargo test -p netstack --all-features --test memory -- --nocapture` prints the tables. The
//! allocator counts for each thread, so the tests do not disturb each other.

#![allow(clippy::print_stdout, reason = "the tables are what the tests are run for")]

#[cfg(any(feature = "sim", feature = "capture"))]
use bytes::Bytes;
use netcore::{Link as _, Offload, Slot as _};
use netstack::device::{Device as _, ethernet_pipe};
use netstack::switch::{PortConfig, RawPort, Switch, SwitchConfig, SwitchPort};

/// The buffer that frames are written into together.
const BUFFER_BYTES: usize = netcore::FRAME_BUFFER_BYTES;
/// Frames of the smallest size, of a large MTU, and jumbo packets.
const FRAME_BYTES: [usize; 4] = [60, 1_514, 9_014, 60_000];
/// The cost of a queued frame besides its bytes: up to two slots and an allocation.
const SLOT_BYTES: usize = 256;
const SLACK_BYTES: usize = 256 << 10;
/// The frames at the front of a switch's queue are kept as they came.
const PROMPT_FRAMES: usize = 16;
const QUEUE_FRAMES: usize = 256;
/// The cost of a learned address, with its share of empty slots.
const ADDRESS_BYTES_MAX: usize = 128;

/// Prints a line, and returns what `flood` left on the heap if that is within the bound.
fn assert_bounded<T>(bound: &str, bytes: usize, input: &str, flood: impl FnOnce() -> T) {
    let mut held = None;
    let counted = allocation_counter::measure(|| held = Some(flood()));
    let heap = usize::try_from(counted.bytes_current).expect("something is held");
    println!("{bound:20} {bytes:9} {input:44} {heap:9} {:.2}", heap as f64 / bytes as f64);
    assert!(heap <= bytes / 2 * 3 + SLACK_BYTES, "{bound}, {input}: {heap} of {bytes}");
}

fn kept_frames(len: usize) -> usize {
    PROMPT_FRAMES * BUFFER_BYTES + (QUEUE_FRAMES - PROMPT_FRAMES) * (len + SLOT_BYTES)
}

#[test]
fn a_switch_keeps_frames_without_the_buffers_they_shared() {
    for len in FRAME_BYTES {
        // The other frames of each batch go to a port that is read.
        let input = format!("one of 32, {len} bytes, on a port");
        assert_bounded("queue_frames_max", kept_frames(len), &input, || {
            let (switch, mut sender, quick, slow) = ports();
            for _ in 0..2 * QUEUE_FRAMES {
                send(&mut sender, SLOW, len);
                (0..31).for_each(|_| send(&mut sender, QUICK, 1_514));
                sender.flush();
                while quick.try_recv().is_some() {}
            }
            (switch, sender, quick, slow)
        });
        let input = format!("{len} bytes, one at a time, on a monitor");
        assert_bounded("monitor_frames_max", kept_frames(len), &input, || {
            let (switch, mut sender, quick, slow) = ports();
            let monitor = switch.monitor();
            for _ in 0..2 * QUEUE_FRAMES {
                send(&mut sender, QUICK, len);
                sender.flush();
                while quick.try_recv().is_some() {}
            }
            (switch, sender, quick, slow, monitor)
        });
    }
}

#[test]
fn a_switch_learns_no_more_addresses_than_it_may() {
    let config = SwitchConfig::default();
    let (max, port_max) = (config.addresses_max, config.port_addresses_max);
    let switch = Switch::new(config);
    // Ports that could fill the table twice, each with twice as many addresses as it may have.
    let ports: Vec<_> = (0..2 * max.div_ceil(port_max))
        .map(|_| switch.raw_port(PortConfig::default()).expect("room"))
        .collect();
    let counted = allocation_counter::measure(|| {
        for (index, port) in ports.iter().enumerate() {
            for number in 0..2 * port_max {
                let address = (index * 2 * port_max + number) as u32;
                // Otherwise the first frame, to an unknown address, would wait at each port.
                let mut frame = frame_to(0, 0, 60);
                frame[8..12].copy_from_slice(&address.to_be_bytes());
                port.send(frame.into());
            }
            while ports[0].try_recv().is_some() {}
            let known = switch.addresses().len();
            assert_eq!(known, max.min((index + 1) * port_max), "after {} ports", index + 1);
        }
    });
    let heap = usize::try_from(counted.bytes_current).expect("something is held");
    let each = heap / max;
    let input = format!("{} ports, {} addresses each", ports.len(), 2 * port_max);
    println!("{:20} {max:9} {input:44} {heap:9} {each}", "addresses_max");
    assert!(each <= ADDRESS_BYTES_MAX, "{each} bytes for an address, {ADDRESS_BYTES_MAX} at most");
}

#[test]
fn a_pipe_keeps_frames_and_not_their_buffers() {
    for len in [60, 1_514] {
        let input = format!("{len} bytes, one at a time");
        let bytes = QUEUE_FRAMES * (len + SLOT_BYTES);
        assert_bounded("frames_max", bytes, &input, || {
            let (mut device, far) = ethernet_pipe(QUEUE_FRAMES, 1500);
            while let Some(slot) = device.transmit() {
                slot.send(len, |buffer| (buffer.fill(7), Offload::default()));
                device.flush();
            }
            (device, far)
        });
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_simulated_link_keeps_packets_and_not_their_buffers() {
    use netstack::sim::{Impaired, LinkConfig};
    for len in [60, 1_500, 9_000] {
        let (packets, delay) = (QUEUE_FRAMES, std::time::Duration::from_secs(3600));
        let input = format!("{len} bytes each, an hour in flight");
        assert_bounded("packets in flight", packets * (len + SLOT_BYTES), &input, || {
            let (device, far) = netstack::device::pipe(1, 9_000);
            let mut device = Impaired::new(device, LinkConfig::new().mtu(9_000).delay(delay), 1);
            for _ in 0..packets {
                assert!(far.try_send(part_of_a_buffer(len)));
                assert!(device.receive().is_none(), "it is in flight");
            }
            (device, far)
        });
    }
}

#[cfg(feature = "capture")]
#[test]
fn a_capture_keeps_a_megabyte_for_a_failing_writer() {
    use netcore::Medium;
    use netstack::Direction;
    use netstack::capture::Recorder;
    use std::io::{self, Write};
    use tokio::time::Instant;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    for len in [1, 9_000, 65_549] {
        let input = format!("{len} bytes each, a full disk");
        assert_bounded("1 MiB", 1 << 20, &input, || {
            let recorder = Recorder::new(Full);
            let interface = recorder.interface("", Medium::Ethernet);
            let frame = part_of_a_buffer(len);
            while recorder.statistics().lost < 100 {
                interface.record(Instant::now(), Direction::Inbound, &frame);
            }
            recorder
        });
    }
}

const QUICK: u8 = 2;
const SLOW: u8 = 3;

/// A stack's port that is driven by hand, and two whose addresses the switch knows.
fn ports() -> (Switch, SwitchPort, RawPort, RawPort) {
    let config = SwitchConfig {
        queue_frames_max: QUEUE_FRAMES,
        monitor_frames_max: QUEUE_FRAMES,
        ..SwitchConfig::default()
    };
    let switch = Switch::new(config);
    let sender = switch.port(PortConfig::default()).expect("room");
    let [quick, slow] = [QUICK, SLOW].map(|number| {
        let port = switch.raw_port(PortConfig::default()).expect("room");
        port.send(frame_to(1, number, 60).into());
        port
    });
    // Frames flooded before the switch had learned an address.
    while slow.try_recv().is_some() || quick.try_recv().is_some() {}
    (switch, sender, quick, slow)
}

fn send(port: &mut SwitchPort, to: u8, len: usize) {
    let slot = port.transmit().expect("it has always room");
    slot.send(len, |buffer| {
        buffer.copy_from_slice(&frame_to(to, 1, len));
        ((), Offload::default())
    });
}

/// A TCP segment without payload semantics, so that one of any size can be cut.
fn frame_to(to: u8, from: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from]);
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    frame[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[46] = 0x50;
    frame
}

#[cfg(any(feature = "sim", feature = "capture"))]
fn part_of_a_buffer(len: usize) -> Bytes {
    Bytes::from(vec![7; BUFFER_BYTES]).slice(..len)
}
