//! The virtual LANs of a port, as a flag.

use netstack::switch::{Vlan, VlanId};
use std::collections::BTreeSet;
use std::str::FromStr;

/// `PORT=VLANS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortVlans {
    pub(super) port: Port,
    pub(super) vlan: Vlan,
}

/// The port that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// A VDE port, by its number.
    Vde(u16),
    /// An uplink, by its place among the flags, from 1.
    Uplink(usize),
}

impl FromStr for PortVlans {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, vlans) = text.split_once('=').ok_or_else(|| {
            "the virtual LANs are missing, for example \"3=10\" or \"uplink1=10t,20t\"".to_owned()
        })?;
        Ok(Self { port: parse_port(port)?, vlan: parse_vlans(vlans)? })
    }
}

fn parse_port(text: &str) -> Result<Port, String> {
    let port = match text.strip_prefix("uplink") {
        Some(number) => number.parse().ok().filter(|number| *number > 0).map(Port::Uplink),
        None => text.parse().ok().filter(|number| *number > 0).map(Port::Vde),
    };
    port.ok_or_else(|| {
        format!("\"{text}\" is no port: a number from 1, or \"uplink1\" for the first --uplink")
    })
}

/// One without `t` is untagged; with others it is the native one of a trunk.
fn parse_vlans(text: &str) -> Result<Vlan, String> {
    let (mut allowed, mut native) = (BTreeSet::new(), None);
    for one in text.split(',') {
        let id = one.strip_suffix('t').unwrap_or(one);
        let id = id.parse().ok().and_then(VlanId::new).ok_or_else(|| {
            format!("\"{one}\" is no virtual LAN: from 1 to 4094, tagged with a t behind it")
        })?;
        if one.ends_with('t') {
            allowed.insert(id);
        } else if native.replace(id).is_some() {
            return Err(format!("\"{text}\" has two untagged virtual LANs: put a t behind one"));
        }
    }
    Ok(match native {
        Some(id) if allowed.is_empty() => Vlan::Access(id),
        native => Vlan::Trunk { allowed, native },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> VlanId {
        VlanId::new(number).expect("valid")
    }

    #[test]
    fn a_number_is_an_access_port_and_tags_make_a_trunk() {
        let trunk = |native| Vlan::Trunk { allowed: [id(10), id(20)].into(), native };
        for (text, port, vlan) in [
            ("3=10", Port::Vde(3), Vlan::Access(id(10))),
            ("uplink1=10t,20t", Port::Uplink(1), trunk(None)),
            ("1=10t,1,20t", Port::Vde(1), trunk(Some(id(1)))),
        ] {
            assert_eq!(text.parse(), Ok(PortVlans { port, vlan }), "{text}");
        }
    }

    #[test]
    fn each_mistake_in_a_virtual_lan_is_named() {
        for (text, expected) in [
            ("3", "the virtual LANs are missing"),
            ("0=1", "\"0\" is no port"),
            ("uplink=1", "\"uplink\" is no port"),
            ("1=4095", "\"4095\" is no virtual LAN: from 1 to 4094"),
            ("1=", "\"\" is no virtual LAN"),
            ("1=1,2", "two untagged virtual LANs"),
        ] {
            let error = text.parse::<PortVlans>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
