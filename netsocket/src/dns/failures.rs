//! Causes of failed queries, for the lookups that wait for them: of most failures hickory reports
//! only that it has no connection, and neither the server nor the cause.

use hickory_net::NetError;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::Record;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The failures of pending queries. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    awaited: Arc<Mutex<HashMap<Query, Weak<Slot>>>>,
}

/// The failure of one query, and its partial answer.
type Slot = Mutex<Noted>;

#[derive(Debug, Default)]
struct Noted {
    failure: Option<Failure>,
    part: Vec<Record>,
}

#[derive(Debug, Clone)]
struct Failure {
    error: Arc<io::Error>,
    is_answer: bool,
}

/// A pending query. Its notes are dropped with the last of these.
pub(super) struct Awaited {
    failures: Failures,
    query: Query,
    slot: Option<Arc<Slot>>,
}

impl Failures {
    pub(super) fn awaited(&self, query: Query) -> Awaited {
        let mut awaited = lock(&self.awaited);
        let slot = awaited.get(&query).and_then(Weak::upgrade).unwrap_or_else(|| {
            let slot = Arc::default();
            awaited.insert(query.clone(), Arc::downgrade(&slot));
            slot
        });
        Awaited { failures: self.clone(), query, slot: Some(slot) }
    }

    /// Notes the failure of a query at one of the servers, with or without an answer.
    pub(super) fn note(&self, query: &Query, error: &Arc<io::Error>, is_answer: bool) {
        let Some(slot) = lock(&self.awaited).get(query).and_then(Weak::upgrade) else {
            return;
        };
        let mut noted = lock(&slot);
        // An error response is more specific than a failure to query the server.
        if is_answer || noted.failure.as_ref().is_none_or(|noted| !noted.is_answer) {
            noted.failure = Some(Failure { error: error.clone(), is_answer });
        }
    }

    /// Keeps the longest partial answer to a query, in case the rest cannot be had.
    pub(super) fn keep(&self, query: &Query, part: Vec<Record>) {
        let Some(slot) = lock(&self.awaited).get(query).and_then(Weak::upgrade) else {
            return;
        };
        let mut noted = lock(&slot);
        if part.len() > noted.part.len() {
            noted.part = part;
        }
    }
}

impl Awaited {
    /// The cause of an error of hickory's.
    pub(super) fn behind(&self, error: NetError) -> NetError {
        let noted = self.slot.as_ref().and_then(|slot| lock(slot).failure.clone());
        match (&error, noted) {
            (NetError::NoConnections, Some(noted)) => NetError::Io(noted.error),
            (NetError::Timeout, Some(noted)) if noted.is_answer => NetError::Io(noted.error),
            _ => error,
        }
    }

    /// The partial answer.
    pub(super) fn part(&self) -> Vec<Record> {
        self.slot.as_ref().map(|slot| lock(slot).part.clone()).unwrap_or_default()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut awaited = lock(&self.failures.awaited);
        self.slot = None;
        if awaited.get(&self.query).is_some_and(|slot| slot.strong_count() == 0) {
            awaited.remove(&self.query);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::{Name, RecordType};

    fn query(name: &str) -> Query {
        Query::query(Name::from_ascii(name).expect("a name"), RecordType::A)
    }

    fn error(kind: io::ErrorKind) -> Arc<io::Error> {
        Arc::new(kind.into())
    }

    fn kind(error: NetError) -> Option<io::ErrorKind> {
        if let NetError::Io(error) = error { Some(error.kind()) } else { None }
    }

    #[test]
    fn lookups_get_the_cause_and_leave_nothing_behind() {
        let failures = Failures::default();
        let (first, second) = (failures.awaited(query("a.")), failures.awaited(query("A.")));
        let other = failures.awaited(query("b."));
        failures.note(&query("a."), &error(io::ErrorKind::ConnectionRefused), false);
        failures.note(&query("nobodys."), &error(io::ErrorKind::Other), true);

        assert_eq!(kind(other.behind(NetError::NoConnections)), None);
        for awaited in [&first, &second] {
            let behind = awaited.behind(NetError::NoConnections);
            assert_eq!(kind(behind), Some(io::ErrorKind::ConnectionRefused));
            // One server has not answered, and the other could not.
            assert!(matches!(awaited.behind(NetError::Timeout), NetError::Timeout));
        }
        drop(first);
        failures.note(&query("a."), &error(io::ErrorKind::InvalidData), true);
        failures.note(&query("a."), &error(io::ErrorKind::ConnectionRefused), false);
        for hickorys in [NetError::NoConnections, NetError::Timeout] {
            assert_eq!(kind(second.behind(hickorys)), Some(io::ErrorKind::InvalidData));
        }
        drop((second, other));
        assert!(lock(&failures.awaited).is_empty());
        assert_eq!(kind(failures.awaited(query("a.")).behind(NetError::NoConnections)), None);
    }
}
