//! One peer of a tunnel.

use super::config;
use super::key::Key;
use super::outgoing::Outgoing;
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::PublicKey;
use std::net::SocketAddr;
use std::sync::Arc;

/// The session with a peer, and where it is.
pub(super) struct Peer {
    tunnel: Tunn,
    name: String,
    /// Where its last authentic packet came from.
    pub(super) endpoint: Option<SocketAddr>,
    is_kept_alive: bool,
    /// Whether its timers may have something to do.
    is_live: bool,
    silence: Silence,
    /// Whether the peer was heard since the last look at the timers, and how many looks ago.
    is_heard: bool,
    quiet_ticks: u32,
}

/// Whether the peer owes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    None,
    Owed,
    /// And that is in the log.
    Logged,
}

/// The header and the tag of a data packet.
pub(super) const OVERHEAD_BYTES: usize = 32;
/// The first byte of the first message of a handshake.
const INITIATION: u8 = 1;
/// About as many looks at the timers as there are between two tries of a handshake.
const QUIET_TICKS: u32 = 16;
/// More than the largest message of a handshake.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 256;

impl Peer {
    pub(super) fn new(
        own: Key,
        config: &config::Peer,
        endpoint: Option<SocketAddr>,
        index: u32,
        limiter: Arc<RateLimiter>,
    ) -> Self {
        let public_key = PublicKey::from(config.public_key.to_bytes());
        let preshared = config.preshared_key.map(Key::to_bytes);
        let keepalive = config.persistent_keepalive;
        let tunnel =
            Tunn::new(own.secret(), public_key, preshared, keepalive, index, Some(limiter));
        Self {
            tunnel,
            name: config.public_key.to_base64(),
            endpoint,
            is_kept_alive: keepalive.is_some(),
            is_live: false,
            silence: Silence::None,
            is_heard: false,
            quiet_ticks: 0,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Begins a handshake, if the peer is to be kept alive.
    pub(super) fn start(&mut self, outgoing: &mut Outgoing) {
        if self.is_kept_alive && self.endpoint.is_some() {
            self.owe();
            self.begin_handshake(outgoing, false);
        }
    }

    /// Begins a handshake; with `is_forced` also if there is one.
    pub(super) fn begin_handshake(&mut self, outgoing: &mut Outgoing, is_forced: bool) {
        self.is_live = true;
        let tunnel = &mut self.tunnel;
        write(self.endpoint, outgoing, HANDSHAKE_BYTES_MAX, |room| {
            tunnel.format_handshake_initiation(room, is_forced)
        });
    }

    /// Sends an IP packet, or keeps it until the handshake is done.
    pub(super) fn send(&mut self, packet: &[u8], outgoing: &mut Outgoing) {
        self.is_live = true;
        self.owe();
        let tunnel = &mut self.tunnel;
        let len_max = (packet.len() + OVERHEAD_BYTES).max(HANDSHAKE_BYTES_MAX);
        write(self.endpoint, outgoing, len_max, |room| tunnel.encapsulate(packet, room));
    }

    /// Takes a datagram that was verified. The packet in it is written to `room`.
    pub(super) fn receive<'a>(&mut self, datagram: &[u8], room: &'a mut [u8]) -> TunnResult<'a> {
        let result = self.tunnel.decapsulate(None, datagram, room);
        if !matches!(result, TunnResult::Err(_)) {
            self.is_live = true;
            self.silence = Silence::None;
            self.is_heard = true;
        }
        result
    }

    fn owe(&mut self) {
        if self.silence == Silence::None {
            self.silence = Silence::Owed;
        }
    }

    /// Sends packets that have waited for the handshake.
    pub(super) fn send_waiting(&mut self, mtu: usize, outgoing: &mut Outgoing) {
        let len_max = (mtu + OVERHEAD_BYTES).max(HANDSHAKE_BYTES_MAX);
        let tunnel = &mut self.tunnel;
        while write(self.endpoint, outgoing, len_max, |room| tunnel.decapsulate(None, &[], room)) {}
    }

    /// Does what is due: keepalives, handshakes, the end of old keys.
    pub(super) fn tick(&mut self, outgoing: &mut Outgoing) {
        let tunnel = &mut self.tunnel;
        let (mut is_expired, mut is_initiation) = (false, false);
        write(self.endpoint, outgoing, HANDSHAKE_BYTES_MAX, |room| {
            let result = tunnel.update_timers(room);
            is_expired = matches!(result, TunnResult::Err(WireGuardError::ConnectionExpired));
            is_initiation =
                matches!(&result, TunnResult::WriteToNetwork(message) if message[0] == INITIATION);
            result
        });
        self.quiet_ticks = if self.is_heard { 0 } else { self.quiet_ticks.saturating_add(1) };
        self.is_heard = false;
        // Between packets of the peer it only renews the keys.
        let is_quiet = self.quiet_ticks >= QUIET_TICKS;
        if is_initiation && is_quiet && self.silence == Silence::Owed {
            let endpoint = self.endpoint.map(tracing::field::display);
            tracing::warn!(peer = self.name, endpoint, "the peer has not answered yet");
            self.silence = Silence::Logged;
        }
        if is_expired && self.is_live {
            self.is_live = false;
            self.start(outgoing);
        }
    }
}

/// Adds what `make` wants to be sent. Returns whether there was something.
fn write(
    endpoint: Option<SocketAddr>,
    outgoing: &mut Outgoing,
    len_max: usize,
    make: impl FnOnce(&mut [u8]) -> TunnResult<'_>,
) -> bool {
    let written = |result: TunnResult<'_>| match result {
        TunnResult::WriteToNetwork(datagram) => Some(datagram.len()),
        _ => None,
    };
    match endpoint {
        Some(to) => {
            let mut is_written = false;
            outgoing.push(to, len_max, |room| {
                let len = written(make(room));
                is_written = len.is_some();
                len
            });
            is_written
        }
        // Its timers are to run all the same.
        None => written(make(&mut vec![0; len_max])).is_some(),
    }
}
