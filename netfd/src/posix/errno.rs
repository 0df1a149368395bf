//! Error numbers for the errors of the stack's sockets.

use netsocket::netcore::Error;
use rustix::io::Errno;
use std::io::{self, ErrorKind};

/// The number that Linux returns in the same situation.
pub fn errno(error: &io::Error) -> Errno {
    if let Some(number) = Errno::from_io_error(error) {
        return number;
    }
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::MessageTooLarge) => return Errno::MSGSIZE,
        Some(Error::WrongFamily) => return Errno::AFNOSUPPORT,
        Some(Error::StackGone | Error::DeviceRemoved | Error::DeviceFailed) => {
            return Errno::NETDOWN;
        }
        _ => {}
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Errno::CONNREFUSED,
        ErrorKind::ConnectionReset => Errno::CONNRESET,
        ErrorKind::ConnectionAborted => Errno::CONNABORTED,
        ErrorKind::TimedOut => Errno::TIMEDOUT,
        ErrorKind::NotConnected => Errno::NOTCONN,
        ErrorKind::BrokenPipe => Errno::PIPE,
        ErrorKind::AddrInUse => Errno::ADDRINUSE,
        ErrorKind::AddrNotAvailable => Errno::ADDRNOTAVAIL,
        ErrorKind::NetworkUnreachable => Errno::NETUNREACH,
        ErrorKind::HostUnreachable => Errno::HOSTUNREACH,
        ErrorKind::PermissionDenied => Errno::ACCESS,
        ErrorKind::WouldBlock => Errno::AGAIN,
        ErrorKind::QuotaExceeded => Errno::NOBUFS,
        ErrorKind::InvalidInput => Errno::INVAL,
        // Of a link that cannot be opened.
        ErrorKind::NotFound => Errno::NOENT,
        ErrorKind::ResourceBusy => Errno::BUSY,
        ErrorKind::Unsupported => Errno::OPNOTSUPP,
        _ => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_stack_have_the_numbers_of_linux() {
        for (error, number) in [
            (Error::Refused, Errno::CONNREFUSED),
            (Error::Reset, Errno::CONNRESET),
            (Error::TimedOut, Errno::TIMEDOUT),
            (Error::AddressInUse, Errno::ADDRINUSE),
            (Error::NetworkUnreachable, Errno::NETUNREACH),
            (Error::MessageTooLarge, Errno::MSGSIZE),
            (Error::WrongFamily, Errno::AFNOSUPPORT),
            (Error::BroadcastForbidden, Errno::ACCESS),
            (Error::StackGone, Errno::NETDOWN),
            (Error::WouldBlock, Errno::AGAIN),
        ] {
            assert_eq!(errno(&error.into()), number, "{error:?}");
        }
        assert_eq!(errno(&Errno::MFILE.into()), Errno::MFILE);
    }
}
