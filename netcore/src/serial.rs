//! The serialized forms of times (whole microseconds), of addresses, and of tables by name.

use serde::de::value::StringDeserializer;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Implements serde's traits by `Display` and `FromStr`.
macro_rules! as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use as_text;

/// A `Duration` as whole microseconds, for `#[serde(with = "netcore::serial::micros")]`.
pub mod micros {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Whole microseconds, at most `u64::MAX`.
    pub(crate) fn whole(time: Duration) -> u64 {
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    }

    /// Serializes a time, at most `u64::MAX` microseconds.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(whole(*time))
    }

    /// Deserializes a time.
    ///
    /// # Errors
    ///
    /// Those of the deserializer, also for anything but a `u64`.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_micros)
    }

    /// The same for times that may be missing.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Serializer, whole};

        /// Serializes a time, or none.
        ///
        /// # Errors
        ///
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(
            time: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => serializer.serialize_some(&whole(*time)),
                None => serializer.serialize_none(),
            }
        }

        /// Deserializes a time, or none.
        ///
        /// # Errors
        ///
        /// Those of the deserializer, also for anything but a `u64` or nothing.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            input: D,
        ) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(input)?.map(Duration::from_micros))
        }
    }
}

/// The entries of a table whose names are known here: one of a later version may have more.
pub(crate) fn known_keys<'de, K: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<impl Iterator<Item = (K, u64)>, D::Error> {
    let all = BTreeMap::<String, u64>::deserialize(input)?;
    Ok(all.into_iter().filter_map(|(name, value)| {
        let name = StringDeserializer::<serde::de::value::Error>::new(name);
        Some((K::deserialize(name).ok()?, value))
    }))
}
