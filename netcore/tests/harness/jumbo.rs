//! A link that takes TCP packets of 64 KiB and cuts them.

use bytes::Bytes;
use netcore::Medium;
use netcore::{
    Frame, FrameChecksum, Link, LinkCapabilities, Offload, PipeDev, Slot, TcpHeaders, cut_segments,
};
use std::num::NonZeroUsize;

pub struct Cutter<'a>(pub &'a PipeDev);

pub struct Room<'a>(&'a PipeDev);

impl Link for Cutter<'_> {
    type Slot<'a>
        = Room<'a>
    where
        Self: 'a;

    fn capabilities(&self) -> LinkCapabilities {
        let mut capabilities = LinkCapabilities::new(Medium::Ip, self.0.mtu);
        capabilities.segment_bytes_max = Some(65_535);
        capabilities
    }

    fn receive(&mut self) -> Option<Frame> {
        let data = self.0.pipe.rx.try_recv().ok()?;
        Some(Frame::new(data, FrameChecksum::Unknown))
    }

    fn transmit(&mut self) -> Option<Room<'_>> {
        Some(Room(self.0))
    }
}

impl Slot for Room<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut packet = vec![0; len];
        let (result, offload) = fill(&mut packet);
        let put = |packet: &[u8]| {
            assert!(packet.len() <= self.0.mtu, "{} bytes are more than the MTU", packet.len());
            let _ = self.0.pipe.tx.send(Bytes::copy_from_slice(packet));
        };
        match offload.segment_bytes {
            Some(bytes) => {
                let tcp = if packet[0] >> 4 == 4 { 20 } else { 40 };
                cut_segments(&packet, TcpHeaders { ip: 0, tcp }, NonZeroUsize::from(bytes), put);
            }
            None => put(&packet),
        }
        result
    }
}
