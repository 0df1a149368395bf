//! Counters of packets and events.

use crate::observer::Fate;
use crate::tcp::RetransmitRule;
use std::fmt;

/// Counters of a stack since its creation.
///
/// Each frame and each loopback packet is counted once when it is [received](Self::received), and
/// has exactly one fate: it is delivered, handled, kept as a fragment, or
/// [dropped](Self::received_dropped) for one reason. So at any time between two rounds
/// [`received`](Self::received) and [`accounted`](Self::accounted) are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Counters {
    /// Frames taken from the link.
    pub frames_received: u64,
    /// Frames sent over the link.
    pub frames_sent: u64,
    /// Loopback packets, from one socket of the stack to another.
    pub loopback_packets: u64,
    /// Received packets delivered to a socket or connection, whole or in part.
    pub packets_delivered: u64,
    /// Received packets handled by the stack itself, with replies as required: ARP, Neighbour
    /// Discovery, ICMP, segments of connections in TIME-WAIT.
    pub packets_handled: u64,
    /// Received fragments kept for reassembly. The fate of a complete packet is that of its last
    /// fragment.
    pub fragments_kept: u64,
    /// Copies of delivered packets, and reports of ICMP errors, lost to a full socket queue.
    pub copies_lost: u64,
    /// Connections established, incoming and outgoing.
    pub connections_established: u64,
    /// Resets sent.
    pub resets_sent: u64,
    /// ICMP messages sent: errors and echo replies.
    pub icmp_sent: u64,
    /// ARP and Neighbour Discovery messages in which another node claims an address of this stack.
    pub address_conflicts: u64,
    /// Addresses removed by duplicate address detection (RFC 4862 section 5.4.5).
    pub duplicate_addresses: u64,
    /// Times that a connection's engine asked to be polled and did nothing. Each puts the
    /// connection off for 10 ms, and is a bug.
    pub no_progress: u64,
    /// Caught panics. Each has ended a packet, a command or a connection, and is a bug.
    pub panics_caught: u64,
    #[cfg_attr(feature = "serde", serde(with = "drops"))]
    drops: [u64; DropReason::ALL.len()],
    #[cfg_attr(feature = "serde", serde(with = "retransmits"))]
    retransmits: [u64; RetransmitRule::ALL.len()],
}

impl Counters {
    /// Number of received frames and packets, from the link and loopback.
    pub fn received(&self) -> u64 {
        self.frames_received + self.loopback_packets
    }

    /// Number of received frames and packets dropped, for any reason.
    pub fn received_dropped(&self) -> u64 {
        self.drops().filter(|(reason, _)| reason.is_for_received()).map(|(_, count)| count).sum()
    }

    /// Number of received frames and packets with a fate, equal to those
    /// [received](Self::received).
    pub fn accounted(&self) -> u64 {
        self.packets_delivered
            + self.packets_handled
            + self.fragments_kept
            + self.received_dropped()
    }

    /// Number of packets dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// The reasons with at least one dropped packet, with their counts.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let counted = DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason)));
        counted.filter(|(_, count)| *count > 0)
    }

    /// Number of TCP segments sent again by `rule`. A packet that the link cuts is one.
    pub fn retransmitted(&self, rule: RetransmitRule) -> u64 {
        self.retransmits[rule as usize]
    }

    pub(crate) fn retransmit(&mut self, rule: RetransmitRule) {
        self.retransmits[rule as usize] += 1;
    }

    /// Counts the fate of a received packet.
    #[inline]
    pub(crate) fn received_packet(&mut self, fate: Result<Fate, DropReason>) {
        match fate {
            Ok(Fate::Delivered) => self.packets_delivered += 1,
            Ok(Fate::Handled) => self.packets_handled += 1,
            Ok(Fate::Kept) => self.fragments_kept += 1,
            Err(reason) => self.drops[reason as usize] += 1,
        }
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
        tracing::trace!(?reason, "packet dropped");
    }
}

/// The serialized form of a table: a map from the names of those that are not 0.
#[cfg(feature = "serde")]
macro_rules! serialized_table {
    ($name:ident, $key:ty) => {
        mod $name {
            use serde::{Deserializer, Serializer};

            type Table = [u64; <$key>::ALL.len()];

            pub(super) fn serialize<S: Serializer>(
                table: &Table,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let all = <$key>::ALL.iter().zip(table);
                serializer.collect_map(all.filter(|(_, count)| **count > 0))
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                input: D,
            ) -> Result<Table, D::Error> {
                let mut table = [0; <$key>::ALL.len()];
                for (key, count) in crate::serial::known_keys::<$key, D>(input)? {
                    table[key as usize] = count;
                }
                Ok(table)
            }
        }
    };
}

#[cfg(feature = "serde")]
serialized_table!(drops, super::DropReason);
#[cfg(feature = "serde")]
serialized_table!(retransmits, crate::tcp::RetransmitRule);

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// The reason for a dropped packet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Whether a received frame or packet is dropped for this reason. The other reasons
            /// drop packets counted as received before, or packets to send.
            pub const fn is_for_received(self) -> bool {
                !matches!(
                    self,
                    Self::FragmentExpired
                        | Self::HalfOpenEvicted
                        | Self::RefusalRateLimited
                        | Self::ReplyQueueFull
                        | Self::NeighbourUnknown
                        | Self::NoRoute
                )
            }
        }

        impl fmt::Display for DropReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

drop_reasons! {
    /// The packet is too short, or its lengths and headers contradict each other.
    Malformed => "malformed",
    /// A checksum is wrong.
    Checksum => "bad checksum",
    /// A UDP datagram over IPv6 has no checksum.
    NoChecksum => "no checksum",
    /// The destination of the frame or packet is another node.
    NotForUs => "not for us",
    /// The EtherType is not IPv4, IPv6 or ARP.
    UnknownEtherType => "unknown Ethernet type",
    /// The source address is invalid in a received packet: own, loopback, multicast, broadcast,
    /// unspecified, reserved, or IPv4-mapped.
    MartianSource => "martian source",
    /// The destination address is invalid in a received packet.
    MartianDestination => "martian destination",
    /// An unknown IPv6 option has a discard action, or an IPv4 option is a source route.
    UnknownOption => "unknown IP option",
    /// Fragments overlap (RFC 5722), or do not add up to one packet.
    BadFragment => "bad fragment",
    /// Reassembly timed out, or the incomplete packet was evicted by newer ones.
    FragmentExpired => "fragment expired",
    /// A SYN arrived while the listener's backlog was full.
    BacklogFull => "backlog full",
    /// A half-open connection was evicted by a newer one.
    HalfOpenEvicted => "half-open connection evicted",
    /// A SYN arrived at the limit of sockets.
    TooManySockets => "too many sockets",
    /// A SYN arrived without room for the buffers of another connection.
    NoBuffers => "no room for buffers",
    /// A datagram arrived while the queue of every destination socket was full.
    QueueFull => "queue full",
    /// No socket matches the destination. A reset or an ICMP error was sent where the RFCs require
    /// one.
    NoListener => "no listener",
    /// A TCP segment is unacceptable in the state of its connection.
    Unacceptable => "unacceptable segment",
    /// A TCP segment is outside the receive window.
    OutsideWindow => "outside the receive window",
    /// A TCP segment acknowledges data never sent, or its acknowledgement is far too old.
    BadAcknowledgement => "bad acknowledgement",
    /// A segment without data is older than the last acknowledgement.
    OldAcknowledgement => "old acknowledgement",
    /// A segment is older than the connection's last one by its timestamp (PAWS, RFC 7323 section
    /// 5), perhaps from before its sequence numbers have wrapped.
    OldTimestamp => "old timestamp",
    /// A SYN arrived for an existing connection (RFC 5961 section 4).
    UnexpectedSyn => "unexpected SYN",
    /// A reset has not the exact sequence number (RFC 5961 section 3).
    UnexpectedReset => "unexpected reset",
    /// A packet requires a reset, an ICMP error or a challenge, which was not sent because of its
    /// rate limit.
    RateLimited => "answer rate-limited",
    /// A held SYN was refused without an ICMP error, because of the rate limit.
    RefusalRateLimited => "refusal rate-limited",
    /// A reply of the stack was dropped for want of room on the link.
    ReplyQueueFull => "reply queue full",
    /// Address resolution failed, or an outgoing packet that waited for it was evicted.
    NeighbourUnknown => "neighbour unknown",
    /// There is no route to the source of a SYN.
    NoRouteBack => "no route back",
    /// A frame arrived while the link was down.
    LinkDown => "link down",
    /// The route of an outgoing packet was removed.
    NoRoute => "no route",
    /// The code that handles the packet panicked, which is a bug.
    Panicked => "panic",
}
