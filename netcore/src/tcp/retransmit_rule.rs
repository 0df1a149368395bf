//! Why a segment is sent again.

use std::fmt;

/// The rule by which a segment is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum RetransmitRule {
    /// DupThresh: three segments behind it have arrived (RFC 5681 section 3.2, RFC 8985 section
    /// 6.2).
    DupThresh,
    /// RACK: a segment sent later has arrived, and the reordering window has passed (RFC 8985
    /// section 6.2).
    Rack,
    /// RACK's timer: the reordering window has passed without another acknowledgement (RFC 8985
    /// section 6.3).
    RackTimer,
    /// A tail loss probe: nothing was acknowledged for two round trips (RFC 8985 section 7).
    TailLossProbe,
    /// The retransmission timeout (RFC 6298), after which all that was in flight is sent again (RFC
    /// 5681 section 3.1).
    Timeout,
    /// The third duplicate acknowledgement of a peer without selective acknowledgements (RFC 5681
    /// section 3.2).
    DuplicateAcks,
    /// A partial acknowledgement of such a peer, while an earlier loss is repaired (RFC 6582 section
    /// 3.2).
    PartialAck,
    /// The path takes only smaller packets, and what was in flight is too large for it (RFC 1191,
    /// RFC 8201).
    PathMtu,
    /// A SYN was not answered in time (RFC 9293 section 3.8.1).
    Handshake,
}

impl RetransmitRule {
    /// All rules.
    pub const ALL: [Self; 9] = [
        Self::DupThresh,
        Self::Rack,
        Self::RackTimer,
        Self::TailLossProbe,
        Self::Timeout,
        Self::DuplicateAcks,
        Self::PartialAck,
        Self::PathMtu,
        Self::Handshake,
    ];

    /// The name in RFCs, as far as they have one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DupThresh => "DupThresh",
            Self::Rack => "RACK",
            Self::RackTimer => "RACK timer",
            Self::TailLossProbe => "TLP",
            Self::Timeout => "RTO",
            Self::DuplicateAcks => "duplicate ACKs",
            Self::PartialAck => "partial ACK",
            Self::PathMtu => "path MTU",
            Self::Handshake => "SYN timeout",
        }
    }
}

impl RetransmitRule {
    /// What has happened, and where the rule stands, in a few words.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::DupThresh => "three segments behind it have arrived (RFC 8985 section 6.2)",
            Self::Rack => {
                "a segment sent later has arrived, and the reordering window has passed (RFC 8985 \
                 section 6.2)"
            }
            Self::RackTimer => {
                "the reordering window has passed without an acknowledgement (RFC 8985 section 6.3)"
            }
            Self::TailLossProbe => {
                "nothing was acknowledged for two round trips (RFC 8985 section 7)"
            }
            Self::Timeout => "the retransmission timeout has passed (RFC 6298)",
            Self::DuplicateAcks => "the third duplicate acknowledgement (RFC 5681 section 3.2)",
            Self::PartialAck => "a partial acknowledgement during a repair (RFC 6582 section 3.2)",
            Self::PathMtu => "it was too large for the path (RFC 1191, RFC 8201)",
            Self::Handshake => "the SYN was not answered in time (RFC 9293 section 3.8.1)",
        }
    }
}

impl fmt::Display for RetransmitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
