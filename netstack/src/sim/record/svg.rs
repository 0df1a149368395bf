//! A record as a picture: time-sequence graph, windows, round trip.

use super::{RecordEvent, RecordPoint};
use netcore::tcp::RetransmitRule;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::fmt::Display;
use std::io;

const SIZE: (u32, u32) = (860, 760);
/// Where the second and the third panel begin.
const PANELS: [u32; 2] = [400, 600];
const FONT: (&str, u32) = ("sans-serif", 13);
const KILO: f64 = 1e3;
const SENT: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const ACKNOWLEDGED: RGBColor = RGBColor(0x2c, 0xa0, 0x2c);
const WINDOW: RGBColor = RGBColor(0xaa, 0xaa, 0xaa);
const SACKED: RGBColor = RGBColor(0x98, 0xdf, 0x8a);
/// One for each rule, in the order of [`RetransmitRule::ALL`].
const RULES: [RGBColor; RetransmitRule::ALL.len()] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0x7f, 0x7f, 0x7f),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the points.
pub(super) fn draw(points: &[RecordPoint], title: &str) -> io::Result<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(refused)?;
    let (sequence, rest) = root.split_vertically(PANELS[0]);
    let (windows, trips) = rest.split_vertically(PANELS[1] - PANELS[0]);
    draw_sequence(&sequence, points, title)?;
    draw_windows(&windows, points)?;
    draw_trips(&trips, points)?;
    root.present().map_err(refused)?;
    drop((root, sequence, rest, windows, trips));
    Ok(text)
}

/// What was sent, sent again and acknowledged: the graph of tcptrace and of Stevens' TCP/IP
/// Illustrated.
fn draw_sequence(area: &Area<'_>, points: &[RecordPoint], title: &str) -> io::Result<()> {
    let ends = points.iter().filter_map(|point| match point.event {
        RecordEvent::Sent { end, .. } | RecordEvent::Repeated { end, .. } => Some(end as f64),
        _ => None,
    });
    let top = ends.fold(1.0, f64::max) * 1.05 / KILO;
    let mut chart = chart(area, points, top, ("position in the stream, kB", Some(title)))?;
    let numbers = |number: fn(&RecordEvent) -> Option<u64>| {
        let found = points.iter().filter_map(move |point| {
            Some((point.at.as_secs_f64(), number(&point.event)? as f64 / KILO))
        });
        steps(found.map(|(at, it)| (at, it.min(top))))
    };
    let window = numbers(|event| match event {
        RecordEvent::Acknowledged { window_end, .. } => Some(*window_end),
        _ => None,
    });
    line(&mut chart, window, WINDOW, "end of the peer's window")?;
    let acknowledged = numbers(|event| match event {
        RecordEvent::Acknowledged { number, .. } => Some(*number),
        _ => None,
    });
    line(&mut chart, acknowledged, ACKNOWLEDGED, "acknowledged")?;
    let bars = |points: &[RecordPoint], of: &dyn Fn(&RecordEvent) -> Option<(u64, u64)>| {
        let found = points.iter().filter_map(|point| {
            let (start, end) = of(&point.event)?;
            let at = point.at.as_secs_f64();
            Some([(at, start as f64 / KILO), (at, end as f64 / KILO)])
        });
        found.collect::<Vec<_>>()
    };
    let sacked = bars(points, &|event| match event {
        RecordEvent::Sacked { start, end } => Some((*start, *end)),
        _ => None,
    });
    segments(&mut chart, sacked, SACKED.stroke_width(1), "acknowledged behind a gap")?;
    let sent = bars(points, &|event| match event {
        RecordEvent::Sent { start, end } => Some((*start, *end)),
        _ => None,
    });
    segments(&mut chart, sent, SENT.stroke_width(2), "sent")?;
    for (found, color) in RetransmitRule::ALL.into_iter().zip(RULES) {
        let again = bars(points, &|event| match event {
            RecordEvent::Repeated { start, end, rule } if *rule == found => Some((*start, *end)),
            _ => None,
        });
        dots(&mut chart, again, color, &format!("repeated: {found}"))?;
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

fn draw_windows(area: &Area<'_>, points: &[RecordPoint]) -> io::Result<()> {
    let all = points.iter().map(|point| point.connection.snd_cwnd.max(point.connection.in_flight));
    let top = all.fold(1, u64::max) as f64 * 1.05 / KILO;
    let mut chart = chart(area, points, top, ("kB", None))?;
    let of = |value: fn(&RecordPoint) -> Option<u64>| {
        let found = points
            .iter()
            .filter_map(move |point| Some((point.at.as_secs_f64(), value(point)? as f64 / KILO)));
        steps(found.map(|(at, it)| (at, it.min(top))))
    };
    let threshold = of(|point| point.connection.snd_ssthresh);
    line(&mut chart, threshold, WINDOW, "slow-start threshold")?;
    line(&mut chart, of(|point| Some(point.connection.in_flight)), SENT, "in flight")?;
    let window = of(|point| Some(point.connection.snd_cwnd));
    line(&mut chart, window, RULES[0], "congestion window")?;
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

fn draw_trips(area: &Area<'_>, points: &[RecordPoint]) -> io::Result<()> {
    let trips: Vec<_> = points
        .iter()
        .filter_map(|point| Some((point.at.as_secs_f64(), point.connection.rtt?)))
        .map(|(at, rtt)| (at, rtt.as_secs_f64() * 1e3))
        .collect();
    let top = trips.iter().map(|(_, rtt)| *rtt).fold(1.0, f64::max) * 1.15;
    let mut chart = chart(area, points, top, ("ms", None))?;
    line(&mut chart, steps(trips.into_iter()), RULES[3], "smoothed round trip")?;
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Axes: seconds, and a value from 0 to `top`.
fn chart<'a, 'b>(
    area: &'a Area<'b>,
    points: &[RecordPoint],
    top: f64,
    (name, title): (&str, Option<&str>),
) -> io::Result<Chart<'a, 'b>> {
    let end = points.last().map_or(1.0, |point| point.at.as_secs_f64()) * 1.01;
    let mut builder = ChartBuilder::on(area);
    builder.margin(10).x_label_area_size(34).y_label_area_size(60);
    if let Some(title) = title {
        builder.caption(title, ("sans-serif", 18));
    }
    let mut chart = builder.build_cartesian_2d(0.0..end, 0.0..top).map_err(refused)?;
    let mut mesh = chart.configure_mesh();
    mesh.y_label_formatter(&|value| format!("{value:.0}"));
    mesh.light_line_style(TRANSPARENT).label_style(FONT).y_desc(name).x_desc("seconds");
    mesh.draw().map_err(refused)?;
    Ok(chart)
}

/// A line that stays level until the next value.
fn steps(values: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (at, value) in values {
        if let Some((_, before)) = line.last().copied() {
            if before == value {
                continue;
            }
            line.push((at, before));
        }
        line.push((at, value));
    }
    line
}

/// A line with its name.
fn line(
    chart: &mut Chart<'_, '_>,
    points: Vec<(f64, f64)>,
    color: RGBColor,
    name: &str,
) -> io::Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    chart
        .draw_series(LineSeries::new(points, color))
        .map_err(refused)?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color));
    Ok(())
}

fn segments(
    chart: &mut Chart<'_, '_>,
    bars: Vec<[(f64, f64); 2]>,
    style: ShapeStyle,
    name: &str,
) -> io::Result<()> {
    if bars.is_empty() {
        return Ok(());
    }
    chart
        .draw_series(bars.into_iter().map(|bar| PathElement::new(bar, style)))
        .map_err(refused)?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x + 7, y - 6), (x + 7, y + 6)], style));
    Ok(())
}

/// A dot in the middle of each bar: a segment is hardly to be seen in a whole stream.
fn dots(
    chart: &mut Chart<'_, '_>,
    bars: Vec<[(f64, f64); 2]>,
    color: RGBColor,
    name: &str,
) -> io::Result<()> {
    if bars.is_empty() {
        return Ok(());
    }
    let middles = bars.into_iter().map(|[(at, start), (_, end)]| (at, (start + end) / 2.0));
    chart
        .draw_series(middles.map(|middle| Circle::new(middle, 4, color.filled())))
        .map_err(refused)?
        .label(name)
        .legend(move |(x, y)| Circle::new((x + 7, y), 4, color.filled()));
    Ok(())
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> io::Result<()> {
    let mut labels = chart.configure_series_labels();
    labels.position(position).background_style(WHITE.mix(0.8)).label_font(FONT);
    labels.draw().map_err(refused)
}

fn refused(error: impl Display) -> io::Error {
    io::Error::other(error.to_string())
}
