//! Deadlines of sockets.

use crate::id::SocketId;
use crate::time::Instant;
use std::collections::BTreeSet;

/// The next deadline of each socket that has one, in order.
///
/// A socket has at most one entry. Postponing a deadline is the common case (every segment moves
/// the retransmission timer), so the entry stays then, fires early and is armed again: see
/// [`Armed::set`].
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    entries: BTreeSet<(Instant, SocketId)>,
}

/// The part of a deadline stored with its socket.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    /// The deadline of the socket.
    due: Option<Instant>,
    /// The time of its entry; never later than `due`.
    entry: Option<Instant>,
}

impl Deadlines {
    /// The earliest time at which some socket may be due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes the first socket whose entry is due. The caller must call [`Armed::fired`].
    pub(crate) fn pop(&mut self, now: Instant) -> Option<SocketId> {
        let (at, id) = *self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        Some(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Armed {
    /// The deadline of the socket.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Sets the deadline; `None` for none.
    pub(crate) fn set(&mut self, deadlines: &mut Deadlines, id: SocketId, due: Option<Instant>) {
        self.due = due;
        match (self.entry, due) {
            (None, None) => {}
            // An idle socket has no entry.
            (Some(entry), None) => {
                deadlines.entries.remove(&(entry, id));
                self.entry = None;
            }
            (Some(entry), Some(due)) if entry <= due => {}
            (entry, Some(due)) => {
                if let Some(entry) = entry {
                    deadlines.entries.remove(&(entry, id));
                }
                deadlines.entries.insert((due, id));
                self.entry = Some(due);
            }
        }
    }

    /// Handles a taken entry; returns whether the socket is due, and arms it again if not.
    pub(crate) fn fired(&mut self, deadlines: &mut Deadlines, id: SocketId, now: Instant) -> bool {
        self.entry = None;
        match self.due {
            Some(due) if due > now => {
                self.set(deadlines, id, Some(due));
                false
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Instant {
        Instant::from_secs(secs)
    }

    fn id() -> SocketId {
        slotmap::SlotMap::<SocketId, ()>::with_key().insert(())
    }

    #[test]
    fn postponed_deadline_keeps_its_entry_and_fires_once() {
        let (mut deadlines, mut armed, id) = (Deadlines::default(), Armed::default(), id());
        armed.set(&mut deadlines, id, Some(at(1)));

        armed.set(&mut deadlines, id, Some(at(5)));

        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!(deadlines.pop(at(1)), Some(id));
        assert!(!armed.fired(&mut deadlines, id, at(1)));
        assert_eq!(deadlines.next(), Some(at(5)));
        assert_eq!(deadlines.pop(at(4)), None);
        assert_eq!(deadlines.pop(at(5)), Some(id));
        assert!(armed.fired(&mut deadlines, id, at(5)));
        assert_eq!(deadlines.len(), 0);
    }

    #[test]
    fn earlier_deadline_moves_the_entry() {
        let (mut deadlines, mut armed, id) = (Deadlines::default(), Armed::default(), id());
        armed.set(&mut deadlines, id, Some(at(5)));

        armed.set(&mut deadlines, id, Some(at(1)));

        assert_eq!((deadlines.next(), deadlines.len()), (Some(at(1)), 1));
    }

    #[test]
    fn cleared_deadline_leaves_no_entry() {
        let (mut deadlines, mut armed, id) = (Deadlines::default(), Armed::default(), id());
        armed.set(&mut deadlines, id, Some(at(5)));

        armed.set(&mut deadlines, id, None);

        assert_eq!(deadlines.len(), 0);
    }
}
