//! What each guest may hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bound for each guest, and one for all of them: a guest may have many IPv6 addresses.
#[derive(Debug)]
pub(super) struct Quota {
    guest_max: usize,
    total_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    guests: HashMap<IpAddr, usize>,
    total: usize,
}

/// One of what a guest holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    quota: Arc<Quota>,
    guest: IpAddr,
}

impl Quota {
    pub(super) fn new(guest_max: usize, total_max: usize) -> Arc<Self> {
        Arc::new(Self { guest_max, total_max, held: Mutex::default() })
    }

    /// Takes one for this guest, if it may have another.
    pub(super) fn take(self: &Arc<Self>, guest: IpAddr) -> Option<Permit> {
        let mut held = self.lock();
        if held.total >= self.total_max {
            return None;
        }
        let of_guest = held.guests.entry(guest).or_default();
        if *of_guest >= self.guest_max {
            return None;
        }
        *of_guest += 1;
        held.total += 1;
        Some(Permit { quota: self.clone(), guest })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.quota.lock();
        held.total -= 1;
        if let Some(of_guest) = held.guests.get_mut(&self.guest) {
            *of_guest -= 1;
            if *of_guest == 0 {
                held.guests.remove(&self.guest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_its_share_and_all_have_theirs() {
        let quota = Quota::new(2, 3);
        let [first, second] = [[10, 0, 2, 15], [10, 0, 2, 16]].map(IpAddr::from);
        let mut held: Vec<_> = [first, first, second].map(|guest| quota.take(guest)).into();
        assert!(held.iter().all(Option::is_some));

        assert!(quota.take(first).is_none(), "its share");
        assert!(quota.take(second).is_none(), "that of all");
        held.remove(0);
        assert!(quota.take(second).is_some());
        held.clear();
        let held = quota.lock();
        assert_eq!((held.total, held.guests.len()), (0, 0));
    }
}
