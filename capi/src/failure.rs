//! Failures of calls: an error number, and a text for people.

use netfd::posix::errno;
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::io;

/// Why a call has failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    text: Option<String>,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

thread_local! {
    /// The text of the thread's last failure.
    static LAST: RefCell<CString> = RefCell::default();
}

impl Failure {
    pub(crate) fn new(errno: Errno, text: impl Into<String>) -> Self {
        Self { errno, text: Some(text.into()) }
    }

    /// Keeps it as the last one of the thread, `call`.
    pub(crate) fn keep(&self, call: &str) {
        // As a system error has it, without its number.
        let of_number = || {
            let text = io::Error::from(self.errno).to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        };
        let text = self.text.clone().unwrap_or_else(of_number);
        let text = CString::new(format!("{call}: {text}")).unwrap_or_default();
        LAST.set(text);
    }
}

/// The text of the thread's last failure, which the next one replaces; empty before the first.
pub(crate) fn last() -> *const c_char {
    LAST.with_borrow(|text| CStr::as_ptr(text))
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, text: None }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Of a bare number the text is the same.
        let text = error.raw_os_error().is_none().then(|| error.to_string());
        Self { errno: errno(&error), text }
    }
}
