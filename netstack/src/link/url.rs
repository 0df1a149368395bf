//! The URL of a link.

use super::device::open_descriptor;
use super::syntax::{LinkUrlError, Parts, parts_of_name, parts_of_path};
use super::{LinkDevice, overlay, vde};
use crate::device::{
    InterfaceConfig, InterfaceOffload, PacketDevice, PtpDevice, Tap, Tun, UnixDatagramDevice,
    UnixStreamDevice, VdeConfig, VdeDevice,
};
use crate::overlay::{OverlayConfig, OverlayDevice};
use crate::switch::{PortConfig, Switch, SwitchConfig, SwitchPort, Vlan, VlanId};
#[cfg(feature = "wireguard")]
use crate::wireguard::{Config, WireGuardDevice};
use netcore::{Link, Medium};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

/// The URL of a link: which device, and how it is opened.
///
/// | URL | link |
/// |---|---|
/// | `tun://NAME` | a TUN of this name, which the kernel makes if there is none |
/// | `tap://NAME` | a TAP, likewise |
/// | `fd://N` | descriptor N, which the parent has opened: a TUN, a TAP or a UNIX socket |
/// | `unix-stream://PATH` | a [`UnixStreamDevice`], connected to PATH |
/// | `unix-dgram://PATH` | a [`UnixDatagramDevice`], which sends to PATH |
/// | `vde://DIRECTORY` | a [`VdeDevice`], on a port of the switch at DIRECTORY |
/// | `packet://NAME` | a [`PacketDevice`] on this interface of the machine |
/// | `vxlan://GROUP`, `vxvde://GROUP` | an [`OverlayDevice`] with a multicast group |
/// | `udp://PORT->ADDRESS:PORT` | an [`OverlayDevice`] with bare frames |
/// | `wg://PATH` | a WireGuard tunnel of this `wg-quick` file, with the feature `wireguard` |
/// | `ptp://PATH` | a [`PtpDevice`], to whoever else comes to PATH |
/// | `switch://NAME` | a port of the switch of this name in this process, [`Switch::shared`] |
///
/// Options follow behind a `/` each, or behind a path in brackets: `PATH[listen/mtu=9000]`.
///
/// | option | of | meaning |
/// |---|---|---|
/// | `mtu=BYTES` | all | the largest IP packet |
/// | `offload=on`, `offload=off` | `tun`, `tap`, `packet`, `switch` | [`InterfaceOffload`] |
/// | `queues=N` | `tun`, `tap` | the number of queues, from 1 to 256 |
/// | `listen` | `unix-stream`, `unix-dgram` | PATH is the own socket, and others come to it |
/// | `once` | `unix-stream` | the end of the first peer is that of the stack |
/// | `local=PATH` | `unix-dgram` | the own socket, for a peer that sends to a fixed path |
/// | `vfkit` | `unix-dgram` | greets with `VFKT`, for gvproxy |
/// | `port=N`, or `N` alone | `vde` | the number of the port, from 1 |
/// | `portgroup=NAME` | `vde` | the socket NAME of the switch, if it has one |
/// | `group=NAME`, `mode=OCTAL` | `vde` | group and mode of the own socket, for the switch |
/// | `vni=N`, `port=N`, `ttl=HOPS`, `if=NAME`, `bind=ADDRESS` | `vxlan`, `vxvde` | [`OverlayConfig`] |
/// | `remote=ADDRESS,…` | `vxlan`, `vxvde` | fixed peers, in place of or beside the group |
/// | `v4`, `v6` | `vxlan`, `vxvde` | the family, where nothing else tells it |
/// | `rcvbuf=BYTES`, `hashsize=N`, `expiretime=SECONDS` | `vxlan`, `vxvde` | [`OverlayConfig`] |
/// | `grp=GROUP` | `vxvde` | the multicast group and the network of a group of users |
/// | `dgram` | `ptp` | meets VDE before 2025, if this end comes first |
/// | `vlan=N` | `switch` | the virtual LAN of the port, untagged |
///
/// Without DIRECTORY `vde://` is `/var/run/vde.ctl`, else `/tmp/vde.ctl`.
///
/// `'…'`, `"…"`, `\c` and `%XX` quote, so that `tun://tun%25d` is the first free of tun0, tun1, ….
///
/// ```
/// use netstack::link::LinkUrl;
///
/// let url: LinkUrl = "tap://tap0/mtu=9000".parse()?;
/// assert_eq!(url.to_string(), "tap://tap0/mtu=9000");
/// let wrong = "tap://tap0/mtu=many".parse::<LinkUrl>().unwrap_err().to_string();
/// assert_eq!(wrong, "mtu=many is not a number of bytes from 68 to 65535, for example mtu=1500");
/// # Ok::<(), netstack::link::LinkUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkUrl {
    text: String,
    target: Target,
    mtu: Option<u16>,
    offload: Option<InterfaceOffload>,
    queues: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Tun(String),
    Tap(String),
    Descriptor(RawFd),
    Stream { path: PathBuf, listens: bool, is_once: bool },
    Datagram { path: PathBuf, listens: bool, local: Option<PathBuf>, greets: bool },
    Vde(VdeConfig),
    Packet(String),
    Overlay(Box<OverlayConfig>),
    WireGuard(PathBuf),
    Ptp { path: PathBuf, by_datagrams: bool },
    Switch { name: String, vlan: Option<VlanId> },
}

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

impl LinkUrl {
    /// Opens the link, with an interface of the kernel as in [`InterfaceConfig::default`].
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open(&self) -> io::Result<LinkDevice> {
        self.open_with(&InterfaceConfig::default())
    }

    /// Opens the link. What the URL leaves open is as in `config`; the name of an interface is that
    /// of the URL.
    ///
    /// `fd://N` duplicates descriptor N, which stays open for the rest of the program, and marks it
    /// close-on-exec. Its MTU is the option's, or else that of the interface; an interface in another
    /// network namespace has 1500 bytes. [`LinkDevice::from_fd`] takes a descriptor over.
    ///
    /// # Errors
    ///
    /// Those of [`Tun::open`], [`Tap::open`], [`LinkDevice::from_fd`], [`UnixStreamDevice`],
    /// [`UnixDatagramDevice`], [`VdeDevice::connect`], [`PtpDevice::open`], [`Switch::port`],
    /// [`PacketDevice::open`],
    /// [`OverlayDevice::open`] and a WireGuard device, `NotFound` for a descriptor that is not open, and
    /// `Unsupported` for a tunnel without the feature `wireguard`.
    pub fn open_with(&self, config: &InterfaceConfig) -> io::Result<LinkDevice> {
        let mtu = self.mtu.map(usize::from);
        let interface = |name: &String| InterfaceConfig {
            name: name.clone(),
            mtu: mtu.unwrap_or(config.mtu),
            host_addresses: config.host_addresses.clone(),
            offload: self.offload.unwrap_or(config.offload),
            queues: self.queues.unwrap_or(config.queues),
        };
        match &self.target {
            Target::Tun(name) => Tun::open(&interface(name)).map(LinkDevice::Tun),
            Target::Tap(name) => Tap::open(&interface(name)).map(LinkDevice::Tap),
            Target::Descriptor(number) => open_descriptor(*number, mtu),
            Target::Stream { path, listens, is_once } => {
                let mtu = mtu.unwrap_or(config.mtu);
                let device = match listens {
                    true => UnixStreamDevice::listen(path, mtu),
                    false => UnixStreamDevice::connect(path, mtu),
                };
                Ok(LinkDevice::Stream(if *is_once { device?.once() } else { device? }))
            }
            Target::Datagram { path, listens, local, greets } => {
                let mtu = mtu.unwrap_or(config.mtu);
                let device = match listens {
                    true => UnixDatagramDevice::listen(path, mtu),
                    false => UnixDatagramDevice::connect(path, local.as_deref(), mtu),
                };
                Ok(LinkDevice::Datagram(if *greets { device?.with_greeting() } else { device? }))
            }
            Target::Vde(port) => {
                VdeDevice::connect(port, mtu.unwrap_or(config.mtu)).map(LinkDevice::Vde)
            }
            Target::Packet(name) => {
                let offload = self.offload.unwrap_or(config.offload);
                let device = PacketDevice::open(name, mtu, offload)?;
                Ok(LinkDevice::Packet(match mtu {
                    Some(_) => device,
                    None => device.with_mtu_max(config.mtu),
                }))
            }
            Target::Overlay(overlay) => {
                let device = OverlayDevice::open(overlay)?;
                Ok(LinkDevice::Overlay(match overlay.mtu {
                    Some(_) => device,
                    None => device.with_mtu_max(config.mtu),
                }))
            }
            #[cfg(feature = "wireguard")]
            Target::WireGuard(path) => {
                let device = WireGuardDevice::open(&self.tunnel(path)?)?;
                Ok(LinkDevice::WireGuard(Box::new(device)))
            }
            #[cfg(not(feature = "wireguard"))]
            Target::WireGuard(_) => {
                let message = "netstack is compiled without its feature wireguard";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
            Target::Ptp { path, by_datagrams } => {
                let mtu = mtu.unwrap_or(config.mtu);
                let device = match by_datagrams {
                    true => PtpDevice::open_datagrams(path, mtu),
                    false => PtpDevice::open(path, mtu),
                };
                device.map(LinkDevice::Ptp)
            }
            Target::Switch { name, vlan } => {
                let offload = self.offload.unwrap_or(config.offload);
                let port = PortConfig {
                    vlan: vlan.map_or(Vlan::Transparent, Vlan::Access),
                    jumbo: offload != InterfaceOffload::Off,
                    ..PortConfig::default()
                };
                shared_port(name, port, mtu, config.mtu).map(LinkDevice::Switch)
            }
        }
    }

    /// Reads the file of a WireGuard tunnel, with the MTU of the URL; `None` for other links.
    ///
    /// What it has for the stack is to be set by [`Config::configure`]; the device of
    /// [`open`](Self::open) has no part in that.
    ///
    /// # Errors
    ///
    /// Those of [`Config::read`].
    #[cfg(feature = "wireguard")]
    pub fn wireguard(&self) -> io::Result<Option<Config>> {
        match &self.target {
            Target::WireGuard(path) => self.tunnel(path).map(Some),
            _ => Ok(None),
        }
    }

    #[cfg(feature = "wireguard")]
    fn tunnel(&self, path: &std::path::Path) -> io::Result<Config> {
        let config = Config::read(path)?;
        Ok(Config { mtu: self.mtu.or(config.mtu), ..config })
    }

    /// The medium, if the URL tells it: that of a descriptor is known once it is open.
    pub fn medium(&self) -> Option<Medium> {
        match self.target {
            Target::Tun(_) | Target::WireGuard(_) => Some(Medium::Ip),
            Target::Descriptor(_) => None,
            _ => Some(Medium::Ethernet),
        }
    }

    /// Whether opening the link makes an interface of this machine's kernel, which can be given
    /// addresses.
    pub fn makes_interface(&self) -> bool {
        matches!(self.target, Target::Tun(_) | Target::Tap(_))
    }

    /// What an interface of this link is called, for what shows the stack as a kernel: the name of the
    /// kernel's interface or of the tunnel's file, or else one by its scheme, as `vde0`, or `net0`.
    pub fn interface(&self) -> String {
        let (name, otherwise) = match &self.target {
            Target::Tun(name) => (Some(&**name), "tun0"),
            Target::Tap(name) => (Some(&**name), "tap0"),
            Target::Packet(name) => (Some(&**name), "eth0"),
            Target::WireGuard(path) => (path.file_stem().and_then(|stem| stem.to_str()), "wg0"),
            Target::Vde(_) => (None, "vde0"),
            Target::Overlay(_) if self.text.starts_with("vxlan") => (None, "vxlan0"),
            Target::Overlay(_) if self.text.starts_with("vxvde") => (None, "vxvde0"),
            _ => (None, "net0"),
        };
        name.filter(|name| is_interface_name(name)).unwrap_or(otherwise).to_owned()
    }
}

/// Whether Linux would take this name (`dev_valid_name`), and it is no pattern of one.
fn is_interface_name(name: &str) -> bool {
    let is_fit = |byte: u8| !byte.is_ascii_whitespace() && !b"/:%".contains(&byte);
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(is_fit)
}

/// Takes a port of a shared switch. Without an MTU it is that of the switch.
fn shared_port(
    name: &str,
    config: PortConfig,
    mtu: Option<usize>,
    default_mtu: usize,
) -> io::Result<SwitchPort> {
    let switch = SwitchConfig { mtu: mtu.unwrap_or(default_mtu), ..SwitchConfig::default() };
    let port = Switch::shared(name, switch).shared_port(config)?;
    let found = port.capabilities().mtu;
    if mtu.is_some_and(|wanted| wanted != found) {
        let message = format!("the switch \"{name}\" has an MTU of {found}, from its first link");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(port)
}

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

pub(super) fn mtu(value: Option<&str>) -> Result<u16, LinkUrlError> {
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

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
