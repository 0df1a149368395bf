//! `netstack switch`: an Ethernet switch for stacks, virtual machines and namespaces.

mod vlans;

use anyhow::{Context, Result, bail, ensure};
use clap::ArgGroup;
use netstack::device::InterfaceConfig;
use netstack::link::LinkUrl;
use netstack::netsocket::netcore::{Link, Medium};
use netstack::switch::{
    PortConfig, Switch, SwitchConfig, Uplink, VdeListener, VdeListenerConfig, Vlan,
};
use std::path::PathBuf;
use std::process::ExitCode;
use vlans::{Port, PortVlans};

/// Run an Ethernet switch for other processes, without privileges
///
/// It serves ports as vde_switch does: to vdens, vde_plug, QEMU's -netdev vde, and to every program
/// of this stack by --link vde://DIRECTORY. An uplink is a port with a link behind it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[command(group = ArgGroup::new("places").args(["vde", "uplinks"]).multiple(true).required(true))]
pub(crate) struct Args {
    /// Serve ports at this directory, which is made if need be
    #[arg(long, value_name = "DIRECTORY")]
    vde: Option<PathBuf>,
    /// The most VDE ports at a time, numbered from 1
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = cli::flags::number::<u16>(1..=4096, 32))]
    ports: u16,
    /// The mode of the sockets, octal: who may write to them may take a port
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = mode)]
    mode: u32,
    /// The group of the directory and the sockets
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// A port with a link behind it, for example tap://tap0 (repeatable)
    #[arg(long = "uplink", value_name = "URL")]
    uplinks: Vec<LinkUrl>,
    /// The virtual LANs of a port: 3=10 makes VDE port 3 an access port of 10, uplink1=10t,20t,1 the
    /// first uplink a trunk with 10 and 20 tagged and 1 untagged (repeatable)
    #[arg(long = "vlan", value_name = "PORT=VLANS")]
    vlans: Vec<PortVlans>,
    /// Record every frame that enters the switch in this file, which tshark and Wireshark read
    #[arg(long, value_name = "FILE")]
    monitor: Option<PathBuf>,
    /// Show ports, counters and addresses on this UNIX socket, as vde_switch's -M does
    #[arg(long, value_name = "PATH", requires = "vde")]
    management: Option<PathBuf>,
    /// The largest IP packet on its ports, in bytes
    #[arg(long, value_name = "N", default_value_t = 1500, value_parser = cli::flags::number::<usize>(68..=65_535, 1500))]
    mtu: usize,
}

const EXAMPLES: &str = "\
It runs until SIGINT or SIGTERM. The exit status is 1 if it cannot start.

Examples:
  netstack switch --vde /tmp/lan
  vdens vde:///tmp/lan
  qemu-system-x86_64 -netdev vde,id=n0,sock=/tmp/lan -device virtio-net-pci,netdev=n0
  netstack run --link vde:///tmp/lan --dhcp -- curl http://10.0.0.1/

  netstack switch --vde /run/lan --mode 0660 --group users --uplink tap://tap0 --vlan 3=10 \\
    --vlan uplink1=10t,1 --management /run/lan.mgmt
  printf 'port/print\\n' | socat - UNIX-CONNECT:/run/lan.mgmt";

/// Runs the switch until a signal.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(serve(args))
}

async fn serve(args: &Args) -> Result<()> {
    let switch = Switch::new(SwitchConfig { mtu: args.mtu, ..SwitchConfig::default() });
    let recording = match &args.monitor {
        Some(path) => {
            let (recorder, monitor) = (cli::recorder(path)?, switch.monitor());
            Some(tokio::spawn(async move { monitor.record(&recorder).await }))
        }
        None => None,
    };
    let mut uplinks = Vec::new();
    for (index, url) in args.uplinks.iter().enumerate() {
        let vlan = args.vlan(Port::Uplink(index + 1))?;
        uplinks.push(uplink(&switch, url, args.mtu, vlan).with_context(|| url.to_string())?);
    }
    let listener = args.listen(&switch)?;
    if let Some(listener) = &listener {
        cli::println!("serving ports at {}", listener.directory().display());
    }
    for (url, uplink) in args.uplinks.iter().zip(uplinks) {
        tokio::spawn(watch(url.clone(), uplink));
    }

    let stopped = cli::until_stopped(std::future::pending::<Result<()>>()).await;
    if let Some(listener) = listener {
        listener.shutdown().await;
    }
    drop(switch);
    if let Some(recording) = recording {
        recording.await.context("the monitor")?;
    }
    match stopped {
        // Its normal end.
        Err(error) if matches!(error.downcast_ref(), Some(&&cli::Stop::Signal(_))) => Ok(()),
        stopped => stopped,
    }
}

/// Adds a port with a link behind it.
fn uplink(switch: &Switch, url: &LinkUrl, mtu: usize, vlan: Vlan) -> Result<Uplink> {
    let config = InterfaceConfig { mtu, ..InterfaceConfig::default() };
    let device = url.open_with(&config)?;
    let medium = device.capabilities().medium;
    ensure!(medium == Medium::Ethernet, "a switch needs an Ethernet link, as tap://tap0 is");
    let config = PortConfig { name: url.to_string(), vlan, ..PortConfig::default() };
    Ok(switch.uplink(device, config)?)
}

/// Tells of the end of an uplink, which the switch survives.
async fn watch(url: LinkUrl, uplink: Uplink) {
    match uplink.ended().await {
        Ok(()) => cli::eprintln!("{}: {url} has ended", cli::program()),
        Err(error) => cli::eprintln!("{}: {url} has ended: {error}", cli::program()),
    }
}

impl Args {
    fn listen(&self, switch: &Switch) -> Result<Option<VdeListener>> {
        let mut config = VdeListenerConfig {
            ports_max: self.ports,
            mode: self.mode,
            group: self.group.clone(),
            ..VdeListenerConfig::default()
        };
        for PortVlans { port, vlan } in &self.vlans {
            match port {
                Port::Vde(number) if self.vde.is_some() && *number <= self.ports => {
                    config.port_vlans.insert(*number, vlan.clone());
                }
                Port::Vde(number) => bail!("--vlan: there is no VDE port {number}"),
                Port::Uplink(number) if *number > self.uplinks.len() => {
                    bail!("--vlan: there is no uplink {number}")
                }
                Port::Uplink(_) => {}
            }
        }
        let Some(directory) = &self.vde else { return Ok(None) };
        let mut listener = switch.vde_listener(directory, config)?;
        if let Some(path) = &self.management {
            listener.manage(path, MANAGEMENT_MODE).context("--management")?;
        }
        Ok(Some(listener))
    }

    fn vlan(&self, port: Port) -> Result<Vlan> {
        let mut of_port = self.vlans.iter().filter(|it| it.port == port);
        let vlan = of_port.next().map_or_else(Vlan::default, |it| it.vlan.clone());
        ensure!(of_port.next().is_none(), "--vlan: {port:?} is there twice");
        Ok(vlan)
    }
}

/// The management socket is the user's alone.
const MANAGEMENT_MODE: u32 = 0o600;

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not an octal mode up to 0777, for example 0660".to_owned())
}
