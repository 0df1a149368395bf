//! `netstack gateway`: guests on this machine's sockets.

mod datagrams;
mod echo;
mod lan;
mod names;
mod namespace;
mod pings;
mod publish;
mod quota;
mod service;
mod streams;

use anyhow::{Context, Result, bail};
use lan::Lan;
use namespace::Place;
use netstack::Stack;
use netstack::link::LinkUrl;
use netstack::netsocket::netcore::{Link, Medium};
use netstack::switch::{PortConfig, Switch, SwitchConfig, Uplink};
use publish::Publish;
use service::Gateway;
use std::net::IpAddr;
use std::process::ExitCode;

/// Connect virtual machines and network namespaces to this machine's network, without root
///
/// What guests on the link send leaves from sockets of this machine. They get addresses by DHCP, and
/// a name server that asks this machine's.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// A link to guests by a URL: tap://NAME, unix-stream://PATH, unix-dgram://PATH, fd://N, tun://NAME
    /// (repeatable: the guests of all links are on one LAN), or wg://FILE, whose peers are the guests
    #[arg(long = "link", value_name = "URL", required = true)]
    links: Vec<LinkUrl>,
    /// Open the links in another network namespace: of this process, or with this file
    ///
    /// Needs CAP_SYS_ADMIN over that namespace, as root has it.
    #[arg(long, value_name = "PID|FILE")]
    netns: Option<Place>,
    /// Give the interface of that namespace the first guest's addresses, and routes to the gateway
    #[arg(long, requires = "netns")]
    configure: bool,
    /// The largest IP packet of the guests, in bytes
    #[arg(long, value_name = "N", default_value_t = 1500, value_parser = cli::flags::number::<usize>(1280..=65_520, 1500))]
    mtu: usize,
    /// The guests' IPv4 network: host 2 is the gateway, 3 the name server, 15 the first guest
    ///
    /// In a tunnel the gateway has the addresses of the file, and this is of no use.
    #[arg(long, value_name = "CIDR", default_value = "10.0.2.0/24")]
    network: ipnet::Ipv4Net,
    /// The guests' IPv6 network: host 2 is the gateway, 3 the name server
    #[arg(long, value_name = "CIDR", default_value = "fd00::/64")]
    network6: ipnet::Ipv6Net,
    /// Carry a port of this machine to the first guest, or to another: 8080:80,
    /// 127.0.0.1:5353:10.0.2.16:53/udp (repeatable)
    #[arg(short = 'p', long = "publish", value_name = "[ADDRESS:]PORT[:[GUEST:]PORT][/udp]")]
    publish: Vec<Publish>,
    /// A name server for guests, in place of this machine's (repeatable)
    #[arg(long = "dns", value_name = "IP", value_parser = cli::flags::address)]
    name_servers: Vec<IpAddr>,
    /// The domain in which guests look for names without dots
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Let guests reach the services on this machine's loopback addresses, at the gateway's addresses
    #[arg(long)]
    host_loopback: bool,
    /// TCP connections of a guest at once; further ones are refused
    #[arg(long, value_name = "N", default_value_t = 4096)]
    connections_max: usize,
    /// UDP sockets of a guest at once; datagrams of further ones are lost
    #[arg(long, value_name = "N", default_value_t = 1024)]
    flows_max: usize,
}

const EXAMPLES: &str = "\
Examples:
  netstack gateway --link 'unix-stream:///run/vm.sock[listen]' -p 8080:80
    qemu-system-x86_64 … -netdev stream,id=n,server=off,addr.type=unix,addr.path=/run/vm.sock \\
      -device virtio-net-pci,netdev=n
  netstack gateway --link tap://tap0 --netns $PID --configure --mtu 65520
  netstack gateway --link 'unix-stream:///run/a[listen]' --link 'unix-stream:///run/b[listen]'";

/// Serves guests until a signal comes or the link ends.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(serve(args))
}

async fn serve(args: &Args) -> Result<()> {
    let lan = lan(args)?;
    let Front { stack, medium, switch } = Front::open(&lan, args)?;
    let gateway = Gateway::start(lan, &stack, args).await?;
    let configuration = gateway.configure(medium, args).await?;
    let links: Vec<_> = args.links.iter().map(ToString::to_string).collect();
    let addresses: Vec<_> = gateway.lan.addresses().iter().map(ToString::to_string).collect();
    cli::eprintln!("netstack gateway: {} on {}", addresses.join(", "), links.join(", "));
    let ended = cli::serve([stack], std::future::pending()).await;
    drop((configuration, switch));
    ended
}

/// The network of the guests, which is that of the tunnel if the link is one.
fn lan(args: &Args) -> Result<Lan> {
    let lan = Lan::new(args.network, args.network6, args.host_loopback)?;
    let [url] = &args.links[..] else { return Ok(lan) };
    let Some(tunnel) = url.wireguard()? else { return Ok(lan) };
    if tunnel.addresses.is_empty() {
        bail!("{url}: the file has no Address, which is the gateway's, for example 10.8.0.1/24");
    }
    let is_set = !tunnel.name_servers.is_empty() || !tunnel.search_domains.is_empty();
    let dns = is_set.then(|| "DNS".to_owned());
    let ignored: Vec<_> = tunnel.ignored.iter().cloned().chain(dns).collect();
    if !ignored.is_empty() {
        let (program, ignored) = (cli::program(), ignored.join(", "));
        cli::eprintln!("{program}: {url}: not for a gateway, ignored: {ignored}");
    }
    Ok(lan.with_tunnel(&tunnel))
}

/// The stack in front of the guests.
struct Front {
    stack: Stack,
    medium: Medium,
    /// Between several links.
    switch: Option<(Switch, Vec<Uplink>)>,
}

impl Front {
    fn open(lan: &Lan, args: &Args) -> Result<Self> {
        let open = |url| namespace::open(url, lan, args);
        if let [url] = &args.links[..] {
            let device = open(url)?;
            let medium = device.capabilities().medium;
            return Ok(Self { stack: service::stack(lan, device)?, medium, switch: None });
        }
        let switch = Switch::new(SwitchConfig { mtu: args.mtu, ..Default::default() });
        let mut uplinks = Vec::new();
        for url in &args.links {
            let device = open(url)?;
            if device.capabilities().medium != Medium::Ethernet {
                bail!("{url} is no Ethernet link: such a link must be the only one");
            }
            let config = PortConfig { name: url.to_string(), ..Default::default() };
            uplinks.push(switch.uplink(device, config).with_context(|| url.to_string())?);
        }
        let stack = service::stack(lan, switch.port(PortConfig::default())?)?;
        Ok(Self { stack, medium: Medium::Ethernet, switch: Some((switch, uplinks)) })
    }
}
