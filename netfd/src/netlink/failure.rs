//! Why a request fails: the kernel's number, and a text.

use crate::netlink::Refusal;
use netsocket::netcore::Error;
use rustix::io::Errno;
use std::borrow::Cow;

/// The failure of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    /// `NLMSGERR_ATTR_MSG`; the number alone says it all without one.
    pub(crate) text: Option<Cow<'static, str>>,
}

impl Failure {
    pub(crate) fn new(errno: Errno, text: &'static str) -> Self {
        Self { errno, text: Some(text.into()) }
    }

    /// Something that a kernel has, and a stack has not.
    pub(crate) fn unsupported(text: &'static str) -> Self {
        Self::new(Errno::OPNOTSUPP, text)
    }
}

/// That of a stack which has refused for a reason that is no matter of the request.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let errno = match refusal.error {
            Some(Error::LimitReached) => Errno::NOBUFS,
            Some(error) if error.is_stack_gone() => Errno::NETDOWN,
            Some(Error::NetworkUnreachable | Error::AddressNotAvailable) => Errno::NETUNREACH,
            Some(_) => Errno::INVAL,
            None => Errno::IO,
        };
        Self { errno, text: Some(refusal.message.into()) }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, text: None }
    }
}
