//! What the wire says of a connection.

use super::Wire;
use crate::tcp::info::TcpInfo;

impl Wire {
    /// Fills in what was agreed on, windows and sizes, on a link with this MTU.
    pub(crate) fn describe(&self, info: &mut TcpInfo, link_mtu: usize) {
        info.sack = self.has_sack;
        info.timestamps = self.stamps.is_agreed();
        info.snd_wscale = self.is_scaled.then_some(self.remote_shift);
        info.rcv_wscale = self.is_scaled.then_some(self.local_shift);
        info.segs_out = self.segs_out;
        info.snd_wnd = self.offered_window().unwrap_or(0).into();
        info.rcv_wnd = self.window_left().into();
        info.snd_mss = self.piece_bytes(link_mtu) as u32;
        info.rcv_mss = self.acks.segment_bytes();
        info.advmss = self.local_mss.into();
        info.pmtu = self.path_mtu(link_mtu) as u32;
    }
}
