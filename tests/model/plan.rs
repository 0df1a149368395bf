//! How long a future is polled before it is dropped.

use futures::poll;
use rand::RngExt;
use rand::rngs::StdRng;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// The events between two polls of a future.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pause {
    Nothing,
    /// Each stack gets a turn, or a few.
    Turns(u32),
    /// All ready work is done, and some time passes.
    Time(Duration),
}

/// How often a future is polled before it is dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    polls: u32,
    pause: Pause,
}

impl Pause {
    pub(crate) fn random(random: &mut StdRng) -> Self {
        match random.random_range(0..10) {
            0..4 => Self::Nothing,
            4..8 => Self::Turns(random.random_range(1..4)),
            8 => Self::Time(Duration::from_micros(random.random_range(1..2000))),
            _ => Self::Time(Duration::from_millis(random.random_range(1..100))),
        }
    }

    pub(crate) async fn pass(self) {
        match self {
            Self::Nothing => {}
            Self::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Self::Time(time) => tokio::time::sleep(time).await,
        }
    }
}

impl Plan {
    /// For operations that are ready at once, or nearly so.
    pub(crate) const PATIENT: Self = Self { polls: 10, pause: Pause::Turns(1) };

    pub(crate) fn random(random: &mut StdRng) -> Self {
        Self { polls: random.random_range(0..4), pause: Pause::random(random) }
    }

    /// `None` if the future was dropped before it was ready.
    pub(crate) async fn run<F: Future>(self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        for _ in 0..self.polls {
            if let Poll::Ready(output) = poll!(future.as_mut()) {
                return Some(output);
            }
            self.pause.pass().await;
        }
        None
    }
}

/// Waits for an operation that must finish.
pub(crate) async fn must<F: Future>(what: &str, future: F) -> F::Output {
    // Longer than the retransmissions of anything on a link that loses nothing.
    match tokio::time::timeout(Duration::from_secs(300), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} never came"),
    }
}
