//! What the examples have in common: their flags, and how they fail.

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use netstack::device::{Tun, TunConfig, TunOffload};
use netstack::{Builder, IpNet, Stack};
use std::net::IpAddr;
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// The stack's place in the network.
///
/// Without any address the kernel's end is 10.9.0.1/24 and the stack's 10.9.0.2/24.
#[derive(Debug, Clone, clap::Args)]
pub struct Network {
    /// The kernel's TUN interface, which is made
    #[arg(long, value_name = "NAME", default_value = "tun0")]
    pub tun: String,
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
    /// A server to be asked for names (repeatable)
    #[arg(long = "dns", value_name = "IP")]
    pub name_servers: Vec<IpAddr>,
    /// Have every packet on the TUN as it is on a wire, without segmentation offload
    #[arg(long)]
    pub no_offload: bool,
}

impl Network {
    /// Makes the TUN and starts a stack on it, on the current runtime.
    pub fn start(&self) -> Result<Stack> {
        let (builder, tun) = self.prepare()?;
        builder.spawn(tun).context("starting the stack")
    }

    /// Makes the TUN and says what the stack is to be.
    pub fn prepare(&self) -> Result<(Builder, Tun)> {
        let mut network = self.clone();
        if network.addresses.is_empty() && network.host_addresses.is_empty() {
            network.addresses.push("10.9.0.2/24".parse()?);
            network.host_addresses.push("10.9.0.1/24".parse()?);
        }
        let tun = Tun::open(&TunConfig {
            name: network.tun,
            mtu: network.mtu,
            host_addresses: network.host_addresses,
            offload: match network.no_offload {
                true => TunOffload::Off,
                false => TunOffload::Preferred,
            },
        })?;
        let builder = network.addresses.into_iter().fold(Builder::new(), Builder::address);
        let builder = network.name_servers.into_iter().fold(builder, Builder::name_server);
        Ok((network.gateways.into_iter().fold(builder, Builder::gateway), tun))
    }
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
