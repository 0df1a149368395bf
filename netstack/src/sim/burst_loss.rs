//! The Gilbert-Elliott model of lost packets.

use rand::RngExt;
use rand::rngs::StdRng;

/// Losses in bursts: the Gilbert-Elliott model, as in `tc netem loss gemodel`.
///
/// The link is in a good or in a bad state, at first in the good one. Each packet is lost with the
/// probability of the state that it finds, and may change the state for those behind it. So the bad
/// state lasts for `1 / leave` packets on average, the good one for `1 / enter`, and
/// `enter / (enter + leave)` of all packets find the bad one.
///
/// ```
/// use netstack::sim::{BurstLoss, LinkConfig};
///
/// // On average 5 packets in a row of 500.
/// let radio = LinkConfig::new().burst_loss(BurstLoss::new(0.002, 0.2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct BurstLoss {
    /// The probability that a packet ends the good state: `p` in netem.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::probability"))]
    pub enter: f64,
    /// The probability that a packet ends the bad state: `r` in netem.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::probability"))]
    pub leave: f64,
    /// The probability of loss in the bad state, by default 1: `1-h` in netem.
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "super::serialized::one",
            deserialize_with = "super::serialized::probability"
        )
    )]
    pub bad: f64,
    /// The probability of loss in the good state, by default 0: `1-k` in netem.
    #[cfg_attr(
        feature = "serde",
        serde(default, deserialize_with = "super::serialized::probability")
    )]
    pub good: f64,
}

impl BurstLoss {
    /// Loses everything in the bad state, and nothing in the good one: the model of Gilbert.
    ///
    /// # Panics
    ///
    /// If one of them is not from 0 to 1.
    pub fn new(enter: f64, leave: f64) -> Self {
        Self { enter, leave, bad: 1.0, good: 0.0 }.checked()
    }

    /// Sets the probabilities of loss in the bad and in the good state.
    ///
    /// # Panics
    ///
    /// If one of them is not from 0 to 1.
    #[must_use]
    pub fn losses(self, bad: f64, good: f64) -> Self {
        Self { bad, good, ..self }.checked()
    }

    pub(super) fn checked(self) -> Self {
        for probability in [self.enter, self.leave, self.bad, self.good] {
            super::link::checked(probability);
        }
        self
    }

    /// Whether the next packet is lost.
    pub(super) fn loses(&self, is_bad: &mut bool, random: &mut StdRng) -> bool {
        let (change, loss) = if *is_bad { (self.leave, self.bad) } else { (self.enter, self.good) };
        *is_bad ^= random.random_bool(change);
        random.random_bool(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// The lengths of the rows of lost packets among a million.
    fn rows(model: BurstLoss) -> Vec<usize> {
        let (mut random, mut is_bad) = (StdRng::seed_from_u64(1), false);
        let fates: Vec<bool> =
            (0..1_000_000).map(|_| model.loses(&mut is_bad, &mut random)).collect();
        let rows = fates.split(|is_lost| !is_lost).map(<[bool]>::len);
        rows.filter(|length| *length > 0).collect()
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value / expected - 1.0).abs() < 0.05
    }

    #[test]
    fn losses_come_in_rows_as_long_as_the_bad_state() {
        let rows = rows(BurstLoss::new(0.002, 0.2));

        let lost: usize = rows.iter().sum();
        assert!(is_near(lost as f64, 1e6 * 0.002 / 0.202), "{lost} are lost");
        let mean = lost as f64 / rows.len() as f64;
        assert!(is_near(mean, 5.0), "{mean} in a row");
    }

    #[test]
    fn each_state_has_a_probability_of_loss() {
        let lost: usize = rows(BurstLoss::new(0.01, 0.04).losses(0.5, 0.1)).iter().sum();

        // A fifth of the packets find the bad state.
        assert!(is_near(lost as f64, 1e6 * (0.2 * 0.5 + 0.8 * 0.1)), "{lost} are lost");
    }
}
