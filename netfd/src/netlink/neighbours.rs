//! Neighbours: `RTM_GETNEIGH`.

use crate::netlink::failure::Failure;
use crate::netlink::links::LINK;
use crate::netlink::rtnetlink::{Answer, Show, family, wants};
use crate::netlink::{Server, Subject};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::route::RouteType;
use netsocket::netcore::NeighbourInfo;
use rustix::io::Errno;

/// The message of a neighbour.
pub(crate) fn message(neighbour: &NeighbourInfo) -> NeighbourMessage {
    let state = match &*neighbour.state {
        "INCOMPLETE" => NeighbourState::Incomplete,
        "REACHABLE" => NeighbourState::Reachable,
        "STALE" => NeighbourState::Stale,
        "DELAY" => NeighbourState::Delay,
        "PROBE" => NeighbourState::Probe,
        "FAILED" => NeighbourState::Failed,
        _ => NeighbourState::None,
    };
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader {
        family: family(neighbour.address),
        ifindex: LINK,
        state,
        flags: NeighbourFlags::empty(),
        kind: RouteType::Unicast,
    };
    message.attributes.push(NeighbourAttribute::Destination(neighbour.address.into()));
    if let Some(address) = neighbour.hardware_address {
        let octets = address.octets().to_vec();
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(octets));
    }
    message
}

/// Answers `RTM_GETNEIGH`.
pub(crate) async fn get<S: Subject>(
    server: &Server<S>,
    asked: &NeighbourMessage,
    show: Show,
) -> Result<Answer, Failure> {
    let mut all: Vec<_> = server.neighbours().await?.iter().map(message).collect();
    let new = RouteNetlinkMessage::NewNeighbour;
    if show == Show::One {
        let address = destination(asked).ok_or(Errno::INVAL)?;
        let found = all.into_iter().find(|message| destination(message) == Some(address));
        let missing = || Failure::new(Errno::NOENT, "there is no such neighbour");
        return Ok(Answer::One(new(found.ok_or_else(missing)?)));
    }
    let NeighbourHeader { family, ifindex, flags, .. } = asked.header;
    all.retain(|message| wants(family, message.header.family));
    all.retain(|_| ifindex == 0 || ifindex == LINK);
    if flags.contains(NeighbourFlags::Proxy) {
        all.clear();
    }
    Ok(Answer::All(all.into_iter().map(new).collect()))
}

fn destination(message: &NeighbourMessage) -> Option<&NeighbourAddress> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(address) => Some(address),
        _ => None,
    })
}
