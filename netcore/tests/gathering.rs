//! Frames whose payload passes by reference, in slices.

use bytes::Bytes;
use netcore::device::smoltcp::wire::{Ipv4Packet, TcpPacket};
use netcore::queue::{Datagram, SocketQueue, StreamQueue};
use netcore::{
    Command, Config, Error, Frame, FrameChecksum, HasChannel, Instant, Link, LinkCapabilities,
    Medium, Netstack, Offload, Slot, tcp, udp,
};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// One end of a link that gathers.
#[derive(Default)]
struct End {
    sent: VecDeque<Frame>,
    received: VecDeque<Frame>,
}

struct Room<'a>(&'a mut End);

impl Link for End {
    type Slot<'a> = Room<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, 1500).with_offload(Some(65_535)).with_scatter_gather()
    }

    fn receive(&mut self) -> Option<Frame> {
        self.received.pop_front()
    }

    fn transmit(&mut self) -> Option<Room<'_>> {
        Some(Room(self))
    }
}

impl Slot for Room<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.send_gathered(len, &mut Vec::new(), fill)
    }

    fn send_gathered<R>(
        self,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        let mut headers = vec![0; len];
        let (result, _) = fill(&mut headers);
        let mut frame = Frame::new(headers.into(), FrameChecksum::Trusted);
        frame.rest = std::mem::take(payload);
        self.0.sent.push_back(frame);
        result
    }
}

/// What becomes of a frame on its way: the frames that arrive in its place.
type Carry = Box<dyn FnMut(Frame) -> Vec<Frame>>;

/// Two stacks, 10.0.0.1 and fd00::1, and 10.0.0.2 and fd00::2.
struct Two {
    stacks: [Netstack; 2],
    ends: [End; 2],
    now: Instant,
    carry: Carry,
}

impl Two {
    fn new(carry: impl FnMut(Frame) -> Vec<Frame> + 'static) -> Self {
        let stack = |number: u8| {
            let mut stack = Netstack::new(Config::default(), Instant::ZERO);
            for address in [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")] {
                stack.add_address(address.parse().expect("a network")).expect("an address");
            }
            stack
        };
        Self {
            stacks: [stack(1), stack(2)],
            ends: Default::default(),
            now: Instant::ZERO,
            carry: Box::new(carry),
        }
    }

    /// Runs until there is nothing to do, and lets time pass to the next timer.
    fn step(&mut self) {
        loop {
            let mut worked = false;
            for side in 0..2 {
                self.stacks[side].process_cmds();
                worked |= self.stacks[side].poll_link(self.now, &mut self.ends[side]);
                while let Some(frame) = self.ends[side].sent.pop_front() {
                    worked = true;
                    self.ends[1 - side].received.extend((self.carry)(frame));
                }
            }
            if !worked {
                break;
            }
        }
        let due = self.stacks.each_mut().map(|stack| stack.poll_at(self.now));
        let second = self.now + Duration::from_secs(1);
        let due = due.into_iter().flatten().fold(second, Instant::min);
        self.now = due.max(self.now + Duration::from_micros(1));
    }

    /// Creates a socket.
    fn call(&mut self, side: usize, command: impl Into<Command>) -> SocketQueue {
        let channel = self.stacks[side].command_channel();
        let mut reply = pin!(channel.call(None, command));
        for _ in 0..100_000 {
            let polled = reply.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(answer) = polled {
                return answer.expect("no error").1.expect("a queue");
            }
            self.step();
        }
        panic!("no answer");
    }

    /// A connection from the first to the second.
    fn connected(&mut self, remote: &str) -> [Arc<StreamQueue>; 2] {
        let remote = remote.parse().expect("an address");
        let listen = tcp::Command::Listen { local: remote, options: Default::default() };
        let SocketQueue::Accept(accept) = self.call(1, listen) else { panic!("a listener") };
        let connect =
            tcp::Command::Connect { remote, local: None, options: tcp::Options::default() };
        let SocketQueue::Stream(near) = self.call(0, connect) else { panic!("a stream") };
        for _ in 0..10_000 {
            match accept.try_accept() {
                Ok(far) => return [near, far],
                Err(_) => self.step(),
            }
        }
        panic!("no connection");
    }
}

/// Cuts a frame after its headers at these places, as another link might.
fn cut(frame: Frame, places: &[usize]) -> Frame {
    let (whole, headers) = (frame.clone().linearize().data, frame.data.len());
    let mut cut = Frame::new(whole.slice(..headers), frame.checksum);
    let payload = whole.slice(headers..);
    let mut places: Vec<usize> = places.iter().map(|place| place % (payload.len() + 1)).collect();
    places.extend([0, payload.len()]);
    places.sort_unstable();
    cut.rest = places.windows(2).map(|ends| payload.slice(ends[0]..ends[1])).collect();
    cut.rest.retain(|slice| !slice.is_empty());
    cut
}

fn pattern(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|at| (at % 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is lost, repeated, reordered or cut elsewhere.
    #[test]
    fn a_stream_in_slices_arrives_whole(
        is_v6: bool,
        fates in proptest::collection::vec(
            (0..12_u8, proptest::collection::vec(0..70_000_usize, 0..6)),
            20..200,
        ),
        writes in proptest::collection::vec((1..60_000_usize, any::<bool>()), 1..12),
    ) {
        // The first frames of a connection have no data, and the last must not be lost for ever: each
        // fate is that of one frame, and then there are none.
        let is_connected = Rc::new(Cell::new(false));
        let (has_begun, mut fates, mut late) = (is_connected.clone(), fates.into_iter(), None);
        let mut two = Two::new(move |frame| {
            let Some((fate, places)) = has_begun.get().then(|| fates.next()).flatten() else {
                return late.take().into_iter().chain([frame]).collect();
            };
            let frame = if frame.rest.is_empty() { frame } else { cut(frame, &places) };
            match fate {
                0 => Vec::new(),
                1 => vec![frame.clone(), frame],
                2 => late.replace(frame).into_iter().collect(),
                _ => [frame].into_iter().chain(late.take()).collect(),
            }
        });
        let [near, far] = two.connected(if is_v6 { "[fd00::2]:80" } else { "10.0.0.2:80" });
        is_connected.set(true);
        let (mut sent, mut got) = (0, Vec::new());
        for (len, is_copied) in writes {
            let data = pattern(sent..sent + len);
            let mut bytes = Bytes::from(data);
            let mut steps = 0;
            while !bytes.is_empty() {
                prop_assert!(steps < 100_000, "no room after {} of {sent}", got.len());
                let put = match is_copied {
                    true => near.try_send(&bytes).map(|n| drop(bytes.split_to(n))),
                    false => near.try_send_bytes(&mut bytes).map(drop),
                };
                prop_assert!(matches!(put, Ok(()) | Err(Error::WouldBlock)), "{put:?}");
                if put.is_err() {
                    two.step();
                    steps += 1;
                }
                while let Ok(part) = far.try_recv_bytes(100_000) {
                    got.extend_from_slice(&part);
                }
            }
            sent += len;
        }
        for _ in 0..100_000 {
            if got.len() == sent {
                break;
            }
            two.step();
            while let Ok(part) = far.try_recv_bytes(100_000) {
                got.extend_from_slice(&part);
            }
        }

        prop_assert!(got == pattern(0..sent), "{} of {sent} bytes", got.len());
    }
}

/// The addresses of bytes.
fn place(bytes: &[u8]) -> std::ops::Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// Receives so many bytes, in the parts that they come in.
fn receive(two: &mut Two, far: &StreamQueue, len: usize) -> Vec<Bytes> {
    let (mut got, mut parts) = (0, Vec::new());
    for _ in 0..10_000 {
        if got == len {
            return parts;
        }
        two.step();
        while let Ok(part) = far.try_recv_bytes(len) {
            got += part.len();
            parts.push(part);
        }
    }
    panic!("{got} of {len} bytes")
}

#[test]
fn sent_bytes_are_received_without_a_copy() {
    let mut two = Two::new(|frame| vec![frame]);
    let [near, far] = two.connected("10.0.0.2:80");
    let sent = Bytes::from(pattern(0..65_536));

    near.try_send_bytes(&mut sent.clone()).expect("room");
    let parts = receive(&mut two, &far, sent.len());

    assert_eq!(parts.concat(), sent);
    // The end of the stream's packets may be short, and is copied.
    let kept: usize =
        parts.iter().filter(|part| place(&sent).contains(&place(part).start)).map(Bytes::len).sum();
    assert!(kept + 2 * 4096 > sent.len(), "{kept} of {} bytes by reference", sent.len());
}

#[test]
fn written_bytes_are_copied_once() {
    let places = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = places.clone();
    let mut two = Two::new(move |frame| {
        seen.lock().expect("one thread").extend(frame.rest.iter().map(|slice| place(slice)));
        vec![frame]
    });
    let [near, far] = two.connected("10.0.0.2:80");
    let sent = pattern(0..65_536);

    near.try_send(&sent).expect("room");
    let parts = receive(&mut two, &far, sent.len());

    assert_eq!(parts.concat(), sent);
    let places = places.lock().expect("one thread");
    assert!(places.iter().all(|it| !place(&sent).contains(&it.start)), "the writer's own");
    let kept: usize = parts
        .iter()
        .filter(|part| places.iter().any(|it| it.contains(&place(part).start)))
        .map(Bytes::len)
        .sum();
    assert!(kept + 2 * 4096 > sent.len(), "{kept} of {} bytes by reference", sent.len());
}

#[test]
fn what_is_no_tcp_segment_in_slices_is_put_together() {
    let mut two = Two::new(|frame| match frame.data.len() > 60 {
        true => {
            let mut cut = Frame::new(frame.data.slice(..30), frame.checksum);
            cut.rest = vec![frame.data.slice(30..40), frame.data.slice(40..)];
            vec![cut]
        }
        false => vec![frame],
    });
    let sockets = [(0, "10.0.0.1:9"), (1, "10.0.0.2:9")].map(|(side, endpoint)| {
        let endpoint = endpoint.parse().expect("an address");
        match two.call(side, udp::Command::Bind { endpoint }) {
            SocketQueue::Datagram(queue) => queue,
            other => panic!("binding gave {other:?}"),
        }
    });
    let datagram = Datagram::new("10.0.0.2:9".parse().expect("an address"), vec![7; 90].into());

    sockets[0].try_send(datagram).expect("room");
    two.step();

    let received = sockets[1].try_recv().expect("it has arrived");
    assert_eq!(&received.payload[..], [7; 90]);
}

/// The frame of a part of a segment's payload.
fn part_of(frame: &Frame, range: std::ops::Range<usize>) -> Frame {
    let whole = frame.clone().linearize().data;
    let mut headers = frame.data.to_vec();
    let mut ip = Ipv4Packet::new_unchecked(&mut headers[..]);
    ip.set_total_len((frame.data.len() + range.len()) as u16);
    ip.fill_checksum();
    let mut tcp = TcpPacket::new_unchecked(&mut headers[20..]);
    tcp.set_seq_number(tcp.seq_number() + range.start);
    let mut part = Frame::new(headers.into(), frame.checksum);
    part.rest = vec![whole.slice(frame.data.len()..).slice(range)];
    part
}

#[test]
fn slices_that_overlap_what_has_waited_are_taken_once() {
    let mut two = Two::new(|frame| match frame.len() > 20_000 {
        true => vec![part_of(&frame, 5_000..9_000), cut(frame, &[4_000, 7_000, 12_000])],
        false => vec![frame],
    });
    let [near, far] = two.connected("10.0.0.2:80");
    let sent = pattern(0..60_000);
    near.try_send(&sent).expect("room");

    assert!(receive(&mut two, &far, sent.len()).concat() == sent, "other bytes");
}
