//! The gateway: a stack in front of the guests, and what it carries to sockets of this machine.

use super::datagrams::Datagrams;
use super::lan::Lan;
use super::names::Names;
use super::pings::Pings;
use super::quota::Quota;
use super::{Args, streams};
use crate::open_files;
use anyhow::{Context, Result};
use netstack::dhcp::server::Server;
use netstack::netsocket::netcore::Medium;
use netstack::netsocket::netcore::raw::Version;
use netstack::slaac::Router;
use netstack::{Builder, Config, Net, Stack};
use std::sync::Arc;

/// What the tasks of a gateway share.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) lan: Lan,
    pub(super) net: Net,
    pub(super) names: Names,
    pub(super) connections: Arc<Quota>,
    pub(super) flows: Arc<Quota>,
}

/// Protocols (IANA).
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// The open files of this process that are not a guest's.
const FILES_OF_ITS_OWN: u64 = 64;

/// A stack that takes what guests send to anywhere.
pub(super) fn stack(lan: &Lan, device: impl netstack::device::Device) -> Result<Stack> {
    let mut config = Config::default();
    // Whoever a guest pings answers by itself.
    config.ip.any_ip_echo = false;
    let builder = Builder::new().config(config).any_ip(true);
    let builder = lan.addresses().iter().copied().fold(builder, Builder::address);
    let builder = lan.routes().iter().copied().fold(builder, Builder::route);
    builder.spawn(device).context("starting the stack")
}

impl Gateway {
    /// Starts to serve the guests of a stack.
    pub(super) async fn start(lan: Lan, stack: &Stack, args: &Args) -> Result<Arc<Self>> {
        // Each connection and each flow has a socket.
        let files = open_files::raise().saturating_sub(FILES_OF_ITS_OWN) as usize;
        let gateway = Arc::new(Self {
            lan,
            net: stack.net().clone(),
            names: Names::new(args.name_servers.clone()),
            connections: Quota::new(args.connections_max, files / 4 * 3),
            flows: Quota::new(args.flows_max, files / 4),
        });
        let net = stack.net();
        let streams = net.tcp_intercept().await.context("taking the connections of guests")?;
        let datagrams = net.udp_intercept().await.context("taking the datagrams of guests")?;
        // They end with the stack, and that is what the program waits for.
        tokio::spawn(streams::serve(gateway.clone(), streams));
        tokio::spawn(Datagrams::new(datagrams).serve(gateway.clone()));
        for (version, protocol) in [(Version::V4, ICMP), (Version::V6, ICMPV6)] {
            let raw = net.raw(version, protocol).await.context("taking the pings of guests")?;
            tokio::spawn(Pings::new(raw).serve(gateway.clone()));
        }
        for port in &args.publish {
            port.start(&gateway).await?;
        }
        Ok(gateway)
    }

    /// Starts to give guests their addresses, where the link is Ethernet.
    pub(super) async fn configure(
        &self,
        medium: Medium,
        args: &Args,
    ) -> Result<Option<(Server, Router)>> {
        if medium != Medium::Ethernet {
            return Ok(None);
        }
        let leases = self.lan.dhcp(args.mtu, args.domain.clone());
        let leases = Server::start(&self.net, leases).await.context("the DHCP server")?;
        let router = Router::start(&self.net, self.lan.router(args.mtu)).await;
        Ok(Some((leases, router.context("the router advertisements")?)))
    }
}
