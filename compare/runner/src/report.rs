//! The tables.

use crate::Args;
use crate::candidate::{Candidate, Group, KERNEL, OURS, Place};
use crate::figures::{Figure, Figures, IN_MEMORY, ON_TUN, SMALL, median};
use crate::namespace::Load;
use anyhow::Result;
use comfy_table::{CellAlignment, Table, TableStyle, presets};

/// The results, ready to be shown.
pub(crate) struct Report<'a> {
    candidates: &'a [Candidate],
    args: &'a Args,
}

/// A table: its caption, the names of its columns, and its rows.
struct Grid {
    caption: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(candidates: &'a [Candidate], args: &'a Args) -> Self {
        Self { candidates, args }
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        self.show(presets::UTF8_BORDERS_ONLY, "")
    }

    /// For a document.
    pub(crate) fn markdown(&self) -> String {
        self.show(presets::ASCII_MARKDOWN, "## ")
    }

    /// Every figure of every run.
    pub(crate) fn json(&self) -> Result<String> {
        let candidates = self.candidates.iter().map(
            |one| serde_json::json!({ "name": one.name, "failure": one.failure, "runs": one.runs }),
        );
        let all = serde_json::json!({
            "processors": processors(),
            "runs": self.args.runs,
            "seconds": self.args.seconds,
            "congestion_control": self.args.congestion_control,
            "candidates": candidates.collect::<Vec<_>>(),
        });
        Ok(serde_json::to_string_pretty(&all)?)
    }

    fn show(&self, style: TableStyle, heading: &str) -> String {
        let mut text = format!(
            "Medians of {} runs of {} s for each figure, MTU 1500, {} processors, the kernel's \
             sockets with {}.\n",
            self.args.runs,
            self.args.seconds,
            processors(),
            self.args.congestion_control,
        );
        for grid in self.grids().into_iter().filter(|grid| !grid.rows.is_empty()) {
            text += &format!("\n{heading}{}\n\n{}\n", grid.caption, grid.show(style));
        }
        let failed = self.candidates.iter().filter_map(|one| Some((one, one.failure.as_ref()?)));
        for (one, reason) in failed {
            text += &format!("\nNot measured: {}: {reason}\n", one.name);
        }
        text
    }

    fn grids(&self) -> Vec<Grid> {
        let mut grids = vec![
            self.medians("On a TUN", Group::OnTun, ON_TUN),
            self.ratios(Group::OnTun, ON_TUN),
            self.idle(),
            self.medians("Small packets on a TUN", Group::Small, SMALL),
            self.ratios(Group::Small, SMALL),
            self.medians("Two stacks in memory", Group::InMemory, IN_MEMORY),
            self.ratios(Group::InMemory, IN_MEMORY),
        ];
        grids.retain(|grid| !grid.rows.is_empty());
        grids
    }

    fn of(&self, group: Group) -> impl Iterator<Item = &'a Candidate> {
        self.candidates.iter().filter(move |one| one.group == group && !one.runs.is_empty())
    }

    fn medians(&self, caption: &str, group: Group, figures: &[Figure]) -> Grid {
        let mut columns: Vec<_> = figures.iter().map(|figure| figure.name).collect();
        let resident = Figure { key: "resident_mib", name: "resident, MiB", is_time: true };
        let mut shown = figures.to_vec();
        if group != Group::InMemory {
            columns.push(resident.name);
            shown.push(resident);
        }
        let row = |one: &Candidate| {
            (one.name.clone(), shown.iter().map(|figure| median(&one.runs, *figure)).collect())
        };
        Grid { caption: caption.to_owned(), columns, rows: self.of(group).map(row).collect() }
    }

    /// Ours without idle connections against the kernel, and against the best of the others.
    fn ratios(&self, group: Group, figures: &[Figure]) -> Grid {
        let is_peer = |one: &&Candidate| matches!(one.place, Place::Peer { .. } | Place::TsPair);
        let is_kernel = |one: &&Candidate| one.name.starts_with(KERNEL) && !is_beside(one);
        let peers: Vec<&[Figures]> =
            self.of(group).filter(is_peer).map(|one| &one.runs[..]).collect();
        let kernel: Vec<&[Figures]> =
            self.of(group).filter(is_kernel).map(|one| &one.runs[..]).collect();
        let mut rows = Vec::new();
        for one in self.of(group).filter(|one| one.name.starts_with(OURS) && !is_beside(one)) {
            for (others, whom) in
                [(&kernel, "to the kernel"), (&peers, "to the best of the others")]
            {
                if !others.is_empty() {
                    let ratio = |figure: &Figure| {
                        let ours = median(&one.runs, *figure)?;
                        let all = others.iter().filter_map(|runs| median(runs, *figure));
                        // Against the best of them the ratio is the least.
                        all.map(|theirs| figure.ratio(ours, theirs)).min_by(f64::total_cmp)
                    };
                    rows.push((
                        format!("{} {whom}", one.name),
                        figures.iter().map(ratio).collect(),
                    ));
                }
            }
        }
        Grid {
            caption: "Ratios (more is better)".to_owned(),
            columns: figures.iter().map(|figure| figure.name).collect(),
            rows,
        }
    }

    /// Each candidate with idle connections against itself without.
    fn idle(&self) -> Grid {
        let mut rows = Vec::new();
        for one in self.of(Group::OnTun).filter(|one| is_beside(one)) {
            let Some(alone) = self.of(Group::OnTun).find(|other| {
                one.name.strip_prefix(&other.name).is_some_and(|rest| rest.starts_with(" beside"))
            }) else {
                continue;
            };
            let ratio = |figure: &Figure| {
                Some(figure.ratio(median(&one.runs, *figure)?, median(&alone.runs, *figure)?))
            };
            rows.push((one.name.clone(), ON_TUN.iter().map(ratio).collect()));
        }
        Grid {
            caption: "With idle connections against without (more is better)".to_owned(),
            columns: ON_TUN.iter().map(|figure| figure.name).collect(),
            rows,
        }
    }
}

fn is_beside(one: &Candidate) -> bool {
    matches!(
        one.place,
        Place::Kernel { load: Load::Streams { idle: 1.. } }
            | Place::Ours { load: Load::Streams { idle: 1.. }, .. }
    )
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Grid {
    fn show(&self, style: TableStyle) -> Table {
        let mut table = Table::new();
        table.load_style(style);
        let names = self.columns.iter().map(|name| (*name).to_owned());
        table.set_header(std::iter::once(String::new()).chain(names));
        for (name, values) in &self.rows {
            let values = values.iter().map(|value| value.map_or("–".to_owned(), number));
            table.add_row(std::iter::once(name.clone()).chain(values));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// With about three digits.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
