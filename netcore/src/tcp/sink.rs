//! The way out of one connection: from smoltcp to the link.

use super::wire::Wire;
use crate::counters::DropReason;
use crate::ip::addressing::NextHop;
use crate::link::Link;
use crate::output::Output;
use crate::tcp::engine::Sink;

/// Where the packets of one connection go.
pub(crate) struct ConnectionSink<'a, 'o, L> {
    wire: &'a mut Wire,
    way: NextHop,
    output: &'a mut Output<'o, L>,
    /// Whether bare acknowledgements are kept back for the next segment.
    absorbs_acks: bool,
}

impl<'a, 'o, L: Link> ConnectionSink<'a, 'o, L> {
    /// A sink for packets that carry no data, or that need not be cut here.
    pub(crate) fn new(wire: &'a mut Wire, way: NextHop, output: &'a mut Output<'o, L>) -> Self {
        Self { wire, way, output, absorbs_acks: false }
    }

    /// From now on keeps bare acknowledgements back: they leave with data, if there is any.
    pub(crate) fn absorb_acks(mut self) -> Self {
        self.absorbs_acks = true;
        self
    }
}

/// More bytes than an acknowledgement without data has, with all options that smoltcp writes.
const BARE_ACK_MAX: usize = 120;

impl<L: Link> Sink for ConnectionSink<'_, '_, L> {
    fn has_room(&mut self) -> bool {
        self.output.has_room(self.way)
    }

    fn take<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        if self.absorbs_acks && len <= BARE_ACK_MAX {
            let mut packet = [0; BARE_ACK_MAX];
            let packet = &mut packet[..len];
            let result = fill(packet);
            if !self.wire.absorb(packet) {
                self.send(len, |slot| slot.copy_from_slice(packet));
            }
            return result;
        }
        self.send(len, fill)
    }
}

impl<L: Link> ConnectionSink<'_, '_, L> {
    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
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
