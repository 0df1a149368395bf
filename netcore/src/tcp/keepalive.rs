//! Keep-alive (RFC 9293 section 3.8.4) and user-timeout deadlines (RFC 5482).

use crate::command::tcp::{KeepAlive, Options};
use crate::time::Instant;
use std::time::Duration;

/// The deadlines that an application has set for its peer.
///
/// Those without a wish have the stack's deadline for unacknowledged data and, as long as nothing
/// is unacknowledged, none at all: an idle connection may live indefinitely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerTimeouts {
    keep_alive: Option<Probing>,
    user_timeout: Option<Duration>,
}

/// When an idle peer is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Probing {
    idle: Duration,
    interval: Duration,
    count: u32,
}

/// Last activity on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activity {
    /// When the peer was last heard, or was first sent something that it should answer.
    pub(crate) heard: Instant,
    /// When the peer last acknowledged something new, or was first sent something.
    pub(crate) progressed: Instant,
    /// Something is sent, or waits to be, that the peer has not acknowledged.
    pub(crate) is_unanswered: bool,
}

impl PeerTimeouts {
    /// `None` if the options ask for nothing.
    pub(crate) fn new(options: &Options) -> Option<Self> {
        let keep_alive = options.keep_alive.map(|KeepAlive { idle, interval, count }| Probing {
            idle,
            interval,
            count,
        });
        let user_timeout = options.user_timeout;
        (keep_alive.is_some() || user_timeout.is_some())
            .then_some(Self { keep_alive, user_timeout })
    }

    /// When the first probe is due; the interval at which others follow.
    pub(crate) fn probes_from(&self, activity: Activity) -> Option<(Instant, Duration)> {
        let probing = self.keep_alive.filter(|_| !activity.is_unanswered)?;
        Some((activity.heard + probing.idle, probing.interval))
    }

    /// When the peer is given up, if nothing comes of it and `retransmit_timeout` is the stack's
    /// own deadline for unacknowledged data.
    pub(crate) fn ends_at(
        &self,
        activity: Activity,
        retransmit_timeout: Duration,
    ) -> Option<Instant> {
        if activity.is_unanswered {
            // RFC 5482: as long as data may remain unacknowledged, whatever else arrives.
            return Some(match self.user_timeout {
                Some(timeout) => activity.progressed + timeout,
                None => activity.heard + retransmit_timeout,
            });
        }
        let Probing { idle, interval, count } = self.keep_alive?;
        // As on Linux a user timeout takes the place of the count, but one probe is always sent.
        let silence = match self.user_timeout {
            Some(timeout) => timeout.max(idle + interval),
            None => idle + interval * count.max(1),
        };
        Some(activity.heard + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration as StdDuration;

    const RETRANSMIT: Duration = Duration::from_secs(900);

    fn peer_timeouts(keep_alive: bool, user_timeout: Option<u64>) -> Option<PeerTimeouts> {
        let secs = StdDuration::from_secs;
        PeerTimeouts::new(&Options {
            keep_alive: keep_alive.then_some(KeepAlive {
                idle: secs(10),
                interval: secs(2),
                count: 3,
            }),
            user_timeout: user_timeout.map(secs),
            ..Options::default()
        })
    }

    fn activity(is_unanswered: bool) -> Activity {
        Activity {
            heard: Instant::from_secs(100),
            progressed: Instant::from_secs(90),
            is_unanswered,
        }
    }

    #[test]
    fn a_peer_is_given_up_in_time() {
        for (keep_alive, user_timeout, is_unanswered, expected) in [
            (true, None, false, Some(116)),
            (true, Some(5), false, Some(112)),
            (true, Some(30), false, Some(130)),
            (true, None, true, Some(1000)),
            (true, Some(30), true, Some(120)),
            (false, Some(30), true, Some(120)),
            (false, Some(30), false, None),
        ] {
            let peer_timeouts =
                peer_timeouts(keep_alive, user_timeout).expect("something is asked for");
            let ends = peer_timeouts.ends_at(activity(is_unanswered), RETRANSMIT);
            assert_eq!(
                ends,
                expected.map(Instant::from_secs),
                "{peer_timeouts:?}, {is_unanswered}"
            );
        }
        assert_eq!(peer_timeouts(false, None), None);
    }

    #[test]
    fn only_an_idle_peer_is_probed() {
        let peer_timeouts = peer_timeouts(true, None).expect("keep-alive is asked for");

        let probes = peer_timeouts.probes_from(activity(false));

        assert_eq!(probes, Some((Instant::from_secs(110), Duration::from_secs(2))));
        assert_eq!(peer_timeouts.probes_from(activity(true)), None);
    }
}
