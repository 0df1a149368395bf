//! Which peer has which addresses.

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use std::net::IpAddr;

/// The allowed addresses of all peers, by longest prefix; of two equal prefixes the later counts, as on
/// Linux.
pub(super) struct AllowedIps(IpNetworkTable<usize>);

impl AllowedIps {
    pub(super) fn new() -> Self {
        Self(IpNetworkTable::new())
    }

    pub(super) fn insert(&mut self, network: IpNet, peer: usize) {
        // Without the host's part, a prefix of a valid length is always one.
        if let Ok(network) = IpNetwork::new(network.network(), network.prefix_len()) {
            self.0.insert(network, peer);
        }
    }

    /// The peer with the longest prefix of this address.
    pub(super) fn peer(&self, address: IpAddr) -> Option<usize> {
        self.0.longest_match(address).map(|(_, peer)| *peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// Prefixes of a few bits, so that they overlap.
    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, len)| {
            IpNet::new(Ipv4Addr::from_bits(bits & 0xc000_0003).into(), len)
                .expect("a length of IPv4")
        });
        let v6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, len)| {
            let address = Ipv6Addr::from_bits(bits & (0xc << 124 | 3));
            IpNet::new(address.into(), len).expect("a length of IPv6")
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins_and_of_equal_ones_the_later(
            networks in proptest::collection::vec(network(), 0..16),
            address in network(),
        ) {
            let mut table = AllowedIps::new();
            for (peer, network) in networks.iter().enumerate() {
                table.insert(*network, peer);
            }

            let address = address.addr();
            let covering = networks.iter().enumerate().filter(|(_, it)| it.contains(&address));
            // Of equal ones `max_by_key` gives the last.
            let expected = covering.max_by_key(|(_, network)| network.prefix_len());
            prop_assert_eq!(table.peer(address), expected.map(|(peer, _)| peer));
        }
    }
}
