//! Whether the data of a test still moves.

use crate::running::Running;
use std::time::Duration;
use tokio::time::Instant;

/// Finds that nothing was sent or received for some time.
#[derive(Debug)]
pub(crate) struct Progress {
    bytes: u64,
    since: Instant,
    patience: Duration,
}

impl Progress {
    pub(crate) fn new(running: &Running, patience: Duration) -> Self {
        Self { bytes: total(running), since: Instant::now(), patience }
    }

    /// Looks at what has been counted since the last time.
    pub(crate) fn stands_still(&mut self, running: &Running) -> bool {
        let bytes = total(running);
        if bytes != self.bytes {
            (self.bytes, self.since) = (bytes, Instant::now());
        }
        self.since.elapsed() > self.patience
    }
}

fn total(running: &Running) -> u64 {
    running.streams().iter().map(|stream| stream.tally.counts().bytes).sum()
}
