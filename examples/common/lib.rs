//! What the examples have in common: their flags, and how they fail.

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use netstack::capture::{Capture, Recorder};
use netstack::device::{Tap, TapConfig, Tun, TunConfig, TunOffload};
use netstack::{Builder, Hook, IpNet, Stack, dhcp, slaac};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The stack's place in the network.
///
/// Without any address, and nobody to be asked for one, the kernel's end is 10.9.0.1/24 and the
/// stack's 10.9.0.2/24.
#[derive(Debug, Clone, clap::Args)]
pub struct Network {
    /// The kernel's TUN interface, which is made [default: tun0]
    #[arg(long, value_name = "NAME")]
    pub tun: Option<String>,
    /// The kernel's TAP interface, which is made in place of a TUN
    #[arg(long, value_name = "NAME", conflicts_with = "tun")]
    pub tap: Option<String>,
    /// Ask a DHCP server for an IPv4 address, and tell on standard error what it says
    #[arg(long, requires = "tap")]
    pub dhcp: bool,
    /// Make IPv6 addresses of what routers say, and tell on standard error what they say
    #[arg(long)]
    pub slaac: bool,
    /// An address of the stack, with its prefix (repeatable, IPv4 and IPv6)
    #[arg(long = "address", value_name = "CIDR")]
    pub addresses: Vec<IpNet>,
    /// The stack's default gateway (repeatable: one for each family)
    #[arg(long = "gateway", value_name = "IP")]
    pub gateways: Vec<IpAddr>,
    /// An address of the kernel's end, which is brought up with it (repeatable)
    #[arg(long = "host-address", value_name = "CIDR")]
    pub host_addresses: Vec<IpNet>,
    /// The largest IP packet, in bytes
    #[arg(long, value_name = "N", default_value_t = 1500)]
    pub mtu: usize,
    /// Have every packet on the interface as it is on a wire, without segmentation offload
    #[arg(long)]
    pub no_offload: bool,
    /// A server to be asked for names (repeatable)
    #[arg(long = "dns", value_name = "IP")]
    pub name_servers: Vec<IpAddr>,
    /// Record every packet in this file, which tshark and Wireshark read
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

/// What the stack is on.
pub enum Interface {
    Tun(Tun),
    Tap(Tap),
    RecordedTun(Capture<Tun>),
    RecordedTap(Capture<Tap>),
}

impl Interface {
    /// Starts a stack on it, on the current runtime.
    pub fn spawn(self, builder: Builder) -> Result<Stack> {
        let started = match self {
            Self::Tun(tun) => builder.spawn(tun),
            Self::Tap(tap) => builder.spawn(tap),
            Self::RecordedTun(tun) => builder.spawn(tun),
            Self::RecordedTap(tap) => builder.spawn(tap),
        };
        started.context("starting the stack")
    }

    /// Starts a stack on it, on a thread of its own.
    pub fn spawn_thread(self, builder: Builder) -> Result<Stack> {
        let started = match self {
            Self::Tun(tun) => builder.spawn_thread(tun),
            Self::Tap(tap) => builder.spawn_thread(tap),
            Self::RecordedTun(tun) => builder.spawn_thread(tun),
            Self::RecordedTap(tap) => builder.spawn_thread(tap),
        };
        started.context("starting the stack")
    }

    /// Records what passes.
    fn recorded(self, recorder: &Recorder) -> Self {
        match self {
            Self::Tun(tun) => Self::RecordedTun(Capture::with_recorder(tun, recorder, "tun")),
            Self::Tap(tap) => Self::RecordedTap(Capture::with_recorder(tap, recorder, "tap")),
            recorded => recorded,
        }
    }
}

impl Network {
    /// Makes the interface and starts a stack on it, on the current runtime.
    pub fn start(&self) -> Result<Stack> {
        let (builder, interface) = self.prepare()?;
        interface.spawn(builder)
    }

    /// Makes the interface and says what the stack is to be.
    pub fn prepare(&self) -> Result<(Builder, Interface)> {
        let mut network = self.clone();
        let asks_nobody = !network.dhcp && !network.slaac;
        if asks_nobody && network.addresses.is_empty() && network.host_addresses.is_empty() {
            network.addresses.push("10.9.0.2/24".parse()?);
            network.host_addresses.push("10.9.0.1/24".parse()?);
        }
        let mut interface = network.open()?;
        if let Some(path) = &network.pcap {
            interface = interface.recorded(&recorder(path)?);
        }
        Ok((network.builder(), interface))
    }

    /// Says what the stack is to be.
    pub fn builder(&self) -> Builder {
        let network = self.clone();
        let mut builder = network.addresses.into_iter().fold(Builder::new(), Builder::address);
        builder = network.gateways.into_iter().fold(builder, Builder::gateway);
        builder = network.name_servers.into_iter().fold(builder, Builder::name_server);
        if network.dhcp {
            builder = builder.dhcp(dhcp::Config::default().on_event(tell_dhcp));
        }
        if network.slaac {
            let on_event = Some(Hook::new(tell_slaac));
            builder = builder.slaac_with(slaac::Config { on_event, ..Default::default() });
        }
        builder
    }

    fn open(&self) -> io::Result<Interface> {
        if let Some(name) = &self.tap {
            return self.open_tap(name).map(Interface::Tap);
        }
        let name = self.tun.clone().unwrap_or_else(|| "tun0".into());
        let Self { mtu, host_addresses, .. } = self.clone();
        let offload = self.offload();
        Tun::open(&TunConfig { name, mtu, host_addresses, offload }).map(Interface::Tun)
    }

    /// Makes a TAP of this name.
    pub fn open_tap(&self, name: &str) -> io::Result<Tap> {
        let Self { mtu, host_addresses, .. } = self.clone();
        let (name, offload) = (name.into(), self.offload());
        Tap::open(&TapConfig { name, mtu, host_addresses, offload })
    }

    fn offload(&self) -> TunOffload {
        match self.no_offload {
            true => TunOffload::Off,
            false => TunOffload::Preferred,
        }
    }
}

/// Begins a capture. What is recorded is in the file after a second at the latest.
pub fn recorder(path: &Path) -> Result<Recorder> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let recorder = Recorder::new(file);
    let writing = recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Said by the recorder itself.
            let _ = writing.flush();
        }
    });
    Ok(recorder)
}

/// Tells on standard error what happens to a DHCP client.
#[expect(clippy::print_stderr, reason = "this is where the example tells of its address")]
pub fn tell_dhcp(event: &dhcp::Event) {
    match event {
        dhcp::Event::Discover => eprintln!("dhcp: discover"),
        dhcp::Event::Offer { address, server } => {
            eprintln!("dhcp: offer of {address} from {server}");
        }
        dhcp::Event::Request => eprintln!("dhcp: request"),
        dhcp::Event::Ack { lease } => eprintln!("dhcp: ack from {}", lease.server),
        dhcp::Event::Nak { server } => eprintln!("dhcp: nak from {server}"),
        dhcp::Event::Renewing => eprintln!("dhcp: renewing"),
        dhcp::Event::Rebinding => eprintln!("dhcp: rebinding"),
        dhcp::Event::Bound(lease) => {
            let gateway = lease.gateway().map_or_else(|| "none".into(), |ip| ip.to_string());
            let (address, netmask) = (lease.address.addr(), lease.address.netmask());
            eprintln!("dhcp: bound to address {address}, netmask {netmask}, gateway {gateway}");
        }
        dhcp::Event::Lost => eprintln!("dhcp: lost"),
    }
}

#[expect(clippy::print_stderr, reason = "this is where the example tells of its addresses")]
fn tell_slaac(event: &slaac::Event) {
    eprintln!("slaac: {event:?}");
}

/// Reads the flags and runs the example. What goes wrong is told in one line, with exit status 1.
pub fn run<A: Parser>(example: impl AsyncFnOnce(A) -> Result<()>) -> ExitCode {
    run_on(|_| Runtime::new(), example)
}

/// The same on a runtime that depends on the flags.
pub fn run_on<A: Parser>(
    runtime: impl FnOnce(&A) -> io::Result<Runtime>,
    example: impl AsyncFnOnce(A) -> Result<()>,
) -> ExitCode {
    let args: A = match A::try_parse() {
        Ok(args) => args,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            error.exit()
        }
        Err(error) => {
            let text = error.to_string();
            return fail(text.lines().next().unwrap_or("error: wrong usage"));
        }
    };
    let result = runtime(&args)
        .context("starting tokio")
        .and_then(|runtime| runtime.block_on(example(args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("error: {error:#}")),
    }
}

#[expect(clippy::print_stderr, reason = "this is where the examples' errors are told")]
fn fail(line: &str) -> ExitCode {
    eprintln!("{line}");
    ExitCode::FAILURE
}

/// Waits until the user wants the example to end.
pub async fn interrupted() -> Result<()> {
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}
