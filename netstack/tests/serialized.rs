//! Configurations, as JSON.

use netstack::device::{InterfaceConfig, InterfaceOffload};
use netstack::switch::SwitchConfig;
use netstack::{dhcp, slaac};
use serde_json::json;
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
