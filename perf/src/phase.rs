//! How far a test has come, for the tasks of its streams.

use tokio::sync::watch;

/// Each is after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Data is sent and received.
    Running,
    /// Nothing more is sent; what is on the way is received.
    Draining,
    /// Nothing more is received.
    Over,
}

/// Waits for a phase, or a later one. The end of the test is the last one.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, which: Phase) {
    // The test is gone.
    let _ = phase.wait_for(|phase| *phase >= which).await;
}
