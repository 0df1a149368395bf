//! Groups of notifications (linux/rtnetlink.h).

/// A group that is told of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Link = 1,
    Neighbour = 3,
    Ipv4Address = 5,
    Ipv4Route = 7,
    Ipv6Address = 9,
    Ipv6Route = 11,
}

/// The groups of a socket, each a bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Groups(u64);

/// The highest number of a group that can be joined; nothing is told to those without a name here.
const MAX: u32 = 64;

impl Groups {
    pub(crate) fn has(self, group: Group) -> bool {
        self.0 & bit(group as u32).unwrap_or(0) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Joins or leaves one; `None` if there is no such number.
    pub(crate) fn set(&mut self, number: u32, is_member: bool) -> Option<()> {
        let bit = bit(number)?;
        self.0 = if is_member { self.0 | bit } else { self.0 & !bit };
        Some(())
    }

    /// Those from 1 to 32, as `sockaddr_nl` has them.
    pub(crate) fn low(self) -> u32 {
        self.0 as u32
    }

    /// Replaces those from 1 to 32.
    pub(crate) fn set_low(&mut self, groups: u32) {
        self.0 = self.0 >> 32 << 32 | u64::from(groups);
    }
}

fn bit(number: u32) -> Option<u64> {
    (1..=MAX).contains(&number).then(|| 1 << (number - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_joined_by_number_and_by_bits() {
        let mut groups = Groups::default();
        groups.set_low(1 << 6);
        assert_eq!(groups.set(Group::Link as u32, true), Some(()));
        assert!(groups.has(Group::Link) && groups.has(Group::Ipv4Route));
        assert!(!groups.has(Group::Neighbour));

        assert_eq!(groups.set(33, true), Some(()));
        assert_eq!(groups.set(7, false), Some(()));
        assert_eq!((groups.low(), groups.set(0, true), groups.set(65, true)), (1, None, None));
        groups.set_low(0);
        assert!(!groups.is_empty(), "33 is left");
    }
}
