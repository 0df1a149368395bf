//! The table, and the figures for programs.

use crate::case::{Case, Figures, Place};
use comfy_table::{CellAlignment, Table, presets};

/// A case and its results, one for each run.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) runs: Vec<Figures>,
}

impl Row {
    pub(crate) fn new(case: Case) -> Self {
        Self { case, runs: Vec::new() }
    }

    pub(crate) fn median(&self, of: fn(&Figures) -> f64) -> f64 {
        let mut values: Vec<f64> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

type Column = (&'static str, fn(&Figures) -> f64);

/// Each has its ratio beside, by which it is more or faster than the kernel's.
const COLUMNS: [Column; 5] = [
    ("Gbit/s", |figures| figures.gbit_s),
    ("rtt p50 µs", |figures| figures.rtt_p50_us),
    ("rtt p99 µs", |figures| figures.rtt_p99_us),
    ("datagrams/s", |figures| figures.datagrams_s),
    ("conn/s", |figures| figures.connections_s),
];

/// The medians, with the ratio of each to the kernel's. Above 1 is better.
pub(crate) fn table(rows: &[Row]) -> Table {
    let kernel = rows.iter().find(|row| row.case.place == Place::Kernel);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec![String::new(), "idle".to_owned()];
    for (name, _) in COLUMNS {
        header.extend([name.to_owned(), "ratio".to_owned()]);
    }
    table.set_header(header);
    for row in rows {
        let mut cells = vec![row.case.place.name().to_owned(), row.case.idle.to_string()];
        for (name, of) in COLUMNS {
            let value = row.median(of);
            let ratio = kernel.map(|kernel| {
                let kernel = kernel.median(of);
                if name.ends_with("µs") { kernel / value } else { value / kernel }
            });
            let ratio = ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let decimals = usize::from(value < 1_000.0);
            cells.extend([format!("{value:.decimals$}"), ratio]);
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The congestion control of the machine's sockets: over loopback, too, it makes a difference.
pub(crate) fn congestion_control() -> String {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    setting.map_or("their congestion control".to_owned(), |name| name.trim().to_owned())
}

/// Every figure of every run, and their medians.
pub(crate) fn json(rows: &[Row], seconds: f64) -> serde_json::Value {
    let rows = rows.iter().map(|row| {
        let figures = Figures {
            gbit_s: row.median(|figures| figures.gbit_s),
            rtt_p50_us: row.median(|figures| figures.rtt_p50_us),
            rtt_p99_us: row.median(|figures| figures.rtt_p99_us),
            datagrams_s: row.median(|figures| figures.datagrams_s),
            connections_s: row.median(|figures| figures.connections_s),
        };
        serde_json::json!({
            "place": row.case.place.name(),
            "idle": row.case.idle,
            "figures": figures,
            "runs": row.runs,
        })
    });
    serde_json::json!({
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "congestion_control": congestion_control(),
        "seconds": seconds,
        "rows": rows.collect::<Vec<_>>(),
    })
}
