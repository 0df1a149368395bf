//! What a connection's segments look like on the wire, and what smoltcp may see of them.

mod describe;
mod syn;
mod writing;

use super::acks::Acks;
use super::guard::{self, Sequences};
use super::options::{self, SACK_PERMITTED, WINDOW_SCALE, mss_option};
use super::sequence::{is_after, later};
use super::timestamps::{LastStamps, Stamp, Timestamps};
use crate::ip::HOP_LIMIT;
use crate::ip::path_mtu::PathMtu;
use crate::tcp::engine::Socket;
use crate::tcp::flow_table::FlowKey;
use crate::time::Instant;
use crate::wire::{TCP_HEADER_LEN, TcpPacket};
use std::net::SocketAddr;

/// The wire's view of one connection: what its segments have carried, which smoltcp does not know.
#[derive(Debug)]
pub(crate) struct Wire {
    flow: FlowKey,
    /// The largest segment that this end takes, as it announces it.
    local_mss: u16,
    /// The payload of a full segment to the peer.
    segment_bytes: u16,
    /// Path MTU to the peer, as routers have reported it.
    path: Option<PathMtu>,
    /// What routers are asked for; see [`Options::traffic_class`](crate::tcp::Options).
    pub(crate) traffic_class: u8,
    /// The peer's initial sequence number, once it is known.
    remote_isn: Option<u32>,
    /// How many bytes of the peer's have arrived in order; its FIN counts as one.
    received: u32,
    /// This end's initial sequence number, once it was sent.
    local_isn: Option<u32>,
    /// How many bytes the peer has acknowledged; the FIN counts as one.
    taken_by_peer: u32,
    is_fin_acknowledged: bool,
    /// The end of the receive window, as far as there is room for it.
    window_end: Option<u32>,
    /// The largest receive window that this end will ever offer, in bytes.
    window_max: u32,
    /// The receive window of a SYN, in bytes.
    window_first: u32,
    pub(crate) acks: Acks,
    pub(crate) stamps: Timestamps,
    /// Time to live or hop limit of segments that carry data.
    pub(crate) hop_limit: u8,
    /// Whether the peer acknowledges selectively (RFC 2018).
    has_sack: bool,
    /// One past the highest sequence number sent.
    sent_end: Option<u32>,
    /// SND.NXT: the same, but for the byte of a window probe, which the peer need not have taken.
    next: Option<u32>,
    /// The last acknowledgement sent.
    acknowledged: Option<u32>,
    /// The window that this end announced last, in bytes.
    announced: u32,
    /// The furthest end of a window that this end has announced.
    edge: Option<u32>,
    /// Segments sent.
    segs_out: u64,
    /// Whether both ends scale their windows (RFC 7323).
    is_scaled: bool,
    /// By how many bits the windows that this end announces are shifted.
    local_shift: u8,
    /// The same of the windows that the peer offers.
    remote_shift: u8,
    /// The window that the peer offered last, as its segment had it.
    offered: u16,
    /// The largest window that the peer has offered, in bytes.
    offered_max: u32,
}

/// MSS of a peer whose SYN has none (RFC 9293 section 3.7.1).
const MSS_DEFAULT: u16 = 536;
/// Below this an MTU leaves too little room for data; Linux refuses smaller ones for IPv4.
const MSS_MIN: u16 = 48;
/// The largest shift of a window (RFC 7323 section 2.3).
const WINDOW_SHIFT_MAX: u8 = 14;

/// Flags of a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flags {
    pub(crate) push: bool,
    pub(crate) fin: bool,
    /// Its byte lies behind the peer's window.
    pub(crate) is_window_probe: bool,
}

/// The last numbers of a connection that has closed: what TIME-WAIT acknowledges with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastWords {
    /// The next sequence number of this end: one past its FIN.
    pub(crate) sequence: u32,
    /// The next expected of the peer: one past its FIN.
    pub(crate) acknowledgement: u32,
    /// The end of the window that was announced last.
    pub(crate) edge: u32,
    pub(crate) stamps: Option<LastStamps>,
    /// The window until there, as a segment has it: one that was offered does not shrink (RFC 9293
    /// section 3.8.6.2.1), and Linux repeats it in TIME-WAIT, too.
    pub(crate) window: u16,
}

impl Wire {
    /// The window that the peer offered last, in bytes, if it is known.
    pub(crate) fn offered_window(&self) -> Option<u32> {
        self.remote_isn.map(|_| u32::from(self.offered) << self.remote_shift)
    }

    /// The wire of a connection with packets of at most `mtu` bytes, and segments of at most
    /// `mss_max`, that offers `window_first` bytes at first and at most `window_max`, and timestamps
    /// with an offset if there is one.
    pub(crate) fn new(
        flow: FlowKey,
        mtu: usize,
        mss_max: Option<u16>,
        (window_first, window_max): (u32, u32),
        stamp_offset: Option<u32>,
    ) -> Self {
        let headers = ip_header_len(flow.local()) + TCP_HEADER_LEN;
        let local_mss = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
        let local_mss = local_mss.min(mss_max.unwrap_or(u16::MAX)).max(MSS_MIN);
        Self {
            flow,
            local_mss,
            segment_bytes: MSS_DEFAULT.min(local_mss),
            path: None,
            traffic_class: 0,
            remote_isn: None,
            received: 0,
            local_isn: None,
            taken_by_peer: 0,
            is_fin_acknowledged: false,
            window_end: None,
            window_max,
            window_first,
            acks: Acks::default(),
            stamps: Timestamps::new(stamp_offset),
            hop_limit: HOP_LIMIT,
            has_sack: false,
            sent_end: None,
            next: None,
            acknowledged: None,
            announced: 0,
            edge: None,
            segs_out: 0,
            is_scaled: false,
            local_shift: 0,
            remote_shift: 0,
            offered: 0,
            offered_max: 0,
        }
    }

    pub(crate) fn flow(&self) -> FlowKey {
        self.flow
    }

    /// The payload of a full segment to the peer, in bytes.
    pub(crate) fn segment_bytes(&self) -> usize {
        usize::from(self.segment_bytes)
    }

    /// The payload of the largest segment that this end takes, in bytes.
    pub(crate) fn local_mss(&self) -> usize {
        usize::from(self.local_mss)
    }

    /// Sends no packets that are larger than the path takes, until that is forgotten.
    pub(crate) fn narrow(&mut self, path: PathMtu) {
        self.path = Some(path);
    }

    /// The path may have become wider: tries large packets again.
    pub(crate) fn forget_path(&mut self, now: Instant) {
        if self.path.is_some_and(|path| path.until <= now) {
            self.path = None;
        }
    }

    /// The largest packet to the peer, in bytes, over a link with this MTU.
    pub(crate) fn path_mtu(&self, link_mtu: usize) -> usize {
        self.path.map_or(link_mtu, |path| link_mtu.min(usize::from(path.mtu)))
    }

    /// The payload that a packet to the peer has room for now, over a link with this MTU.
    pub(crate) fn piece_bytes(&self, link_mtu: usize) -> usize {
        self.segment_bytes().min(self.room_in(self.path_mtu(link_mtu)))
    }

    /// The payload that a packet of so many bytes has room for.
    fn room_in(&self, mtu: usize) -> usize {
        mtu.saturating_sub(self.headers()).max(usize::from(MSS_MIN))
    }

    /// The headers of a segment, with its timestamps and without other options, in bytes.
    pub(crate) fn headers(&self) -> usize {
        ip_header_len(self.flow.local()) + TCP_HEADER_LEN + self.stamps.option_bytes()
    }

    /// Whether a segment with this sequence number is on its way to the peer, as far as is known.
    pub(crate) fn is_under_way(&self, sequence: u32) -> bool {
        let (Some(end), Some(isn)) = (self.sent_end, self.local_isn) else { return false };
        let start = self.sequences().map_or(isn, |at| at.unacknowledged);
        sequence.wrapping_sub(start) < end.wrapping_sub(start)
    }

    /// Notes a SYN of the peer and returns it as smoltcp may see it: with an MSS that this end's
    /// MTU allows.
    pub(crate) fn received_syn(&mut self, packet: &[u8], tcp_start: usize) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let mut segment = TcpPacket::new_unchecked(&mut packet[tcp_start..]);
        let remote_isn = segment.seq_number().0 as u32;
        self.remote_isn = Some(remote_isn);
        // What this end's own SYN announced, if it was the first.
        self.edge = Some(remote_isn.wrapping_add(1).wrapping_add(self.announced));
        match options::find(segment.options_mut(), WINDOW_SCALE) {
            Some([shift]) => {
                self.remote_shift = (*shift).min(WINDOW_SHIFT_MAX);
                self.is_scaled = true;
            }
            // Both ends have to scale their windows, or neither does.
            _ => (self.local_shift, self.remote_shift) = (0, 0),
        }
        self.offered = segment.window_len();
        self.offered_max = u32::from(self.offered);
        self.has_sack = options::find(segment.options_mut(), SACK_PERMITTED).is_some();
        self.stamps.on_syn(options::stamp(segment.options_mut()));
        let stamp_bytes = self.stamps.option_bytes() as u16;
        self.segment_bytes = self.segment_bytes.saturating_sub(stamp_bytes).max(MSS_MIN);
        if let Some(mss) = mss_option(segment.options_mut()) {
            // A zero is as good as none, to Linux and to smoltcp.
            let announced = match u16::from_be_bytes(*mss) {
                0 => MSS_DEFAULT,
                announced => announced.max(MSS_MIN),
            };
            let path = self.path.map_or(usize::MAX, |path| usize::from(path.mtu));
            let room = u16::try_from(self.room_in(path)).unwrap_or(u16::MAX);
            // The MSS says nothing of options: a segment with some has less payload (RFC 6691).
            let full = announced.min(self.local_mss).saturating_sub(stamp_bytes);
            self.segment_bytes = full.min(room).max(MSS_MIN);
            *mss = self.segment_bytes.to_be_bytes();
        }
        packet
    }

    /// Notes the window field of a segment that is no SYN.
    pub(crate) fn on_window(&mut self, window: u16) {
        self.offered = window;
        self.offered_max = self.offered_max.max(u32::from(self.offered) << self.remote_shift);
    }

    /// By how many bits the windows that the peer offers are shifted.
    pub(crate) fn remote_shift(&self) -> u8 {
        self.remote_shift
    }

    /// Where the connection stands, once both ends have sent a SYN.
    #[inline]
    pub(crate) fn sequences(&self) -> Option<Sequences> {
        let first = self.local_isn?.wrapping_add(1);
        let expected = self.expected()?;
        let edge = self.edge?;
        Some(Sequences {
            unacknowledged: first.wrapping_add(self.taken_by_peer),
            sent_end: self.sent_end?,
            offered_max: self.offered_max,
            offered: self.offered,
            expected,
            // The peer's FIN may lie behind it.
            edge: if is_after(expected, edge) { expected } else { edge },
            recent: self.stamps.recent(),
        })
    }

    /// Notes the timestamps of an acceptable segment that begins at a sequence number.
    #[inline]
    pub(crate) fn on_stamp(&mut self, stamp: Option<Stamp>, sequence: u32) {
        if let Some(stamp) = stamp
            && self.acknowledged.is_some_and(|last| !is_after(sequence, last))
        {
            self.stamps.on_segment(stamp.value);
        }
    }

    /// Notes that so many bytes have arrived in order; the FIN counts as one.
    pub(crate) fn on_received(&mut self, bytes: usize) {
        self.received = self.received.wrapping_add(bytes as u32);
    }

    /// RCV.NXT, once the peer has sent a SYN.
    pub(crate) fn expected(&self) -> Option<u32> {
        Some(self.remote_isn?.wrapping_add(1).wrapping_add(self.received))
    }

    /// The bytes that the peer may still send into the window that was announced.
    pub(crate) fn window_left(&self) -> u32 {
        match (self.expected(), self.edge) {
            (Some(expected), Some(edge)) if is_after(edge, expected) => edge.wrapping_sub(expected),
            _ => 0,
        }
    }

    /// From now on there is room for so many more bytes. The window's end moves if it does so by
    /// `step` bytes or more (RFC 9293 section 3.8.6.2.2), and never back.
    pub(crate) fn set_room(&mut self, room: u32, step: u32) {
        let Some(expected) = self.expected() else { return };
        if i64::from(room) - i64::from(self.room_left()) >= i64::from(step) {
            self.window_end = Some(expected.wrapping_add(room));
        }
    }

    /// What the window that is announced is a multiple of, in bytes (RFC 7323 section 2).
    pub(crate) fn window_unit(&self) -> usize {
        1 << self.local_shift
    }

    /// The bytes before the window's end. That can be up to a unit of the window field further than
    /// what was [announced](Self::window_left).
    pub(crate) fn room_left(&self) -> u32 {
        match (self.expected(), self.window_end) {
            (Some(expected), Some(end)) if is_after(end, expected) => end.wrapping_sub(expected),
            _ => 0,
        }
    }

    /// What smoltcp expects next. It knows of no data: behind the SYN it waits for the FIN.
    pub(crate) fn engine_expected(&self, tcp: &Socket<'_>) -> Option<u32> {
        let fin = u32::from(guard::is_past_fin(tcp.state()));
        Some(self.remote_isn?.wrapping_add(1).wrapping_add(fin))
    }

    /// What smoltcp has sent and has not seen acknowledged: behind the SYN that is the FIN.
    pub(crate) fn engine_unacknowledged(&self) -> Option<u32> {
        Some(self.local_isn?.wrapping_add(1).wrapping_add(u32::from(self.is_fin_acknowledged)))
    }

    /// Notes that the peer has acknowledged bytes, or the FIN.
    pub(crate) fn acknowledged_by_peer(&mut self, bytes: usize, fin: bool) {
        self.is_fin_acknowledged |= fin;
        let len = bytes as u32 + u32::from(fin);
        self.taken_by_peer = self.taken_by_peer.wrapping_add(len);
        if let Some(unacknowledged) = self.unacknowledged() {
            self.next = later(self.next, unacknowledged);
        }
    }

    /// SND.NXT, once this end has sent a SYN.
    pub(crate) fn next(&self) -> Option<u32> {
        self.next
    }

    /// Whether a single segment has left, and so the SYN.
    pub(crate) fn has_sent_once(&self) -> bool {
        self.segs_out == 1
    }

    /// SND.UNA, once this end has sent a SYN.
    pub(crate) fn unacknowledged(&self) -> Option<u32> {
        Some(self.local_isn?.wrapping_add(1).wrapping_add(self.taken_by_peer))
    }

    /// Whether the peer has sent a segment.
    pub(crate) fn has_heard(&self) -> bool {
        self.remote_isn.is_some()
    }

    /// The window that the peer offered last, as its segment had it.
    pub(crate) fn offered(&self) -> u16 {
        self.offered
    }

    /// Whether the peer acknowledges selectively.
    pub(crate) fn has_sack(&self) -> bool {
        self.has_sack
    }

    /// The largest window that the peer has offered, in bytes.
    pub(crate) fn offered_max(&self) -> u32 {
        self.offered_max
    }

    /// One past the highest sequence number sent.
    pub(crate) fn sent_end(&self) -> Option<u32> {
        self.sent_end
    }

    /// The numbers that TIME-WAIT acknowledges with, once both ends have closed.
    pub(crate) fn last_words(&self) -> Option<LastWords> {
        let (acknowledgement, edge) = (self.acknowledged?, self.edge?);
        let room = edge.wrapping_sub(acknowledgement) as i32;
        let window = room.max(0) >> self.local_shift;
        Some(LastWords {
            sequence: self.sent_end?,
            acknowledgement,
            edge,
            stamps: self.stamps.last(),
            window: u16::try_from(window).unwrap_or(u16::MAX),
        })
    }
}

pub(crate) fn ip_header_len(address: SocketAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}
