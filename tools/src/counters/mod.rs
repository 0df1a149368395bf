//! `netstack counters`: packets, events and drops by reason, and their rates.

use crate::client::{self, Target};
use anyhow::{Context, Result};
use netstack::control::Client;
use netstack::netsocket::netcore::Overview;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Show the counters of a running stack, and their rates
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Show what has been added in this time, and how much that is a second, again and again
    #[arg(short, long, value_name = "SECONDS", value_parser = cli::flags::seconds)]
    interval: Option<Duration>,
    /// The number of intervals, instead of no end
    #[arg(short, long, value_name = "N", requires = "interval")]
    count: Option<u64>,
    /// Counters that are zero, too
    #[arg(short, long)]
    all: bool,
    /// An object of JSON
    #[arg(short, long, conflicts_with = "interval")]
    json: bool,
}

const EXAMPLES: &str = "\
Every received frame has one fate: delivered, handled, kept as a fragment, or dropped for one
reason.

Examples:
  netstack counters
  netstack counters --interval 1
  netstack counters --interval 10 --count 6
  netstack counters --json | jq .drops";

/// Names and values, the drops among them as `dropped: REASON`.
type Table = Vec<(String, u64)>;

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        let mut client = args.target.connect()?;
        match args.interval {
            None => once(args, &mut client),
            Some(interval) => {
                repeat(args, &mut client, interval)?;
                Ok(String::new())
            }
        }
    })
}

fn once(args: &Args, client: &mut Client) -> Result<String> {
    let overview = client::overview(client)?;
    if args.json {
        return Ok(serde_json::to_string_pretty(&overview.counters)? + "\n");
    }
    let shown = table(&overview)?.into_iter().filter(|(_, value)| args.all || *value > 0);
    let mut text = String::new();
    for (name, value) in shown {
        let _ = writeln!(text, "{value:>16}  {name}");
    }
    Ok(text)
}

/// Prints what is added in each interval.
fn repeat(args: &Args, client: &mut Client, interval: Duration) -> Result<()> {
    let (mut before, mut since) = (table(&client::overview(client)?)?, Instant::now());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        thread::sleep(interval.saturating_sub(since.elapsed()));
        let passed = since.elapsed();
        let now = table(&client::overview(client)?)?;
        since += passed;
        client::print(&rates(&before, &now, passed, args.all))?;
        before = now;
        left -= 1;
    }
    Ok(())
}

fn rates(before: &Table, now: &Table, passed: Duration, all: bool) -> String {
    let mut text =
        format!("{:>16}  {:>14}  in {:.1} s\n", "added", "per second", passed.as_secs_f64());
    for (name, value) in now {
        let known = before.iter().find(|(it, _)| it == name).map_or(0, |(_, value)| *value);
        let added = value.saturating_sub(known);
        if all || added > 0 {
            let rate = added as f64 / passed.as_secs_f64().max(1e-9);
            let _ = writeln!(text, "{added:>16}  {rate:>14.1}  {name}");
        }
    }
    text
}

/// In the order in which the stack has them.
fn table(overview: &Overview) -> Result<Table> {
    let counters = serde_json::to_value(&overview.counters)?;
    let counters = counters.as_object().context("counters are an object")?;
    let mut table = numbers(counters, "");
    if let Some(Value::Object(drops)) = counters.get("drops") {
        table.extend(numbers(drops, "dropped: "));
    }
    Ok(table)
}

fn numbers(object: &Map<String, Value>, prefix: &str) -> Table {
    let number = |(name, value): (&String, &Value)| {
        let name = name.replace(['_', '-'], " ");
        Some((format!("{prefix}{name}"), value.as_u64()?))
    };
    object.iter().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_time_that_has_passed() {
        let before = vec![("frames sent".into(), 10), ("panics".into(), 0)];
        let now = vec![("frames sent".into(), 40), ("panics".into(), 0), ("dropped".into(), 1)];

        let text = rates(&before, &now, Duration::from_secs(2), false);

        let lines: Vec<_> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[0], ["added", "per", "second", "in", "2.0", "s"]);
        assert_eq!(lines[1], ["30", "15.0", "frames", "sent"]);
        assert_eq!(lines[2], ["1", "0.5", "dropped"]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_table_has_the_counters_and_the_drops_by_reason() {
        let overview: Overview = serde_json::from_value(serde_json::json!({
            "counters": {"frames_sent": 3, "drops": {"bad-acknowledgement": 2}},
        }))
        .expect("an overview");

        let table = table(&overview).expect("a table");

        assert!(table.contains(&("frames sent".into(), 3)), "{table:?}");
        assert_eq!(table.last(), Some(&("dropped: bad acknowledgement".into(), 2)));
    }
}
