//! The two halves of an async TCP connection.

use crate::stream_io::implements;
use crate::stream_methods::{address_methods, readiness_methods, reading_methods, writing_methods};
use crate::tcp_stream::TcpStream;
use std::fmt;

/// The reading half of a [`TcpStream`], which it borrows.
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(crate) &'a TcpStream);

/// The writing half of a [`TcpStream`], which it borrows.
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(crate) &'a TcpStream);

impl ReadHalf<'_> {
    address_methods!(self => self.0.stream());
    readiness_methods!(self => self.0.stream());
    reading_methods!(self => self.0.stream());
}

impl WriteHalf<'_> {
    address_methods!(self => self.0.stream());
    readiness_methods!(self => self.0.stream());
    writing_methods!(self => self.0.stream());
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

/// The reading half of a [`TcpStream`].
#[derive(Debug)]
pub struct OwnedReadHalf {
    pub(crate) whole: TcpStream,
}

/// The writing half of a [`TcpStream`]. Dropping it shuts it down.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    pub(crate) whole: TcpStream,
    pub(crate) shuts_down: bool,
}

/// The two halves are not of the same stream; here they are again.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tried to reunite halves that are not from the same stream")
    }
}

impl std::error::Error for ReuniteError {}

impl AsRef<TcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.whole
    }
}

impl AsRef<TcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.whole
    }
}

impl OwnedReadHalf {
    /// Makes the two halves one stream again.
    ///
    /// # Errors
    ///
    /// Gives the halves back if they are of different streams.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        if self.whole.is_same(&other.whole) {
            other.forget();
            Ok(self.whole)
        } else {
            Err(ReuniteError(self, other))
        }
    }

    address_methods!(self => self.whole.stream());
    readiness_methods!(self => self.whole.stream());
    reading_methods!(self => self.whole.stream());
}

impl OwnedWriteHalf {
    /// Makes the two halves one stream again.
    ///
    /// # Errors
    ///
    /// Gives the halves back if they are of different streams.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        other.reunite(self)
    }

    /// Drops the half without shutting it down.
    pub fn forget(mut self) {
        self.shuts_down = false;
    }

    address_methods!(self => self.whole.stream());
    readiness_methods!(self => self.whole.stream());
    writing_methods!(self => self.whole.stream());
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.shuts_down {
            // Fails only if there is nothing left to shut down.
            let _ = self.whole.stream().shutdown_send();
        }
    }
}

implements!(read ReadHalf<'_>, self => self.0.stream());
implements!(write WriteHalf<'_>, self => self.0.stream());
implements!(read OwnedReadHalf, self => self.whole.stream());
implements!(write OwnedWriteHalf, self => self.whole.stream());
