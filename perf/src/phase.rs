//! How far a test has come, for the tasks of its streams.

use crate::failure::Failure;
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

/// Runs something until a phase. What the other end does about the end of the test is no failure, even
/// if it is seen before that; wrong data is one.
pub(crate) async fn until(
    phase: &mut watch::Receiver<Phase>,
    which: Phase,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let ended = tokio::select! {
        biased;
        () = reached(phase, which) => return Ok(()),
        ended = work => ended,
    };
    match ended {
        Err(Failure::Corrupt(_)) | Ok(()) => ended,
        Err(_) if *phase.borrow() >= which => Ok(()),
        Err(_) => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[tokio::test]
    async fn a_failure_after_the_end_is_none_but_wrong_data() {
        let closed = || Failure::io("receiving")(ErrorKind::UnexpectedEof.into());
        for (then, failure, is_failure) in [
            (Phase::Running, closed(), true),
            (Phase::Draining, closed(), false),
            (Phase::Over, closed(), false),
            (Phase::Over, Failure::Corrupt("a byte".into()), true),
        ] {
            let (sender, mut phase) = watch::channel(Phase::Running);
            // It ends after the phase was looked at.
            let work = async {
                sender.send_replace(then);
                Err(failure)
            };

            let ended = until(&mut phase, Phase::Draining, work).await;

            assert_eq!(ended.is_err(), is_failure, "{then:?}: {ended:?}");
        }
    }
}
