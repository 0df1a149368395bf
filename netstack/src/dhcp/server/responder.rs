//! The decisions of a server: RFC 2131 section 4.3.

use super::leases::{Lease, Leases};
use super::message::{Answer, Query};
use super::{Config, LeaseInfo};
use crate::dhcp::message::CLIENT_PORT;
use crate::wire::DhcpMessageType;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// How long an offered address waits for its client.
const OFFER_TIME: Duration = Duration::from_secs(60);
/// How long an address is not given out that a client found in use (RFC 2131 section 4.3.3).
const DECLINED_TIME: Duration = Duration::from_secs(600);

/// A server without sockets and time: messages go in, and answers come out. For a program that
/// receives them in another way than [`Server`](super::Server).
///
/// Times are since some moment of the caller's, the same for each call.
#[derive(Debug)]
pub struct Responder {
    config: Config,
    leases: Leases,
}

/// An answer to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The message.
    pub message: Vec<u8>,
    /// Where to: the client's address, or the broadcast address.
    pub destination: SocketAddrV4,
}

impl Responder {
    /// A server without leases.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a configuration that cannot work; the message names the field.
    pub fn new(config: Config) -> io::Result<Self> {
        config.check()?;
        let leases = Leases::new(&config.pool, config.reserved(), config.leases_max);
        Ok(Self { config, leases })
    }

    /// Decides on a message from a client: the payload of a datagram to port 67. Without an answer
    /// the client is to hear nothing.
    pub fn answer(&mut self, message: &[u8], now: Duration) -> Option<Reply> {
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(reason) => {
                tracing::trace!(reason, "dhcp server: ignored a message");
                return None;
            }
        };
        let answer = match query.kind {
            DhcpMessageType::Discover => self.offer(&query, now),
            DhcpMessageType::Request => self.decide(&query, now),
            DhcpMessageType::Decline => self.decline(&query, now),
            DhcpMessageType::Release => self.release(&query, now),
            DhcpMessageType::Inform => self.is_on_link(query.own).then_some(Answer::Parameters),
            _ => None,
        }?;
        tracing::debug!(?answer, kind = ?query.kind, "dhcp server");
        // A client without an address takes no packet to the one that it is to have (RFC 2131
        // section 4.1): most ask for a broadcast, and all take it.
        let to_client =
            matches!(answer, Answer::Ack(_) | Answer::Parameters) && self.is_on_link(query.own);
        let to = if to_client { query.own } else { Ipv4Addr::BROADCAST };
        let destination = SocketAddrV4::new(to, CLIENT_PORT);
        Some(Reply { message: query.answer(answer, &self.config), destination })
    }

    /// The leases at this time, in the order of their addresses; offers are not among them.
    pub fn leases(&self, now: Duration) -> Vec<LeaseInfo> {
        let given = self.leases.current(now).filter(|(_, lease)| !lease.is_offer);
        let held = given.filter(|(_, lease)| lease.client.is_some());
        let mut all: Vec<LeaseInfo> = held
            .map(|(address, lease)| LeaseInfo {
                address,
                hardware_address: netcore::MacAddr(lease.hardware_address),
                remaining: lease.until.saturating_sub(now),
            })
            .collect();
        all.sort_unstable_by_key(|lease| lease.address);
        all
    }

    fn offer(&mut self, query: &Query, now: Duration) -> Option<Answer> {
        let client = query.client();
        let address = self.leases.choose(&client, query.requested, now)?;
        let own = self.leases.at(address).filter(|lease| lease.client.as_ref() == Some(&client));
        // One that it has already stays its.
        if own.is_none_or(|lease| lease.is_offer || lease.until <= now) {
            self.give(address, query, now + OFFER_TIME, true);
        }
        Some(Answer::Offer(address))
    }

    /// A DHCPREQUEST, in whichever state the client is (RFC 2131 section 4.3.2).
    fn decide(&mut self, query: &Query, now: Duration) -> Option<Answer> {
        let client = query.client();
        if let Some(server) = query.server {
            let offered = self.leases.of(&client);
            if server != self.config.address.addr() {
                // It has taken another server's offer.
                let is_offer = |own: &Ipv4Addr| self.leases.at(*own).is_some_and(|it| it.is_offer);
                if let Some(offered) = offered.filter(is_offer) {
                    self.leases.remove(offered);
                }
                return None;
            }
            let requested = query.requested?;
            return Some(match offered == Some(requested) {
                true => self.acknowledge(requested, query, now),
                false => Answer::Nak,
            });
        }
        // An address from before; this server may have been started since, and is the only one of
        // its network.
        let own = if query.own.is_unspecified() { query.requested? } else { query.own };
        let is_its = match self.leases.of(&client) {
            Some(known) => known == own,
            None => self.can_be_taken(own, &client, now),
        };
        Some(if is_its { self.acknowledge(own, query, now) } else { Answer::Nak })
    }

    fn can_be_taken(&self, address: Ipv4Addr, client: &[u8], now: Duration) -> bool {
        let has_room = self.leases.at(address).is_some() || self.leases.has_room();
        has_room && self.leases.is_free_for(address, client, now)
    }

    fn acknowledge(&mut self, address: Ipv4Addr, query: &Query, now: Duration) -> Answer {
        self.give(address, query, now + self.config.lease_time, false);
        Answer::Ack(address)
    }

    fn give(&mut self, address: Ipv4Addr, query: &Query, until: Duration, is_offer: bool) {
        let client = Some(query.client());
        let hardware_address = query.hardware_address;
        self.leases.give(address, Lease { client, hardware_address, until, is_offer });
    }

    /// The client has found somebody else at its address.
    fn decline(&mut self, query: &Query, now: Duration) -> Option<Answer> {
        let own = self.leases.of(&query.client())?;
        if query.requested == Some(own) {
            tracing::info!(address = %own, "dhcp server: another host uses an address of the pool");
            let hardware_address = query.hardware_address;
            let until = now + DECLINED_TIME;
            let lease = Lease { client: None, hardware_address, until, is_offer: false };
            self.leases.give(own, lease);
        }
        None
    }

    /// The client needs its address no longer, but gets it again.
    fn release(&mut self, query: &Query, now: Duration) -> Option<Answer> {
        let own = self.leases.of(&query.client())?;
        let held = self.leases.at(own).is_some_and(|lease| lease.until > now);
        if query.own == own && held {
            self.give(own, query, now, false);
        }
        None
    }

    /// Whether it can be the address of a client, and not the server's.
    fn is_on_link(&self, address: Ipv4Addr) -> bool {
        let network = self.config.address;
        network.contains(&address)
            && ![network.addr(), network.network(), network.broadcast()].contains(&address)
    }
}
