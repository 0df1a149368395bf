//! Interfaces by ioctl(2), as netdevice(7) has them: for `ifconfig`, and what is older than rtnetlink.

use crate::netlink::failure::Failure;
use crate::netlink::links::{self, LINK};
use crate::netlink::{Refusal, Server, Subject, addresses};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netsocket::netcore::control::Command;
use netsocket::netcore::{Error, Network, Route};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A `struct ifreq` of a 64-bit machine: a name, and a value.
pub type Ifreq = [u8; 40];
/// A `struct in6_ifreq`: an address, the length of its prefix, and the index of an interface.
pub type In6Ifreq = [u8; 24];
/// A `struct rtentry` of a 64-bit machine.
pub type Rtentry = [u8; 120];

/// Where the value of an `ifreq` begins (`IFNAMSIZ`).
const VALUE: usize = 16;

/// The requests, of linux/sockios.h.
mod request {
    pub(super) const ADD_ROUTE: u32 = 0x890b;
    pub(super) const DELETE_ROUTE: u32 = 0x890c;
    pub(super) const GET_NAME: u32 = 0x8910;
    pub(super) const GET_FLAGS: u32 = 0x8913;
    pub(super) const SET_FLAGS: u32 = 0x8914;
    pub(super) const GET_ADDRESS: u32 = 0x8915;
    pub(super) const SET_ADDRESS: u32 = 0x8916;
    pub(super) const GET_PEER: u32 = 0x8917;
    pub(super) const GET_BROADCAST: u32 = 0x8919;
    pub(super) const SET_BROADCAST: u32 = 0x891a;
    pub(super) const GET_MASK: u32 = 0x891b;
    pub(super) const SET_MASK: u32 = 0x891c;
    pub(super) const GET_METRIC: u32 = 0x891d;
    pub(super) const GET_MTU: u32 = 0x8921;
    pub(super) const SET_MTU: u32 = 0x8922;
    pub(super) const GET_HARDWARE_ADDRESS: u32 = 0x8927;
    pub(super) const GET_INDEX: u32 = 0x8933;
    pub(super) const DELETE_ADDRESS: u32 = 0x8936;
    pub(super) const GET_QUEUE_LEN: u32 = 0x8942;
    pub(super) const ETHTOOL: u32 = 0x8946;
    pub(super) const GET_MII: u32 = 0x8947;
    pub(super) const READ_MII: u32 = 0x8948;
    pub(super) const GET_MAP: u32 = 0x8970;
    /// Wireless extensions.
    pub(super) const WIRELESS: std::ops::RangeInclusive<u32> = 0x8b00..=0x8bff;
}

/// Flags of a route, of linux/route.h.
const ROUTE_GATEWAY: u16 = 0x2;
const ROUTE_HOST: u16 = 0x4;
const ROUTE_REJECT: u16 = 0x200;

/// Flags that a program may send back as it has got them: they are not set, but seen.
const SEEN: LinkFlags = LinkFlags::Running.union(LinkFlags::LowerUp).union(LinkFlags::Up);

impl<S: Subject> Server<S> {
    /// Does a request about an interface, with the number that ioctl(2) has for it.
    ///
    /// # Errors
    ///
    /// Those of the kernel; `EPERM` for everything that changes an interface and that a stack has not.
    pub async fn netdevice(&self, request: u32, ifreq: &mut Ifreq) -> Result<(), Errno> {
        // Of bridges, bonds, drivers: what they are about is no `ifreq` for all of them.
        if request > request::GET_MAP {
            let is_radio = request::WIRELESS.contains(&request);
            return Err(if is_radio { Errno::OPNOTSUPP } else { Errno::PERM });
        }
        let network = self.network().await.map_err(errno)?;
        let interface = self.subject().interface();
        let all = [links::loopback(), links::link(interface, &network.link)];
        if request == request::GET_NAME {
            let index = int(ifreq).cast_unsigned();
            let found = all.iter().find(|link| link.header.index == index);
            let name = name_of(found.ok_or(Errno::NODEV)?).to_owned();
            return set_name(ifreq, &name);
        }
        let len = ifreq[..VALUE].iter().position(|byte| *byte == 0).ok_or(Errno::NODEV)?;
        let link = all.iter().find(|link| name_of(link).as_bytes() == &ifreq[..len]);
        let link = link.ok_or(Errno::NODEV)?;
        let addresses = addresses::all(interface, &network);
        let on_link = |it: &&AddressMessage| it.header.index == link.header.index && is_v4(it);
        let address = addresses.iter().find(on_link);
        match request {
            request::GET_FLAGS => set(ifreq, &(link.header.flags.bits() as u16).to_ne_bytes()),
            request::GET_ADDRESS | request::GET_PEER => {
                set(ifreq, &sockaddr(own(address.ok_or(Errno::ADDRNOTAVAIL)?)));
            }
            request::GET_BROADCAST => {
                set(ifreq, &sockaddr(broadcast(address.ok_or(Errno::ADDRNOTAVAIL)?)));
            }
            request::GET_MASK => {
                let len = address.ok_or(Errno::ADDRNOTAVAIL)?.header.prefix_len;
                let net = Ipv4Net::new(Ipv4Addr::UNSPECIFIED, len).map_err(|_| Errno::INVAL)?;
                set(ifreq, &sockaddr(net.netmask()));
            }
            request::GET_METRIC => set(ifreq, &[0; 4]),
            request::GET_MTU => set(ifreq, &number(link, as_mtu).to_ne_bytes()),
            request::GET_HARDWARE_ADDRESS => set(ifreq, &hardware_address(link)),
            request::GET_INDEX => set(ifreq, &link.header.index.to_ne_bytes()),
            request::GET_QUEUE_LEN => set(ifreq, &number(link, as_queue).to_ne_bytes()),
            request::GET_MAP => set(ifreq, &[0; 24]),
            request::ETHTOOL | request::GET_MII | request::READ_MII => {
                return Err(Errno::OPNOTSUPP);
            }
            request::SET_FLAGS => {
                let flags = u16::from_ne_bytes([ifreq[VALUE], ifreq[VALUE + 1]]);
                let flags = LinkFlags::from_bits_retain(flags.into());
                // Those above 16 bits have no place in it.
                let now = LinkFlags::from_bits_retain(link.header.flags.bits() & 0xffff);
                if flags.difference(SEEN) != now.difference(SEEN) {
                    return Err(Errno::PERM);
                }
                let is_up = flags.contains(LinkFlags::Up);
                if is_up != now.contains(LinkFlags::Up) {
                    self.change_link(link, Command::SetLinkUp(is_up)).await?;
                }
            }
            request::SET_MTU => {
                let mtu = u32::try_from(int(ifreq)).map_err(|_| Errno::INVAL)?;
                if !links::MTUS.contains(&mtu) {
                    return Err(Errno::INVAL);
                }
                self.change_link(link, Command::SetMtu(Some(mtu as usize))).await?;
            }
            request::SET_ADDRESS => {
                let given = given_address(&ifreq[VALUE..])?;
                self.set_address(link, address, given).await?;
            }
            request::SET_MASK => {
                let mask = given_address(&ifreq[VALUE..])?;
                let own = own(address.ok_or(Errno::ADDRNOTAVAIL)?);
                let net = Ipv4Net::with_netmask(own, mask).map_err(|_| Errno::INVAL)?;
                if Some(net.prefix_len()) != address.map(|it| it.header.prefix_len) {
                    let command = Command::AddAddress { address: net.into() };
                    self.change_link(link, command).await?;
                }
            }
            // It follows from the prefix.
            request::SET_BROADCAST => {
                let wanted = given_address(&ifreq[VALUE..])?;
                if wanted != broadcast(address.ok_or(Errno::ADDRNOTAVAIL)?) {
                    return Err(Errno::PERM);
                }
            }
            _ => return Err(Errno::PERM),
        }
        Ok(())
    }

    /// The IPv4 addresses of all interfaces, as `SIOCGIFCONF` lists them.
    ///
    /// # Errors
    ///
    /// `ENETDOWN` if the stack is gone.
    pub async fn ifconf(&self) -> Result<Vec<Ifreq>, Errno> {
        let network = self.network().await.map_err(errno)?;
        let interface = self.subject().interface();
        let all = addresses::all(interface, &network).into_iter().filter(is_v4);
        let entry = |address: AddressMessage| {
            let mut entry = [0; size_of::<Ifreq>()];
            let is_own = address.header.index == LINK;
            set_name(&mut entry, if is_own { interface } else { links::LOOPBACK_NAME })?;
            set(&mut entry, &sockaddr(own(&address)));
            Ok(entry)
        };
        all.map(entry).collect()
    }

    /// Adds or removes an IPv6 address (`SIOCSIFADDR`, `SIOCDIFADDR`).
    ///
    /// # Errors
    ///
    /// Those of the kernel; `EPERM` for other requests.
    pub async fn netdevice_v6(&self, request: u32, ifreq: &In6Ifreq) -> Result<(), Errno> {
        let (ip, rest) = ifreq.split_first_chunk::<16>().ok_or(Errno::INVAL)?;
        let word =
            |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let len = u8::try_from(word(0)).map_err(|_| Errno::INVAL)?;
        let address: IpNet =
            Ipv6Net::new(Ipv6Addr::from(*ip), len).map_err(|_| Errno::INVAL)?.into();
        match word(4) {
            LINK => {}
            links::LOOPBACK => return Err(Errno::PERM),
            _ => return Err(Errno::NODEV),
        }
        let network = self.network().await.map_err(errno)?;
        let known = network.addresses.iter().find(|own| own.addr() == address.addr());
        match request {
            request::SET_ADDRESS if known.is_some() => Err(Errno::EXIST),
            request::SET_ADDRESS => self.do_change(Command::AddAddress { address }).await,
            request::DELETE_ADDRESS if known != Some(&address) => Err(Errno::ADDRNOTAVAIL),
            request::DELETE_ADDRESS => {
                self.do_change(Command::RemoveAddress { address: address.addr() }).await
            }
            _ => Err(Errno::PERM),
        }
    }

    /// Adds or removes a route of IPv4 (`SIOCADDRT`, `SIOCDELRT`). Its interface and metric are not
    /// looked at.
    ///
    /// # Errors
    ///
    /// Those of the kernel; `EPERM` for a route that rejects.
    pub async fn rtentry(&self, request: u32, entry: &Rtentry) -> Result<(), Errno> {
        let flags = u16::from_ne_bytes([entry[56], entry[57]]);
        if flags & ROUTE_REJECT != 0 {
            return Err(Errno::PERM);
        }
        let destination = given_address(&entry[8..])?;
        let net = match flags & ROUTE_HOST {
            0 => {
                let mask = Ipv4Addr::from(u32::from_be_bytes([
                    entry[44], entry[45], entry[46], entry[47],
                ]));
                Ipv4Net::with_netmask(destination, mask).map_err(|_| Errno::INVAL)?
            }
            _ => Ipv4Net::from(destination),
        };
        if net.addr() != net.network() {
            return Err(Errno::INVAL);
        }
        let destination = IpNet::from(net);
        let gateway = match flags & ROUTE_GATEWAY {
            0 => None,
            _ => Some(IpAddr::from(given_address(&entry[24..])?)),
        };
        let network = self.network().await.map_err(errno)?;
        let known = known_route(&network, destination);
        match request {
            request::ADD_ROUTE if known.is_some() => Err(Errno::EXIST),
            request::ADD_ROUTE => {
                self.do_change(Command::AddRoute { route: Route { destination, gateway } }).await
            }
            request::DELETE_ROUTE => match known {
                Some(known) if gateway.is_none() || known.gateway == gateway => {
                    self.do_change(Command::RemoveRoute { destination }).await
                }
                _ => Err(Errno::SRCH),
            },
            _ => Err(Errno::PERM),
        }
    }

    /// The address takes the place of the first one; that of nothing removes it.
    async fn set_address(
        &self,
        link: &LinkMessage,
        first: Option<&AddressMessage>,
        given: Ipv4Addr,
    ) -> Result<(), Errno> {
        let old = first.map(own);
        if old == Some(given) {
            return Ok(());
        }
        if let Some(address) = old {
            self.change_link(link, Command::RemoveAddress { address: address.into() }).await?;
        }
        if given.is_unspecified() {
            return Ok(());
        }
        let len = match link.header.flags.contains(LinkFlags::Pointopoint) {
            true => 32,
            false => class_len(given).ok_or(Errno::INVAL)?,
        };
        let net = Ipv4Net::new(given, len).map_err(|_| Errno::INVAL)?;
        self.change_link(link, Command::AddAddress { address: net.into() }).await
    }

    async fn change_link(&self, link: &LinkMessage, command: Command) -> Result<(), Errno> {
        // The loopback interface is fixed.
        if link.header.index != LINK {
            return Err(Errno::PERM);
        }
        self.do_change(command).await
    }

    async fn do_change(&self, command: Command) -> Result<(), Errno> {
        let is_address = matches!(command, Command::AddAddress { .. });
        self.change(command).await.map_err(|refusal| match refusal.error {
            Some(Error::AddressNotAvailable) if is_address => Errno::INVAL,
            _ => errno(refusal),
        })
    }
}

fn known_route(network: &Network, destination: IpNet) -> Option<&Route> {
    network.routes.iter().find(|route| route.destination.trunc() == destination)
}

fn errno(refusal: Refusal) -> Errno {
    Failure::from(refusal).errno
}

fn is_v4(address: &AddressMessage) -> bool {
    address.header.family == AddressFamily::Inet
}

fn own(address: &AddressMessage) -> Ipv4Addr {
    match addresses::address_of(address) {
        Some(IpAddr::V4(ip)) => ip,
        _ => Ipv4Addr::UNSPECIFIED,
    }
}

fn broadcast(address: &AddressMessage) -> Ipv4Addr {
    let found = address.attributes.iter().find_map(|it| match it {
        AddressAttribute::Broadcast(ip) => Some(*ip),
        _ => None,
    });
    found.unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// The length of a network of this address's class.
fn class_len(address: Ipv4Addr) -> Option<u8> {
    match address.octets()[0] {
        0..=127 => Some(8),
        128..=191 => Some(16),
        192..=223 => Some(24),
        _ => None,
    }
}

fn name_of(link: &LinkMessage) -> &str {
    let found = link.attributes.iter().find_map(|it| match it {
        LinkAttribute::IfName(name) => Some(&**name),
        _ => None,
    });
    found.unwrap_or_default()
}

fn as_mtu(attribute: &LinkAttribute) -> Option<u32> {
    if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None }
}

fn as_queue(attribute: &LinkAttribute) -> Option<u32> {
    if let LinkAttribute::TxQueueLen(len) = attribute { Some(*len) } else { None }
}

fn number(link: &LinkMessage, which: impl FnMut(&LinkAttribute) -> Option<u32>) -> u32 {
    link.attributes.iter().find_map(which).unwrap_or_default()
}

/// A `sockaddr` of the type of the link, with its address.
fn hardware_address(link: &LinkMessage) -> [u8; 16] {
    let mut sockaddr = [0; 16];
    sockaddr[..2].copy_from_slice(&u16::from(link.header.link_layer_type).to_ne_bytes());
    let address = link.attributes.iter().find_map(|it| match it {
        LinkAttribute::Address(address) => Some(&address[..]),
        _ => None,
    });
    for (to, from) in sockaddr[2..].iter_mut().zip(address.unwrap_or_default()) {
        *to = *from;
    }
    sockaddr
}

/// A `sockaddr_in`.
fn sockaddr(ip: Ipv4Addr) -> [u8; 16] {
    let mut sockaddr = [0; 16];
    sockaddr[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    sockaddr[4..8].copy_from_slice(&ip.octets());
    sockaddr
}

fn given_address(sockaddr: &[u8]) -> Result<Ipv4Addr, Errno> {
    match *sockaddr {
        [f0, f1, _, _, a, b, c, d, ..]
            if libc::c_int::from(u16::from_ne_bytes([f0, f1])) == libc::AF_INET =>
        {
            Ok(Ipv4Addr::new(a, b, c, d))
        }
        _ => Err(Errno::INVAL),
    }
}

fn int(ifreq: &Ifreq) -> i32 {
    i32::from_ne_bytes([ifreq[VALUE], ifreq[VALUE + 1], ifreq[VALUE + 2], ifreq[VALUE + 3]])
}

fn set(ifreq: &mut Ifreq, value: &[u8]) {
    ifreq[VALUE..VALUE + value.len()].copy_from_slice(value);
}

/// Writes a name, which ends with a zero.
fn set_name(ifreq: &mut Ifreq, name: &str) -> Result<(), Errno> {
    let name = name.as_bytes();
    if name.len() >= VALUE {
        return Err(Errno::NAMETOOLONG);
    }
    ifreq[..VALUE].fill(0);
    ifreq[..name.len()].copy_from_slice(name);
    Ok(())
}
