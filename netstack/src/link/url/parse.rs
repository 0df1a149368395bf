//! Reading the URL of a link.

use super::{LinkUrl, Target};
use crate::device::{InterfaceOffload, VdeConfig};
use crate::link::syntax::{LinkUrlError, Parts, parts_of_name, parts_of_path};
use crate::link::{overlay, vde};
use crate::switch::VlanId;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

/// The schemes, with an example of each.
const SCHEMES: &[(&str, &str)] = &[
    ("tun", "tun://tun0"),
    ("tap", "tap://tap0"),
    ("fd", "fd://3"),
    ("packet", "packet://eth0"),
    ("unix-stream", "unix-stream:///run/link.sock"),
    ("unix-dgram", "unix-dgram:///run/link.sock"),
    ("vde", "vde:///run/vde.ctl"),
    ("wg", "wg:///etc/wireguard/wg0.conf"),
    ("ptp", "ptp:///run/link.sock"),
    ("switch", "switch://lan"),
];
/// The least MTU of IPv4 (RFC 791).
const MTU_MIN: u16 = 68;

impl FromStr for LinkUrl {
    type Err = LinkUrlError;

    fn from_str(text: &str) -> Result<Self, LinkUrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let name = if text.is_empty() { "tun0" } else { text };
            let message = format!("the scheme is missing, for example \"tun://{name}\"");
            return Err(LinkUrlError::new(message));
        };
        let schemes = || SCHEMES.iter().chain(&overlay::SCHEMES);
        let Some((_, example)) = schemes().find(|(known, _)| *known == scheme) else {
            let known: Vec<_> = schemes().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            return Err(LinkUrlError::new(format!("\"{scheme}\" is no scheme of a link: {known}")));
        };
        let is_path = scheme.starts_with("unix-") || matches!(scheme, "vde" | "ptp" | "wg");
        let parts = if is_path { parts_of_path(rest) } else { parts_of_name(rest) };
        if overlay::SCHEMES.iter().any(|(known, _)| *known == scheme) {
            let target = Target::Overlay(Box::new(overlay::config(scheme, parts?)?));
            return Ok(Self {
                text: text.to_owned(),
                target,
                mtu: None,
                offload: None,
                queues: None,
            });
        }
        let Parts { name, options } = parts?;
        // A VDE switch has directories that are known.
        if name.is_empty() && scheme != "vde" {
            let what = if is_path { "path" } else { "name" };
            let message =
                format!("a {what} is missing behind \"{scheme}://\", for example \"{example}\"");
            return Err(LinkUrlError::new(message));
        }
        let target = Target::new(scheme, name)?;
        let mut url =
            Self { text: text.to_owned(), target, mtu: None, offload: None, queues: None };
        for (key, value) in options {
            // As in VDE, a number alone is that of the port.
            let is_port = scheme == "vde" && key.bytes().all(|byte| byte.is_ascii_digit());
            let (key, value) = match value {
                None if is_port => ("port".to_owned(), Some(key.into_bytes())),
                value => (key, value),
            };
            url.set(scheme, &key, value)?;
        }
        Ok(url)
    }
}

impl Target {
    fn new(scheme: &str, name: Vec<u8>) -> Result<Self, LinkUrlError> {
        let path = PathBuf::from(OsString::from_vec(name));
        match scheme {
            "unix-stream" => return Ok(Self::Stream { path, listens: false, is_once: false }),
            "unix-dgram" => {
                return Ok(Self::Datagram { path, listens: false, local: None, greets: false });
            }
            "ptp" => return Ok(Self::Ptp { path, by_datagrams: false }),
            "vde" => {
                let directory = (!path.as_os_str().is_empty()).then_some(path);
                return Ok(Self::Vde(VdeConfig { directory, ..VdeConfig::default() }));
            }
            "wg" => return Ok(Self::WireGuard(path)),
            _ => {}
        }
        let name = path.into_os_string().into_string();
        let name = name.map_err(|_| LinkUrlError::new("the name is not UTF-8"))?;
        Ok(match scheme {
            "tun" => Self::Tun(name),
            "tap" => Self::Tap(name),
            "packet" => Self::Packet(name),
            "switch" => Self::Switch { name, vlan: None },
            _ => Self::Descriptor(descriptor_number(&name)?),
        })
    }

    /// The options that it has.
    fn options(&self) -> &'static str {
        match self {
            Self::Tun(_) | Self::Tap(_) => "mtu, offload, queues",
            Self::Packet(_) => "mtu, offload",
            Self::Descriptor(_) | Self::WireGuard(_) => "mtu",
            Self::Stream { .. } => "listen, mtu, once",
            Self::Datagram { .. } => "listen, local, mtu, vfkit",
            Self::Vde(_) => vde::OPTIONS,
            // They have a parser of their own.
            Self::Overlay(_) => "",
            Self::Ptp { .. } => "dgram, mtu",
            Self::Switch { .. } => "mtu, offload, vlan",
        }
    }
}

impl LinkUrl {
    fn set(&mut self, scheme: &str, key: &str, value: Option<Vec<u8>>) -> Result<(), LinkUrlError> {
        let known = self.target.options();
        if !known.split(", ").any(|known| known == key) {
            let message = format!("\"{key}\" is no option of {scheme}://: {known}");
            return Err(LinkUrlError::new(message));
        }
        let text = value.as_deref().map(String::from_utf8_lossy);
        match (key, &mut self.target) {
            ("mtu", _) => self.mtu = Some(mtu(text.as_deref())?),
            ("queues", _) => self.queues = Some(queues(text.as_deref())?),
            ("offload", _) => self.offload = Some(offload(text.as_deref())?),
            (key, Target::Vde(config)) => vde::set(config, key, text.as_deref())?,
            ("vlan", Target::Switch { vlan, .. }) => *vlan = Some(vlan_id(text.as_deref())?),
            ("local", Target::Datagram { local, .. }) => {
                let path = value.map(|path| PathBuf::from(OsString::from_vec(path)));
                *local = Some(path.ok_or_else(|| LinkUrlError::new("local is not a path"))?);
            }
            (_, _) if text.is_some() => {
                return Err(LinkUrlError::new(format!("{key} has no value")));
            }
            ("listen", Target::Stream { listens, .. } | Target::Datagram { listens, .. }) => {
                *listens = true;
            }
            ("dgram", Target::Ptp { by_datagrams, .. }) => *by_datagrams = true,
            ("once", Target::Stream { is_once, .. }) => *is_once = true,
            ("vfkit", Target::Datagram { greets, .. }) => *greets = true,
            _ => unreachable!("{key} is an option of {scheme}"),
        }
        if let Target::Datagram { listens: true, local: Some(_), .. } = &self.target {
            return Err(LinkUrlError::new("local beside listen: the path is the own socket"));
        }
        Ok(())
    }
}

fn descriptor_number(text: &str) -> Result<RawFd, LinkUrlError> {
    text.parse().ok().filter(|number| *number >= 0).ok_or_else(|| {
        let message =
            format!("\"{text}\" is not the number of a descriptor, for example \"fd://3\"");
        LinkUrlError::new(message)
    })
}

pub(in crate::link) fn mtu(value: Option<&str>) -> Result<u16, LinkUrlError> {
    let mtu = value.and_then(|value| value.parse().ok()).filter(|mtu| *mtu >= MTU_MIN);
    mtu.ok_or_else(|| {
        let given = value.map_or_else(|| "mtu".to_owned(), |value| format!("mtu={value}"));
        LinkUrlError::new(format!(
            "{given} is not a number of bytes from {MTU_MIN} to 65535, for example mtu=1500"
        ))
    })
}

fn queues(value: Option<&str>) -> Result<usize, LinkUrlError> {
    let queues = value.and_then(|value| value.parse().ok()).filter(|it| (1..=256).contains(it));
    queues.ok_or_else(|| {
        let given = value.map_or_else(|| "queues".to_owned(), |value| format!("queues={value}"));
        LinkUrlError::new(format!("{given} is not a number from 1 to 256, for example queues=4"))
    })
}

fn vlan_id(value: Option<&str>) -> Result<VlanId, LinkUrlError> {
    let id = value.and_then(|value| value.parse().ok()).and_then(VlanId::new);
    id.ok_or_else(|| {
        let given = value.map_or_else(|| "vlan".to_owned(), |value| format!("vlan={value}"));
        LinkUrlError::new(format!("{given} is no virtual LAN from 1 to 4094, for example vlan=10"))
    })
}

fn offload(value: Option<&str>) -> Result<InterfaceOffload, LinkUrlError> {
    match value {
        Some("on") => Ok(InterfaceOffload::Preferred),
        Some("off") => Ok(InterfaceOffload::Off),
        other => {
            let given = other.map_or_else(|| "offload".to_owned(), |it| format!("offload={it}"));
            Err(LinkUrlError::new(format!("{given} is neither offload=on nor offload=off")))
        }
    }
}
