//! The choice of a congestion controller.

use super::{Bbr, CongestionController, Cubic, Reno};
use std::fmt;
use std::hash::{Hash, Hasher};

/// Which congestion controller a connection has.
///
/// ```
/// use netcore::tcp::congestion::CongestionControl;
///
/// assert_eq!(CongestionControl::from_name("bbr"), Some(CongestionControl::Bbr));
/// assert_eq!(CongestionControl::default().name(), "cubic");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CongestionControl {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// Reno (RFC 5681), with HyStart++ too.
    Reno,
    /// BBR (draft-ietf-ccwg-bbr, version 3), which takes a loss for congestion only if there are
    /// more signs of it. It paces what it sends.
    Bbr,
    /// An algorithm of the application's own.
    Custom(&'static Algorithm),
}

/// By its name. Another process does not have an application's own algorithm, so only those of
/// this crate are read back.
#[cfg(feature = "serde")]
impl serde::Serialize for CongestionControl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for CongestionControl {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(input)?;
        let unknown = || serde::de::Error::custom(format!("no congestion control {name:?}"));
        Self::from_name(&name).ok_or_else(unknown)
    }
}

impl CongestionControl {
    const BUILT_IN: [Self; 3] = [Self::Cubic, Self::Reno, Self::Bbr];

    /// Its name: of those that this crate has, the one that `TCP_CONGESTION` takes on Linux.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Reno => "reno",
            Self::Bbr => "bbr",
            Self::Custom(algorithm) => algorithm.name,
        }
    }

    /// The algorithm of this crate with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::BUILT_IN.into_iter().find(|control| control.name() == name)
    }

    pub(crate) fn controller(self, mss: u32) -> Box<dyn CongestionController> {
        match self {
            Self::Cubic => Box::new(Cubic::new(mss)),
            Self::Reno => Box::new(Reno::new(mss)),
            Self::Bbr => Box::new(Bbr::new(mss)),
            Self::Custom(algorithm) => (algorithm.controller)(mss),
        }
    }
}

impl fmt::Display for CongestionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A congestion control algorithm of an application's own, for [`CongestionControl::Custom`].
///
/// Two are equal if they are the same `static`.
///
/// ```
/// use netcore::tcp::congestion::{
///     Acked, Algorithm, CongestionControl, CongestionController, Lost,
/// };
///
/// /// A window that is always the same.
/// #[derive(Debug)]
/// struct Fixed(u64);
///
/// impl CongestionController for Fixed {
///     fn window(&self) -> u64 {
///         self.0
///     }
///     fn on_acked(&mut self, _acked: &Acked) {}
///     fn on_lost(&mut self, _lost: &Lost) {}
///     fn on_timeout(&mut self, _lost: &Lost) {}
///     fn set_mss(&mut self, _mss: u32) {}
/// }
///
/// static FIXED: Algorithm = Algorithm::new("fixed", |mss| Box::new(Fixed(u64::from(mss) * 20)));
///
/// let mut config = netcore::Config::default();
/// config.tcp.congestion_control = CongestionControl::Custom(&FIXED);
/// ```
#[derive(Debug)]
pub struct Algorithm {
    name: &'static str,
    controller: fn(u32) -> Box<dyn CongestionController>,
}

impl Algorithm {
    /// An algorithm with this name, and what makes the controller of one connection: for segments
    /// of so many bytes of payload.
    pub const fn new(
        name: &'static str,
        controller: fn(u32) -> Box<dyn CongestionController>,
    ) -> Self {
        Self { name, controller }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl PartialEq for Algorithm {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Algorithm {}

impl Hash for Algorithm {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}
