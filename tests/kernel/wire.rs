//! The link between the kernel and a stack: a TUN or a TAP.

use crate::iface;
use crate::namespace::{Outcome, skip};
use netstack::device::{Device, InterfaceConfig, InterfaceOffload, Tap, Tun};
use netstack::netsocket::netcore::Network;
use netstack::{Builder, IpNet, Stack};
use std::io;

/// The addresses of both sides of the link, in both families.
pub(crate) const KERNEL: [&str; 2] = ["10.9.0.1", "fd00::1"];
pub(crate) const STACK: [&str; 2] = ["10.9.0.2", "fd00::2"];
pub(crate) const KERNEL_NETS: [&str; 2] = ["10.9.0.1/24", "fd00::1/64"];
const STACK_NETS: [&str; 2] = ["10.9.0.2/24", "fd00::2/64"];
/// The flags that give both sides of a link these addresses.
pub(crate) const NETWORK: [&str; 8] = [
    "--host-address",
    KERNEL_NETS[0],
    "--address",
    STACK_NETS[0],
    "--host-address",
    KERNEL_NETS[1],
    "--address",
    STACK_NETS[1],
];

/// The kernel's device. With a plain one the stack itself cuts data into packets and sums them up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire {
    Tun,
    PlainTun,
    Tap,
    PlainTap,
    /// Opened by the `tun-tap` crate.
    TunIface,
    TapIface,
    /// Opened by the `tun-rs` crate.
    TunRs,
}

impl Wire {
    /// Runs a test with a stack whose addresses are usable.
    pub(crate) fn with_stack(self, test: impl AsyncFnOnce(Stack) -> Outcome) -> Outcome {
        match self {
            Self::Tun => with_stack_on(open_tun(InterfaceOffload::Preferred), test),
            Self::PlainTun => with_stack_on(open_tun(InterfaceOffload::Off), test),
            Self::Tap => with_stack_on(open_tap(InterfaceOffload::Preferred), once_settled(test)),
            Self::PlainTap => with_stack_on(open_tap(InterfaceOffload::Off), once_settled(test)),
            Self::TunIface => with_stack_on(iface::tun(), test),
            Self::TapIface => with_stack_on(iface::tap(), once_settled(test)),
            Self::TunRs => with_stack_on(iface::tun_rs(), test),
        }
    }
}

/// The address and port as text.
pub(crate) fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Runs a test with a stack on a device, if the device can be opened.
pub(crate) fn with_stack_on<D: Device>(
    device: io::Result<D>,
    test: impl AsyncFnOnce(Stack) -> Outcome,
) -> Outcome {
    let device = match device {
        Ok(device) => device,
        Err(error) => return skip(&error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { test(builder().spawn(device)?).await })
}

/// The test, once duplicate address detection on an Ethernet link is done.
fn once_settled(test: impl AsyncFnOnce(Stack) -> Outcome) -> impl AsyncFnOnce(Stack) -> Outcome {
    async move |stack: Stack| {
        let usable = |network: &Network| {
            network.link.hardware_address.is_some() && network.tentative.is_empty()
        };
        stack.net().watch_network().wait_for(usable).await?;
        test(stack).await
    }
}

pub(crate) fn open_tun(offload: InterfaceOffload) -> io::Result<Tun> {
    Tun::open(&InterfaceConfig {
        name: "tun0".into(),
        host_addresses: networks(KERNEL_NETS),
        offload,
        ..InterfaceConfig::default()
    })
}

/// A machine that has IPv6 switched off.
pub(crate) fn without_ipv6() -> Outcome {
    if let Err(error) = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
        return skip(&format!("disable_ipv6: {error}"));
    }

    let error = open_tun(InterfaceOffload::Off).err().ok_or("an IPv6 address without IPv6")?;

    let text = error.to_string();
    assert!(text.contains("fd00::1/64: IPv6 is disabled on tun0"), "{text}");
    Ok(())
}

fn open_tap(offload: InterfaceOffload) -> io::Result<Tap> {
    Tap::open(&InterfaceConfig {
        name: "tap0".into(),
        host_addresses: networks(KERNEL_NETS),
        offload,
        ..InterfaceConfig::default()
    })
}

/// A stack's, with the addresses of its end.
pub(crate) fn builder() -> Builder {
    networks(STACK_NETS).into_iter().fold(Builder::new(), Builder::address)
}

fn networks(texts: [&str; 2]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}
