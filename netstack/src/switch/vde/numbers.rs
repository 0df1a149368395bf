//! The numbers of the ports that clients have.

use super::VdePortInfo;
use crate::switch::PortId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Numbers from 1, each taken at most once.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    max: u16,
    taken: Arc<Mutex<BTreeMap<u16, Option<VdePortInfo>>>>,
}

/// A number, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Number {
    number: u16,
    numbers: Numbers,
}

impl Numbers {
    pub(super) fn new(max: u16) -> Self {
        Self { max, taken: Arc::default() }
    }

    /// Takes this number, or the lowest that is free.
    pub(super) fn take(&self, wanted: Option<u32>) -> Option<Number> {
        let mut taken = self.lock();
        let is_free = |number: &u16| !taken.contains_key(number);
        let number = match wanted {
            Some(wanted) => u16::try_from(wanted).ok().filter(|it| (1..=self.max).contains(it)),
            None => (1..=self.max).find(is_free),
        };
        let number = number.filter(is_free)?;
        taken.insert(number, None);
        Some(Number { number, numbers: self.clone() })
    }

    /// The ports, by number.
    pub(super) fn list(&self) -> Vec<VdePortInfo> {
        self.lock().values().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Option<VdePortInfo>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number {
    pub(super) fn get(&self) -> u16 {
        self.number
    }

    /// Lists the port.
    pub(super) fn show(&self, id: PortId, description: String, user: u32) {
        let info = VdePortInfo { number: self.number, id, description, user };
        self.numbers.lock().insert(self.number, Some(info));
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.numbers.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken_and_given_back() {
        let numbers = Numbers::new(3);
        let first = numbers.take(None).expect("free");
        let third = numbers.take(Some(3)).expect("free");
        let second = numbers.take(None).expect("free");
        assert_eq!((first.get(), second.get(), third.get()), (1, 2, 3));

        assert!(numbers.take(None).is_none(), "all are taken");
        drop(second);
        assert!(numbers.take(Some(1)).is_none(), "it is taken");
        for wrong in [0, 4, 1 << 16, (1 << 16) + 2] {
            assert!(numbers.take(Some(wrong)).is_none(), "{wrong}");
        }
        assert_eq!(numbers.take(None).expect("free").get(), 2);
    }
}
