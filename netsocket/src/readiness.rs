//! Interest in a socket's readiness, and its readiness.

use netcore::queue::{SideState, Tick};
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

/// Interest for `ready`, as `tokio::io::Interest`. A failed socket is ready in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(u8);

/// The readiness of a socket, as `tokio::io::Ready`.
///
/// Readiness may be gone when the socket is used: another task may have been faster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ready(u8);

const READABLE: u8 = 1;
const WRITABLE: u8 = 1 << 1;
const READ_CLOSED: u8 = 1 << 2;
const WRITE_CLOSED: u8 = 1 << 3;
const ERROR: u8 = 1 << 4;

impl Interest {
    /// Reading would not wait.
    pub const READABLE: Self = Self(READABLE);
    /// Writing would not wait.
    pub const WRITABLE: Self = Self(WRITABLE);

    /// Whether reading is among it.
    pub const fn is_readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// Whether writing is among it.
    pub const fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// Both.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This without the other; `None` if nothing is left.
    #[must_use]
    pub const fn remove(self, other: Self) -> Option<Self> {
        match self.0 & !other.0 {
            0 => None,
            left => Some(Self(left)),
        }
    }

    /// What of `ready` answers this interest. The end of a direction answers an interest in it, and
    /// a failure comes with any answer.
    pub(crate) fn answers(self, ready: Ready) -> Ready {
        let mut answers = self.0;
        answers |= if self.is_readable() { READ_CLOSED } else { 0 };
        answers |= if self.is_writable() { WRITE_CLOSED } else { 0 };
        match ready.0 & answers {
            0 => Ready::EMPTY,
            answered => Ready(answered | ready.0 & ERROR),
        }
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.add(other)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.add(other);
    }
}

impl Ready {
    /// Nothing.
    pub const EMPTY: Self = Self(0);
    /// Reading would not wait.
    pub const READABLE: Self = Self(READABLE);
    /// Writing would not wait.
    pub const WRITABLE: Self = Self(WRITABLE);
    /// The peer has closed its side; received bytes may be left to read.
    pub const READ_CLOSED: Self = Self(READ_CLOSED);
    /// Nothing can be written any more.
    pub const WRITE_CLOSED: Self = Self(WRITE_CLOSED);
    /// The socket has failed.
    pub const ERROR: Self = Self(ERROR);
    /// All of it.
    pub const ALL: Self = Self(READABLE | WRITABLE | READ_CLOSED | WRITE_CLOSED | ERROR);

    /// Whether it is nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether reading would not wait, be it for the end of the stream.
    pub fn is_readable(self) -> bool {
        self.0 & (READABLE | READ_CLOSED) != 0
    }

    /// Whether writing would not wait, be it for an error.
    pub fn is_writable(self) -> bool {
        self.0 & (WRITABLE | WRITE_CLOSED) != 0
    }

    /// Whether the peer has closed its side; received bytes may be left to read.
    pub fn is_read_closed(self) -> bool {
        self.0 & READ_CLOSED != 0
    }

    /// Whether nothing can be written any more.
    pub fn is_write_closed(self) -> bool {
        self.0 & WRITE_CLOSED != 0
    }

    /// Whether the socket has failed.
    pub fn is_error(self) -> bool {
        self.0 & ERROR != 0
    }

    pub(crate) fn set(&mut self, flag: Self, is_set: bool) {
        self.0 |= if is_set { flag.0 } else { 0 };
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Ready {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Ready {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A socket's readiness, and a stamp with which it can be cleared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) ready: Ready,
    pub(crate) recv: Tick,
    pub(crate) send: Tick,
}

impl Seen {
    pub(crate) fn new(recv: &SideState, send: &SideState) -> Self {
        let mut ready = Ready::EMPTY;
        ready.set(Ready::READABLE, recv.is_ready);
        ready.set(Ready::READ_CLOSED, recv.is_closed);
        ready.set(Ready::WRITABLE, send.is_ready);
        ready.set(Ready::WRITE_CLOSED, send.is_closed);
        Self { ready, recv: recv.tick, send: send.tick }
    }
}

/// Operations on a socket that is ready for them.
macro_rules! operation_methods {
    ($self:ident => $socket:expr) => {
        /// Calls `operation` if the socket is ready for `interest`.
        ///
        /// If it returns `WouldBlock`, the readiness for `interest` is cleared until more data or
        /// more room arrives. A direction that has ended stays ready.
        ///
        /// # Errors
        ///
        /// `WouldBlock` if the socket is not ready; the error of `operation`.
        pub fn try_io<R>(
            &$self,
            interest: $crate::Interest,
            operation: impl FnOnce() -> std::io::Result<R>,
        ) -> std::io::Result<R> {
            let seen = $socket.readiness();
            if interest.answers(seen.ready).is_empty() {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            let result = operation();
            if let Err(error) = &result
                && error.kind() == std::io::ErrorKind::WouldBlock
            {
                $socket.clear_readiness(interest, seen);
            }
            result
        }

        /// Calls `operation` whenever the socket is ready for `interest`, until it returns
        /// something other than `WouldBlock`, which clears the readiness as in
        /// [`try_io`](Self::try_io).
        ///
        /// # Errors
        ///
        /// The error of `operation`.
        ///
        /// # Cancel safety
        ///
        /// If the future is dropped, `operation` has only returned `WouldBlock`.
        pub async fn async_io<R>(
            &$self,
            interest: $crate::Interest,
            mut operation: impl FnMut() -> std::io::Result<R>,
        ) -> std::io::Result<R> {
            loop {
                let seen = $socket.ready(interest).await;
                match operation() {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        $socket.clear_readiness(interest, seen);
                        if !interest.answers($socket.readiness().ready).is_empty() {
                            // A direction that has ended stays ready, and must not starve other
                            // tasks.
                            $crate::wait::yield_now().await;
                        }
                    }
                    result => return result,
                }
            }
        }
    };
}

pub(crate) use operation_methods;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_direction_answers_an_interest_in_it() {
        let ready = Ready::WRITABLE | Ready::READ_CLOSED;

        assert_eq!(Interest::READABLE.answers(ready), Ready::READ_CLOSED);
        assert!(Interest::READABLE.answers(ready).is_readable());
        assert_eq!((Interest::READABLE | Interest::WRITABLE).answers(ready), ready);
        assert_eq!(Interest::WRITABLE.answers(Ready::READ_CLOSED), Ready::EMPTY);
        assert_eq!(Interest::READABLE.remove(Interest::READABLE), None);
    }
}
