//! The cookie, with which the connections of a test begin.

use crate::failure::Failure;
use bytes::Bytes;
use rand::TryRng;
use rand::rngs::SysRng;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What the connections of a test have in common: 36 letters and digits, and a zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie([u8; Self::BYTES]);

/// How long a connection may take to say which test it is of.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl Cookie {
    pub(crate) const BYTES: usize = 37;

    /// # Panics
    ///
    /// If the operating system has no randomness to give, as a stack itself.
    pub(crate) fn random() -> Self {
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut random = [0_u8; Self::BYTES - 1];
        SysRng.try_fill_bytes(&mut random).expect("the system has randomness");
        let mut cookie = [0; Self::BYTES];
        for (digit, random) in cookie.iter_mut().zip(random) {
            *digit = DIGITS[usize::from(random) % DIGITS.len()];
        }
        Self(cookie)
    }

    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Self, Failure> {
        let mut cookie = [0; Self::BYTES];
        match timeout(PATIENCE, from.read_exact(&mut cookie)).await {
            Ok(Ok(_)) => Ok(Self(cookie)),
            Ok(Err(error)) => Err(Failure::Io("the cookie".into(), error)),
            Err(_) => Err(Failure::Silent("the cookie")),
        }
    }

    /// The cookie with these letters and digits.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let is_whole =
            text.len() == Self::BYTES - 1 && text.bytes().all(|it| it.is_ascii_alphanumeric());
        let mut cookie = [0; Self::BYTES];
        is_whole.then(|| {
            cookie[..text.len()].copy_from_slice(text.as_bytes());
            Self(cookie)
        })
    }

    /// Its letters and digits.
    pub(crate) fn text(&self) -> String {
        self.0[..Self::BYTES - 1].iter().copied().map(char::from).collect()
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cookie_is_read_as_it_was_made() {
        let cookie = Cookie::random();

        let read = Cookie::read(&mut &cookie.to_bytes()[..]).await;

        assert!(read.is_ok_and(|read| read == cookie));
        assert!(Cookie::random() != cookie);
        assert!(Cookie::of_text(&cookie.text()).is_some_and(|read| read == cookie));
        assert!(Cookie::of_text("favicon.ico").is_none());
        assert_eq!(cookie.to_bytes().last(), Some(&0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_cookie_is_not_waited_for() {
        let (mut near, _far) = tokio::io::duplex(1);

        let read = Cookie::read(&mut near).await;

        assert!(matches!(read, Err(Failure::Silent(_))));
    }
}
