//! rtnetlink(7): which request is answered by whom.

use crate::netlink::failure::Failure;
use crate::netlink::message::Request;
use crate::netlink::{Server, Subject, addresses, links, neighbours, routes};
use netlink_packet_core::{NLM_F_DUMP, ParseableParametrized};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use std::net::IpAddr;

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The acknowledgement, if one is wanted.
    Done,
    One(RouteNetlinkMessage),
    All(Vec<RouteNetlinkMessage>),
}

/// What a request to show something wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    One,
    All,
}

/// The types of messages that get something are those with this remainder by 4.
const GET: u16 = 2;
/// The first type, that of linux/rtnetlink.h (`RTM_BASE`).
const FIRST: u16 = 16;

/// Answers a request.
pub(crate) async fn answer<S: Subject>(
    server: &Server<S>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let unknown = Failure::from(Errno::OPNOTSUPP);
    if request.kind < FIRST {
        // Messages of netlink itself ask for nothing.
        return Ok(Answer::Done);
    }
    let message = match RouteNetlinkMessage::parse_with_param(request.payload, request.kind) {
        Ok(message) => message,
        Err(_) if !is_known(request.kind) => return Err(unknown),
        Err(_) => return Err(Failure::new(Errno::INVAL, "the message is malformed")),
    };
    let is_get = request.kind % 4 == GET;
    let show = if is_get && request.has(NLM_F_DUMP) { Show::All } else { Show::One };
    match &message {
        RouteNetlinkMessage::GetLink(asked) => links::get(server, asked, show).await,
        RouteNetlinkMessage::NewLink(asked) => links::set(server, asked, request, true).await,
        RouteNetlinkMessage::SetLink(asked) => links::set(server, asked, request, false).await,
        RouteNetlinkMessage::DelLink(_) => {
            Err(Failure::unsupported("the interfaces of a userspace stack cannot be removed"))
        }
        RouteNetlinkMessage::GetAddress(asked) => addresses::get(server, asked, show).await,
        RouteNetlinkMessage::NewAddress(asked) => addresses::add(server, asked, request).await,
        RouteNetlinkMessage::DelAddress(asked) => addresses::remove(server, asked).await,
        RouteNetlinkMessage::GetRoute(asked) => routes::get(server, asked, show).await,
        RouteNetlinkMessage::NewRoute(asked) => routes::add(server, asked, request).await,
        RouteNetlinkMessage::DelRoute(asked) => routes::remove(server, asked).await,
        RouteNetlinkMessage::GetNeighbour(asked) => neighbours::get(server, asked, show).await,
        RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_) => {
            Err(Failure::unsupported("neighbours are found by ARP and Neighbour Discovery alone"))
        }
        _ => Err(unknown),
    }
}

/// Whether messages of this type are answered at all.
fn is_known(kind: u16) -> bool {
    // Links, addresses, routes, neighbours.
    (16..32).contains(&kind) && kind != 23 && kind != 27 && kind != 31
}

/// The family of an address.
pub(crate) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Whether a request to show all, with `asked` in its header, wants something of this family.
pub(crate) fn wants(asked: AddressFamily, family: AddressFamily) -> bool {
    asked == AddressFamily::Unspec || asked == family
}
