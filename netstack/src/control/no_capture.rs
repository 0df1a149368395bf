//! Captures in a program that is built without them.

use super::protocol::Failure;
use std::io;
use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Where captures begin: nowhere.
#[derive(Debug, Default)]
pub(crate) struct CaptureSource;

/// There is none.
pub(super) enum CaptureSession {}

impl CaptureSource {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn begin(&self, _filter: &str) -> Result<CaptureSession, Failure> {
        Err(Failure::new("the program is built without captures (the feature capture)"))
    }
}

impl CaptureSession {
    pub(super) async fn run(
        self,
        _requests: &mut BufReader<OwnedReadHalf>,
        _answers: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        match self {}
    }
}
