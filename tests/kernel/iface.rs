//! Interfaces as they are opened, by `Tun::open` and by the crates `tun-tap` and `tun-rs`.

use crate::namespace::{Outcome, program};
use crate::programs::output;
use crate::wire::KERNEL_NETS;
use netstack::device::{InterfaceConfig, Tap, Tun, TunRsDevice};
use std::io::{Error, ErrorKind, Result};
use tun_tap::{Iface, Mode};

/// A TUN whose configuration is that of `ip`.
pub(crate) fn tun() -> Result<Tun> {
    Tun::from_iface(open(Mode::Tun)?)
}

/// A TAP whose configuration is that of `ip`.
pub(crate) fn tap() -> Result<Tap> {
    Tap::from_iface(open(Mode::Tap)?)
}

/// A TUN of tun-rs, whose configuration is that of `ip`.
pub(crate) fn tun_rs() -> Result<TunRsDevice> {
    let tun = tun_rs::DeviceBuilder::new().name("wire0").build_sync()?;
    configure()?;
    Ok(TunRsDevice::new(tun, MTU))
}

pub(crate) fn refusals() -> Outcome {
    let wrong_mode = Tun::from_iface(Iface::without_packet_info("tap0", Mode::Tap)?);
    let packet_info = Tun::from_iface(Iface::new("tun0", Mode::Tun)?);

    for (refused, expected) in [
        (wrong_mode, "tap0 is no TUN"),
        (packet_info, "tun0 has packet information: open it with Iface::without_packet_info"),
    ] {
        let error = refused.err().ok_or(expected)?;
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, expected));
    }
    Ok(())
}

/// The queue in front of a TUN is that of an Ethernet device, if nobody has chosen another.
pub(crate) fn queue() -> Outcome {
    let tun = |name: &str| InterfaceConfig { name: name.to_owned(), ..InterfaceConfig::default() };
    let _default = Tun::open(&tun("tun0"))?;
    ip(&["tuntap", "add", "tun1", "mode", "tun"])?;
    ip(&["link", "set", "tun1", "txqueuelen", "123"])?;
    let _chosen = Tun::open(&tun("tun1"))?;

    for (name, expected) in [("tun0", "qlen 1000"), ("tun1", "qlen 123")] {
        let text = output(program("ip")?.args(["link", "show", name]))?;
        assert!(text.contains(expected), "{text}");
    }
    Ok(())
}

fn open(mode: Mode) -> Result<Iface> {
    let iface = Iface::without_packet_info("wire0", mode)?;
    configure()?;
    Ok(iface)
}

const MTU: usize = 1400;

fn configure() -> Result<()> {
    for network in KERNEL_NETS {
        ip(&["address", "add", network, "dev", "wire0", "nodad"])?;
    }
    ip(&["link", "set", "wire0", "mtu", &MTU.to_string(), "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let run = || output(program("ip")?.args(arguments));
    run().map(drop).map_err(Error::other)
}
