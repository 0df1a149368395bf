//! The list of all connections.

use super::model::Model;
use crate::client::reading::{Order, Row};
use crate::client::units;
use netstack::netsocket::netcore::TcpState;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Table};
use std::time::Duration;

/// A column.
struct Column {
    name: &'static str,
    /// That of the peer grows with the screen.
    width: u16,
    alignment: Alignment,
    /// The order that sorts by it.
    order: Option<Order>,
    text: fn(&Row) -> String,
    /// Those of the greatest are left out first where the screen is narrow.
    rank: u8,
}

const COLUMNS: [Column; 9] = [
    column("Id", 8, Alignment::Left, None, 0, |row| row.flow.id.to_string()),
    column("Peer", 16, Alignment::Left, None, 0, |row| row.flow.peer.to_string()),
    column("State", 11, Alignment::Left, None, 5, |row| state(row.flow.state).into()),
    column("Out", 11, Alignment::Right, Some(Order::Out), 1, |row| rate(row.out)),
    column("In", 11, Alignment::Right, Some(Order::In), 3, |row| rate(row.in_)),
    column("RTT", 8, Alignment::Right, Some(Order::RoundTrip), 4, |row| {
        row.flow.rtt.map_or_else(String::new, time)
    }),
    column("Again/s", 8, Alignment::Right, Some(Order::Again), 6, |row| again(row.again)),
    column("Limit", 20, Alignment::Left, Some(Order::Limit), 2, |row| row.flow.limit.name().into()),
    column("Age", 8, Alignment::Right, Some(Order::Age), 7, |row| time(row.flow.age)),
];
const PEER: &str = "Peer";
/// The lines above the table, and its header.
const HEAD: u16 = 3;

pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let [head, table, foot] =
        Layout::vertical([Constraint::Length(HEAD), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(model)), head);
    draw_table(frame, model, table);
    let paused = if model.is_paused() { "paused · " } else { "" };
    let keys =
        format!("{paused}↑↓ select · Enter open · o i r a l g sort · R reverse · p pause · q end");
    frame.render_widget(Line::from(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

/// The stack in three lines.
pub(super) fn head_lines(model: &Model) -> Vec<Line<'static>> {
    let (sample, totals) = (&model.sample().reading, model.totals());
    let age = units::time(Duration::from_micros(sample.stack.age));
    let (out, in_) =
        model.rows().iter().fold((0, 0), |(out, in_), row| (out + row.out, in_ + row.in_));
    let drops: Vec<_> =
        totals.drops.iter().map(|(reason, rate)| format!("{reason} {rate:.1}/s")).collect();
    let drops = if drops.is_empty() { "none".into() } else { drops.join(", ") };
    vec![
        Line::from(format!(
            "{} (pid {}), {age} old: {} connections, {} sockets, {} in TIME-WAIT, {} in buffers",
            sample.stack.process,
            sample.stack.pid,
            model.rows().len(),
            sample.overview.sockets,
            sample.overview.time_wait,
            units::bytes(sample.overview.buffer_bytes as u64),
        ))
        .style(Style::new().add_modifier(Modifier::BOLD)),
        Line::from(format!(
            "out {} ({:.0} frames/s), in {} ({:.0} frames/s); the stack works {:.1} %, the process {:.1} % of a processor",
            units::rate(out),
            totals.frames_out,
            units::rate(in_),
            totals.frames_in,
            100.0 * totals.busy,
            100.0 * totals.process,
        )),
        Line::from(format!("drops: {drops}{}", skipped(sample.skipped))),
    ]
}

/// What is missing, since the stack is of a later version.
fn skipped(parts: usize) -> String {
    if parts == 0 {
        return String::new();
    }
    format!("; the stack is of a later version: {parts} parts of its answers were skipped")
}

/// The table, of which only the rows on the screen are made.
fn draw_table(frame: &mut Frame<'_>, model: &mut Model, area: Rect) {
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let selected = model.selected();
    model.first = model.first.clamp((selected + 1).saturating_sub(height), selected);
    let columns = columns(area.width);
    let rows = model.rows().iter().enumerate().skip(model.first).take(height);
    let rows = rows.map(|(index, row)| {
        let style = match index == selected {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        let cells = columns.iter().map(|column| column.cell((column.text)(row)));
        ratatui::widgets::Row::new(cells.collect::<Vec<_>>()).style(style)
    });
    let widths = columns.iter().map(|column| match column.name {
        PEER => Constraint::Min(column.width),
        _ => Constraint::Length(column.width),
    });
    let table = Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>());
    frame.render_widget(table.header(header(model, &columns)), area);
}

/// The columns for which there is room.
fn columns(width: u16) -> Vec<&'static Column> {
    let mut columns: Vec<_> = COLUMNS.iter().collect();
    let needed = |columns: &[&Column]| columns.iter().map(|it| it.width + 1).sum::<u16>();
    while needed(&columns) > width + 1 && columns.len() > 1 {
        let rank = columns.iter().map(|column| column.rank).max();
        columns.retain(|column| column.rank == 0 || Some(column.rank) != rank);
        if rank == Some(0) {
            break;
        }
    }
    columns
}

fn header(model: &Model, columns: &[&Column]) -> ratatui::widgets::Row<'static> {
    let (order, is_reversed) = model.order();
    let mark = if is_reversed { "↑" } else { "↓" };
    let cells = columns.iter().map(|column| {
        let mark = if column.order == Some(order) { mark } else { "" };
        column.cell(format!("{}{mark}", column.name))
    });
    let style = Style::new().add_modifier(Modifier::UNDERLINED);
    ratatui::widgets::Row::new(cells.collect::<Vec<_>>()).style(style)
}

const fn column(
    name: &'static str,
    width: u16,
    alignment: Alignment,
    order: Option<Order>,
    rank: u8,
    text: fn(&Row) -> String,
) -> Column {
    Column { name, width, alignment, order, text, rank }
}

impl Column {
    fn cell(&self, text: String) -> Cell<'static> {
        Cell::from(Text::from(text).alignment(self.alignment))
    }
}

fn rate(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { units::rate(bytes) }
}

fn time(micros: u64) -> String {
    units::time(Duration::from_micros(micros))
}

fn again(segments: f64) -> String {
    if segments > 0.0 { format!("{segments:.1}") } else { String::new() }
}

fn state(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "ESTAB",
        TcpState::SynReceived => "SYN-RECV",
        other => other.name(),
    }
}
