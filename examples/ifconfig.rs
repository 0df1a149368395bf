//! Changes a running stack's addresses, routes and link, and shows the result.
//!
//! ```sh
//! cargo run --release -p examples --example ifconfig -- --tap tap0 \
//!     --host-address 10.0.0.1/24 --address 10.0.0.50/24
//! ```
//!
//! A TCP echo on `[::]` runs meanwhile; the connections that a change ends are shown too.

use anyhow::{Context, Result, bail};
use examples::{Network, eprintln, flags, println};
use netstack::IpNet;
use netstack::netsocket::netcore::Network as State;
use netstack::netsocket::netcore::Route;
use netstack::netsocket::{Control, NetworkWatch, TcpListener};
use std::fmt::Write;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;
use tokio::sync::mpsc;

/// Changes a stack with commands from standard input, one a line
///
/// show; add ADDRESS/PREFIX; del ADDRESS; route add NETWORK/PREFIX|default [via GATEWAY]; route del
/// NETWORK/PREFIX|default; up; down; mtu BYTES|device; dns [SERVER...]. The state is shown at the
/// start and after every change, also by DHCP and SLAAC. At a terminal an invalid line is reported
/// and skipped; otherwise it ends the program with exit status 1.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port of the echo
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = flags::port)]
    port: u16,
}

/// A command.
#[derive(Debug)]
enum Command {
    Show,
    Add(IpNet),
    Remove(IpAddr),
    AddRoute(Route),
    RemoveRoute(IpNet),
    SetUp(bool),
    SetMtu(Option<usize>),
    SetNameServers(Vec<IpAddr>),
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let stack = args.network.start()?;
        let address = format!("[::]:{}", args.port);
        let listener = stack.net().tcp_listen(&address).await.context(address.clone())?;
        tokio::spawn(echo(listener));
        println!("echo on {address}");

        let (control, watch) = (stack.net().control(), stack.net().watch_network());
        examples::serve([stack], change(&control, watch)).await
    })
}

/// Carries out the commands, and shows changes.
async fn change(control: &Control, mut watch: NetworkWatch) -> Result<()> {
    let goes_on = std::io::stdin().is_terminal();
    let (mut lines, mut number) = (lines(), 0);
    show(&watch.current());
    loop {
        tokio::select! {
            // The change of a command is shown before the next one is carried out.
            biased;
            changed = watch.changed() => show(&*changed?),
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                let line = line.context("reading standard input")?;
                let line = line.trim();
                number += 1;
                match carry_out(control, line).await {
                    Ok(true) => show(&watch.current()),
                    Ok(false) => {}
                    Err(error) if goes_on => eprintln!("{line}: {error:#}"),
                    Err(error) => return Err(error.context(format!("line {number}: {line}"))),
                }
            }
        }
    }
}

/// Carries out a line; returns whether the state must be shown even if it did not change.
async fn carry_out(control: &Control, line: &str) -> Result<bool> {
    if line.is_empty() {
        return Ok(false);
    }
    let command: Command = line.parse()?;
    let is_show = matches!(command, Command::Show);
    match command {
        Command::Show => {}
        Command::Add(address) => control.add_address(address).await?,
        Command::Remove(address) => control.remove_address(address).await?,
        Command::AddRoute(route) => control.add_route(route).await?,
        Command::RemoveRoute(destination) => control.remove_route(destination).await?,
        Command::SetUp(is_up) => control.set_link_up(is_up).await?,
        Command::SetMtu(mtu) => control.set_mtu(mtu).await?,
        Command::SetNameServers(servers) => {
            let domains = control.network().search_domains.clone();
            control.set_name_servers(servers, domains).await?;
        }
    }
    Ok(is_show)
}

impl FromStr for Command {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words[..] {
            ["show"] => Self::Show,
            ["add", address] => Self::Add(parse(address, flags::prefixed)?),
            ["del", address] => Self::Remove(parse(address, flags::address)?),
            ["route", "add", "default", "via", gateway] => {
                Self::AddRoute(Route::default_via(parse(gateway, flags::address)?))
            }
            ["route", "add", destination, ref via @ ..] => {
                let destination = parse(destination, flags::prefixed)?;
                let gateway = match via {
                    [] => None,
                    ["via", gateway] => Some(parse(gateway, flags::address)?),
                    _ => bail!("a route is NETWORK/PREFIX [via GATEWAY]"),
                };
                Self::AddRoute(Route { destination, gateway })
            }
            ["route", "del", "default"] => Self::RemoveRoute("0.0.0.0/0".parse()?),
            ["route", "del", destination] => {
                Self::RemoveRoute(parse(destination, flags::prefixed)?)
            }
            ["up"] => Self::SetUp(true),
            ["down"] => Self::SetUp(false),
            ["mtu", "device"] => Self::SetMtu(None),
            ["mtu", bytes] => Self::SetMtu(Some(parse(bytes, flags::number(0..=u64::MAX, 1500))?)),
            ["dns", ref servers @ ..] => {
                let servers = servers.iter().map(|server| parse(server, flags::address));
                Self::SetNameServers(servers.collect::<Result<_>>()?)
            }
            _ => bail!("not one of show, add, del, route add, route del, up, down, mtu, dns"),
        })
    }
}

fn parse<T>(word: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<T> {
    value(word).map_err(|wrong| anyhow::anyhow!("{word:?}: {wrong}"))
}

/// Prints the state in one piece.
fn show(state: &State) {
    let link = &state.link;
    let mut text = format!("link {} mtu {}", if link.is_up { "up" } else { "down" }, link.mtu);
    if let Some(address) = link.hardware_address {
        let _ = write!(text, " ether {address}");
    }
    for address in &state.addresses {
        let is_tentative = state.tentative.contains(&address.addr());
        let _ =
            write!(text, "\n  address {address}{}", if is_tentative { " tentative" } else { "" });
    }
    for Route { destination, gateway } in &state.routes {
        let _ = write!(text, "\n  route {destination}");
        if let Some(gateway) = gateway {
            let _ = write!(text, " via {gateway}");
        }
    }
    for server in &state.name_servers {
        let _ = write!(text, "\n  dns {server}");
    }
    for domain in &state.search_domains {
        let _ = write!(text, "\n  search {domain}");
    }
    println!("{text}");
}

/// Standard input, on a thread that is not joined at the end.
fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

async fn echo(listener: TcpListener) -> Result<()> {
    loop {
        let (mut stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            match tokio::io::copy(&mut from, &mut to).await {
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
}
