//! The goodputs as a picture.

use crate::LUCK;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (720, 400);
/// Above the bars there is room for their names.
const TOP: f64 = 150.0;
/// The width of the bars of one column, which are 1 apart.
const GROUP: f64 = 0.8;
const FONT: (&str, u32) = ("sans-serif", 13);
const COLORS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0xc7, 0xc7, 0xc7),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x8c, 0x56, 0x4b),
];

/// Draws a group of bars for each column, of these rows.
pub(crate) fn draw(rows: &[(String, Vec<f64>)], path: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let columns = LUCK.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption("One stream over 100 Mbit/s and 20 ms, Mbit/s", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(28)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..columns, 0.0..TOP)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|rate| if *rate > 100.0 { String::new() } else { format!("{rate:.0}") })
        .label_style(FONT)
        .draw()?;
    let centred = FONT.into_text_style(&root).pos(Pos::new(HPos::Center, VPos::Top));
    for (at, (name, ..)) in LUCK.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
        root.draw(&Text::new(*name, (x, y + 8), centred.clone()))?;
    }
    let width = GROUP / rows.len() as f64;
    for (index, (name, goodputs)) in rows.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let bars = goodputs.iter().enumerate().map(|(at, goodput)| {
            let left = at as f64 + (1.0 - GROUP) / 2.0 + index as f64 * width;
            Rectangle::new([(left, 0.0), (left + width * 0.9, *goodput)], color.filled())
        });
        chart
            .draw_series(bars)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperMiddle)
        .background_style(WHITE.mix(0.8))
        .label_font(FONT)
        .draw()?;
    root.present()?;
    Ok(())
}
