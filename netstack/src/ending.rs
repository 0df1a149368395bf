//! The outcome of a task, for any number of waiters.

use std::error::Error;
use std::fmt;
use std::future;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// The outcome, set once.
type Outcome = Result<(), Arc<io::Error>>;

/// Sets the outcome.
#[derive(Debug, Clone)]
pub(crate) struct Ended(watch::Sender<Option<Outcome>>);

/// Waits for the outcome, any number of times. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ending(watch::Receiver<Option<Outcome>>);

pub(crate) fn ending() -> (Ended, Ending) {
    let (sender, receiver) = watch::channel(None);
    (Ended(sender), Ending(receiver))
}

impl Ended {
    /// Sets the outcome; only the first call counts.
    pub(crate) fn set(&self, outcome: io::Result<()>) {
        self.0.send_if_modified(|outcome_set| {
            let is_first = outcome_set.is_none();
            if is_first {
                *outcome_set = Some(outcome.map_err(Arc::new));
            }
            is_first
        });
    }
}

impl Ending {
    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// The error that it ended with; or that its runtime was shut down, if it set no outcome.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await {
            Ok(outcome) => match &*outcome {
                Some(Err(error)) => Err(repeat(error)),
                _ => Ok(()),
            },
            Err(_) => Err(io::Error::other("the runtime was shut down")),
        }
    }

    /// Waits for an end with an error; forever if there will be none.
    pub(crate) async fn failed(&self) -> io::Error {
        let mut receiver = self.0.clone();
        let error = match receiver.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.as_ref().and_then(|outcome| outcome.as_ref().err().map(repeat)),
            Err(_) => None,
        };
        match error {
            Some(error) => error,
            None => future::pending().await,
        }
    }
}

/// The same error once more.
fn repeat(error: &Arc<io::Error>) -> io::Error {
    io::Error::new(error.kind(), Repeated(error.clone()))
}

#[derive(Debug)]
struct Repeated(Arc<io::Error>);

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Repeated {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
