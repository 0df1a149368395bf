//! `netstack proxy`: HTTP and SOCKS5 between this machine and a stack.

mod second;

use crate::open_files;
use anyhow::{Context, Result};
use cli::{Network, flags};
use proxy::{Listener, Proxy, Side};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

/// Carry connections of HTTP and SOCKS5 clients between this machine and a stack
///
/// Clients on this machine reach what the stack reaches, for example through a tunnel; with --on-stack
/// clients on the stack's link reach what this machine reaches, or with --to-link what a second stack
/// reaches. One port speaks HTTP (CONNECT and plain requests) and SOCKS5 (connections and datagrams), or
/// with --forward nothing, without a password: who reaches the port may use it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: Network,
    /// Listen on the stack, and connect from this machine
    #[arg(long)]
    on_stack: bool,
    /// Where to listen [default: 127.0.0.1:1080, with --on-stack port 1080 of all addresses]
    #[arg(long, value_name = "IP:PORT", value_parser = flags::endpoint)]
    listen: Option<SocketAddr>,
    /// Carry connections to any address that are routed to the stack, too
    #[arg(long, requires = "on_stack")]
    intercept: bool,
    /// Carry each connection to this host and port, without a word of HTTP or SOCKS5
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "intercept", value_parser = flags::target)]
    forward: Option<String>,
    #[command(flatten)]
    second: second::Flags,
    /// The most clients at a time; others wait
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = flags::number::<usize>(1..=1_000_000, 4096))]
    clients: usize,
}

const EXAMPLES: &str = "\
It runs until SIGINT or SIGTERM. The exit status is 1 if it cannot start.

Examples:
  netstack proxy --link wg:///etc/wireguard/wg0.conf
  curl --proxy socks5h://127.0.0.1:1080 http://intranet.test/

  netstack proxy --on-stack --intercept --host-address 10.9.0.1/24 --address 10.9.0.2/24
  curl --proxy http://10.9.0.2:1080 http://example.org/
  ip route add 203.0.113.0/24 via 10.9.0.2             # carried without a word to the client

  netstack proxy --forward intranet.test:22 --link wg:///etc/wireguard/wg0.conf
  netstack proxy --on-stack --link vde:///tmp/lan --address 10.0.0.1/24 \\
    --to-link wg:///etc/wireguard/wg0.conf";

/// The port that is registered for SOCKS.
const PORT: u16 = 1080;
/// The open files of this process that are not a client's.
const FILES_OF_ITS_OWN: u64 = 64;
/// The most that a client needs: those of an association, or two ends.
const FILES_OF_A_CLIENT: u64 = 4;

/// Serves until a signal.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(serve(args))
}

async fn serve(args: &Args) -> Result<()> {
    let (builder, interface) = args.network.prepare()?;
    let stack = interface.spawn(builder.any_ip(args.intercept))?;
    let net = stack.net().clone();
    let second = match args.second.network(&args.network)? {
        Some(network) => {
            let (builder, interface) = network.prepare()?;
            Some(interface.spawn(builder)?)
        }
        None => None,
    };
    let files = open_files::raise().saturating_sub(FILES_OF_ITS_OWN);
    let clients_max = args.clients.min((files / FILES_OF_A_CLIENT).max(1) as usize);
    let (inside, outside, listener) = if args.on_stack {
        let address = args.listen.unwrap_or((Ipv6Addr::UNSPECIFIED, PORT).into());
        let listener = net.tcp_listen(address).await.with_context(|| address.to_string())?;
        let outside = match &second {
            Some(second) => Side::Stack(second.net().clone()),
            None => Side::Machine,
        };
        (Side::Stack(net.clone()), outside, Listener::Stack(listener))
    } else {
        let address = args.listen.unwrap_or((Ipv4Addr::LOCALHOST, PORT).into());
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| address.to_string())?;
        (Side::Machine, Side::Stack(net.clone()), Listener::Machine(listener))
    };
    let mut proxy = Proxy::new(inside, outside, clients_max);
    let intercepted = match args.intercept {
        true => Some(net.tcp_intercept().await?),
        false => None,
    };
    let address = listener.local_addr()?;
    match &args.forward {
        Some(target) => {
            proxy = proxy.forwarding(target);
            cli::println!("forwarding to {target} on {address}");
        }
        None => cli::println!("proxy for http and socks5 on {address}"),
    }
    let serving = async {
        let intercepting = async {
            match &intercepted {
                Some(listener) => proxy.intercept(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::try_join!(proxy.serve(&listener), intercepting)?;
        Ok(())
    };
    match second {
        Some(second) => cli::serve([stack, second], serving).await,
        None => cli::serve([stack], serving).await,
    }
}
