//! What limits a connection, and for how long each limit has done so.

use std::fmt;
use std::ops::Index;
use std::time::Duration;

/// What keeps a connection from going faster: at any moment exactly one.
///
/// Sending comes first: a connection that sends has a limit of its sending, and only one that has
/// nothing to send has [`ReceiveBuffer`](Self::ReceiveBuffer) or [`Idle`](Self::Idle). It is
/// determined at the end of each turn of the connection, and holds until the end of the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Limit {
    /// The handshake is not done.
    Handshake,
    /// The peer's window has no room (Linux: `tcpi_rwnd_limited`): its application does not read,
    /// or its receive buffer is smaller than rate times round trip.
    PeerWindow,
    /// The congestion window has no room: the path, or what the controller takes it for.
    CongestionWindow,
    /// The pacing rate.
    Pacing,
    /// The send buffer of this end is full, and all of it in flight (Linux:
    /// `tcpi_sndbuf_limited`): it is smaller than rate times round trip.
    SendBuffer,
    /// The application: all that it has written is in flight, or is less than a segment and waits
    /// for an acknowledgement (Nagle's algorithm, RFC 896).
    Application,
    /// The receive buffer of this end is full: the application does not read.
    ReceiveBuffer,
    /// The device has no room, or others have their turn first.
    Device,
    /// The next hop: its hardware address is not known yet (ARP, Neighbour Discovery), or there is
    /// no route.
    Neighbour,
    /// A timer: nothing was acknowledged since it has expired (RFC 6298, RFC 8985 section 7). When
    /// it does, the time counts back to when the acknowledgement was expected.
    RetransmissionTimer,
    /// Nothing: all that was written is acknowledged.
    #[default]
    Idle,
}

impl Limit {
    /// All limits.
    pub const ALL: [Self; 11] = [
        Self::Handshake,
        Self::PeerWindow,
        Self::CongestionWindow,
        Self::Pacing,
        Self::SendBuffer,
        Self::Application,
        Self::ReceiveBuffer,
        Self::Device,
        Self::Neighbour,
        Self::RetransmissionTimer,
        Self::Idle,
    ];

    /// Its name in a word, such as `peer-window`: also the serialized one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::PeerWindow => "peer-window",
            Self::CongestionWindow => "congestion-window",
            Self::Pacing => "pacing",
            Self::SendBuffer => "send-buffer",
            Self::Application => "application",
            Self::ReceiveBuffer => "receive-buffer",
            Self::Device => "device",
            Self::Neighbour => "neighbour",
            Self::RetransmissionTimer => "retransmission-timer",
            Self::Idle => "idle",
        }
    }

    /// The limit with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name() == name)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Handshake => "handshake",
            Self::PeerWindow => "peer's window",
            Self::CongestionWindow => "congestion window",
            Self::Pacing => "pacing",
            Self::SendBuffer => "send buffer",
            Self::Application => "application",
            Self::ReceiveBuffer => "receive buffer",
            Self::Device => "device",
            Self::Neighbour => "neighbour",
            Self::RetransmissionTimer => "retransmission timer",
            Self::Idle => "idle",
        })
    }
}

/// How long each [`Limit`] has limited a connection. The sum is its age.
///
/// Displays those that have, the longest first.
///
/// ```
/// use netcore::tcp::{Limit, LimitTimes};
///
/// fn is_starved(limited: &LimitTimes) -> bool {
///     limited[Limit::Application] > limited.total() / 2
/// }
/// assert!(!is_starved(&LimitTimes::default()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitTimes([Duration; Limit::ALL.len()]);

impl LimitTimes {
    pub(crate) fn new(micros: &[u64; Limit::ALL.len()]) -> Self {
        Self(micros.map(Duration::from_micros))
    }

    /// Every limit, and how long it has limited the connection.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, Duration)> + '_ {
        Limit::ALL.into_iter().zip(self.0)
    }

    /// The sum: the age of the connection.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }
}

/// A map from the name of each limit to microseconds, without those that have none; an unknown name is
/// skipped.
#[cfg(feature = "serde")]
impl serde::Serialize for LimitTimes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = self.iter().filter(|(_, time)| !time.is_zero());
        serializer
            .collect_map(times.map(|(limit, time)| (limit, crate::serial::micros::whole(time))))
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for LimitTimes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut micros = [0; Limit::ALL.len()];
        for (limit, time) in crate::serial::known_keys::<Limit, D>(deserializer)? {
            micros[limit as usize] = time;
        }
        Ok(Self::new(&micros))
    }
}

impl Index<Limit> for LimitTimes {
    type Output = Duration;

    fn index(&self, limit: Limit) -> &Duration {
        &self.0[limit as usize]
    }
}

impl fmt::Display for LimitTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: Vec<_> = self.iter().filter(|(_, time)| !time.is_zero()).collect();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        for (n, (limit, time)) in times.into_iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            write!(f, "{separator}{limit} {time:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_place_in_the_table() {
        let mut micros = [0; Limit::ALL.len()];
        for (n, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!((limit as usize, Limit::from_name(limit.name())), (n, Some(limit)));
            #[cfg(feature = "serde")]
            assert_eq!(serde_json::to_value(limit).expect("JSON"), limit.name());
            micros[n] = n as u64;
        }
        let times = LimitTimes::new(&micros);
        assert_eq!(times[Limit::Idle], Duration::from_micros(10));
        assert_eq!(times.total(), Duration::from_micros(55));
        assert!(times.to_string().starts_with("idle 10µs, retransmission timer 9µs"), "{times}");
    }
}
