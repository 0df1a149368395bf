//! `netstack top`: a running stack at a terminal, as it works.

mod detail;
mod keys;
mod list;
mod model;
#[cfg(test)]
mod tests;

use crate::client::reading::Reading;
use crate::client::{self, Target};
use anyhow::{Context, Result, ensure};
use keys::Action;
use model::{Model, Sample};
use netstack::control::{Answer, Client, Command};
use netstack::netsocket::netcore::SocketId;
use ratatui::crossterm::event;
use ratatui::{DefaultTerminal, Frame};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Show the connections of a running stack at a terminal: rates, round trips, repeats, limits
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The time between two readings
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = cli::flags::seconds)]
    interval: Duration,
}

const EXAMPLES: &str = "\
Out and In are payload in bits a second, RTT is the smoothed round trip, Again is the number of
segments that were sent again a second. Limit is what limits the connection now.

Keys: up, down, page up, page down, home, end; o, i, r, a, l, g sort by out, in, round trip, sent
again, limit, age; R reverses the order; Enter opens a connection, with charts and the text of
netstack why; p pauses; Esc goes back; q ends.

Examples:
  netstack top
  netstack top --control /tmp/httpd --interval 0.5";

/// The shortest time between two readings.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How long it may take until a signal ends it.
const SIGNAL_DELAY_MAX: Duration = Duration::from_millis(100);

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        ensure!(
            std::io::stdout().is_terminal(),
            "netstack top needs a terminal; netstack ss and counters print"
        );
        let mut client = args.target.connect()?;
        let mut model = Model::new(sample(&mut client, None)?);
        // Ended by a signal, it would leave the terminal as it is.
        cli::watch_signals().context("signals")?;
        let mut terminal = ratatui::try_init().context("the terminal")?;
        let ended = show(&mut terminal, &mut client, &mut model, args.interval.max(INTERVAL_MIN));
        ratatui::try_restore().context("the terminal")?;
        ended.map(|()| String::new())
    })
}

/// Shows the stack until a key ends that, or the stack is gone.
fn show(
    terminal: &mut DefaultTerminal,
    client: &mut Client,
    model: &mut Model,
    interval: Duration,
) -> Result<()> {
    let mut due = Instant::now() + interval;
    loop {
        terminal.draw(|frame| draw(frame, model)).context("the terminal")?;
        if has_event(due)?
            && let Some(action) = keys::action(&event::read()?)
        {
            if action == Action::End {
                return Ok(());
            }
            model.act(action);
            // What is opened is shown at once.
            if action == Action::Open {
                due = Instant::now();
            }
        }
        if Instant::now() >= due {
            if !model.is_paused() {
                model.update(sample(client, model.opened())?);
            }
            due = Instant::now() + interval;
        }
    }
}

/// Waits for something at the terminal until this time, or for a signal that ends the program.
fn has_event(until: Instant) -> Result<bool> {
    loop {
        cli::check_stopped()?;
        let left = until.saturating_duration_since(Instant::now());
        if event::poll(left.min(SIGNAL_DELAY_MAX))? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    match model.opened() {
        Some(_) => detail::draw(frame, model),
        None => list::draw(frame, model),
    }
}

/// Reads the stack, and more of one connection.
fn sample(client: &mut Client, opened: Option<SocketId>) -> Result<Sample> {
    let reading = Reading::take(client)?;
    let opened = opened.and_then(|id| match client.ask_one(&Command::Socket { id }) {
        Ok(Some(Answer::Socket(socket))) => Some(socket),
        // It has ended.
        _ => None,
    });
    Ok(Sample { reading, opened })
}
