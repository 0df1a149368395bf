//! Which frames are recorded: expressions as tcpdump has them.

mod parse;

use crate::direction::Direction;
use crate::tap::{Decision, Headers, TappedFrame};
use crate::wire::IpProtocol;
use ipnet::IpNet;
use netcore::{Medium, SendCause};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub use parse::FilterParseError;

/// Which frames a capture records: all of them by default.
///
/// The language is the part of tcpdump's (pcap-filter(7)) that most captures need, and two words on
/// what the stack decides:
///
/// | | accepts |
/// |---|---|
/// | `tcp`, `udp`, `icmp`, `icmp6`, `ip`, `ip6`, `arp` | frames of the protocol |
/// | `host 10.0.0.1`, `net 10.0.0.0/8` | packets from or to the address, or the network |
/// | `port 80`, `portrange 8000-8999` | packets from or to the port |
/// | `src …`, `dst …` before one of those | packets from it, or to it |
/// | `tcp port 80`, `udp dst port 53` | both |
/// | `inbound`, `outbound` | received frames, sent frames |
/// | `dropped` | received frames that were dropped |
/// | `repeated` | segments that were sent again |
/// | `not …`, `… and …`, `… or …`, `( … )` | as it says; `and` binds tighter |
///
/// ```
/// use netstack::capture::Filter;
///
/// let filter: Filter = "tcp port 80 and not src net 10.0.0.0/8 or dropped".parse().unwrap();
/// assert!("port eighty".parse::<Filter>().is_err());
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(Option<Expression>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Or(Box<[Expression; 2]>),
    And(Box<[Expression; 2]>),
    Not(Box<Expression>),
    Protocol(Protocol),
    Net(Side, IpNet),
    Port(Side, RangeInclusive<u16>),
    Direction(Direction),
    Dropped,
    Repeated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Ip,
    Ip6,
    Arp,
    Tcp,
    Udp,
    Icmp,
    Icmp6,
}

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Any,
}

const ARP: [u8; 2] = [0x08, 0x06];
/// Where an Ethernet frame has its type.
const ETHER_TYPE: std::ops::Range<usize> = 12..14;

impl Filter {
    /// Accepts every frame.
    pub fn all() -> Self {
        Self::default()
    }

    pub(super) fn accepts(&self, frame: &TappedFrame, medium: Medium) -> bool {
        let Some(expression) = &self.0 else { return true };
        let is_arp = medium == Medium::Ethernet && frame.bytes.get(ETHER_TYPE) == Some(&ARP);
        let headers = Headers::parse(&frame.bytes, medium).filter(|_| !is_arp);
        expression.accepts(frame, headers.as_ref(), is_arp)
    }
}

impl FromStr for Filter {
    type Err = FilterParseError;

    /// An empty text accepts every frame.
    fn from_str(text: &str) -> Result<Self, FilterParseError> {
        parse::parse(text).map(Self)
    }
}

impl Expression {
    fn accepts(&self, frame: &TappedFrame, headers: Option<&Headers<'_>>, is_arp: bool) -> bool {
        let accepts = |it: &Self| it.accepts(frame, headers, is_arp);
        match self {
            Self::Or(both) => both.iter().any(accepts),
            Self::And(both) => both.iter().all(accepts),
            Self::Not(it) => !accepts(it),
            Self::Protocol(Protocol::Arp) => is_arp,
            Self::Protocol(protocol) => headers.is_some_and(|headers| protocol.is_of(headers)),
            Self::Net(side, net) => headers.is_some_and(|headers| {
                side.has(headers.source, headers.destination, |at: &IpAddr| net.contains(at))
            }),
            Self::Port(side, ports) => headers
                .and_then(|headers| headers.ports)
                .is_some_and(|(from, to)| side.has(from, to, |port| ports.contains(port))),
            Self::Direction(direction) => frame.direction() == *direction,
            Self::Dropped => matches!(frame.decision, Decision::Received(Some(Err(_)), _)),
            Self::Repeated => matches!(
                &frame.decision,
                Decision::Sent(Some(segment)) if matches!(segment.cause, SendCause::Retransmit(_))
            ),
        }
    }
}

impl Protocol {
    fn is_of(self, headers: &Headers<'_>) -> bool {
        match self {
            Self::Ip => headers.source.is_ipv4(),
            Self::Ip6 => headers.source.is_ipv6(),
            Self::Arp => false,
            Self::Tcp => headers.protocol == IpProtocol::Tcp,
            Self::Udp => headers.protocol == IpProtocol::Udp,
            Self::Icmp => headers.protocol == IpProtocol::Icmp,
            Self::Icmp6 => headers.protocol == IpProtocol::Icmpv6,
        }
    }
}

impl Side {
    fn has<T>(self, source: T, destination: T, is_it: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Source => is_it(&source),
            Self::Destination => is_it(&destination),
            Self::Any => is_it(&source) || is_it(&destination),
        }
    }
}

#[cfg(test)]
mod tests;
