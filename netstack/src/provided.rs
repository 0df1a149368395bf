//! What servers and routers of the link provide a stack with, and what of it is in force.

use crate::clock::Clock;
use ipnet::IpNet;
use netcore::{Entropy, MacAddr, Route};
use netsocket::{Control, Net};
use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The configuration from one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Provided {
    pub(crate) addresses: Vec<IpNet>,
    /// Addresses that new connections avoid.
    pub(crate) deprecated: Vec<IpAddr>,
    pub(crate) routes: Vec<Route>,
    pub(crate) mtu: Option<usize>,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) search_domains: Vec<String>,
}

/// What the DHCP and SLAAC clients need from their stack.
#[derive(Debug, Clone)]
pub(crate) struct ClientContext {
    pub(crate) net: Net,
    pub(crate) provider: Provider,
    /// The stack's, on an Ethernet link.
    pub(crate) hardware_address: Option<MacAddr>,
    pub(crate) entropy: Entropy,
    pub(crate) clock: Clock,
}

impl ClientContext {
    /// With sockets of this name.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self { net: self.net.named(name), ..self.clone() }
    }
}

/// A source of configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Dhcp,
    Slaac,
}

/// Configures a stack with the union of all sources: adds new entries, and removes exactly those
/// that it has added itself. Entries from elsewhere take precedence and stay.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    control: Control,
    /// Of name servers, and of search domains, that the stack publishes.
    names_max: usize,
    /// Held for all of an update, so that two never mix.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    wanted: [Provided; 2],
    /// Entries added, of all sources.
    added: Provided,
    /// Refusals at the last update, by message: each is logged once.
    refused: HashSet<String>,
}

/// State of an update in progress.
#[derive(Debug, Default)]
struct Update {
    known: HashSet<String>,
    refused: HashSet<String>,
    /// Entries not in force, to be tried again.
    missing: Provided,
}

impl Provider {
    pub(crate) fn new(control: Control, names_max: usize) -> Self {
        Self { control, names_max, state: Arc::default() }
    }

    /// Replaces the configuration of `source`. Returns the addresses and routes that the stack
    /// refused, which are logged; they are tried again with the next call.
    ///
    /// Addresses are added last and removed first: a program that waits for one finds the rest in
    /// place.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    pub(crate) async fn provide(&self, source: Source, provided: Provided) -> io::Result<Provided> {
        let mut state = self.state.lock().await;
        state.wanted[source as usize] = provided;
        let State { wanted, added, refused } = &mut *state;
        let wanted = merged(wanted);
        let mut update = Update { known: std::mem::take(refused), ..Update::default() };

        self.add_routes(&wanted, added, &mut update).await?;
        self.name(&wanted, added, &mut update).await?;
        if wanted.mtu != added.mtu {
            let set = self.control.set_advertised_mtu(wanted.mtu).await;
            if update.carried_out(set, &wanted.mtu)? {
                added.mtu = wanted.mtu;
            }
        }
        self.add_addresses(&wanted, added, &mut update).await?;
        self.remove(&wanted, added, &mut update).await?;
        *refused = update.refused;
        Ok(update.missing)
    }

    async fn add_routes(
        &self,
        wanted: &Provided,
        added: &mut Provided,
        update: &mut Update,
    ) -> io::Result<()> {
        let given = self.control.network();
        for route in &wanted.routes {
            let is_known = |known: &Route| known.destination == route.destination;
            let is_ours = added.routes.iter().any(is_known);
            if added.routes.contains(route) || (!is_ours && given.routes.iter().any(is_known)) {
                continue;
            }
            if update.carried_out(self.control.add_route_on_link(*route).await, route)? {
                added.routes.retain(|known| !is_known(known));
                added.routes.push(*route);
            } else {
                update.missing.routes.push(*route);
            }
        }
        Ok(())
    }

    async fn add_addresses(
        &self,
        wanted: &Provided,
        added: &mut Provided,
        update: &mut Update,
    ) -> io::Result<()> {
        let given = self.control.network();
        let is_deprecated = |address: &&IpNet| wanted.deprecated.contains(&address.addr());
        // Preferred addresses first: a program that waits for an address begins with one of them.
        let (last, first): (Vec<&IpNet>, Vec<&IpNet>) =
            wanted.addresses.iter().partition(is_deprecated);
        for address in first.into_iter().chain(last) {
            let is_known = |known: &IpNet| known.addr() == address.addr();
            let is_ours = added.addresses.iter().any(is_known);
            if !is_ours && given.addresses.iter().any(is_known) {
                continue;
            }
            if !added.addresses.contains(address) {
                if !update.carried_out(self.control.add_address(*address).await, address)? {
                    update.missing.addresses.push(*address);
                    continue;
                }
                added.addresses.retain(|known| !is_known(known));
                added.addresses.push(*address);
            }
            let (address, is_wanted) = (address.addr(), is_deprecated(&address));
            if added.deprecated.contains(&address) != is_wanted {
                let set = self.control.set_deprecated(address, is_wanted).await;
                if update.carried_out(set, &address)? {
                    added.deprecated.retain(|known| *known != address);
                    added.deprecated.extend(is_wanted.then_some(address));
                }
            }
        }
        Ok(())
    }

    /// Removes entries that were added and are no longer wanted, unless the program has removed or
    /// replaced them.
    async fn remove(
        &self,
        wanted: &Provided,
        added: &mut Provided,
        update: &mut Update,
    ) -> io::Result<()> {
        let given = self.control.network();
        for old in std::mem::take(&mut added.addresses) {
            if wanted.addresses.iter().any(|address| address.addr() == old.addr()) {
                added.addresses.push(old);
                continue;
            }
            added.deprecated.retain(|known| *known != old.addr());
            if given.addresses.contains(&old) {
                update.carried_out(self.control.remove_address(old.addr()).await, &old)?;
            }
        }
        for old in std::mem::take(&mut added.routes) {
            if wanted.routes.iter().any(|route| route.destination == old.destination) {
                added.routes.push(old);
            } else if given.routes.contains(&old) {
                update.carried_out(self.control.remove_route(old.destination).await, &old)?;
            }
        }
        Ok(())
    }

    /// Sets name servers and search domains behind those from elsewhere.
    async fn name(
        &self,
        wanted: &Provided,
        added: &mut Provided,
        update: &mut Update,
    ) -> io::Result<()> {
        let given = self.control.network();
        let (servers, new_servers) =
            joined(&given.name_servers, &added.name_servers, &wanted.name_servers, self.names_max);
        let (domains, new_domains) = joined(
            &given.search_domains,
            &added.search_domains,
            &wanted.search_domains,
            self.names_max,
        );
        if servers != given.name_servers || domains != given.search_domains {
            let set = self.control.set_name_servers(servers, domains).await;
            if !update.carried_out(set, &"name servers")? {
                return Ok(());
            }
        }
        added.name_servers = new_servers;
        added.search_domains = new_domains;
        Ok(())
    }
}

/// What several sources provide together.
fn merged(sources: &[Provided]) -> Provided {
    let mut all = Provided::default();
    for source in sources {
        all.addresses.extend(&source.addresses);
        all.deprecated.extend(&source.deprecated);
        all.routes.extend(&source.routes);
        // The smallest MTU: a packet too large for either source would be lost.
        all.mtu = all.mtu.into_iter().chain(source.mtu).min();
        all.name_servers.extend(&source.name_servers);
        all.search_domains.extend_from_slice(&source.search_domains);
    }
    all
}

/// The entries from elsewhere followed by the wanted ones, up to `max`; and the second part alone.
fn joined<T: Clone + PartialEq>(
    current: &[T],
    added: &[T],
    wanted: &[T],
    max: usize,
) -> (Vec<T>, Vec<T>) {
    let given: Vec<T> = current.iter().filter(|name| !added.contains(name)).cloned().collect();
    let mut all = given.clone();
    for name in wanted {
        if all.len() < max && !all.contains(name) {
            all.push(name.clone());
        }
    }
    let new = all[given.len()..].to_vec();
    (all, new)
}

impl Update {
    /// Whether a command was carried out; an error if there will never be one again.
    fn carried_out(&mut self, result: io::Result<()>, what: &dyn Debug) -> io::Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if is_end(&error) => Err(error),
            Err(error) => {
                let text = format!("{what:?}: {error}");
                if !self.known.contains(&text) {
                    tracing::warn!(?what, %error, "the stack refused a setting of DHCP or SLAAC");
                }
                self.refused.insert(text);
                Ok(false)
            }
        }
    }
}

/// Whether an error means that the stack is gone.
pub(crate) fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, device};

    fn provided(addresses: &[&str], gateway: &str, servers: &[&str]) -> Provided {
        Provided {
            addresses: addresses.iter().map(|text| text.parse().expect("a network")).collect(),
            routes: vec![Route::default_via(gateway.parse().expect("an address"))],
            name_servers: servers.iter().map(|text| text.parse().expect("an address")).collect(),
            search_domains: vec!["lan".into()],
            ..Provided::default()
        }
    }

    fn route((destination, gateway): (&str, &str)) -> Route {
        let destination = destination.parse().expect("a network");
        Route { destination, gateway: Some(gateway.parse().expect("an address")) }
    }

    #[tokio::test]
    async fn small_mtu_is_raised_to_the_ipv6_minimum() {
        let (device, _far) = device::pipe(16, 1500);
        let stack = Builder::new().spawn(device).expect("a stack");
        let provider = Provider::new(stack.net().control(), 3);
        let mtu = || stack.net().network().link.mtu;
        let v4 = Provided { mtu: Some(1200), ..provided(&["10.7.0.5/16"], "10.7.0.1", &[]) };

        provider.provide(Source::Dhcp, v4).await.expect("a stack");
        assert_eq!(mtu(), 1200);
        let v6 = provided(&["fd00::5/64"], "fe80::1", &[]);
        provider.provide(Source::Slaac, v6).await.expect("a stack");
        assert_eq!(mtu(), 1280);
        provider.provide(Source::Slaac, Provided::default()).await.expect("a stack");
        assert_eq!(mtu(), 1200);
        // The same for an address that the program adds and removes.
        let own = "fd00::9/64".parse::<IpNet>().expect("a network");
        stack.net().control().add_address(own).await.expect("a host's");
        assert_eq!(mtu(), 1280);
        stack.net().control().remove_address(own.addr()).await.expect("it is there");
        assert_eq!(mtu(), 1200);
        provider.provide(Source::Dhcp, Provided::default()).await.expect("a stack");
        assert_eq!(mtu(), 1500);
    }

    #[tokio::test]
    async fn refused_addresses_and_routes_are_tried_again() {
        let (device, _far) = device::pipe(16, 1500);
        let config = netcore::Config {
            ip: netcore::IpConfig { addresses_max: 1, routes_max: 1, ..Default::default() },
            ..Default::default()
        };
        let stack = Builder::new()
            .config(config)
            .address("10.0.0.9/24".parse().expect("a network"))
            .route(route(("192.0.2.0/24", "10.0.0.1")))
            .spawn(device)
            .expect("a stack");
        let (control, provider) = (stack.net().control(), Provider::new(stack.net().control(), 3));
        let wanted = provided(&["10.7.0.5/16"], "10.7.0.1", &[]);

        let refused = provider.provide(Source::Dhcp, wanted.clone()).await.expect("a stack");
        assert_eq!((&refused.addresses, &refused.routes), (&wanted.addresses, &wanted.routes));
        assert_eq!((control.network().addresses.len(), control.network().routes.len()), (1, 1));
        control.remove_address("10.0.0.9".parse().expect("an address")).await.expect("it is there");
        control.remove_route("192.0.2.0/24".parse().expect("a network")).await.expect("likewise");
        let refused = provider.provide(Source::Dhcp, wanted.clone()).await.expect("a stack");

        assert_eq!(refused, Provided::default());
        assert_eq!(control.network().addresses, wanted.addresses);
        assert_eq!(control.network().routes, wanted.routes);
    }

    #[tokio::test]
    async fn settings_changed_by_the_program_stay() {
        let (device, _far) = device::pipe(16, 1500);
        let stack = Builder::new().spawn(device).expect("a stack");
        let (control, provider) = (stack.net().control(), Provider::new(stack.net().control(), 3));
        let wanted = Provided { mtu: Some(1400), ..provided(&["10.7.0.5/16"], "10.7.0.1", &[]) };
        provider.provide(Source::Dhcp, wanted).await.expect("a stack");
        let own = route(("0.0.0.0/0", "10.7.0.99"));
        control.add_route(own).await.expect("on the link");
        control.set_mtu(Some(1300)).await.expect("large enough");

        provider.provide(Source::Dhcp, Provided::default()).await.expect("a stack");

        assert_eq!((&control.network().routes[..], control.network().link.mtu), (&[own][..], 1300));
    }

    #[tokio::test]
    async fn deprecated_addresses_are_avoided_as_long_as_they_are() {
        let (device, _far) = device::pipe(16, 1500);
        let stack = Builder::new().spawn(device).expect("a stack");
        let provider = Provider::new(stack.net().control(), 3);
        let old = "fd00::5".parse().expect("an address");
        let both = provided(&["fd00::5/64", "fd01::5/64"], "fe80::1", &[]);

        let with_old = Provided { deprecated: vec![old], ..both.clone() };
        provider.provide(Source::Slaac, with_old).await.expect("a stack");
        assert_eq!(stack.net().network().deprecated, [old]);
        provider.provide(Source::Slaac, both).await.expect("a stack");
        assert_eq!(stack.net().network().deprecated, [] as [IpAddr; 0]);
    }

    #[tokio::test]
    async fn exactly_the_added_entries_are_removed() {
        let (device, _far) = device::pipe(16, 1500);
        let stack = Builder::new()
            .address("10.0.0.9/24".parse().expect("a network"))
            .gateway("10.0.0.254".parse().expect("an address"))
            .name_server("10.0.0.53".parse().expect("an address"))
            .spawn(device)
            .expect("a stack");
        let before = stack.net().network();
        let provider = Provider::new(stack.net().control(), 3);

        let v4 = provided(&["10.0.0.9/24", "10.7.0.5/16"], "10.7.0.1", &["10.0.0.53", "10.7.0.1"]);
        provider.provide(Source::Dhcp, Provided { mtu: Some(1400), ..v4 }).await.expect("a stack");
        let v6 = provided(&["fd00::5/64"], "fe80::1", &["fd00::1", "fd00::2"]);
        provider.provide(Source::Slaac, Provided { mtu: Some(1300), ..v6 }).await.expect("a stack");

        let now = stack.net().network();
        let addresses: Vec<_> = now.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.9/24", "10.7.0.5/16", "fd00::5/64"]);
        let gateways: Vec<_> = now.routes.iter().filter_map(|route| route.gateway).collect();
        assert_eq!(gateways, ["10.0.0.254", "fe80::1"].map(|ip| ip.parse::<IpAddr>().expect("ip")));
        let servers: Vec<_> = now.name_servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.53", "10.7.0.1", "fd00::1"]);
        assert_eq!((now.link.mtu, &now.search_domains[..]), (1300, &["lan".to_string()][..]));

        provider.provide(Source::Dhcp, Provided::default()).await.expect("a stack");
        let servers = stack.net().network().name_servers.clone();
        assert_eq!(servers.len(), 3, "there is room for the one left out before: {servers:?}");
        provider.provide(Source::Slaac, Provided::default()).await.expect("a stack");
        let mut after = netcore::Network::clone(&stack.net().network());
        after.revision = before.revision;
        assert_eq!(after, *before);
    }
}
