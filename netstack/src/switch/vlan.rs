//! Which virtual LAN a frame is on, and whether a port is part of it.

use std::collections::BTreeSet;
use std::fmt;

/// The number of a virtual LAN: from 1 to 4094 (IEEE 802.1Q section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// The virtual LAN of this number; `None` if there can be none.
    pub const fn new(id: u16) -> Option<Self> {
        if id >= 1 && id <= 4094 { Some(Self(id)) } else { None }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for VlanId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for VlanId {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let id = <u16 as serde::Deserialize>::deserialize(input)?;
        let wrong = || format!("virtual LAN {id} is out of range: from 1 to 4094");
        Self::new(id).ok_or_else(|| serde::de::Error::custom(wrong()))
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which virtual LANs a port is part of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Vlan {
    /// None. Tags are passed on as part of the frame, among the ports that are of this kind.
    #[default]
    Transparent,
    /// Access port: one VLAN, untagged on the wire. Tagged frames are dropped, unless the tag gives
    /// only a priority.
    Access(VlanId),
    /// Trunk port: several VLANs, 802.1Q-tagged on the wire.
    Trunk {
        /// VLANs whose frames are tagged.
        allowed: BTreeSet<VlanId>,
        /// The VLAN of untagged frames; if `None`, those are dropped.
        #[cfg_attr(feature = "serde", serde(default))]
        native: Option<VlanId>,
    },
}

/// A broadcast domain: a VLAN, or all transparent ports together.
pub(super) type Domain = Option<VlanId>;

/// The form of a frame outside of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    AsItIs,
    Untagged,
    Tagged(VlanId),
}

/// The part of a tag's control information that is the number.
const ID_BITS: u16 = 0x0fff;

impl Vlan {
    /// Where a frame with this tag belongs that comes in; `None` if it may not.
    pub(super) fn ingress(&self, tag: Option<u16>) -> Option<Domain> {
        // A tag with the number 0 gives only a priority (IEEE 802.1Q section 6.9).
        let tag = tag.map(|control| control & ID_BITS).filter(|id| *id != 0);
        match self {
            Self::Transparent => Some(None),
            Self::Access(id) => tag.is_none().then_some(Some(*id)),
            Self::Trunk { allowed, native } => match tag {
                None => native.map(Some),
                Some(id) => {
                    let id = VlanId::new(id)?;
                    (allowed.contains(&id) || *native == Some(id)).then_some(Some(id))
                }
            },
        }
    }

    /// How a frame of this domain leaves; `None` if it may not.
    pub(super) fn egress(&self, domain: Domain) -> Option<Form> {
        match (self, domain) {
            (Self::Transparent, None) => Some(Form::AsItIs),
            (Self::Access(id), Some(domain)) if *id == domain => Some(Form::Untagged),
            (Self::Trunk { native, .. }, Some(id)) if *native == Some(id) => Some(Form::Untagged),
            (Self::Trunk { allowed, .. }, Some(id)) if allowed.contains(&id) => {
                Some(Form::Tagged(id))
            }
            _ => None,
        }
    }
}

impl Form {
    /// The tag to change to, for a frame with `tag`; `None` if it has that already.
    pub(super) fn change(self, tag: Option<u16>) -> Option<Option<u16>> {
        let wanted = match self {
            Self::AsItIs => return None,
            Self::Untagged => None,
            // The priority stays.
            Self::Tagged(id) => Some(tag.unwrap_or(0) & !ID_BITS | id.get()),
        };
        (wanted != tag).then_some(wanted)
    }
}
