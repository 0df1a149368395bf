//! The configuration string of a stack.

use crate::failure::{Failure, Result};
use ipnet::IpNet;
use netstack::device::InterfaceConfig;
use netstack::link::{LinkUrl, LinkUrlError};
use netstack::netsocket::netcore::Medium;
use netstack::{Builder, Stack, dhcp, slaac};
use rustix::io::Errno;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

/// The configuration of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// What the stack is on.
    pub(crate) link: LinkUrl,
    /// The name of the stack's own interface.
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) search_domains: Vec<String>,
    pub(crate) host_addresses: Vec<IpNet>,
    pub(crate) mtu: usize,
    pub(crate) dhcp: bool,
    pub(crate) slaac: bool,
}

impl FromStr for Config {
    type Err = Failure;

    /// Reads `LINK,PART,…`. A comma in the link is `%2C`.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',').map(str::trim);
        let link = parts.next().unwrap_or_default();
        let link = link.parse().map_err(|error: LinkUrlError| invalid(link, &error.to_string()))?;
        let mut config = Self {
            link,
            name: "ns0".to_owned(),
            addresses: Vec::new(),
            gateways: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            host_addresses: Vec::new(),
            mtu: InterfaceConfig::default().mtu,
            dhcp: false,
            slaac: false,
        };
        parts.filter(|part| !part.is_empty()).try_for_each(|part| config.take(part))?;
        if config.dhcp && config.link.medium() == Some(Medium::Ip) {
            return Err(invalid("dhcp", "needs a link of Ethernet, as tap://"));
        }
        Ok(config)
    }
}

impl Config {
    fn take(&mut self, part: &str) -> Result<()> {
        match part.split_once('=') {
            None if part == "dhcp" => self.dhcp = true,
            None if part == "slaac" => self.slaac = true,
            Some(("ip", value)) => self.addresses.push(parsed(part, value)?),
            Some(("gw", value)) => self.gateways.push(parsed(part, value)?),
            Some(("dns", value)) => self.name_servers.push(parsed(part, value)?),
            Some(("search", value)) => self.search_domains.push(value.to_owned()),
            Some(("host", value)) => self.host_addresses.push(parsed(part, value)?),
            Some(("mtu", value)) => self.mtu = parsed(part, value)?,
            // As long as the kernel's (IFNAMSIZ), with room for the end.
            Some(("name", value)) if (1..libc::IFNAMSIZ).contains(&value.len()) => {
                self.name = value.to_owned();
            }
            Some(("name", _)) => return Err(invalid(part, "expected 1 to 15 bytes")),
            _ => {
                let known = "expected ip=, gw=, dns=, search=, host=, mtu=, name=, dhcp or slaac";
                return Err(invalid(part, known));
            }
        }
        Ok(())
    }

    /// Opens the link and starts a stack on it, on the current runtime.
    pub(crate) fn start(&self) -> std::io::Result<Stack> {
        let config = self.clone();
        let mut builder = config.addresses.into_iter().fold(Builder::new(), Builder::address);
        builder = config.gateways.into_iter().fold(builder, Builder::gateway);
        builder = config.name_servers.into_iter().fold(builder, Builder::name_server);
        builder = config.search_domains.into_iter().fold(builder, Builder::search_domain);
        if self.dhcp {
            builder = builder.dhcp(dhcp::Config::default());
        }
        if self.slaac {
            builder = builder.slaac(slaac::Config::default());
        }
        let interface = InterfaceConfig {
            mtu: config.mtu,
            host_addresses: config.host_addresses,
            ..InterfaceConfig::default()
        };
        builder.spawn(self.link.open_with(&interface)?)
    }
}

fn parsed<T: FromStr<Err: Display>>(part: &str, value: &str) -> Result<T> {
    value.parse().map_err(|error: T::Err| invalid(part, &error.to_string()))
}

fn invalid(part: &str, reason: &str) -> Failure {
    Failure::new(Errno::INVAL, format!("\"{part}\" in the configuration: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_configuration_is_read() {
        let text = "tap://tap0/queues=2,ip=10.0.0.50/24,ip=fc00::1:50/64,gw=10.0.0.1,dhcp,slaac,dns=10.0.0.1,\
                    search=example.org,host=10.0.0.1/24,mtu=1400,name=vde0";
        let expected = Config {
            link: "tap://tap0/queues=2".parse().expect("a link"),
            name: "vde0".into(),
            addresses: vec![
                "10.0.0.50/24".parse().expect("a prefix"),
                "fc00::1:50/64".parse().expect("a prefix"),
            ],
            gateways: vec!["10.0.0.1".parse().expect("an address")],
            name_servers: vec!["10.0.0.1".parse().expect("an address")],
            search_domains: vec!["example.org".into()],
            host_addresses: vec!["10.0.0.1/24".parse().expect("a prefix")],
            mtu: 1400,
            dhcp: true,
            slaac: true,
        };
        assert_eq!(text.parse(), Ok(expected));
    }

    #[test]
    fn a_part_that_is_not_understood_is_named() {
        for (text, part) in [
            ("", ""),
            ("eth://x", "eth://x"),
            ("tap://tap0/queues=0", "tap://tap0/queues=0"),
            ("tap://tap0,ip=10.0.0.500/24", "ip=10.0.0.500/24"),
            ("tap://tap0,colour=red", "colour=red"),
            ("tap://tap0,ip", "ip"),
            ("tap://tap0,mtu=many", "mtu=many"),
            ("tap://tap0,name=0123456789abcdef", "name=0123456789abcdef"),
            ("tun://tun0,dhcp", "dhcp"),
        ] {
            let failure = text.parse::<Config>().expect_err(text);
            assert_eq!(failure.errno, Errno::INVAL);
            assert!(
                format!("{failure:?}").contains(&format!("\\\"{part}\\\" in the")),
                "{failure:?}"
            );
        }
    }
}
