//! The comparison's servers on other stacks.

mod ipstack;
mod netstack_smoltcp;
mod ts_pair;
mod ts_tun;

use anyhow::{Context, Result};
use clap::Parser;
use std::net::Ipv4Addr;

/// Serves the comparison's load on another stack
#[derive(Parser)]
enum Args {
    /// netstack-smoltcp on a TUN
    NetstackSmoltcp(OnTun),
    /// ipstack on a TUN
    Ipstack(OnTun),
    /// ts_netstack_smoltcp on a TUN
    TsTun(OnTun),
    /// Two ts_netstack_smoltcp stacks joined in memory, which are measured here
    TsPair(ts_pair::Args),
}

#[derive(clap::Args)]
struct OnTun {
    /// The largest IP packet, in bytes
    #[arg(long, value_name = "N", default_value_t = 1500)]
    mtu: u16,
}

impl OnTun {
    /// A TUN whose kernel end is up and has its address.
    fn builder(&self) -> tun_rs::DeviceBuilder {
        tun_rs::DeviceBuilder::new()
            .name(protocol::TUN)
            .ipv4(Ipv4Addr::from(protocol::KERNEL), protocol::PREFIX, None)
            .mtu(self.mtu)
    }

    fn open(&self) -> Result<tun_rs::AsyncDevice> {
        self.builder().build_async().context("making the TUN")
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    match Args::parse() {
        Args::NetstackSmoltcp(tun) => netstack_smoltcp::run(&tun).await,
        Args::Ipstack(tun) => ipstack::run(&tun).await,
        Args::TsTun(tun) => ts_tun::run(&tun).await,
        Args::TsPair(args) => ts_pair::run(&args).await,
    }
}
