//! An interface that the `tun-tap` crate has opened.

use super::host;
use super::interface::{Interface, Layer};
use super::kernel::KernelDevice;
use netlink_packet_core::Nla;
use netlink_packet_route::link::{InfoData, InfoTun, LinkAttribute, LinkInfo, LinkMessage};
use std::io;
use tun_tap::{Iface, Mode};

/// `IFLA_TUN_PI` of Linux: whether a protocol number is in front of each packet.
const PACKET_INFO: u16 = 4;

impl KernelDevice {
    pub(super) fn from_iface(layer: Layer, iface: Iface) -> io::Result<Self> {
        let name = iface.name().to_owned();
        let is_of_layer = match iface.mode() {
            Mode::Tun => layer == Layer::Ip,
            Mode::Tap => layer == Layer::Ethernet,
        };
        if !is_of_layer {
            return Err(invalid(format!("{name} is no {}", layer.name())));
        }
        let link = host::link(&name)?;
        if has_packet_info(&link) {
            let cure = "open it with Iface::without_packet_info";
            return Err(invalid(format!("{name} has packet information: {cure}")));
        }
        let mtu = host::mtu(&link)
            .ok_or_else(|| invalid(format!("the kernel names no MTU of {name}")))?;
        Ok(Self::new(layer, vec![Interface::from_iface(iface)?], mtu, Vec::new()))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn has_packet_info(link: &LinkMessage) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let tun = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Tun(tun)) => Some(tun),
        _ => None,
    });
    tun.into_iter().flatten().any(|attribute| match attribute {
        InfoTun::Other(it) if it.kind() == PACKET_INFO => {
            let mut value = vec![0; it.value_len()];
            it.emit_value(&mut value);
            value != [0]
        }
        _ => false,
    })
}
