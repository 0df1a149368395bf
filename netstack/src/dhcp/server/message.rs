//! Messages between a server and its clients (RFC 2131 section 2).

use super::Config;
use crate::dhcp::options::{
    self as option, HEADER_BYTES, MAGIC, OPTION_BYTES_MAX, address, number, options,
};
use crate::wire::{
    ArpHardware, DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, EthernetAddress,
};
use std::net::Ipv4Addr;

/// What relays of BOOTP expect at least (RFC 1542 section 2.1).
const MESSAGE_BYTES_MIN: usize = 300;
/// What every client takes: a packet of 576 bytes without its headers (RFC 2131 section 2).
const MESSAGE_BYTES: usize = 548;
/// Longer answers are not needed.
const MESSAGE_BYTES_MAX: usize = 1472;
const HEADERS_BYTES: u16 = 28;

/// A message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) kind: DhcpMessageType,
    pub(super) transaction: u32,
    flags: DhcpFlags,
    /// The address that the client has already, or 0.0.0.0.
    pub(super) own: Ipv4Addr,
    pub(super) hardware_address: [u8; 6],
    /// Option 61.
    client_id: Option<Vec<u8>>,
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
    /// The options that the client wants; without a list all of them.
    parameters: Option<Vec<u8>>,
    bytes_max: usize,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Offer(Ipv4Addr),
    Ack(Ipv4Addr),
    /// The configuration without an address, for a client that has one (DHCPINFORM).
    Parameters,
    Nak,
}

impl Query {
    /// Reads a message of a client on Ethernet.
    ///
    /// # Errors
    ///
    /// The reason why it is ignored.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let packet = DhcpPacket::new_checked(bytes).map_err(|_| "too short")?;
        if packet.opcode() != DhcpOpCode::Request || packet.magic_number() != MAGIC {
            return Err("no message of a DHCP client");
        }
        if packet.hardware_type() != ArpHardware::Ethernet || packet.hardware_len() != 6 {
            return Err("of a client that is not on Ethernet");
        }
        if !packet.relay_agent_ip().is_unspecified() {
            return Err("from a relay agent");
        }
        let hardware_address = packet.client_hardware_address().0;
        // The group bit (IEEE 802): no station has such an address.
        if hardware_address[0] & 1 != 0 || hardware_address == [0; 6] {
            return Err("of a client without a hardware address");
        }
        let options = options(bytes);
        let kind = match options.get(&option::MESSAGE_TYPE).map(Vec::as_slice) {
            Some([kind]) => DhcpMessageType::from(*kind),
            _ => return Err("without a type"),
        };
        let bytes_max = options.get(&option::MESSAGE_BYTES_MAX);
        let bytes_max = bytes_max.and_then(|data| <[u8; 2]>::try_from(&data[..]).ok());
        let bytes_max = bytes_max.map_or(0, u16::from_be_bytes).saturating_sub(HEADERS_BYTES);
        let is_id = |id: &Vec<u8>| (2..=OPTION_BYTES_MAX).contains(&id.len());
        Ok(Self {
            kind,
            transaction: packet.transaction_id(),
            flags: packet.flags() & DhcpFlags::BROADCAST,
            own: packet.client_ip(),
            hardware_address,
            client_id: options.get(&option::CLIENT_ID).filter(|id| is_id(id)).cloned(),
            requested: address(&options, option::REQUESTED_ADDRESS),
            server: number(&options, option::SERVER).map(Ipv4Addr::from_bits),
            parameters: options.get(&option::PARAMETERS).cloned(),
            bytes_max: usize::from(bytes_max).clamp(MESSAGE_BYTES, MESSAGE_BYTES_MAX),
        })
    }

    /// What tells this client from others: option 61, or else the hardware type and address (RFC
    /// 2131 section 4.2).
    pub(super) fn client(&self) -> Box<[u8]> {
        let hardware = || [&[1][..], &self.hardware_address].concat();
        self.client_id.clone().unwrap_or_else(hardware).into()
    }

    /// The bytes of an answer. Options that the client has not asked for, or has no room for, are
    /// left out.
    pub(super) fn answer(&self, answer: Answer, config: &Config) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes_max];
        let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
        packet.set_opcode(DhcpOpCode::Reply);
        packet.set_hardware_type(ArpHardware::Ethernet);
        packet.set_hardware_len(6);
        packet.set_transaction_id(self.transaction);
        packet.set_flags(self.flags);
        packet.set_client_hardware_address(EthernetAddress(self.hardware_address));
        packet.set_magic_number(MAGIC);
        let kind = match answer {
            Answer::Offer(own) => {
                packet.set_your_ip(own);
                DhcpMessageType::Offer
            }
            Answer::Ack(own) => {
                packet.set_client_ip(self.own);
                packet.set_your_ip(own);
                DhcpMessageType::Ack
            }
            Answer::Parameters => {
                packet.set_client_ip(self.own);
                DhcpMessageType::Ack
            }
            Answer::Nak => DhcpMessageType::Nak,
        };

        let mut room = self.bytes_max - HEADER_BYTES - 1;
        let mut writer = packet.options_mut();
        for (option, data) in self.options(kind, answer, config) {
            let len = 2 + data.len();
            if !(1..=OPTION_BYTES_MAX).contains(&data.len()) || len > room {
                continue;
            }
            room -= len;
            writer.emit(DhcpOption { kind: option, data: &data }).expect("there is room");
        }
        writer.end().expect("there is room");
        let len = self.bytes_max - room;
        bytes.truncate(len.max(MESSAGE_BYTES_MIN));
        bytes
    }

    /// The options of an answer (RFC 2131 section 4.3.1, table 3), the ones that matter most first.
    fn options(
        &self,
        kind: DhcpMessageType,
        answer: Answer,
        config: &Config,
    ) -> Vec<(u8, Vec<u8>)> {
        let address = config.address;
        let mut options = vec![
            (option::MESSAGE_TYPE, vec![kind.into()]),
            (option::SERVER, address.addr().octets().to_vec()),
        ];
        if answer != Answer::Nak {
            if answer != Answer::Parameters {
                options.push((option::LEASE_TIME, config.lease_seconds().to_be_bytes().to_vec()));
            }
            options.push((option::SUBNET_MASK, address.netmask().octets().to_vec()));
            let servers = config.name_servers.iter().flat_map(|server| server.octets());
            let parameters = [
                (option::ROUTER, config.router.map(|router| router.octets().to_vec())),
                (option::NAME_SERVERS, Some(servers.collect())),
                (option::MTU, config.mtu.map(|mtu| mtu.to_be_bytes().to_vec())),
                (option::BROADCAST, Some(address.broadcast().octets().to_vec())),
                (option::DOMAIN_NAME, config.domain.clone().map(String::into_bytes)),
            ];
            let wanted = parameters.into_iter().filter(|(option, _)| self.wants(*option));
            options.extend(wanted.filter_map(|(option, data)| Some((option, data?))));
        }
        // RFC 6842.
        options.extend(self.client_id.clone().map(|id| (option::CLIENT_ID, id)));
        options
    }

    fn wants(&self, option: u8) -> bool {
        self.parameters.as_ref().is_none_or(|wanted| wanted.contains(&option))
    }
}
