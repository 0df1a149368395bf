//! Writing pcapng.

use super::file::{File, SNAP_BYTES_MAX};
use crate::direction::Direction;
use netcore::Medium;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A pcapng file being written. Cheap to clone; when the last clone, interface and
/// [`Capture`](super::Capture) is dropped, the statistics of each interface are added and the buffer
/// is flushed.
///
/// Timestamps, in nanoseconds, are the system time at which the recorder was made plus the time
/// passed on tokio's clock: system clock steps do not matter, and in a test with paused time they
/// are virtual.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<File>>);

/// One of the interfaces of a file.
#[derive(Debug, Clone)]
pub struct Interface {
    file: Arc<Mutex<File>>,
    id: u32,
}

/// Counters of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct RecorderStatistics {
    /// Frames that were recorded.
    pub frames: u64,
    /// Frames that found no room because the writer failed.
    pub lost: u64,
}

impl Recorder {
    /// Begins a file.
    ///
    /// The writer is called in the task or thread that records a frame, so a slow one delays that:
    /// pass a file or memory, and give anything slower a thread of its own. A failure is logged
    /// once and the write is retried; frames that do not fit the buffer meanwhile are
    /// [lost](RecorderStatistics::lost), and the recorded device is not disturbed. A panic counts
    /// as a failure, after which the writer is not called again.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(File::new(Box::new(writer)))))
    }

    /// Limits the bytes kept of each frame.
    #[must_use]
    pub fn snap_bytes(self, bytes: usize) -> Self {
        lock(&self.0).snap_bytes = bytes.clamp(1, SNAP_BYTES_MAX);
        self
    }

    /// Adds an interface. A file has at most 1,024 of them; beyond that, all are the last one.
    pub fn interface(&self, name: &str, medium: Medium) -> Interface {
        let id = lock(&self.0).add_interface(name, medium);
        Interface { file: self.0.clone(), id }
    }

    /// Adds a secret of a TLS connection, for Wireshark to decrypt the connection with: a line of a key
    /// log (draft-ietf-tls-keylogfile) in a Decryption Secrets Block. Whoever has the file can then
    /// read these connections.
    ///
    /// Wireshark decrypts what comes behind the secret in the file: that are the frames which are still
    /// in the buffer, and all later ones. A ServerHello from the peer therefore stays in the buffer for
    /// 100 ms, and what has come after it, unless the buffer becomes too long or is
    /// [flushed](Self::flush).
    ///
    /// The arguments are those of `rustls::KeyLog::log`:
    ///
    /// ```text
    /// struct Secrets(netstack::capture::Recorder);
    ///
    /// impl rustls::KeyLog for Secrets {
    ///     fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
    ///         self.0.log_secret(label, client_random, secret);
    ///     }
    /// }
    /// config.key_log = std::sync::Arc::new(Secrets(recorder));
    /// ```
    pub fn log_secret(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        lock(&self.0).add_secret(&secret_line(label, client_random, secret));
    }

    /// Writes what does not wait for secrets.
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) fn flush_settled(&self) -> io::Result<()> {
        lock(&self.0).flush_settled()
    }

    /// Writes the buffer, and flushes the writer.
    ///
    /// # Errors
    ///
    /// The error of the writer.
    pub fn flush(&self) -> io::Result<()> {
        lock(&self.0).flush()
    }

    /// The counters so far.
    pub fn statistics(&self) -> RecorderStatistics {
        lock(&self.0).statistics
    }
}

impl Interface {
    /// Records a frame with its time and direction.
    pub fn record(&self, at: Instant, direction: Direction, frame: &[u8]) {
        self.record_commented(at, direction, frame, "");
    }

    /// Records a frame with its time, direction and a comment, of which 1,024 bytes are kept.
    pub fn record_commented(&self, at: Instant, direction: Direction, frame: &[u8], comment: &str) {
        lock(&self.file).add_frame(self.id, at, direction, frame, comment);
    }

    /// Adds a line of a key log.
    pub(super) fn add_secret(&self, line: &str) {
        lock(&self.file).add_secret(line);
    }

    /// Notes a frame that a filter has passed over.
    pub(super) fn pass_over(&self) {
        lock(&self.file).pass_over(self.id);
    }
}

/// A line of a key log.
pub(super) fn secret_line(label: &str, client_random: &[u8], secret: &[u8]) -> String {
    let mut line = label.to_owned();
    for bytes in [client_random, secret] {
        line.push(' ');
        for byte in bytes {
            // A string takes all that is written to it.
            let _ = write!(line, "{byte:02x}");
        }
    }
    line.push('\n');
    line
}

fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
