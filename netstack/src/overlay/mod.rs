//! Ethernet over UDP: VXLAN (RFC 7348), VDE's vxvde, and bare frames.
//!
//! An [`OverlayDevice`] carries frames in datagrams of the kernel's UDP: to a multicast group or to
//! fixed peers, and directly to whoever has sent from an address before. It needs no privileges.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use netstack::Builder;
//! use netstack::overlay::{OverlayConfig, OverlayDevice};
//!
//! let mut config = OverlayConfig::vxlan();
//! config.vni = 42;
//! config.remotes = vec!["192.0.2.2:4789".parse()?];
//! let device = OverlayDevice::open(&config)?;
//! let stack = Builder::new().address("10.0.0.2/24".parse()?).spawn(device)?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is encrypted, and nobody is asked who he is: whoever can send to the socket is on the
//! link, and can claim any address of it.

mod config;
mod device;
mod forwarding;
mod header;
mod local;
mod receiver;
mod sender;
mod sockets;
mod table;

pub use config::{Encapsulation, OverlayConfig};
pub(crate) use config::{GROUP_V4, GROUP_V6};
pub use device::{OverlayCounters, OverlayDevice, OverlaySlot};
pub use forwarding::{Datagram, Destination, Forwarding};
