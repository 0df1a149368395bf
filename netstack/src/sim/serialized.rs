//! What is checked of a serialized link, so that none is made that a builder refuses.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

pub(super) fn probability<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(input)?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(Error::custom(format!("{value} is not a probability: from 0 to 1"))),
    }
}

pub(super) fn rate<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    above_zero(u64::deserialize(input)?)
}

pub(super) fn rate_option<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    Option::<u64>::deserialize(input)?.map(above_zero).transpose()
}

pub(super) fn interval<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    Ok(rate_option(input)?.map(Duration::from_micros))
}

pub(super) const fn one() -> f64 {
    1.0
}

fn above_zero<E: Error>(value: u64) -> Result<u64, E> {
    if value > 0 { Ok(value) } else { Err(E::custom("a rate or an interval must not be zero")) }
}
