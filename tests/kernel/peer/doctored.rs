//! Captures in which something is wrong, of packets that no stack has sent: both judges must find it.

use super::rules::{
    ACKNOWLEDGED, BACK, BEYOND, GAP, LARGE, NOT_NEWEST, NOT_PERMITTED, NOT_RECEIVED, Rules, SACKED,
    SHRINKS, UNTRUE,
};
use super::segment::{ACK, SYN, Segment};
use super::stamps::{CLOCK, ECHO, UNSTAMPED};
use super::verdict;
use crate::namespace::Outcome;
use netstack::Direction::{self, Inbound, Outbound};
use netstack::capture::Recorder;
use netstack::netsocket::netcore::Medium;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A conversation, as the stack's device sees it.
struct Talk {
    port: u16,
    packets: Vec<(Direction, Vec<u8>)>,
}

/// What is in a segment, besides its direction.
#[derive(Clone, Copy, Default)]
struct Words<'a> {
    /// Relative to the SYN, as the acknowledgment and the blocks are.
    sequence: u32,
    acknowledgment: u32,
    window: u16,
    flags: u8,
    options: &'a [u8],
    blocks: &'a [(u32, u32)],
    /// TSval and TSecr.
    stamp: Option<(u32, u32)>,
    payload: usize,
}

const UNACCEPTABLE: u16 = 25;
/// The peer's window, the stack's, and the peer's MSS, in bytes.
const THEIR_WINDOW: u16 = 5000;
const OUR_WINDOW: u16 = 8000;
const MSS: u16 = 1200;
/// The initial sequence numbers, near the end of all numbers.
const OURS: u32 = u32::MAX - 1500;
const THEIRS: u32 = u32::MAX - 2500;
const SACK_PERMITTED: &[u8] = &[2, 4, (MSS >> 8) as u8, MSS as u8, 4, 2, 1, 1];
const NO_SACK: &[u8] = &[2, 4, (MSS >> 8) as u8, MSS as u8];

impl Talk {
    /// The stack has sent three segments, of which two are acknowledged; it has received the first
    /// and the third of three.
    fn new(port: u16, options: &[u8]) -> Self {
        let mut talk = Self { port, packets: Vec::new() };
        let theirs = Words { window: THEIR_WINDOW, flags: ACK, ..Words::default() };
        talk.say(Inbound, Words { flags: SYN, options, ..theirs });
        talk.say(
            Outbound,
            Words { sequence: 0, acknowledgment: 1, flags: SYN | ACK, options, ..ours() },
        );
        talk.say(Inbound, Words { sequence: 1, acknowledgment: 1, ..theirs });
        for sequence in [1, 1001, 2001] {
            talk.say(Outbound, Words { sequence, acknowledgment: 1, payload: 1000, ..ours() });
        }
        let theirs = Words { acknowledgment: 2001, payload: 1000, ..theirs };
        talk.say(Inbound, Words { sequence: 1, ..theirs });
        talk.say(Inbound, Words { sequence: 2001, ..theirs });
        talk
    }

    /// Both have timestamps; the stack has received a segment and acknowledged it.
    fn stamped(port: u16) -> Self {
        let mut talk = Self { port, packets: Vec::new() };
        let options = SACK_PERMITTED;
        let [theirs, ours] = [THEIR_WINDOW, OUR_WINDOW].map(|window| Words {
            window,
            flags: ACK,
            sequence: 1,
            ..Words::default()
        });
        let syn = Words { sequence: 0, flags: SYN, options, stamp: Some((100, 0)), ..theirs };
        talk.say(Inbound, syn);
        let (flags, stamp) = (SYN | ACK, Some((7, 100)));
        talk.say(Outbound, Words { acknowledgment: 1, flags, stamp, sequence: 0, ..ours });
        let next = Words { acknowledgment: 1, stamp: Some((101, 7)), payload: 1000, ..theirs };
        talk.say(Inbound, next);
        talk.say(Outbound, Words { acknowledgment: 1001, stamp: Some((8, 101)), ..ours });
        talk
    }

    fn hears(mut self, words: Words<'_>) -> Self {
        self.say(Inbound, Words { window: THEIR_WINDOW, flags: ACK, ..words });
        self
    }

    fn says(mut self, words: Words<'_>) -> Self {
        self.say(Outbound, Words { flags: ACK, ..words });
        self
    }

    fn say(&mut self, direction: Direction, words: Words<'_>) {
        self.packets.push((direction, packet(self.port, direction, &words)));
    }

    /// The rules that it breaks.
    fn violations(&self) -> Vec<String> {
        let mut rules = Rules::default();
        for (frame, (direction, packet)) in (1..).zip(&self.packets) {
            let segment = Segment::parse(packet).expect("a segment");
            rules.see(*direction == Outbound, frame, &segment);
        }
        let names = rules.violations.iter().map(|it| it.split(':').next().unwrap_or(it).to_owned());
        names.collect()
    }
}

/// The next acknowledgement of the stack, which is right.
fn ours() -> Words<'static> {
    Words {
        sequence: 3001,
        acknowledgment: 1001,
        window: OUR_WINDOW,
        flags: ACK,
        ..Words::default()
    }
}

/// Everything that the rules know, once.
fn doctored() -> Vec<(&'static str, Talk)> {
    let talk = |port| Talk::new(port, SACK_PERMITTED);
    let sacked = Words { sequence: 3001, acknowledgment: 2001, blocks: &[(2501, 3001)], ..ours() };
    let third = &[(2001, 3001)];
    vec![
        (ACKNOWLEDGED, talk(1).says(Words { sequence: 1001, payload: 1000, ..ours() })),
        (SACKED, talk(2).hears(sacked).says(Words { sequence: 2001, payload: 1000, ..ours() })),
        (
            BEYOND,
            (0..5).fold(talk(3), |talk, number| {
                let sequence = 3001 + number * 1000;
                talk.says(Words { sequence, payload: 1000, ..ours() })
            }),
        ),
        (GAP, talk(4).says(Words { sequence: 4001, payload: 1000, ..ours() })),
        (LARGE, talk(5).says(Words { payload: 1201, ..ours() })),
        (BACK, talk(6).says(ours()).says(Words { acknowledgment: 1, window: 9000, ..ours() })),
        (NOT_RECEIVED, talk(7).says(Words { acknowledgment: 4001, ..ours() })),
        (SHRINKS, talk(8).says(ours()).says(Words { window: OUR_WINDOW - 1, ..ours() })),
        (NOT_PERMITTED, Talk::new(9, NO_SACK).says(Words { blocks: third, ..ours() })),
        (UNTRUE, talk(10).says(Words { blocks: &[(2001, 3002)], ..ours() })),
        (
            NOT_NEWEST,
            talk(11)
                .hears(Words { sequence: 4001, acknowledgment: 2001, payload: 1000, ..ours() })
                .says(Words { blocks: &[(2001, 3001), (4001, 5001)], ..ours() }),
        ),
        // The second block is not that of the duplicate.
        (
            NOT_NEWEST,
            talk(15)
                .hears(Words { sequence: 4001, acknowledgment: 2001, payload: 1000, ..ours() })
                .hears(Words { sequence: 2001, acknowledgment: 2001, payload: 1000, ..ours() })
                .says(Words { blocks: &[(2001, 3001), (4001, 5001), (2001, 3001)], ..ours() }),
        ),
        (UNSTAMPED, Talk::stamped(12).says(Words { sequence: 1, ..ours() })),
        (CLOCK, Talk::stamped(13).says(Words { sequence: 1, stamp: Some((7, 101)), ..ours() })),
        (ECHO, Talk::stamped(14).says(Words { sequence: 1, stamp: Some((8, 100)), ..ours() })),
    ]
}

/// What is right, and looks like something that is not.
fn right() -> Vec<Talk> {
    let talk = |port| Talk::new(port, SACK_PERMITTED);
    let sacked = Words { sequence: 3001, acknowledgment: 2001, blocks: &[(2501, 3001)], ..ours() };
    let third = Words { sequence: 2001, acknowledgment: 2001, payload: 1000, ..ours() };
    let answer = Words { acknowledgment: 1, ..Words::default() };
    vec![
        talk(20).says(Words { blocks: &[(2001, 3001)], ..ours() }),
        // What is not acknowledged is sent again.
        talk(21).says(Words { sequence: 2001, payload: 1000, ..ours() }),
        // A duplicate is announced first (RFC 2883): an acknowledged one, and one behind a gap.
        talk(22)
            .hears(Words { sequence: 1, ..third })
            .says(Words { blocks: &[(1, 1001), (2001, 3001)], ..ours() }),
        talk(23).hears(third).says(Words { blocks: &[(2001, 3001), (2001, 3001)], ..ours() }),
        // The peer discards what it has acknowledged selectively (RFC 2018 section 8).
        talk(24)
            .hears(sacked)
            .hears(Words { acknowledgment: 2501, blocks: &[], ..sacked })
            .says(Words { sequence: 2501, payload: 500, ..ours() }),
        // An acknowledgment in a segment that is not acceptable itself does not count.
        talk(UNACCEPTABLE)
            .hears(Words { sequence: 0, acknowledgment: 3001, ..ours() })
            .says(Words { sequence: 2001, payload: 1000, ..ours() }),
        // A probe of a closed window.
        (0..4).fold(talk(26), |talk, number| {
            let payload = if number == 3 { 1 } else { 1000 };
            talk.says(Words { sequence: 3001 + number * 1000, payload, ..ours() })
        }),
        // The timestamp of a segment behind a gap is not echoed, and an old segment is not taken.
        Talk::stamped(27)
            .hears(Words { sequence: 2001, stamp: Some((105, 8)), payload: 10, ..answer })
            .says(Words { sequence: 1, stamp: Some((8, 101)), blocks: &[(2001, 2011)], ..ours() })
            .hears(Words { sequence: 1001, stamp: Some((99, 8)), payload: 10, ..answer })
            .says(Words { sequence: 1, stamp: Some((9, 101)), ..ours() }),
    ]
}

pub(crate) fn findings_of_rules() -> Outcome {
    for (rule, talk) in doctored() {
        assert_eq!(talk.violations(), [rule], "of {}", talk.port);
    }
    for talk in right() {
        assert_eq!(talk.violations(), [""; 0], "of {}", talk.port);
    }
    Ok(())
}

pub(crate) fn findings_of_tshark() -> Outcome {
    let file = tempfile::NamedTempFile::new()?;
    let recorder = Recorder::new(file.reopen()?);
    let interface = recorder.interface("", Medium::Ip);
    let mut damaged = Talk::new(30, SACK_PERMITTED).says(Words { payload: 10, ..ours() });
    *damaged.packets.last_mut().expect("some").1.last_mut().expect("bytes") ^= 1;
    let wrong = doctored().into_iter().map(|(_, talk)| talk);
    for talk in wrong.chain(right()).chain([damaged]) {
        for (direction, packet) in &talk.packets {
            interface.record(Instant::now(), *direction, packet);
        }
    }
    recorder.flush()?;

    let found = verdict::tshark(file.path())?.into_iter();
    let mut found: BTreeMap<_, _> = found.map(|it| (it.port, it.message)).collect();

    for (port, part) in [(1, "spurious"), (7, "ACKed segment"), (30, "checksum")] {
        let finding = found.remove(&port).ok_or(part)?;
        assert!(finding.contains(part), "{finding}");
    }
    // It knows of no acceptability; the judge does.
    assert!(found.remove(&UNACCEPTABLE).is_some(), "{found:?}");
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}

/// An IPv4 packet from or to a port of the stack.
fn packet(port: u16, direction: Direction, words: &Words<'_>) -> Vec<u8> {
    let (stack, peer) = (([10, 9, 0, 2], port), ([10, 9, 0, 1], 7777));
    let (from, to, own, others) = match direction {
        Outbound => (stack, peer, OURS, THEIRS),
        Inbound => (peer, stack, THEIRS, OURS),
    };
    let mut options = words.options.to_vec();
    if !words.blocks.is_empty() {
        options.extend([1, 1, 5, 2 + 8 * words.blocks.len() as u8]);
    }
    for number in words.blocks.iter().flat_map(|(left, right)| [left, right]) {
        options.extend(others.wrapping_add(*number).to_be_bytes());
    }
    if let Some((value, echo)) = words.stamp {
        options.extend([1, 1, 8, 10]);
        options.extend([value.to_be_bytes(), echo.to_be_bytes()].concat());
    }
    let mut tcp = Vec::new();
    tcp.extend([from.1.to_be_bytes(), to.1.to_be_bytes()].concat());
    tcp.extend(own.wrapping_add(words.sequence).to_be_bytes());
    let acknowledgment = others.wrapping_add(words.acknowledgment);
    tcp.extend(if words.flags & ACK == 0 { 0 } else { acknowledgment }.to_be_bytes());
    tcp.extend([(20 + options.len() as u8) << 2, words.flags]);
    tcp.extend(words.window.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    tcp.resize(tcp.len() + words.payload, 7);
    let len = (tcp.len() as u16).to_be_bytes();
    let pseudo = [&from.0[..], &to.0, &[0, 6], &len, &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let total = (20 + tcp.len() as u16).to_be_bytes();
    let mut packet = [&[0x45, 0], &total[..], &[0, 0, 0, 0, 64, 6, 0, 0], &from.0, &to.0].concat();
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(tcp);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let sum: u32 = words.map(u32::from).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}
