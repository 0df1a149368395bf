//! The way out of one connection: from smoltcp to the link.

use super::wire::{self, Wire};
use crate::counters::DropReason;
use crate::ip::addressing::NextHop;
use crate::link::Link;
use crate::output::{Checksums, Output};
use crate::segment::{self, TcpHeaders};
use crate::tcp::engine::Sink;
use std::num::NonZeroUsize;

/// Where the packets of one connection go.
pub(crate) struct ConnectionSink<'a, 'o, L> {
    wire: &'a mut Wire,
    way: NextHop,
    output: &'a mut Output<'o, L>,
    sent_bytes: usize,
    /// Packets of more bytes than this have to be cut.
    cut_above: usize,
}

impl<'a, 'o, L: Link> ConnectionSink<'a, 'o, L> {
    /// A sink for packets that carry no data, or that need not be cut here.
    pub(crate) fn new(wire: &'a mut Wire, way: NextHop, output: &'a mut Output<'o, L>) -> Self {
        Self { wire, way, output, sent_bytes: 0, cut_above: usize::MAX }
    }

    /// From now on cuts packets that are too large for the link, or for the path.
    pub(crate) fn cut_to_path(&mut self) {
        let mtu = self.output.state.capabilities.mtu;
        self.cut_above = self.wire.headers() + self.wire.piece_bytes(mtu);
    }

    /// How much it has taken, cut or not.
    pub(crate) fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    /// Takes a packet that has become too large since the connection began: smoltcp goes on with
    /// the segments that it began with.
    ///
    /// Its pieces wait for room as the stack's own answers do: if each time the first alone found
    /// some, the connection would crawl from timeout to timeout.
    #[cold]
    fn take_apart<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut packet = vec![0; len];
        let result = fill(&mut packet);
        let capabilities = self.output.state.capabilities;
        self.wire.finish(&mut packet, Checksums::Partial, &capabilities);
        let at = TcpHeaders { ip: 0, tcp: wire::ip_header_len(self.wire.flow().local()) };
        let piece = self.wire.piece_bytes(capabilities.mtu);
        let piece = NonZeroUsize::new(piece).unwrap_or(NonZeroUsize::MIN);
        segment::cut_segments(&packet, at, piece, |piece| self.output.reply(self.way, piece));
        result
    }
}

impl<L: Link> Sink for ConnectionSink<'_, '_, L> {
    fn has_room(&mut self) -> bool {
        self.output.has_room(self.way)
    }

    fn take<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.sent_bytes += len;
        if len > self.cut_above {
            return self.take_apart(len, fill);
        }
        let capabilities = self.output.state.capabilities;
        let mut fill = Some(fill);
        let sent = self.output.send(self.way, len, |packet, checksums| {
            let fill = fill.take().expect("called once");
            let result = fill(packet);
            (result, self.wire.finish(packet, checksums, &capabilities))
        });
        if let Some(result) = sent {
            return result;
        }
        // An immediate answer that found no room: lost, as on a wire. TCP recovers.
        self.output.state.counters.drop(DropReason::ReplyQueueFull);
        let fill = fill.take().expect("`send` did not call it");
        fill(&mut vec![0; len])
    }
}
