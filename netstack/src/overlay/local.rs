//! The addresses of this machine.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::time::Instant;

/// Whether an address is one of this machine, remembered for the last address.
#[derive(Debug, Default)]
pub(super) struct LocalAddresses {
    last: Option<(IpAddr, bool, Instant)>,
}

/// How long an answer is true: addresses come and go.
const AGE_MAX: Duration = Duration::from_secs(10);

impl LocalAddresses {
    /// Whether the address of a sender is one of this machine.
    pub(super) fn contains(&mut self, sender: SocketAddr, now: Instant) -> bool {
        if let Some((address, is_local, asked_at)) = self.last
            && address == sender.ip()
            && now.saturating_duration_since(asked_at) < AGE_MAX
        {
            return is_local;
        }
        let mut any_port = sender;
        any_port.set_port(0);
        // The kernel binds to no others.
        let is_local = UdpSocket::bind(any_port).is_ok();
        self.last = Some((sender.ip(), is_local, now));
        is_local
    }
}
