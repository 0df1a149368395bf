//! Flags for the stack's addresses, routes and link.

use crate::{flags, program, tunnel, until_stopped};
use anyhow::{Context, Result, bail, ensure};
use clap::ArgGroup;
use netstack::capture::{Capture, Recorder};
use netstack::control::Host;
use netstack::device::{Device, InterfaceConfig, InterfaceOffload, Tap, Tun};
use netstack::link::{LinkDevice, LinkUrl};
use netstack::netsocket::netcore::{Link, Medium, Network as State};
use netstack::{Builder, Hook, IpNet, Net, Stack, dhcp, slaac};
use std::fs::{DirBuilder, File};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// The stack's addresses, routes and link.
///
/// Without any address, DHCP or SLAAC, the kernel's side is 10.9.0.1/24 and the stack's
/// 10.9.0.2/24.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("ethernet").args(["tap", "link"]), after_help = SHORT)]
pub struct Network {
    /// The kernel's TUN interface, which is made [default: tun0]
    #[arg(hide_short_help = true, help_heading = HEADING, long, value_name = "NAME")]
    pub tun: Option<String>,
    /// The kernel's TAP interface, which is made in place of a TUN
    #[arg(hide_short_help = true, help_heading = HEADING, long, value_name = "NAME", conflicts_with = "tun")]
    pub tap: Option<String>,
    /// The link by a URL, in place of a TUN: tun://NAME, tap://NAME, packet://NAME, fd://N,
    /// unix-stream://PATH, unix-dgram://PATH, vde://DIRECTORY, ptp://PATH, switch://NAME,
    /// vxlan://GROUP, vxvde://GROUP, udp://PORT->ADDRESS:PORT, wg://FILE (of wg-quick, with the
    /// addresses, name servers and MTU unless flags give others)
    #[arg(hide_short_help = true, help_heading = HEADING, long, value_name = "URL", conflicts_with_all = ["tun", "tap"])]
    pub link: Option<LinkUrl>,
    /// Get an IPv4 address from a DHCP server, and log each step to standard error
    #[arg(hide_short_help = true, help_heading = HEADING, long, requires = "ethernet")]
    pub dhcp: bool,
    /// Get IPv6 addresses by SLAAC, and log each step to standard error
    #[arg(hide_short_help = true, help_heading = HEADING, long)]
    pub slaac: bool,
    /// An address of the stack, with its prefix (repeatable, IPv4 and IPv6)
    #[arg(hide_short_help = true, help_heading = HEADING, long = "address", value_name = "CIDR", value_parser = flags::prefixed)]
    pub addresses: Vec<IpNet>,
    /// The stack's default gateway (repeatable: one for each family)
    #[arg(hide_short_help = true, help_heading = HEADING, long = "gateway", value_name = "IP", value_parser = flags::address)]
    pub gateways: Vec<IpAddr>,
    /// An address of the kernel's end, which is brought up with it (repeatable)
    #[arg(hide_short_help = true, help_heading = HEADING, long = "host-address", value_name = "CIDR", value_parser = flags::prefixed)]
    pub host_addresses: Vec<IpNet>,
    /// The largest IP packet, in bytes [default: 1500, or that of the link]
    #[arg(hide_short_help = true, help_heading = HEADING, long, value_name = "N", value_parser = flags::number::<usize>(0..=u64::MAX, 1500))]
    pub mtu: Option<usize>,
    /// Turn segmentation offload off, so that every packet on the interface is as on a wire
    #[arg(hide_short_help = true, help_heading = HEADING, long)]
    pub no_offload: bool,
    /// A name server (repeatable)
    #[arg(hide_short_help = true, help_heading = HEADING, long = "dns", value_name = "IP", value_parser = flags::address)]
    pub name_servers: Vec<IpAddr>,
    /// Record every packet in this file, which tshark and Wireshark read
    #[arg(hide_short_help = true, help_heading = HEADING, long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Listen on a control socket, for netstack ss, why, top and others; only this user can open it.
    /// In $XDG_RUNTIME_DIR/netstack it is found without a flag
    #[arg(hide_short_help = true, help_heading = HEADING, long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// What takes programs onto the stacks of this process.
static HOST: OnceLock<MakeHost> = OnceLock::new();

type MakeHost = fn() -> Option<Arc<dyn Host>>;

/// Has the stacks that are configured from now on, and that have a control socket, take programs of
/// `netstack run --join`: each by the host that `make` makes for it. The first call counts.
pub fn host_programs(make: MakeHost) {
    HOST.get_or_init(|| make);
}

/// Of the flags in the long help.
const HEADING: &str = "Link and addresses";

/// What the short help has of them.
const SHORT: &str = "\
Link and addresses:
  --link URL    tun://NAME, tap://NAME, packet://NAME, vde://DIRECTORY, wg://FILE, and others;
                also --tun NAME, --tap NAME [default: --tun tun0]
  --address CIDR, --gateway IP, --host-address CIDR, --dns IP
                of the stack, and of the kernel's end [default: 10.9.0.2/24 and 10.9.0.1/24]
  --dhcp, --slaac
                addresses from the link instead
  --mtu N, --no-offload, --pcap FILE, --control PATH

--help tells more of each.";

/// The MTU where neither a flag nor the link has one.
const MTU: usize = 1500;

/// The device of the stack.
pub enum Interface {
    Plain(LinkDevice),
    Recorded(Capture<LinkDevice>),
}

impl Interface {
    fn spin(&self) -> Duration {
        match self {
            Self::Plain(device) => device.spin(),
            Self::Recorded(device) => device.spin(),
        }
    }

    /// Starts a stack on it, on the current runtime.
    pub fn spawn(self, builder: Builder) -> Result<Stack> {
        let started = match self {
            Self::Plain(device) => builder.spawn(device),
            Self::Recorded(device) => builder.spawn(device),
        };
        started.context("starting the stack")
    }

    /// Starts a stack on it, on a thread of its own.
    pub fn spawn_thread(self, builder: Builder) -> Result<Stack> {
        let started = match self {
            Self::Plain(device) => builder.spawn_thread(device),
            Self::Recorded(device) => builder.spawn_thread(device),
        };
        started.context("starting the stack")
    }
}

impl Network {
    /// Makes the interface and starts a stack on it, on the current runtime.
    pub fn start(&self) -> Result<Stack> {
        let (builder, interface) = self.prepare()?;
        let stack = interface.spawn(builder)?;
        if let Some(from) = self.address_from() {
            let net = stack.net().clone();
            tokio::spawn(async move {
                let is_missing = timeout(SILENCE, ready(&net)).await.is_err();
                if is_missing {
                    print_waiting(from);
                }
            });
        }
        Ok(stack)
    }

    /// Starts it as [`start`](Self::start) does, and waits until it has an address, as
    /// [`addressed`](Self::addressed).
    pub async fn start_ready(&self) -> Result<Stack> {
        self.start_ready_spinning(Duration::MAX).await
    }

    /// As [`start_ready`](Self::start_ready), with at most so much of [`Builder::spin`]: where a program
    /// that the stack waits for needs the processor.
    pub async fn start_ready_spinning(&self, spin_max: Duration) -> Result<Stack> {
        let (builder, interface) = self.prepare()?;
        let spin = interface.spin().min(spin_max);
        let stack = interface.spawn(builder.spin(spin))?;
        until_stopped(self.addressed(stack.net(), PATIENCE)).await?;
        Ok(stack)
    }

    /// Waits so long until a stack with these flags has an address, with a message on standard error
    /// if that takes two seconds and more. For those that flags give it waits at most two seconds:
    /// duplicate address detection (RFC 4862) ends before, unless the link has no carrier.
    pub async fn addressed(&self, net: &Net, patience: Duration) -> Result<()> {
        match self.address_from() {
            Some(from) => addressed(net, from, patience).await.map(drop),
            // Who needs an address that is not there yet is told so where it is used.
            None => match timeout(SILENCE.min(patience), ready(net)).await {
                Ok(state) => state.map(drop),
                Err(_) => Ok(()),
            },
        }
    }

    /// Where the stack's addresses come from, other than from flags.
    fn address_from(&self) -> Option<&'static str> {
        match (self.dhcp, self.slaac) {
            (true, true) => Some("DHCP server or router"),
            (true, false) => Some("DHCP server"),
            (false, true) => Some("router"),
            (false, false) => None,
        }
    }

    /// Makes the interface and configures the stack.
    pub fn prepare(&self) -> Result<(Builder, Interface)> {
        let mut network = self.clone();
        let tunnel = network.read_tunnel()?;
        let is_static = !network.dhcp && !network.slaac && tunnel.is_none();
        if is_static && network.addresses.is_empty() && network.host_addresses.is_empty() {
            network.addresses.push("10.9.0.2/24".parse()?);
            if network.makes_interface() {
                network.host_addresses.push("10.9.0.1/24".parse()?);
            }
        }
        let device = match &tunnel {
            Some(tunnel) => network.open_tunnel(tunnel)?,
            None => network.open()?,
        };
        let interface = match &network.pcap {
            Some(path) => {
                let name = network.kind();
                Interface::Recorded(Capture::with_recorder(device, &recorder(path)?, name))
            }
            None => Interface::Plain(device),
        };
        let builder = network.builder();
        Ok((tunnel.iter().fold(builder, tunnel::with_the_rest), interface))
    }

    /// Configures the stack.
    fn builder(&self) -> Builder {
        let (network, interface) = (self.clone(), self.interface());
        let mut builder = network.addresses.into_iter().fold(Builder::new(), Builder::address);
        builder = network.gateways.into_iter().fold(builder, Builder::gateway);
        builder = network.name_servers.into_iter().fold(builder, Builder::name_server);
        if let Some(path) = network.control {
            make_folder_of_user(&path);
            builder = builder.control(path).interface(interface);
            if let Some(host) = HOST.get().and_then(|host| host()) {
                builder = builder.host(host);
            }
        }
        if network.dhcp {
            builder = builder.dhcp(dhcp::Config::default().on_event(log_dhcp));
        }
        if network.slaac {
            let on_event = Some(Hook::new(log_slaac));
            builder = builder.slaac(slaac::Config { on_event, ..Default::default() });
        }
        builder
    }

    /// Opens the device.
    fn open(&self) -> Result<LinkDevice> {
        let interface = |name: &str| InterfaceConfig {
            name: name.into(),
            mtu: self.mtu(),
            host_addresses: self.host_addresses.clone(),
            offload: match self.no_offload {
                true => InterfaceOffload::Off,
                false => InterfaceOffload::Preferred,
            },
            ..InterfaceConfig::default()
        };
        if let Some(name) = &self.tap {
            return Ok(LinkDevice::Tap(Tap::open(&interface(name))?));
        }
        let Some(url) = &self.link else {
            let name = self.tun.as_deref().unwrap_or("tun0");
            return Ok(LinkDevice::Tun(Tun::open(&interface(name))?));
        };
        ensure!(
            self.host_addresses.is_empty() || self.makes_interface(),
            "--host-address: {url} makes no interface of the kernel"
        );
        let device = url.open_with(&interface("")).with_context(|| url.to_string())?;
        let is_ethernet = device.capabilities().medium == Medium::Ethernet;
        ensure!(is_ethernet || !self.dhcp, "--dhcp: {url} is no Ethernet link, as tap://tap0 is");
        Ok(device)
    }

    /// The largest IP packet, in bytes.
    fn mtu(&self) -> usize {
        self.mtu.unwrap_or(MTU)
    }

    /// Whether the link makes an interface of the kernel.
    fn makes_interface(&self) -> bool {
        self.link.as_ref().is_none_or(LinkUrl::makes_interface)
    }

    /// The name of the link, as `ip` shows it.
    pub fn interface(&self) -> String {
        match (&self.tap, &self.link, &self.tun) {
            (Some(name), _, _) | (None, None, Some(name)) => name.clone(),
            (None, Some(url), _) => url.interface(),
            (None, None, None) => "tun0".to_owned(),
        }
    }

    /// The name of the link in captures.
    fn kind(&self) -> &'static str {
        match (&self.tap, &self.link) {
            (_, Some(_)) => "link",
            (Some(_), None) => "tap",
            (None, None) => "tun",
        }
    }
}

/// Makes the folder of a control socket, if it is the one of this user's control sockets.
fn make_folder_of_user(socket: &Path) {
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(|path| Path::new(&path).join("netstack"));
    if let Some(folder) = of_user.filter(|folder| socket.parent() == Some(folder)) {
        // If it is not there, binding the socket reports that.
        let _ = DirBuilder::new().mode(0o700).create(folder);
    }
}

/// Begins a capture. Packets are in the file after a second at most.
pub fn recorder(path: &Path) -> Result<Recorder> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let recorder = Recorder::new(file);
    recorders().push(recorder.clone());
    let writing = recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // The recorder reports failures itself.
            let _ = writing.flush();
        }
    });
    Ok(recorder)
}

fn recorders() -> MutexGuard<'static, Vec<Recorder>> {
    /// All of the program.
    static RECORDERS: Mutex<Vec<Recorder>> = Mutex::new(Vec::new());
    RECORDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what was recorded and is not written yet. At its end a program does not wait for the tasks
/// that would do that.
pub fn finish_recordings() {
    for recorder in recorders().drain(..) {
        // The recorder reports failures itself.
        let _ = recorder.flush();
    }
}

/// Logs the events of the DHCP client to standard error.
fn log_dhcp(event: &dhcp::Event) {
    match event {
        dhcp::Event::Discover => crate::eprintln!("dhcp: discover"),
        dhcp::Event::Offer { address, server } => {
            crate::eprintln!("dhcp: offer of {address} from {server}");
        }
        dhcp::Event::Request => crate::eprintln!("dhcp: request"),
        dhcp::Event::Ack { lease } => crate::eprintln!("dhcp: ack from {}", lease.server),
        dhcp::Event::Nak { server } => crate::eprintln!("dhcp: nak from {server}"),
        dhcp::Event::Renewing => crate::eprintln!("dhcp: renewing"),
        dhcp::Event::Rebinding => crate::eprintln!("dhcp: rebinding"),
        dhcp::Event::Bound(lease) => {
            let gateway = lease.gateway().map_or_else(|| "none".into(), |ip| ip.to_string());
            let (address, netmask) = (lease.address.addr(), lease.address.netmask());
            crate::eprintln!(
                "dhcp: bound to address {address}, netmask {netmask}, gateway {gateway}"
            );
        }
        dhcp::Event::Lost => crate::eprintln!("dhcp: lost"),
    }
}

fn log_slaac(event: &slaac::Event) {
    crate::eprintln!("slaac: {event:?}");
}

/// How long to wait for an address without a message.
const SILENCE: Duration = Duration::from_secs(2);
/// How long an address may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the stack has an address, with a message on standard error if that takes long.
async fn addressed(net: &Net, from: &str, patience: Duration) -> Result<Arc<State>> {
    let deadline = Instant::now() + patience;
    if let Ok(state) = timeout(SILENCE.min(patience), ready(net)).await {
        return state;
    }
    if SILENCE < patience {
        print_waiting(from);
    }
    match timeout_at(deadline, ready(net)).await {
        Ok(state) => state,
        Err(_) => bail!("having an address: timed out after {patience:?}: no {from} has answered"),
    }
}

async fn ready(net: &Net) -> Result<Arc<State>> {
    Ok(net.watch_network().wait_for(is_ready).await?)
}

/// Whether there is an address that can be used, and nothing that is still being looked into.
fn is_ready(state: &State) -> bool {
    let is_usable = |address: IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let all = || state.addresses.iter().map(|own| own.addr()).filter(|own| is_usable(*own));
    all().next().is_some() && !all().any(|own| state.tentative.contains(&own))
}

fn print_waiting(from: &str) {
    crate::eprintln!("{}: waiting for an address: no {from} has answered yet", program());
}
