//! Configurations, as JSON.

use netstack::device::{InterfaceConfig, InterfaceOffload, VdeConfig};
use netstack::overlay::{Encapsulation, OverlayConfig};
use netstack::switch::{PortConfig, SwitchConfig, VdeListenerConfig, Vlan, VlanId};
use netstack::{dhcp, slaac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;

#[test]
fn the_configuration_of_a_switch_survives_json() {
    let config = SwitchConfig { address_age: Duration::from_secs(7), ..SwitchConfig::default() };

    let text = serde_json::to_string(&config).expect("JSON");

    assert_eq!(serde_json::from_str::<SwitchConfig>(&text).expect(&text), config);
    assert!(text.contains("\"address_age\":7000000"), "{text}");
}

#[test]
fn what_is_left_out_has_its_default() {
    let interface: InterfaceConfig = serde_json::from_value(json!({
        "name": "tun0", "host_addresses": ["10.9.0.1/24"], "offload": "off",
    }))
    .expect("a configuration");
    let dhcp: dhcp::Config =
        serde_json::from_value(json!({"host_name": "web"})).expect("a configuration");
    let slaac: slaac::Config = serde_json::from_value(json!({})).expect("a configuration");

    let expected = InterfaceConfig {
        name: "tun0".into(),
        host_addresses: vec!["10.9.0.1/24".parse().expect("a network")],
        offload: InterfaceOffload::Off,
        ..InterfaceConfig::default()
    };
    assert_eq!(interface, expected);
    assert_eq!((dhcp.host_name.as_deref(), dhcp.release), (Some("web"), true));
    assert_eq!(slaac.identifier, slaac::Identifier::HardwareAddress);
    assert!(serde_json::from_value::<SwitchConfig>(json!({"mtv": 1500})).is_err());
}

#[test]
fn each_configuration_survives_json() {
    let id = |id| VlanId::new(id).expect("a number of a virtual LAN");
    let trunk = Vlan::Trunk { allowed: [id(10), id(20)].into(), native: Some(id(1)) };

    survives(&PortConfig { vlan: trunk.clone(), ..PortConfig::default() });
    survives(&VdeListenerConfig {
        request_timeout: Duration::from_millis(1),
        port_vlans: [(3, trunk), (4, Vlan::Access(id(10)))].into(),
        ..VdeListenerConfig::default()
    });
    survives(&VdeConfig { directory: Some("/run/lan".into()), ..VdeConfig::default() });
    survives(&OverlayConfig {
        group: Some([239, 0, 0, 1].into()),
        ttl: Some(3),
        ..OverlayConfig::vxvde()
    });
    survives(&dhcp::server::Config::new("10.0.0.1/24".parse().expect("a network")));
    survives(&slaac::RouterConfig::new("fd00::/64".parse().expect("a network")));
}

#[test]
fn short_configurations_have_the_usual_rest() {
    let overlay: OverlayConfig = given(json!({"encapsulation": "vxlan", "vni": 7}));
    assert_eq!((overlay.encapsulation, overlay.port), (Encapsulation::Vxlan, 4789));
    let port: PortConfig = given(json!({"vlan": {"trunk": {"allowed": [10]}}}));
    assert!(port.jumbo && matches!(port.vlan, Vlan::Trunk { native: None, .. }));
    let server: dhcp::server::Config = given(json!({
        "address": "10.0.0.1/24", "pool": {"start": "10.0.0.100", "end": "10.0.0.200"},
    }));
    assert_eq!((server.lease_time, server.router), (Duration::from_secs(86_400), None));
    let router: slaac::RouterConfig = given(json!({"prefix": "fd00::/64"}));
    assert_eq!(router.lifetime, Duration::from_secs(1800));
}

#[test]
fn what_no_configuration_can_have_is_refused() {
    refused::<PortConfig>(json!({"vlan": {"access": 4095}}), "from 1 to 4094");
    refused::<PortConfig>(json!({"vlan": "red"}), "unknown variant `red`");
    refused::<OverlayConfig>(json!({"vid": 1}), "unknown field `vid`");
    refused::<dhcp::server::Config>(json!({"address": "10.0.0.1/24"}), "missing field `pool`");
}

#[cfg(feature = "sim")]
#[test]
fn the_configuration_of_a_simulated_link_is_checked() {
    use netstack::sim::{BurstLoss, Codel, LinkConfig};

    let link = LinkConfig::new().delay(Duration::from_millis(10)).bandwidth(1_000_000).loss(0.01);
    let link = link.burst_loss(BurstLoss::new(0.002, 0.2)).codel(Codel::default());
    survives(&link.queue_delay(Duration::from_millis(250)).aggregate(Duration::from_millis(4)));
    survives(&LinkConfig::new().queue_bytes(9000).police(1_000_000, 3000));
    let short: LinkConfig = given(json!({"loss": 0.5, "queue": {"packets": 7}}));
    assert_eq!(short, LinkConfig::new().loss(0.5).queue(7));

    refused::<LinkConfig>(json!({"loss": 1.5}), "1.5 is not a probability");
    refused::<LinkConfig>(json!({"bits_per_second": 0}), "must not be zero");
    refused::<LinkConfig>(json!({"aggregate": 0}), "must not be zero");
    let policer = json!({"policer": {"bits_per_second": 0, "burst_bytes": 1}});
    refused::<LinkConfig>(policer, "must not be zero");
    refused::<LinkConfig>(json!({"burst_loss": {"enter": 2, "leave": 0}}), "not a probability");
}

#[cfg(feature = "wireguard")]
#[test]
fn the_configuration_of_a_tunnel_is_that_of_its_file() {
    use netstack::wireguard::Config;

    let text = "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n\
                Address = 10.8.0.2/24\n[Peer]\n\
                PublicKey = 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\n\
                AllowedIPs = 0.0.0.0/0\nEndpoint = [fd00::1]:51820\n";
    let config: Config = text.parse().expect("a configuration");

    let value = serde_json::to_value(&config).expect("JSON");

    assert_eq!(value["peers"][0]["endpoint"], "[fd00::1]:51820");
    let again: Config = given(value);
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    let short: Config = given(json!({"private_key": config.private_key.to_base64()}));
    assert!(short.has_routes && short.peers.is_empty());
    refused::<Config>(json!({"private_key": "short"}), "32 bytes in base64");
}

#[cfg(feature = "dns")]
#[test]
fn the_configuration_of_a_resolver_survives_json() {
    use netstack::netsocket::dns::ResolverConfig;

    survives(&ResolverConfig::new(["10.0.0.53".parse().expect("an address")]));
    let short: ResolverConfig = given(json!({"servers": ["10.0.0.53:53"], "timeout": 1_000_000}));
    assert_eq!((short.timeout, short.attempts), (Duration::from_secs(1), 2));
    refused::<ResolverConfig>(json!({"ndot": 1}), "unknown field `ndot`");
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(config: &T) {
    let text = serde_json::to_string(config).expect("JSON");
    assert_eq!(&serde_json::from_str::<T>(&text).expect(&text), config);
}

fn given<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a configuration")
}

fn refused<T: DeserializeOwned + Debug>(value: Value, expected: &str) {
    let error = serde_json::from_value::<T>(value).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error}");
}
