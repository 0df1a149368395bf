//! A device with every peer of the world behind it, none of which remembers anything.

use bytes::Bytes;
use netcore::Medium;
use netcore::{Frame, FrameChecksum, Link, LinkCapabilities, Offload, Slot};
use netstack::device::Device;
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

/// A stateless echo client: answers a SYN, sends data back, and closes when it is closed, each
/// segment derived from the one that it answers. So a process with a stack on this has the memory
/// of one end.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    replies: VecDeque<Frame>,
    buffer: Vec<u8>,
}

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
/// The largest segment, and a window scale of 7.
const SYN_OPTIONS: [u8; 8] = [2, 4, 5, 180, 3, 3, 7, 1];
const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;
/// Where every peer begins to count.
const ISN: u32 = 1_000_000;

/// The answer to an IPv4 packet, if one is due.
fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let header = usize::from(packet[0] & 0xf) * 4;
    if packet[0] >> 4 != 4 || packet[9] != 6 {
        return None;
    }
    let segment = &packet[header..];
    let word = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().expect("four bytes"));
    let (sequence, acknowledgement, flags) = (word(4), word(8), segment[13]);
    let payload = &segment[usize::from(segment[12] >> 4) * 4..];
    let is_syn = flags & SYN != 0;
    if flags & RST != 0 || (!is_syn && flags & FIN == 0 && payload.is_empty()) {
        return None;
    }
    let options: &[u8] = if is_syn { &SYN_OPTIONS } else { &[] };
    let taken = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
    let len = IP_HEADER + TCP_HEADER + options.len() + payload.len();
    let mut reply = vec![0; len];
    reply[0] = 0x45;
    reply[2..4].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    reply[8] = 64;
    reply[9] = 6;
    reply[12..16].copy_from_slice(&packet[16..20]);
    reply[16..20].copy_from_slice(&packet[12..16]);
    let sum: u32 = reply[..IP_HEADER]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    reply[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let out = &mut reply[IP_HEADER..];
    out[0..2].copy_from_slice(&segment[2..4]);
    out[2..4].copy_from_slice(&segment[0..2]);
    let from = if is_syn { ISN } else { acknowledgement };
    out[4..8].copy_from_slice(&from.to_be_bytes());
    out[8..12].copy_from_slice(&sequence.wrapping_add(taken).to_be_bytes());
    out[12] = (((TCP_HEADER + options.len()) / 4) as u8) << 4;
    out[13] = ACK | (flags & (SYN | FIN));
    out[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    out[TCP_HEADER..][..options.len()].copy_from_slice(options);
    out[TCP_HEADER + options.len()..].copy_from_slice(payload);
    Some(reply)
}

impl Link for Mirror {
    type Slot<'a> = &'a mut Self;

    fn capabilities(&self) -> LinkCapabilities {
        let mut capabilities = LinkCapabilities::new(Medium::Ip, 1500);
        capabilities.checksum_offload = true;
        capabilities
    }

    fn receive(&mut self) -> Option<Frame> {
        self.replies.pop_front()
    }

    fn transmit(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

impl Slot for &mut Mirror {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.buffer.resize(len, 0);
        let (result, _) = fill(&mut self.buffer);
        if let Some(reply) = answer(&self.buffer) {
            let data = Bytes::from(reply);
            self.replies.push_back(Frame::new(data, FrameChecksum::Trusted));
        }
        result
    }
}

impl Device for Mirror {
    fn poll_receive(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing comes but what answers.
        if self.replies.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
