//! What a stack counts.

use std::fmt;

/// Counters of a stack, since it was made.
///
/// Each frame and each packet from inside is counted once when it is [received](Self::received),
/// and has exactly one fate: it is delivered, handled, kept as a fragment, or
/// [dropped](Self::received_dropped) for one reason. So at any time between two rounds
/// [`received`](Self::received) and [`accounted`](Self::accounted) are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames taken from the link.
    pub frames_received: u64,
    /// Frames given to the link.
    pub frames_sent: u64,
    /// Packets received from inside, from one socket of the stack to another.
    pub loopback_packets: u64,
    /// Received packets that a socket or a connection took, whole or in part.
    pub packets_delivered: u64,
    /// Received packets that the stack took itself, and answered where an answer is due: ARP,
    /// Neighbour Discovery, ICMP, segments of connections in TIME-WAIT.
    pub packets_handled: u64,
    /// Received fragments that were put aside to wait for others. A packet that is whole has the
    /// fate of its last fragment.
    pub fragments_kept: u64,
    /// Copies of delivered packets, and reports of ICMP errors, that found a socket's queue full.
    pub copies_lost: u64,
    /// Connections whose handshake was completed, from either end.
    pub connections_established: u64,
    /// Resets sent.
    pub resets_sent: u64,
    /// ICMP messages sent: errors and echo replies.
    pub icmp_sent: u64,
    /// ARP and Neighbour Discovery messages in which another node claims an address of this stack.
    pub address_conflicts: u64,
    /// Addresses that were given up before they were used, because another node has them (RFC 4862
    /// section 5.4.5).
    pub duplicate_addresses: u64,
    /// Times that a connection's engine asked to be polled and did nothing. Each puts the connection
    /// off for 10 ms, and is a bug.
    pub no_progress: u64,
    /// Panics that were caught. Each has ended a packet, a command or a connection, and is a bug.
    pub panics_caught: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counters {
    /// How many frames and packets were received: from the link, and from inside.
    pub fn received(&self) -> u64 {
        self.frames_received + self.loopback_packets
    }

    /// How many received frames and packets were dropped, for any reason.
    pub fn received_dropped(&self) -> u64 {
        self.drops().filter(|(reason, _)| reason.is_for_received()).map(|(_, count)| count).sum()
    }

    /// How many received frames and packets have met a fate: as many as were
    /// [received](Self::received).
    pub fn accounted(&self) -> u64 {
        self.packets_delivered
            + self.packets_handled
            + self.fragments_kept
            + self.received_dropped()
    }

    /// How many packets were dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Every reason for which at least one packet was dropped, with how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let counted = DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason)));
        counted.filter(|(_, count)| *count > 0)
    }

    /// Counts what became of a received packet.
    #[inline]
    pub(crate) fn received_packet(&mut self, fate: Result<Fate, DropReason>) {
        match fate {
            Ok(Fate::Delivered) => self.packets_delivered += 1,
            Ok(Fate::Handled) => self.packets_handled += 1,
            Ok(Fate::Kept) => self.fragments_kept += 1,
            Err(reason) => self.drop(reason),
        }
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
        tracing::trace!(?reason, "packet dropped");
    }
}

/// What became of a received packet that was not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A socket or a connection took it.
    Delivered,
    /// The stack took it itself.
    Handled,
    /// A fragment that waits for others.
    Kept,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Why a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Whether it is a received frame or packet that is dropped for this reason. What is
            /// dropped for the others was received and counted before, or was to be sent.
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
    /// Too short, or its lengths and headers contradict each other.
    Malformed => "malformed",
    /// A checksum does not fit.
    Checksum => "bad checksum",
    /// A UDP datagram over IPv6 has no checksum.
    NoChecksum => "no checksum",
    /// The frame or the packet is for somebody else.
    NotForUs => "not for us",
    /// An Ethernet frame with something else than IPv4, IPv6 or ARP.
    UnknownEtherType => "unknown Ethernet type",
    /// A source address that cannot come from a wire: ours, loopback, multicast, broadcast,
    /// unspecified, reserved, or IPv4 written as IPv6.
    MartianSource => "martian source",
    /// A destination address that cannot come over a wire.
    MartianDestination => "martian destination",
    /// An option of an IPv6 extension header says that who does not know it shall drop the packet,
    /// or one of IPv4 is a source route.
    UnknownOption => "unknown IP option",
    /// Fragments overlap (RFC 5722), or do not add up to one packet.
    BadFragment => "bad fragment",
    /// An incomplete packet waited too long for its other fragments, or made room for newer ones.
    FragmentExpired => "fragment expired",
    /// A SYN came while the listener's backlog was full.
    BacklogFull => "backlog full",
    /// A half-open connection made room for a newer one.
    HalfOpenEvicted => "half-open connection evicted",
    /// A SYN came while the stack had no room for another socket.
    TooManySockets => "too many sockets",
    /// A SYN came while the stack had no room for the buffers of another connection.
    NoBuffers => "no room for buffers",
    /// A datagram came while the queue of every socket that it was for was full.
    QueueFull => "queue full",
    /// There is no socket that it is for. A reset or an ICMP error was sent where the RFCs ask for
    /// one.
    NoListener => "no listener",
    /// A TCP segment that no state of its connection has a use for.
    Unacceptable => "unacceptable segment",
    /// A TCP segment outside the receive window.
    OutsideWindow => "outside the receive window",
    /// An acknowledgement of what was never sent, or far too old.
    BadAcknowledgement => "bad acknowledgement",
    /// A segment with nothing but an acknowledgement that a newer one has overtaken.
    OldAcknowledgement => "old acknowledgement",
    /// A SYN for a connection that is there already (RFC 5961 section 4).
    UnexpectedSyn => "unexpected SYN",
    /// A reset without the exact sequence number (RFC 5961 section 3).
    UnexpectedReset => "unexpected reset",
    /// A packet that deserves a reset, an ICMP error or a challenge, which was not sent because
    /// there were too many of its kind.
    RateLimited => "answer rate-limited",
    /// A held SYN was refused, and its peer not told because there were too many ICMP errors.
    RefusalRateLimited => "refusal rate-limited",
    /// An answer of the stack found no room on the link.
    ReplyQueueFull => "reply queue full",
    /// An outgoing packet waited for a neighbour's hardware address, and made room for a newer one
    /// or was given up.
    NeighbourUnknown => "neighbour unknown",
    /// A SYN came from where no route leads.
    NoRouteBack => "no route back",
    /// A frame came while the link was down.
    LinkDown => "link down",
    /// An outgoing packet has no route any more.
    NoRoute => "no route",
    /// The code that takes it panicked, which is a bug.
    Panicked => "panic",
}
