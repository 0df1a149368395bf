//! `netstack completion`: what a shell completes.

use clap_complete::Shell;
use std::process::ExitCode;

/// Print a script with which a shell completes subcommands and flags
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(netstack completion bash)
  netstack completion zsh > ~/.zfunc/_netstack
  netstack completion fish > ~/.config/fish/completions/netstack.fish";

/// Prints the script.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(async {
        let (mut command, mut script) = (cli::command::<crate::Args>(), Vec::new());
        clap_complete::generate(args.shell, &mut command, "netstack", &mut script);
        cli::output::write(&script).await?;
        Ok(())
    })
}
