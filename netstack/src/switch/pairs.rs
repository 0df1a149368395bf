//! Who talks to whom: the traffic from one port to others.

use super::PortId;
use super::statistics::Traffic;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The traffic from a port to each other one, of as many as there is room for.
#[derive(Debug)]
pub(super) struct Destinations {
    by_port: Mutex<HashMap<PortId, Traffic>>,
    max: usize,
}

impl Destinations {
    pub(super) fn new(max: usize) -> Self {
        Self { by_port: Mutex::default(), max }
    }

    /// Counts what the queue of a port has taken.
    pub(super) fn add(&self, to: PortId, taken: Traffic) {
        let mut all = self.lock();
        if taken.frames == 0 || (all.len() >= self.max && !all.contains_key(&to)) {
            return;
        }
        let sum = all.entry(to).or_default();
        sum.frames += taken.frames;
        sum.bytes += taken.bytes;
    }

    pub(super) fn forget(&self, to: PortId) {
        self.lock().remove(&to);
    }

    pub(super) fn list(&self) -> Vec<(PortId, Traffic)> {
        let mut all: Vec<_> = self.lock().iter().map(|(to, traffic)| (*to, *traffic)).collect();
        all.sort_unstable_by_key(|(to, _)| *to);
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PortId, Traffic>> {
        self.by_port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
