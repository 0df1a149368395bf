//! What ping tells at its end.

use serde_json::{Value, json};
use std::time::Duration;

/// The results of the requests.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    pub(super) sent: u64,
    /// What routers and hosts have reported instead of a reply.
    pub(super) errors: u64,
    received: u64,
    /// Of the times of the replies, in milliseconds.
    min: f64,
    max: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Statistics {
    /// Counts a reply that took so long.
    pub(super) fn reply(&mut self, time: Duration) {
        let time = time.as_secs_f64() * 1e3;
        self.min = if self.received == 0 { time } else { self.min.min(time) };
        self.max = self.max.max(time);
        self.sum += time;
        self.sum_of_squares += time * time;
        self.received += 1;
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// What ping prints.
    pub(super) fn text(&self, elapsed: Duration) -> String {
        let Self { sent, received, min, max, .. } = self;
        let loss = self.loss_percent();
        // Six digits, and no zeros at the end.
        let decimals = if loss < 10.0 { 5 } else { 4 };
        let loss = (loss * 10_f64.powi(decimals)).round() / 10_f64.powi(decimals);
        let errors = match self.errors {
            0 => String::new(),
            errors => format!(" +{errors} errors,"),
        };
        let elapsed = elapsed.as_millis();
        let counts = format!(
            "{sent} packets transmitted, {received} received,{errors} {loss}% packet loss, time \
             {elapsed}ms\n"
        );
        if *received == 0 {
            return counts;
        }
        let (mean, deviation) = self.mean_and_deviation();
        format!("{counts}rtt min/avg/max/mdev = {min:.3}/{mean:.3}/{max:.3}/{deviation:.3} ms")
    }

    /// The same for a program.
    pub(super) fn json(&self, target: &str, elapsed: Duration) -> Value {
        let Self { sent, received, errors, min, max, .. } = self;
        let mut all = json!({"event": "end", "target": target, "sent": sent, "received": received,
            "errors": errors, "loss_percent": self.loss_percent(),
            "time_ms": elapsed.as_secs_f64() * 1e3});
        if *received > 0 {
            let (mean, deviation) = self.mean_and_deviation();
            all["rtt_ms"] = json!({"min": min, "avg": mean, "max": max, "mdev": deviation});
        }
        all
    }

    fn loss_percent(&self) -> f64 {
        100.0 * (self.sent - self.received) as f64 / self.sent.max(1) as f64
    }

    fn mean_and_deviation(&self) -> (f64, f64) {
        let mean = self.sum / self.received as f64;
        let variance = self.sum_of_squares / self.received as f64 - mean * mean;
        // It may be less than zero by rounding.
        (mean, variance.max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_ping() {
        let mut statistics = Statistics { sent: 3, errors: 1, ..Statistics::default() };
        let elapsed = Duration::from_millis(2003);
        let text = "3 packets transmitted, 0 received, +1 errors, 100% packet loss, time 2003ms\n";
        assert_eq!(statistics.text(elapsed), text);

        statistics.reply(Duration::from_micros(1000));
        statistics.reply(Duration::from_micros(3000));

        let text = "3 packets transmitted, 2 received, +1 errors, 33.3333% packet loss, time \
                    2003ms\nrtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms";
        assert_eq!(statistics.text(elapsed), text);
    }
}
