//! A capture that a client of a control socket reads.

use super::protocol::Failure;
use crate::capture::{Captures, Filter, LiveCapture, Recorder};
use std::io::{self, Write};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Pieces of a capture that wait for the client, of up to a few tens of KiB each. Beyond that frames are
/// lost, and counted in the file.
const PIECES_MAX: usize = 64;
/// How long a frame stays in the recorder's buffer.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where captures begin: at a stack that has been started.
#[derive(Debug, Default)]
pub(crate) struct CaptureSource(Option<Captures>);

/// A capture, and what it has written.
pub(super) struct CaptureSession {
    capture: LiveCapture,
    pieces: mpsc::Receiver<Vec<u8>>,
}

/// Hands on what a recorder writes, without waiting: the recorder is called by the stack.
struct Pieces(mpsc::Sender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.try_send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CaptureSource {
    pub(crate) fn new(captures: Captures) -> Self {
        Self(Some(captures))
    }

    /// Begins a capture of what the filter accepts: all, if it is empty.
    pub(super) fn begin(&self, filter: &str) -> Result<CaptureSession, Failure> {
        let filter = match filter.trim() {
            "" => Ok(Filter::all()),
            filter => filter.parse().map_err(|error| Failure::new(format!("{error}"))),
        }?;
        let captures = self.0.as_ref().ok_or_else(|| Failure::new("the stack has no captures"))?;
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let capture = captures.begin(&Recorder::new(Pieces(sender)), filter);
        Ok(CaptureSession { capture, pieces })
    }
}

impl CaptureSession {
    /// Writes the capture until the client closes its half, and then the end of the file.
    pub(super) async fn run(
        mut self,
        requests: &mut BufReader<OwnedReadHalf>,
        answers: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut flush = tokio::time::interval(FLUSH_EVERY);
        let mut ignored = [0; 64];
        loop {
            tokio::select! {
                piece = self.pieces.recv() => match piece {
                    Some(piece) => write(answers, &piece).await?,
                    None => return Ok(()),
                },
                read = requests.read(&mut ignored) => if read? == 0 {
                    break;
                },
                // A failure is counted in the file.
                _ = flush.tick() => drop(self.capture.recorder().flush_settled()),
            }
        }
        let Self { capture, mut pieces } = self;
        // The last blocks of the file are written when nobody has the recorder any more.
        capture.stop();
        while let Some(piece) = pieces.recv().await {
            write(answers, &piece).await?;
        }
        Ok(())
    }
}

async fn write(answers: &mut OwnedWriteHalf, piece: &[u8]) -> io::Result<()> {
    tokio::time::timeout(PATIENCE, answers.write_all(piece)).await?
}
