//! The URL of a link.

mod parse;

pub(super) use parse::mtu;

use super::LinkDevice;
use super::device::open_descriptor;
use crate::device::{
    InterfaceConfig, InterfaceOffload, PacketDevice, PtpDevice, Tap, Tun, UnixDatagramDevice,
    UnixStreamDevice, VdeConfig, VdeDevice,
};
use crate::overlay::{OverlayConfig, OverlayDevice};
use crate::switch::{PortConfig, Switch, SwitchConfig, SwitchPort, Vlan, VlanId};
#[cfg(feature = "wireguard")]
use crate::wireguard::{Config, WireGuardDevice};
use netcore::{Link, Medium};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

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

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
