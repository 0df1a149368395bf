//! Datagrams that arrive: which are missing, and how much their delay varies.

/// What the numbers and times of datagrams tell, as iperf3 counts it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrivals {
    /// The highest number so far; they begin with 1.
    pub(crate) highest: u64,
    /// Datagrams before it that have not arrived.
    pub(crate) lost: u64,
    /// Datagrams that arrived after one with a higher number.
    pub(crate) out_of_order: u64,
    /// In seconds (RFC 3550 section 6.4.1).
    pub(crate) jitter: f64,
    transit: Option<f64>,
}

impl Arrivals {
    /// Counts a datagram. Its transit is the time between its stamp and its arrival, in seconds; the
    /// clocks of both ends may differ.
    pub(crate) fn count(&mut self, number: u64, transit: f64) {
        if number > self.highest {
            self.lost = self.lost.saturating_add(number - self.highest - 1);
            self.highest = number;
        } else {
            // It was taken for a lost one, unless it is there twice.
            self.out_of_order += 1;
            self.lost = self.lost.saturating_sub(1);
        }
        let change = self.transit.map_or(0.0, |before| (transit - before).abs());
        self.jitter += (change - self.jitter) / 16.0;
        self.transit = Some(transit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_until_they_are_filled() {
        let mut arrivals = Arrivals::default();
        for number in [1, 2, 5, 4, 6] {
            arrivals.count(number, 0.0);
        }
        assert_eq!((arrivals.highest, arrivals.lost, arrivals.out_of_order), (6, 1, 1));
    }

    #[test]
    fn numbers_at_the_limit_are_counted_too() {
        let mut arrivals = Arrivals::default();
        for number in [u64::MAX, u64::MAX, 0, 1] {
            arrivals.count(number, f64::MAX);
        }
        assert_eq!((arrivals.highest, arrivals.out_of_order), (u64::MAX, 3));
    }

    #[test]
    fn a_steady_delay_has_no_jitter() {
        let mut arrivals = Arrivals::default();
        (1..100).for_each(|number| arrivals.count(number, -7.0));
        assert_eq!(arrivals.jitter, 0.0);
        (100..1000).for_each(|number| arrivals.count(number, (number % 2) as f64));
        assert!((arrivals.jitter - 1.0).abs() < 0.01, "{}", arrivals.jitter);
    }
}
