//! Socket ids.

use slotmap::{Key, KeyData};
use std::fmt;
use std::str::FromStr;

slotmap::new_key_type! {
    /// The id of a socket of one stack.
    ///
    /// An id carries the generation of its slot: after its socket is removed it names no other, for
    /// 2³¹ reuses of the slot, and every command with it fails with
    /// [`Error::Closed`](crate::Error::Closed). Ids of different stacks must not be mixed.
    ///
    /// Displayed and parsed as `17v3`: the slot and its generation.
    pub struct SocketId;
}

impl SocketId {
    /// Its number, which is never 0: the generation in the upper half, the slot in the lower.
    pub fn to_bits(self) -> u64 {
        self.data().as_ffi()
    }

    /// The id with this number; `None` if none has it.
    pub fn from_bits(number: u64) -> Option<Self> {
        // Even generations are those of free slots.
        (number >> 32 & 1 == 1).then(|| KeyData::from_ffi(number).into())
    }

    /// The number of its slot. Slots of removed sockets are used again.
    pub(crate) fn slot(self) -> u32 {
        self.data().as_ffi() as u32
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.to_bits();
        f.pad(&format!("{}v{}", number as u32, number >> 32))
    }
}

/// The error of parsing a [`SocketId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketIdParseError;

impl fmt::Display for SocketIdParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a socket id is two numbers with a v between them, for example 17v3")
    }
}

impl std::error::Error for SocketIdParseError {}

impl FromStr for SocketId {
    type Err = SocketIdParseError;

    fn from_str(text: &str) -> Result<Self, SocketIdParseError> {
        let number = |digits: &str| -> Option<u32> {
            digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let (slot, generation) = text.split_once('v').ok_or(SocketIdParseError)?;
        let (slot, generation) = number(slot).zip(number(generation)).ok_or(SocketIdParseError)?;
        let number = u64::from(generation) << 32 | u64::from(slot);
        Self::from_bits(number).ok_or(SocketIdParseError)
    }
}

#[cfg(feature = "serde")]
crate::serial::as_text!(SocketId);

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;
    use std::collections::HashSet;

    #[test]
    fn an_id_is_parsed_from_its_text() {
        let mut slots = SlotMap::<SocketId, u32>::with_key();
        let first = slots.insert(0);
        slots.remove(first);
        let second = slots.insert(1);

        assert_eq!((first.to_string(), second.to_string()), ("1v1".into(), "1v3".into()));
        assert_eq!(second.to_string().parse(), Ok(second));
        assert_eq!((second.slot(), format!("{second:>5}")), (1, "  1v3".into()));
        assert_eq!(
            (second.to_bits(), SocketId::from_bits(3 << 32 | 1)),
            (3 << 32 | 1, Some(second))
        );
        assert_eq!((SocketId::from_bits(0), SocketId::from_bits(2 << 32 | 1)), (None, None));
        for text in ["", "1", "v", "1v", "v1", "1v2", "1v0", "+1v1", "1v1v1", "4294967296v1"] {
            assert_eq!(text.parse::<SocketId>(), Err(SocketIdParseError), "{text}");
        }
    }

    #[test]
    fn id_is_not_reused_with_its_slot() {
        let mut slots = SlotMap::<SocketId, u32>::with_key();
        let mut ids = HashSet::new();

        for socket in 0..1000 {
            let id = slots.insert(socket);
            assert!(ids.insert(id), "{id:?} was assigned twice");
            assert_eq!(slots.remove(id), Some(socket));
            assert_eq!(slots.get(id), None);
        }
        let last = slots.insert(1000);

        assert!(ids.iter().all(|id| slots.get(*id).is_none()));
        assert_eq!(slots[last], 1000);
    }
}
