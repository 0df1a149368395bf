//! The figures.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The figures of one run, by [`Figure::key`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(pub(crate) BTreeMap<String, f64>);

/// One figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    /// What tables call it, with its unit.
    pub(crate) name: &'static str,
    /// Whether less of it is better.
    pub(crate) is_time: bool,
}

impl Figure {
    const fn rate(key: &'static str, name: &'static str) -> Self {
        Self { key, name, is_time: false }
    }

    const fn time(key: &'static str, name: &'static str) -> Self {
        Self { key, name, is_time: true }
    }

    /// How many times better `ours` is than `theirs`.
    pub(crate) fn ratio(self, ours: f64, theirs: f64) -> f64 {
        if self.is_time { theirs / ours } else { ours / theirs }
    }
}

/// The six figures of all candidates on a TUN.
pub(crate) const ON_TUN: &[Figure] = &[
    Figure::rate("up_1", "up ×1, Gbit/s"),
    Figure::rate("down_1", "down ×1, Gbit/s"),
    Figure::rate("up_8", "up ×8, Gbit/s"),
    Figure::rate("down_8", "down ×8, Gbit/s"),
    Figure::time("rtt_p50_us", "round trip p50, µs"),
    Figure::rate("connections_s", "connections/s"),
];

/// The figures of small packets on a TUN.
pub(crate) const SMALL: &[Figure] = &[
    Figure::rate("alone_gbit_s", "down ×1, Gbit/s"),
    Figure::rate("beside_gbit_s", "beside 2,000 tricklers, Gbit/s"),
    Figure::time("beside_p99_ms", "round trip p99 beside them, ms"),
    Figure::rate("datagrams_s", "datagrams echoed/s"),
];

/// The figures of two stacks in memory.
pub(crate) const IN_MEMORY: &[Figure] = &[
    Figure::rate("gbit_s", "stream, Gbit/s"),
    Figure::time("rtt_p50_us", "round trip p50, µs"),
    Figure::rate("connections_s", "connections/s"),
];

/// The median of a figure over runs; nothing if there are none.
pub(crate) fn median(runs: &[Figures], figure: Figure) -> Option<f64> {
    let mut values: Vec<f64> =
        runs.iter().filter_map(|run| run.0.get(figure.key).copied()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let runs = [3.0, 1.0, 2.0].map(|value| Figures([("up_1".to_owned(), value)].into()));

        assert_eq!(median(&runs, ON_TUN[0]), Some(2.0));
        assert_eq!(median(&runs, ON_TUN[1]), None);
    }

    #[test]
    fn a_shorter_time_is_better() {
        assert_eq!(Figure::time("", "").ratio(10.0, 20.0), 2.0);
        assert_eq!(Figure::rate("", "").ratio(10.0, 20.0), 0.5);
    }
}
