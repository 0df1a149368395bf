//! The rate of one stream against the number of idle connections, as a picture.

use crate::case::Place;
use crate::report::Row;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const SIZE: (u32, u32) = (720, 400);
const PLACES: [(Place, RGBColor); 3] = [
    (Place::Tasks, RGBColor(0x1f, 0x77, 0xb4)),
    (Place::Threads, RGBColor(0x2c, 0xa0, 0x2c)),
    (Place::Kernel, RGBColor(0x7f, 0x7f, 0x7f)),
];

/// Draws the chart. The numbers of idle connections stand at equal distances; the kernel, which is
/// measured without, is a line across.
pub(crate) fn draw(rows: &[Row], path: &Path) -> Result<()> {
    try_draw(rows, path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn try_draw(rows: &[Row], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut idle: Vec<usize> = rows.iter().map(|row| row.case.idle).collect();
    idle.sort_unstable();
    idle.dedup();
    let rate = |row: &Row| row.median(|figures| figures.gbit_s);
    let top = rows.iter().map(rate).fold(1.0, f64::max) * 1.15;
    let right = (idle.len() - 1).max(1) as f64;

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("One TCP stream in memory, Gbit/s", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(44)
        .build_cartesian_2d(-0.2..right + 0.2, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    let centred = ("sans-serif", 13).into_text_style(&root).pos(Pos::new(HPos::Center, VPos::Top));
    for (at, count) in idle.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(at as f64, 0.0));
        root.draw(&Text::new(count.to_string(), (x, y + 8), centred.clone()))?;
    }
    let middle = (SIZE.0 / 2) as i32;
    root.draw(&Text::new("idle connections beside it", (middle, SIZE.1 as i32 - 30), centred))?;
    for (place, color) in PLACES {
        let mine = rows.iter().filter(|row| row.case.place == place);
        let mut points: Vec<(f64, f64)> = mine
            .filter_map(|row| {
                let at = idle.iter().position(|count| *count == row.case.idle)?;
                Some((at as f64, rate(row)))
            })
            .collect();
        if let (Place::Kernel, [(_, rate)]) = (place, &points[..]) {
            points = vec![(0.0, *rate), (right, *rate)];
        } else {
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
        }
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(place.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}
