//! `netstack`: tools on a userspace network stack.

#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod certificate;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod completion;
#[cfg(target_os = "linux")]
mod connect;
#[cfg(target_os = "linux")]
mod counters;
#[cfg(target_os = "linux")]
mod fetch;
#[cfg(target_os = "linux")]
mod gateway;
#[cfg(target_os = "linux")]
mod http_server;
#[cfg(target_os = "linux")]
mod kill;
#[cfg(target_os = "linux")]
mod listen;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod open_files;
#[cfg(target_os = "linux")]
mod page;
#[cfg(target_os = "linux")]
mod perf;
#[cfg(target_os = "linux")]
mod ping;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod resolv_conf;
#[cfg(target_os = "linux")]
mod resolve;
#[cfg(target_os = "linux")]
mod route;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod run;
#[cfg(target_os = "linux")]
mod set;
#[cfg(target_os = "linux")]
mod ss;
#[cfg(target_os = "linux")]
mod standard_streams;
#[cfg(target_os = "linux")]
mod switch;
#[cfg(target_os = "linux")]
mod top;
#[cfg(target_os = "linux")]
mod trust;
#[cfg(target_os = "linux")]
mod why;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A userspace network stack, for any program
#[derive(Debug, Parser)]
#[command(name = "netstack", version, after_long_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    tool: Tool,
}

const EXAMPLES: &str = "\
netstack SUBCOMMAND -h is short, and --help is long with examples.

Examples:
  netstack run -- curl http://10.9.0.1/
  netstack fetch --link wg:///etc/wireguard/wg0.conf https://intranet.test/
  netstack http-server /srv --host-address 10.9.0.1/24 --address 10.9.0.2/24
  netstack ss -t limit peer-window";

#[derive(Debug, Subcommand)]
enum Tool {
    #[cfg(target_os = "linux")]
    Gateway(gateway::Args),
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    Run(Box<run::Args>),
    #[cfg(target_os = "linux")]
    Switch(switch::Args),
    #[cfg(target_os = "linux")]
    Ss(ss::Args),
    #[cfg(target_os = "linux")]
    Why(why::Args),
    #[cfg(target_os = "linux")]
    Top(top::Args),
    #[cfg(target_os = "linux")]
    Page(page::Args),
    #[cfg(target_os = "linux")]
    Capture(capture::Args),
    #[cfg(target_os = "linux")]
    Counters(counters::Args),
    /// Show the routes of a running stack
    #[cfg(target_os = "linux")]
    #[command(after_long_help = network::ROUTES_EXAMPLES)]
    Routes(network::Args),
    /// Show the neighbours of a running stack on an Ethernet link
    #[cfg(target_os = "linux")]
    #[command(after_long_help = network::NEIGHBOURS_EXAMPLES)]
    Neighbours(network::Args),
    /// Show the link of a running stack, its addresses and its name servers
    #[cfg(target_os = "linux")]
    #[command(after_long_help = network::LINKS_EXAMPLES)]
    Links(network::Args),
    #[cfg(target_os = "linux")]
    Set(set::Args),
    #[cfg(target_os = "linux")]
    Kill(kill::Args),
    #[cfg(target_os = "linux")]
    Perf(Box<perf::Args>),
    #[cfg(target_os = "linux")]
    HttpServer(Box<http_server::Args>),
    #[cfg(target_os = "linux")]
    Proxy(Box<proxy::Args>),
    #[cfg(target_os = "linux")]
    Ping(Box<ping::Args>),
    #[cfg(target_os = "linux")]
    Resolve(Box<resolve::Args>),
    #[cfg(target_os = "linux")]
    Fetch(Box<fetch::Args>),
    #[cfg(target_os = "linux")]
    Connect(Box<connect::Args>),
    #[cfg(target_os = "linux")]
    Listen(Box<listen::Args>),
    #[cfg(target_os = "linux")]
    Completion(completion::Args),
}

fn main() -> ExitCode {
    let args = match cli::start::<Args>() {
        Ok(args) => args,
        Err(status) => return status,
    };
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    cli::host_programs(run::host);
    match args.tool {
        #[cfg(target_os = "linux")]
        Tool::Gateway(args) => gateway::main(&args),
        #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
        Tool::Run(args) => run::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Switch(args) => switch::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Ss(args) => ss::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Why(args) => why::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Top(args) => top::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Page(args) => page::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Capture(args) => capture::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Counters(args) => counters::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Routes(args) => network::routes(&args),
        #[cfg(target_os = "linux")]
        Tool::Neighbours(args) => network::neighbours(&args),
        #[cfg(target_os = "linux")]
        Tool::Links(args) => network::links(&args),
        #[cfg(target_os = "linux")]
        Tool::Set(args) => set::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Kill(args) => kill::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Perf(args) => perf::main(&args),
        #[cfg(target_os = "linux")]
        Tool::HttpServer(args) => http_server::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Proxy(args) => proxy::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Ping(args) => ping::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Resolve(args) => resolve::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Fetch(args) => fetch::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Connect(args) => connect::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Listen(args) => listen::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Completion(args) => completion::main(&args),
    }
}
