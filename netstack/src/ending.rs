//! How something has ended, for everybody who waits for it.

use std::error::Error;
use std::fmt;
use std::future;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// What is said once.
type Outcome = Result<(), Arc<io::Error>>;

/// Says how it has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended(watch::Sender<Option<Outcome>>);

/// Tells how it has ended, as often as it is asked. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ending(watch::Receiver<Option<Outcome>>);

pub(crate) fn ending() -> (Ended, Ending) {
    let (sender, receiver) = watch::channel(None);
    (Ended(sender), Ending(receiver))
}

impl Ended {
    /// What was said first counts.
    pub(crate) fn say(&self, outcome: io::Result<()>) {
        self.0.send_if_modified(|said| {
            let is_first = said.is_none();
            if is_first {
                *said = Some(outcome.map_err(Arc::new));
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
    /// What it has ended with; that its runtime is gone, if it could not say.
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

    /// Waits for an end with an error, for ever if there will be none.
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
