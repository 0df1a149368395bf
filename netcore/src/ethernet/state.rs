//! The state of an Ethernet link.

use crate::time::Instant;
use std::net::{IpAddr, Ipv6Addr};

/// The carrier of a link and, on Ethernet, the stack's own state on it.
#[derive(Debug)]
pub(crate) struct EthernetState {
    /// The link has a carrier. Holds for every medium.
    pub(crate) has_carrier: bool,
    /// The link is Ethernet, and it is up.
    pub(super) is_up: bool,
    /// The link-local address made from the hardware address.
    pub(crate) link_local: Option<Ipv6Addr>,
    /// The time before which an IPv4 address is not defended again (RFC 5227 section 2.4(b)).
    pub(super) defends_from: Option<Instant>,
}

impl EthernetState {
    /// Forgets the link-local address if it was removed.
    pub(crate) fn on_address_removed(&mut self, address: IpAddr) {
        if self.link_local.is_some_and(|own| own == address) {
            self.link_local = None;
        }
    }
}

impl Default for EthernetState {
    fn default() -> Self {
        Self { has_carrier: true, is_up: false, link_local: None, defends_from: None }
    }
}
