//! `netstack`: tools on a userspace network stack.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod run;
#[cfg(target_os = "linux")]
mod switch;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A userspace network stack, for any program
#[derive(Debug, Parser)]
#[command(name = "netstack", version)]
struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    Run(Box<run::Args>),
    #[cfg(target_os = "linux")]
    Switch(switch::Args),
}

fn main() -> ExitCode {
    let args = match cli::start::<Args>() {
        Ok(args) => args,
        Err(status) => return status,
    };
    match args.tool {
        #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
        Tool::Run(args) => run::main(&args),
        #[cfg(target_os = "linux")]
        Tool::Switch(args) => switch::main(&args),
    }
}
