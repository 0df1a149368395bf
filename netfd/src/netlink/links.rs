//! Interfaces: `RTM_GETLINK`, and what `ip link set` changes.

use crate::netlink::failure::Failure;
use crate::netlink::message::Request;
use crate::netlink::rtnetlink::{Answer, Show};
use crate::netlink::{Server, Subject};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkHeader, LinkLayerType, LinkMessage, LinkMode, State, Stats64,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netsocket::netcore::control::{Command, Response};
use netsocket::netcore::{Error, LinkState, Network, Overview};
use rustix::io::Errno;

pub(crate) const LOOPBACK: u32 = 1;
pub(crate) const LINK: u32 = 2;
pub(crate) const LOOPBACK_NAME: &str = "lo";

/// The MTU of Linux's `lo`.
const LOOPBACK_MTU: u32 = 65_536;
const MTU_MIN: u32 = 576;
const MTU_MAX: u32 = 65_535;
pub(crate) const MTUS: std::ops::RangeInclusive<u32> = MTU_MIN..=MTU_MAX;
/// Linux's default (`DEFAULT_TX_QUEUE_LEN`).
const QUEUE_LEN: u32 = 1000;

/// The message of the loopback interface.
pub(crate) fn loopback() -> LinkMessage {
    let flags = LinkFlags::Up | LinkFlags::Loopback | LinkFlags::Running | LinkFlags::LowerUp;
    let attributes = vec![
        LinkAttribute::Address(vec![0; 6]),
        LinkAttribute::Broadcast(vec![0; 6]),
        LinkAttribute::OperState(State::Unknown),
        LinkAttribute::Carrier(1),
    ];
    message(LOOPBACK, LinkLayerType::Loopback, flags, LOOPBACK_NAME, LOOPBACK_MTU, attributes)
}

/// The message of the link.
pub(crate) fn link(name: &str, link: &LinkState) -> LinkMessage {
    let (kind, mut flags) = match link.hardware_address {
        Some(_) => (LinkLayerType::Ether, LinkFlags::Broadcast | LinkFlags::Multicast),
        None => {
            let flags = LinkFlags::Pointopoint | LinkFlags::Noarp | LinkFlags::Multicast;
            (LinkLayerType::None, flags)
        }
    };
    let (is_up, is_running) = (link.is_up, link.is_up && link.has_carrier);
    flags.set(LinkFlags::Up, is_up);
    flags.set(LinkFlags::Running | LinkFlags::LowerUp, is_running);
    let state = if is_running { State::Up } else { State::Down };
    let mut attributes = Vec::new();
    if let Some(address) = link.hardware_address {
        attributes.push(LinkAttribute::Address(address.octets().to_vec()));
        attributes.push(LinkAttribute::Broadcast(vec![0xff; 6]));
    }
    attributes.extend([
        LinkAttribute::OperState(state),
        LinkAttribute::Carrier(u8::from(is_running)),
        LinkAttribute::MinMtu(MTU_MIN),
        LinkAttribute::MaxMtu(MTU_MAX),
    ]);
    let mtu = u32::try_from(link.mtu).unwrap_or(u32::MAX);
    message(LINK, kind, flags, name, mtu, attributes)
}

fn message(
    index: u32,
    kind: LinkLayerType,
    flags: LinkFlags,
    name: &str,
    mtu: u32,
    attributes: Vec<LinkAttribute>,
) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header = LinkHeader {
        interface_family: AddressFamily::Unspec,
        index,
        link_layer_type: kind,
        flags,
        change_mask: LinkFlags::empty(),
    };
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::TxQueueLen(QUEUE_LEN),
        LinkAttribute::Mode(LinkMode::Default),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Group(0),
        LinkAttribute::Promiscuity(0),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
        LinkAttribute::Qdisc("noqueue".to_owned()),
    ];
    message.attributes.extend(attributes);
    message
}

fn statistics(overview: &Overview) -> Stats64 {
    let counters = &overview.counters;
    let mut statistics = Stats64::default();
    statistics.rx_packets = counters.frames_received;
    statistics.tx_packets = counters.frames_sent;
    statistics.rx_dropped = counters.received_dropped();
    statistics
}

/// Answers `RTM_GETLINK`.
pub(crate) async fn get<S: Subject>(
    server: &Server<S>,
    asked: &LinkMessage,
    show: Show,
) -> Result<Answer, Failure> {
    let network = server.network().await?;
    let mut own = link(server.subject().interface(), &network.link);
    if let Some(Response::Overview(overview)) = server.ask(Command::Overview).await? {
        own.attributes.push(LinkAttribute::Stats64(statistics(&overview)));
    }
    let mut lo = loopback();
    lo.attributes.push(LinkAttribute::Stats64(Stats64::default()));
    let wanted = |message: &LinkMessage| RouteNetlinkMessage::NewLink(message.clone());
    if show == Show::All {
        // Members of a bridge, and interfaces of a kind: there are none.
        let is_filtered = asked.header.interface_family == AddressFamily::Bridge
            || asked.attributes.iter().any(|attribute| {
                matches!(attribute, LinkAttribute::Controller(_) | LinkAttribute::LinkInfo(_))
            });
        let all = if is_filtered { vec![] } else { vec![lo, own] };
        return Ok(Answer::All(all.iter().map(wanted).collect()));
    }
    match find(server.subject().interface(), asked)? {
        LOOPBACK => Ok(Answer::One(wanted(&lo))),
        _ => Ok(Answer::One(wanted(&own))),
    }
}

/// The index of the interface that a message names.
fn find(interface: &str, asked: &LinkMessage) -> Result<u32, Failure> {
    let name = asked.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(&**name),
        _ => None,
    });
    match (asked.header.index, name) {
        (index @ (LOOPBACK | LINK), _) => Ok(index),
        (0, Some(LOOPBACK_NAME)) => Ok(LOOPBACK),
        (0, Some(name)) if name == interface => Ok(LINK),
        (0, None) => Err(Failure::from(Errno::INVAL)),
        _ => Err(Failure::from(Errno::NODEV)),
    }
}

/// Does `RTM_SETLINK`, and `RTM_NEWLINK` for what is there.
pub(crate) async fn set<S: Subject>(
    server: &Server<S>,
    asked: &LinkMessage,
    request: &Request<'_>,
    is_new: bool,
) -> Result<Answer, Failure> {
    let index = match find(server.subject().interface(), asked) {
        Err(_) if is_new && request.has(NLM_F_CREATE) => {
            return Err(Failure::unsupported("interfaces cannot be made on a userspace stack"));
        }
        // Of nothing: iproute2 asks so whether there is such a request.
        Err(_) if is_new => return Err(Errno::NODEV.into()),
        found => found?,
    };
    let changes = changes(server.subject().interface(), index, asked)?;
    if index == LOOPBACK {
        return match changes.iter().all(|change| matches!(change, Command::SetLinkUp(true))) {
            true => Ok(Answer::Done),
            false => Err(Failure::unsupported("the loopback interface is fixed")),
        };
    }
    for change in changes {
        server.change(change).await.map_err(|refusal| match refusal.error {
            Some(Error::MtuTooSmall) => Failure::new(Errno::INVAL, "mtu less than device minimum"),
            _ => Failure::from(refusal),
        })?;
    }
    Ok(Answer::Done)
}

fn changes(interface: &str, index: u32, asked: &LinkMessage) -> Result<Vec<Command>, Failure> {
    let mut changes = Vec::new();
    let (flags, mask) = (asked.header.flags, asked.header.change_mask);
    // A mask of nothing, and one of everything, are those of old programs.
    let is_whole = mask.is_empty() || mask == LinkFlags::all();
    if mask.contains(LinkFlags::Up) || is_whole && !(flags.is_empty() && mask.is_empty()) {
        changes.push(Command::SetLinkUp(flags.contains(LinkFlags::Up)));
    }
    if !is_whole && mask != LinkFlags::Up {
        return Err(Failure::unsupported("of the flags only up can be changed"));
    }
    let own = if index == LOOPBACK { LOOPBACK_NAME } else { interface };
    for attribute in &asked.attributes {
        match attribute {
            LinkAttribute::IfName(name) if name == own => {}
            LinkAttribute::IfName(_) => {
                return Err(Failure::unsupported("the link cannot be renamed"));
            }
            LinkAttribute::ExtMask(_) => {}
            LinkAttribute::Mtu(mtu @ MTU_MIN..=MTU_MAX) => {
                changes.push(Command::SetMtu(Some(*mtu as usize)));
            }
            LinkAttribute::Mtu(..MTU_MIN) => {
                return Err(Failure::new(Errno::INVAL, "mtu less than device minimum"));
            }
            LinkAttribute::Mtu(_) => {
                return Err(Failure::new(Errno::INVAL, "mtu greater than device maximum"));
            }
            _ => return Err(Failure::unsupported("of a link only up and mtu can be changed")),
        }
    }
    Ok(changes)
}

/// The row of the link that is compared for notifications.
pub(crate) fn row(interface: &str, network: &Network) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(link(interface, &network.link))
}
