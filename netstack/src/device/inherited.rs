//! Interfaces that another program has opened.

use super::interface::{Interface, Layer};
use super::kernel::KernelDevice;
use super::{Tap, Tun, host, refusal};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// What a descriptor turned out to be.
pub(crate) enum Inherited {
    /// A TUN.
    Tun(Tun),
    /// A TAP.
    Tap(Tap),
    /// Neither.
    Other(OwnedFd),
}

/// The MTU of an interface of which nothing is known.
const MTU: usize = 1500;

/// Takes over an open descriptor of the kernel's TUN/TAP driver. The MTU is that of the interface
/// unless one is given; of an interface in another network namespace it is 1500.
///
/// # Errors
///
/// `InvalidInput` if it is attached to no interface or its packets have packet information, or for
/// an MTU out of range; the kernel's.
pub(crate) fn inherit(descriptor: OwnedFd, mtu: Option<usize>) -> io::Result<Inherited> {
    let (layer, interface) = match Interface::from_descriptor(File::from(descriptor))? {
        Ok(interface) => interface,
        Err(file) => return Ok(Inherited::Other(file.into())),
    };
    let of_kernel = || host::link(interface.name()).ok().as_ref().and_then(host::mtu);
    let mtu = mtu.or_else(of_kernel).unwrap_or(MTU);
    refusal::check_mtu(mtu)?;
    let device = KernelDevice::new(layer, vec![interface], mtu, Vec::new());
    Ok(match layer {
        Layer::Ip => Inherited::Tun(Tun(device)),
        Layer::Ethernet => Inherited::Tap(Tap(device)),
    })
}
