//! What the examples have in common: their flags, and how they fail.

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use netstack::device::{Tap, TapConfig, Tun, TunConfig, TunOffload};
use netstack::{Builder, Hook, IpNet, Stack, dhcp, slaac};
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// The stack's place in the network.
///
/// Without any address, and nobody to be asked for one, the kernel's end is 10.9.0.1/24 and the
/// stack's 10.9.0.2/24.
#[derive(Debug, Clone, clap::Args)]
pub struct Network {
    /// The kernel's TUN interface, which is made
    #[arg(long, value_name = "NAME", default_value = "tun0")]
    pub tun: String,
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
}

/// What the stack is on.
enum Interface {
    Tun(Tun),
    Tap(Tap),
}

impl Network {
    /// Makes the interface and starts a stack on it, on the current runtime.
    pub fn start(&self) -> Result<Stack> {
        let (builder, interface) = self.prepare()?;
        let started = match interface {
            Interface::Tun(tun) => builder.spawn(tun),
            Interface::Tap(tap) => builder.spawn(tap),
        };
        started.context("starting the stack")
    }

    /// The same, on a thread of its own.
    pub fn start_thread(&self) -> Result<Stack> {
        let (builder, interface) = self.prepare()?;
        let started = match interface {
            Interface::Tun(tun) => builder.spawn_thread(tun),
            Interface::Tap(tap) => builder.spawn_thread(tap),
        };
        started.context("starting the stack")
    }

    /// Makes the interface and says what the stack is to be.
    fn prepare(&self) -> Result<(Builder, Interface)> {
        let mut network = self.clone();
        let asks_nobody = !network.dhcp && !network.slaac;
        if asks_nobody && network.addresses.is_empty() && network.host_addresses.is_empty() {
            network.addresses.push("10.9.0.2/24".parse()?);
            network.host_addresses.push("10.9.0.1/24".parse()?);
        }
        let interface = network.open()?;
        let mut builder = network.addresses.into_iter().fold(Builder::new(), Builder::address);
        builder = network.gateways.into_iter().fold(builder, Builder::gateway);
        if network.dhcp {
            builder = builder.dhcp(dhcp::Config::default().on_event(tell_dhcp));
        }
        if network.slaac {
            let on_event = Some(Hook::new(tell_slaac));
            builder = builder.slaac_with(slaac::Config { on_event, ..Default::default() });
        }
        Ok((builder, interface))
    }

    fn open(&self) -> io::Result<Interface> {
        let Self { mtu, host_addresses, .. } = self.clone();
        let offload = match self.no_offload {
            true => TunOffload::Off,
            false => TunOffload::Preferred,
        };
        match self.tap.clone() {
            Some(name) => {
                Tap::open(&TapConfig { name, mtu, host_addresses, offload }).map(Interface::Tap)
            }
            None => {
                let name = self.tun.clone();
                Tun::open(&TunConfig { name, mtu, host_addresses, offload }).map(Interface::Tun)
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where the example tells of its address")]
fn tell_dhcp(event: &dhcp::Event) {
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
    runtime: impl FnOnce(&A) -> std::io::Result<Runtime>,
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
