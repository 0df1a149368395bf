//! Links by URL.

use crate::namespace::{Outcome, netstack, program, skip};
use crate::programs::output;
use crate::wire::{KERNEL, KERNEL_NETS, STACK, builder};
use netstack::device::Device;
use netstack::link::LinkUrl;
use netstack::netsocket::netcore::{Link, Medium, Network};
use std::error::Error;
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Output, Stdio};
use std::time::Duration;
use tun_tap::{Iface, Mode};

/// A TAP and a TUN that another program has opened are links of their kind, with the MTU of the
/// interface.
pub(crate) fn descriptors() -> Outcome {
    for (mode, medium) in [(Mode::Tun, Medium::Ip), (Mode::Tap, Medium::Ethernet)] {
        let name = if medium == Medium::Ip { "tun0" } else { "tap0" };
        let iface = opened(name, mode)?;
        let url: LinkUrl = format!("fd://{}", iface.as_raw_fd()).parse()?;
        let device = url.open()?;
        let link = device.capabilities();
        assert_eq!((link.medium, link.mtu, link.checksum_offload), (medium, 1400, false));

        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(answers_pings(device))?;
        output(program("ip")?.args(["link", "delete", name]))?;
    }
    Ok(())
}

/// Runs a stack on the device, and pings it from the kernel.
async fn answers_pings(device: impl Device) -> Outcome {
    let stack = builder().spawn(device)?;
    let settled = |network: &Network| network.tentative.is_empty();
    stack.net().watch_network().wait_for(settled).await?;
    for address in STACK {
        let ping = move || -> Result<String, io::Error> {
            let mut ping = program("ping").map_err(io::Error::other)?;
            output(ping.args(["-c", "3", "-i", "0.05", address])).map_err(io::Error::other)
        };
        let text = tokio::task::spawn_blocking(ping).await??;
        assert!(text.contains("3 received, 0% packet loss"), "{text}");
    }
    stack.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}

/// An interface of the kernel as a parent opens it.
fn opened(name: &str, mode: Mode) -> Result<Iface, Box<dyn Error + Send + Sync>> {
    let iface = match Iface::without_packet_info(name, mode) {
        Ok(iface) => iface,
        Err(error) => return Err(skip(&error.to_string()).unwrap_err()),
    };
    for network in KERNEL_NETS {
        output(program("ip")?.args(["address", "add", network, "dev", name, "nodad"]))?;
    }
    output(program("ip")?.args(["link", "set", name, "mtu", "1400", "up"]))?;
    Ok(iface)
}

/// The tools take a link by its URL, a descriptor too.
pub(crate) fn flags() -> Outcome {
    let ping = |link: &str| -> Result<Output, Box<dyn Error + Send + Sync>> {
        let mut ping = netstack()?;
        ping.args(["ping", "--link", link, "--count", "1", "--address", "10.9.0.2/24", KERNEL[0]]);
        Ok(ping.stdin(Stdio::null()).output()?)
    };
    for (link, expected) in [
        ("tun0", "the scheme is missing, for example \"tun://tun0\""),
        ("tap://tap0/mtu=1", "mtu=1 is not a number of bytes"),
        ("fd://99", "fd://99: descriptor 99 is not open"),
        ("fd://0", "fd://0: descriptor 0: neither a TUN, a TAP nor a socket"),
    ] {
        let output = ping(link)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // That of ping for an error.
        assert_eq!(output.status.code(), Some(2), "{link}: {text}");
        assert!(text.contains(expected), "{link}: {text}");
    }

    for link in ["tun://tun7/offload=off", "tap://tap7"] {
        let mut ping = netstack()?;
        ping.args(["ping", "--link", link, "--count", "1", KERNEL[0]]);
        let output = ping.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{link}: {text}");
    }
    Ok(())
}
