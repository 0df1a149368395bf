//! The configuration of a TUN or a TAP.

use ipnet::IpNet;

/// Configuration of the kernel's interface behind a [`Tun`](super::Tun) or a [`Tap`](super::Tap).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct InterfaceConfig {
    /// The name of the interface; empty for one that the kernel chooses. The kernel replaces `%d`
    /// in it by the first free number.
    pub name: String,
    /// The largest IP packet in bytes, from 68 to 65,535. A TAP's frame has 14 bytes more.
    pub mtu: usize,
    /// Addresses of the kernel on the interface. With any, the interface is brought up; without,
    /// it is left as it is (`ip address add`, `ip link set up`, `ip link set master`).
    pub host_addresses: Vec<IpNet>,
    /// Segmentation and checksum offload.
    pub offload: InterfaceOffload,
    /// The number of queues, from 1 to 256. Of several the kernel sends each flow to one, which the
    /// stack answers on; one stack reads them all.
    pub queues: usize,
}

/// Segmentation and checksum offload of a TUN or a TAP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum InterfaceOffload {
    /// The kernel cuts TCP data into packets of the MTU, joins them and computes checksums, where
    /// it can; a packet on the device then has up to 64 KiB. Only packets that leave the machine
    /// are ever cut.
    #[default]
    Preferred,
    /// The stack does: every packet on the device is as on a wire.
    Off,
}

impl Default for InterfaceConfig {
    /// A name that the kernel chooses, an MTU of 1500, no addresses, offload where possible, and one
    /// queue.
    fn default() -> Self {
        Self {
            name: String::new(),
            mtu: 1500,
            host_addresses: Vec::new(),
            offload: InterfaceOffload::default(),
            queues: 1,
        }
    }
}
