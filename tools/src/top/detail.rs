//! One connection, with its history.

use super::list::head_lines;
use super::model::Model;
use crate::client::units;
use crate::why;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline, Wrap};
use std::collections::VecDeque;
use std::time::Duration;

/// The width of the names and values beside the charts.
const LABEL: u16 = 36;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, text, charts, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(15),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head_lines(model).swap_remove(0), head);
    draw_text(frame, model, text);
    draw_charts(frame, model, charts);
    let keys = "Esc back · p pause · q end";
    frame.render_widget(Line::from(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

/// What netstack why says.
fn draw_text(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let id = model.opened().map_or_else(String::new, |id| id.to_string());
    let is_there = model.rows().iter().any(|row| Some(row.flow.id) == model.opened());
    let text = match &model.sample().opened {
        Some(socket) => why::explain(socket).replace('\n', " "),
        None if is_there => format!("{id}: …"),
        None => format!("{id} has ended."),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

/// The name of a chart, its values, and a value as a text.
type Chart<'a> = (&'a str, &'a VecDeque<u64>, &'a dyn Fn(u64) -> String);

fn draw_charts(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let history = model.history();
    let time = |micros: u64| units::time(Duration::from_micros(micros));
    let charts: [Chart<'_>; 5] = [
        ("out", &history.out, &units::rate),
        ("in", &history.in_, &units::rate),
        ("round trip", &history.round_trip, &time),
        ("congestion window", &history.window, &units::bytes),
        ("sent again", &history.again, &|count| format!("{count}/s")),
    ];
    let areas = Layout::vertical([Constraint::Length(3); 5]).split(area);
    for ((name, values, unit), area) in charts.into_iter().zip(areas.iter()) {
        let [label, chart] =
            Layout::horizontal([Constraint::Length(LABEL), Constraint::Fill(1)]).areas(*area);
        let (now, most) = (values.back(), values.iter().max());
        let lines = vec![
            Line::from(name).style(Style::new().add_modifier(Modifier::BOLD)),
            Line::from(format!(
                "{}, at most {}",
                unit(*now.unwrap_or(&0)),
                unit(*most.unwrap_or(&0))
            )),
        ];
        frame.render_widget(Paragraph::new(lines), label);
        // The newest ones, as far as there is room.
        let shown = values.len().saturating_sub(usize::from(chart.width));
        let data: Vec<_> = values.iter().skip(shown).copied().collect();
        frame.render_widget(Sparkline::default().data(data), chart);
    }
}
