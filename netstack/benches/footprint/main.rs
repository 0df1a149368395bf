//! The memory of an idle established connection: one end of it, its handle included.
//!
//! ```sh
//! cargo bench -p netstack --bench footprint             # 1,000 connections
//! cargo bench -p netstack --bench footprint -- --full   # 100,000; --million
//! ```
//!
//! Measured by the process's resident memory, as it grows with the connections. The peers are
//! simulated by a stateless device. Time is tokio's paused clock.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod mirror;

use anyhow::{Context, Result};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use mirror::Mirror;
use netstack::netsocket::TcpStream;
use netstack::{Builder, Config, Stack, TcpConfig};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Measures the memory of idle connections
#[derive(Parser)]
struct Args {
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    connections: u32,
    /// 100,000 connections
    #[arg(long)]
    full: bool,
    /// 1,000,000 connections
    #[arg(long)]
    million: bool,
    /// The windows of each connection, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 256)]
    window: usize,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The argument that cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Long enough for a connection to be idle, and for one in TIME-WAIT to be over.
const LONG: Duration = Duration::from_secs(120);
/// Connections that come and go before anything is measured.
const WARM_UP: u32 = 200;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<()> {
    let args = Args::parse();
    let connections = match () {
        () if args.million => 1_000_000,
        () if args.full => 100_000,
        () => args.connections,
    };
    let window = args.window * 1024;
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes: window,
            recv_buffer_bytes_max: window,
            send_buffer_bytes: window,
            send_buffer_bytes_max: window,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let stack =
        Builder::new().address("10.0.0.1/8".parse()?).config(config).spawn(Mirror::default())?;
    let bar = ProgressBar::new(u64::from(connections) * 4);
    bar.set_style(ProgressStyle::with_template("{bar:30} {percent}% {elapsed} {msg}")?);
    let mut held = Vec::with_capacity(connections as usize);

    open(&stack, WARM_UP, &mut held, &bar).await?;
    use_all(&mut held, &bar).await?;
    held.clear();
    tokio::time::sleep(LONG).await;
    bar.reset();

    let mut figures = Figures { connections, before: Memory::now()?, rows: Vec::new() };
    bar.set_message("making connections");
    open(&stack, connections, &mut held, &bar).await?;
    figures.add("before their first byte")?;
    bar.set_message("using them");
    use_all(&mut held, &bar).await?;
    figures.add("after a byte in each direction")?;
    tokio::time::sleep(LONG).await;
    figures.add("two minutes later")?;
    bar.set_message("making them again");
    held.clear();
    tokio::time::sleep(LONG).await;
    figures.add("after all were closed")?;
    open(&stack, connections, &mut held, &bar).await?;
    figures.add("made again")?;
    use_all(&mut held, &bar).await?;
    figures.add("and used once")?;
    tokio::time::sleep(LONG).await;
    figures.add("two minutes later")?;
    bar.finish_and_clear();

    println!("{}", figures.text());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Makes this many connections, each to another peer.
async fn open(
    stack: &Stack,
    connections: u32,
    held: &mut Vec<TcpStream>,
    bar: &ProgressBar,
) -> Result<()> {
    for peer in 0..connections {
        let [_, a, b, c] = (peer + (1 << 16)).to_be_bytes();
        held.push(stack.net().tcp_connect((Ipv4Addr::new(10, a, b, c), 80)).await?);
        bar.inc(1);
    }
    Ok(())
}

/// Sends a byte over each, and receives it again.
async fn use_all(held: &mut [TcpStream], bar: &ProgressBar) -> Result<()> {
    for stream in held {
        stream.write_all(&[7]).await?;
        stream.read_exact(&mut [0]).await?;
        bar.inc(1);
    }
    Ok(())
}

/// The resident memory of this process, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    resident: usize,
    page_tables: usize,
}

impl Memory {
    fn now() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        let field = |name: &str| -> Result<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(kib.with_context(|| format!("no {name}"))?.trim().parse::<usize>()? * 1024)
        };
        Ok(Self { resident: field("VmRSS:")?, page_tables: field("VmPTE:")? })
    }
}

/// The results.
struct Figures {
    connections: u32,
    before: Memory,
    rows: Vec<(&'static str, Memory)>,
}

impl Figures {
    fn add(&mut self, when: &'static str) -> Result<()> {
        self.rows.push((when, Memory::now()?));
        Ok(())
    }

    /// Bytes for each connection.
    fn each(&self) -> impl Iterator<Item = (&'static str, [f64; 2])> {
        let share = |now: usize, before: usize| {
            (now as f64 - before as f64).max(0.0) / f64::from(self.connections)
        };
        self.rows.iter().map(move |(when, now)| {
            let resident = share(now.resident, self.before.resident);
            (*when, [resident, share(now.page_tables, self.before.page_tables)])
        })
    }

    fn text(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let title = format!("{} connections, bytes for each", self.connections);
        table.set_header([&title, "resident", "page tables"]);
        for (when, figures) in self.each() {
            let figures = figures.map(|bytes| format!("{bytes:.0}"));
            table.add_row([when.to_owned()].into_iter().chain(figures));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn json(&self) -> serde_json::Value {
        let rows = self.each().map(|(when, [resident, page_tables])| {
            serde_json::json!({
                "when": when,
                "resident_bytes": resident,
                "page_table_bytes": page_tables,
            })
        });
        serde_json::json!({
            "connections": self.connections,
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}
