//! Two stacks joined in memory.

use crate::builder::Builder;
use crate::control_socket::ControlPath;
use crate::device;
use crate::stack::Stack;
use netcore::{Config, MacAddr, Medium};
use std::io;

/// How many frames a pipe between two stacks holds in each direction.
const PAIR_FRAMES: usize = 512;

/// Two stacks joined in memory, as tasks on the current tokio runtime: 10.0.0.1 and fd00::1 on one,
/// 10.0.0.2 and fd00::2 on the other.
///
/// # Errors
///
/// None that depends on the caller.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn pair() -> io::Result<(Stack, Stack)> {
    Pair::new().spawn()
}

/// Configures two joined stacks and starts them.
#[derive(Debug, Clone)]
pub struct Pair {
    config: Config,
    mtu: usize,
    jumbo: bool,
    medium: Medium,
    control: ControlPath,
}

impl Pair {
    /// Two stacks with default limits and an MTU of 1,500.
    pub fn new() -> Self {
        let config = Config::default();
        Self { config, mtu: 1500, jumbo: true, medium: Medium::Ip, control: ControlPath::default() }
    }

    /// Sets the limits of both.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the MTU of the link between them.
    #[must_use]
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Whether TCP may send packets of up to 64 KiB whatever the MTU, without checksums, since both
    /// ends are in this process. On by default; turn it off to see packets as on a wire.
    #[must_use]
    pub fn jumbo(mut self, jumbo: bool) -> Self {
        self.jumbo = jumbo;
        self
    }

    /// Whether the link between them is Ethernet, with neighbour resolution, the hardware addresses
    /// 02:00:00:00:00:01 and 02:00:00:00:00:02, and without duplicate address detection. Off by
    /// default: bare IP packets.
    #[must_use]
    pub fn ethernet(mut self, ethernet: bool) -> Self {
        self.medium = if ethernet { Medium::Ethernet } else { Medium::Ip };
        self
    }

    /// Has the first listen on a control socket; see [`Builder::control`].
    #[cfg(all(target_os = "linux", feature = "control"))]
    #[must_use]
    pub fn control(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.control.path = Some(path.into());
        self
    }

    /// Starts both on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the MTU is too small.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(self) -> io::Result<(Stack, Stack)> {
        let ((near, near_device), (far, far_device)) = self.make();
        Ok((near.spawn(near_device)?, far.spawn(far_device)?))
    }

    /// Starts both on threads of their own.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the MTU is too small; a failure to create a thread.
    pub fn spawn_threads(self) -> io::Result<(Stack, Stack)> {
        let ((near, near_device), (far, far_device)) = self.make();
        Ok((near.spawn_thread(near_device)?, far.spawn_thread(far_device)?))
    }

    fn make(self) -> ((Builder, device::PipeDevice), (Builder, device::PipeDevice)) {
        let (near, far) = device::join(PAIR_FRAMES, self.medium, self.mtu, self.jumbo);
        let builder = |host: u8| {
            let v4 = ipnet::Ipv4Net::new_assert([10, 0, 0, host].into(), 24);
            let v6 = [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)];
            let v6 = ipnet::Ipv6Net::new_assert(v6.into(), 64);
            let mut config = self.config.clone();
            if self.medium == Medium::Ethernet {
                // The same seed would give both the same hardware address. All addresses are set
                // here, so there are no duplicates to detect.
                config.ethernet.hardware_address.get_or_insert(MacAddr([2, 0, 0, 0, 0, host]));
                config.ethernet.dad_transmits = 0;
            }
            Builder::new().config(config).address(v4.into()).address(v6.into())
        };
        let first = builder(1).with_control(self.control.clone());
        ((first, near), (builder(2), far))
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}
