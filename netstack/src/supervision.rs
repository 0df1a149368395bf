//! Supervision of the clients beside a stack: one that panics is restarted with its state, and the
//! failure of one that ends is reported.

use crate::ending::Ended;
use crate::provided::is_end;
use netcore::isolation::{Panic, isolated};
use netsocket::Control;
use std::future;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{self, Instant};

/// The pause after a panic of a client, doubled after each further one, and reset after an hour
/// without a panic.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(64);
const CALM: Duration = Duration::from_secs(3600);

/// A client that runs until its stack is gone.
pub(crate) trait Service: Send {
    /// Runs; returns the error that ended it. After a panic it is called again, and continues with
    /// its state.
    fn serve(&mut self) -> impl Future<Output = io::Error> + Send;
}

/// Reports that a client has ended.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    pub(crate) control: Control,
    pub(crate) ended: Ended,
}

impl Announcer {
    async fn report(&self, name: &str, error: io::Error) {
        let error = io::Error::new(error.kind(), format!("the {name} has ended: {error}"));
        tracing::error!(%error);
        // Fails if the stack has ended as well.
        let _ = self.control.report_failure(error.to_string()).await;
        self.ended.set(Err(error));
    }
}

/// Starts a client and runs it until the stack is gone.
pub(crate) async fn supervise<S: Service>(
    name: &'static str,
    start: impl Future<Output = io::Result<S>>,
    announcer: Announcer,
) {
    let mut service = match isolated_future(start).await {
        Ok(Ok(service)) => service,
        Ok(Err(error)) if is_end(&error) => return,
        Ok(Err(error)) => return announcer.report(name, error).await,
        Err(panic) => return announcer.report(name, io::Error::other(panic.to_string())).await,
    };
    let mut pause = PAUSE_FIRST;
    loop {
        let began = Instant::now();
        match isolated_future(service.serve()).await {
            Ok(error) if is_end(&error) => {
                tracing::debug!(name, "the stack is gone");
                return;
            }
            Ok(error) => return announcer.report(name, error).await,
            Err(panic) => {
                if began.elapsed() > CALM {
                    pause = PAUSE_FIRST;
                }
                tracing::error!(name, %panic, ?pause, "a client panicked and is started again");
                time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Runs a future until it is ready or panics.
pub(crate) async fn isolated_future<F: Future>(future: F) -> Result<F::Output, Panic> {
    let mut future = pin!(future);
    future::poll_fn(|cx| match isolated(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::ending;
    use crate::{Builder, device};

    struct Clumsy {
        served: Vec<Instant>,
    }

    impl Service for Clumsy {
        async fn serve(&mut self) -> io::Error {
            self.served.push(Instant::now());
            assert!(self.served.len() > 9, "as the test wants");
            let gaps = self.served.windows(2).map(|pair| (pair[1] - pair[0]).as_secs());
            io::Error::other(format!("{:?}", gaps.collect::<Vec<_>>()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_panics_is_restarted_with_its_state() {
        let (device, _far) = device::pipe(16, 1500);
        let stack = Builder::new().spawn(device).expect("a stack");
        let (ended, ending) = ending();
        let announcer = Announcer { control: stack.net().control(), ended };

        supervise("clumsy client", async { Ok(Clumsy { served: Vec::new() }) }, announcer).await;

        // It has failed in the end, which is reported.
        let text = "the clumsy client has ended: [1, 2, 4, 8, 16, 32, 64, 64, 64]";
        assert_eq!(ending.wait().await.map_err(|error| error.to_string()), Err(text.to_owned()));
        assert_eq!(stack.net().network().failures, [text]);
    }
}
