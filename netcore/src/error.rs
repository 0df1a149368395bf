//! Errors of commands and socket operations.

use std::fmt;
use std::io;

/// The error of a command or a socket operation.
///
/// Each variant has one [`io::ErrorKind`]; [`io::Error`] made from it keeps the variant as its
/// cause, so [`io::Error::get_ref`] and `downcast_ref::<Error>()` return it, except for
/// [`WouldBlock`](Self::WouldBlock), which is the kind alone.
///
/// | variant | [`io::ErrorKind`] |
/// |---|---|
/// | [`Refused`](Self::Refused) | `ConnectionRefused` |
/// | [`Reset`](Self::Reset) | `ConnectionReset` |
/// | [`Aborted`](Self::Aborted), [`AddressRemoved`](Self::AddressRemoved) | `ConnectionAborted` |
/// | [`TimedOut`](Self::TimedOut) | `TimedOut` |
/// | [`Closed`](Self::Closed), [`NoPeer`](Self::NoPeer) | `NotConnected` |
/// | [`PeerClosed`](Self::PeerClosed), [`Shutdown`](Self::Shutdown), [`Ended`](Self::Ended), [`StackGone`](Self::StackGone), [`DeviceRemoved`](Self::DeviceRemoved), [`DeviceFailed`](Self::DeviceFailed) | `BrokenPipe` |
/// | [`AddressInUse`](Self::AddressInUse) | `AddrInUse` |
/// | [`AddressNotAvailable`](Self::AddressNotAvailable), [`NoFreePort`](Self::NoFreePort) | `AddrNotAvailable` |
/// | [`NetworkUnreachable`](Self::NetworkUnreachable) | `NetworkUnreachable` |
/// | [`HostUnreachable`](Self::HostUnreachable), [`TtlExceeded`](Self::TtlExceeded) | `HostUnreachable` |
/// | [`GatewayNotOnLink`](Self::GatewayNotOnLink), [`WrongFamily`](Self::WrongFamily), [`ZeroPort`](Self::ZeroPort), [`MessageTooLarge`](Self::MessageTooLarge), [`Malformed`](Self::Malformed), [`MtuTooSmall`](Self::MtuTooSmall), [`WrongSocket`](Self::WrongSocket) | `InvalidInput` |
/// | [`BroadcastForbidden`](Self::BroadcastForbidden) | `PermissionDenied` |
/// | [`WouldBlock`](Self::WouldBlock) | `WouldBlock` |
/// | [`LimitReached`](Self::LimitReached) | `QuotaExceeded` |
///
/// The end of a stream is not an error: it is a read of 0 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Error {
    /// The peer answered the connection attempt with a reset, or a datagram with
    /// "port unreachable".
    Refused,
    /// The peer reset the established connection.
    Reset,
    /// The peer closed the connection, and answered later data with a reset.
    PeerClosed,
    /// The connection was aborted locally, or the stack ended it.
    Aborted,
    /// The local address of the connection was removed from the stack.
    AddressRemoved,
    /// A deadline passed: the peer never answered, or stopped acknowledging.
    TimedOut,
    /// The id does not name an open socket: it was never assigned, or its socket is closed.
    Closed,
    /// A datagram without a destination was sent on an unconnected socket.
    NoPeer,
    /// Data was written after the write half was shut down.
    Shutdown,
    /// The stack that owns the socket has stopped.
    StackGone,
    /// The stack that owns the socket has stopped, because its device was removed.
    DeviceRemoved,
    /// The stack that owns the socket has stopped, because its device failed or panicked.
    DeviceFailed,
    /// The connection has ended; an earlier call reported the reason.
    Ended,
    /// Another socket holds this address and port.
    AddressInUse,
    /// The address is not one of the stack's, or the stack has none of this family.
    AddressNotAvailable,
    /// Every port of the ephemeral range is in use.
    NoFreePort,
    /// There is no route to the destination.
    NetworkUnreachable,
    /// The gateway of a route is the stack itself, or not in a network on its link.
    GatewayNotOnLink,
    /// A router or the destination itself reported that the destination cannot be reached.
    HostUnreachable,
    /// A router reported that the time to live or hop limit of the packet was exceeded.
    TtlExceeded,
    /// An IPv4 address was given where IPv6 is required, or vice versa.
    WrongFamily,
    /// Port 0 is not a valid destination.
    ZeroPort,
    /// The message does not fit into one datagram of the protocol, or into the socket's buffer.
    MessageTooLarge,
    /// A datagram to a broadcast address was sent on a socket that does not allow it
    /// (`SO_BROADCAST`).
    BroadcastForbidden,
    /// A packet or an option given by the caller is malformed.
    Malformed,
    /// The MTU is below the minimum of the protocol.
    MtuTooSmall,
    /// The command does not apply to this kind of socket.
    WrongSocket,
    /// The operation cannot be completed now.
    WouldBlock,
    /// A limit of the stack's [`Config`](crate::Config) was reached.
    LimitReached,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused by the peer",
            Self::Reset => "connection reset by the peer",
            Self::PeerClosed => "the peer has closed the connection and takes no more data",
            Self::Aborted => "connection aborted by this end",
            Self::AddressRemoved => "connection aborted: its address was removed",
            Self::TimedOut => "timed out",
            Self::Closed => "unknown or closed socket",
            Self::NoPeer => "no destination: the socket is not connected",
            Self::Shutdown => "write after shutdown",
            Self::StackGone => "the network stack has stopped",
            Self::DeviceRemoved => "the network device was removed, and the stack has stopped",
            Self::DeviceFailed => "the network device failed, and the stack has stopped",
            Self::Ended => "the connection has ended",
            Self::AddressInUse => "address already in use",
            Self::AddressNotAvailable => "address not available on this stack",
            Self::NoFreePort => "no free port in the ephemeral range",
            Self::NetworkUnreachable => "no route to the destination network",
            Self::GatewayNotOnLink => "the gateway is on none of the stack's networks",
            Self::HostUnreachable => "destination host unreachable",
            Self::TtlExceeded => "time to live exceeded",
            Self::WrongFamily => "address family does not fit the socket",
            Self::ZeroPort => "port 0 is not a valid destination",
            Self::MessageTooLarge => "message too large for one datagram",
            Self::BroadcastForbidden => "broadcasting is not allowed on this socket",
            Self::Malformed => "malformed packet or option value",
            Self::MtuTooSmall => {
                "the MTU is too small: at least 576 bytes, 1280 with an IPv6 address"
            }
            Self::WrongSocket => "command does not apply to this kind of socket",
            Self::WouldBlock => "operation would block",
            Self::LimitReached => "a configured limit of the stack was reached",
        })
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether the stack has stopped, for any reason.
    pub fn is_stack_gone(self) -> bool {
        matches!(self, Self::StackGone | Self::DeviceRemoved | Self::DeviceFailed)
    }

    /// The [`io::ErrorKind`] that `std` and `tokio` return in the same situation.
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Refused => io::ErrorKind::ConnectionRefused,
            Self::Reset => io::ErrorKind::ConnectionReset,
            Self::Aborted | Self::AddressRemoved => io::ErrorKind::ConnectionAborted,
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::Closed | Self::NoPeer => io::ErrorKind::NotConnected,
            Self::PeerClosed
            | Self::Shutdown
            | Self::Ended
            | Self::StackGone
            | Self::DeviceRemoved
            | Self::DeviceFailed => io::ErrorKind::BrokenPipe,
            Self::AddressInUse => io::ErrorKind::AddrInUse,
            Self::AddressNotAvailable | Self::NoFreePort => io::ErrorKind::AddrNotAvailable,
            Self::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
            Self::HostUnreachable | Self::TtlExceeded => io::ErrorKind::HostUnreachable,
            Self::WrongFamily
            | Self::GatewayNotOnLink
            | Self::ZeroPort
            | Self::MessageTooLarge
            | Self::Malformed
            | Self::MtuTooSmall
            | Self::WrongSocket => io::ErrorKind::InvalidInput,
            Self::BroadcastForbidden => io::ErrorKind::PermissionDenied,
            Self::WouldBlock => io::ErrorKind::WouldBlock,
            Self::LimitReached => io::ErrorKind::QuotaExceeded,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            // Tight loops of `try_*` see this one: it is made without an allocation.
            Error::WouldBlock => io::ErrorKind::WouldBlock.into(),
            error => Self::new(error.kind(), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every variant and its kind. A new variant does not compile until it has a row here.
    fn expected(error: Error) -> (io::ErrorKind, &'static str) {
        match error {
            Error::Refused => (io::ErrorKind::ConnectionRefused, "Refused"),
            Error::Reset => (io::ErrorKind::ConnectionReset, "Reset"),
            Error::PeerClosed => (io::ErrorKind::BrokenPipe, "PeerClosed"),
            Error::Aborted => (io::ErrorKind::ConnectionAborted, "Aborted"),
            Error::AddressRemoved => (io::ErrorKind::ConnectionAborted, "AddressRemoved"),
            Error::TimedOut => (io::ErrorKind::TimedOut, "TimedOut"),
            Error::Closed => (io::ErrorKind::NotConnected, "Closed"),
            Error::NoPeer => (io::ErrorKind::NotConnected, "NoPeer"),
            Error::Shutdown => (io::ErrorKind::BrokenPipe, "Shutdown"),
            Error::Ended => (io::ErrorKind::BrokenPipe, "Ended"),
            Error::StackGone => (io::ErrorKind::BrokenPipe, "StackGone"),
            Error::DeviceRemoved => (io::ErrorKind::BrokenPipe, "DeviceRemoved"),
            Error::DeviceFailed => (io::ErrorKind::BrokenPipe, "DeviceFailed"),
            Error::AddressInUse => (io::ErrorKind::AddrInUse, "AddressInUse"),
            Error::AddressNotAvailable => (io::ErrorKind::AddrNotAvailable, "AddressNotAvailable"),
            Error::NoFreePort => (io::ErrorKind::AddrNotAvailable, "NoFreePort"),
            Error::NetworkUnreachable => (io::ErrorKind::NetworkUnreachable, "NetworkUnreachable"),
            Error::GatewayNotOnLink => (io::ErrorKind::InvalidInput, "GatewayNotOnLink"),
            Error::HostUnreachable => (io::ErrorKind::HostUnreachable, "HostUnreachable"),
            Error::TtlExceeded => (io::ErrorKind::HostUnreachable, "TtlExceeded"),
            Error::WrongFamily => (io::ErrorKind::InvalidInput, "WrongFamily"),
            Error::ZeroPort => (io::ErrorKind::InvalidInput, "ZeroPort"),
            Error::MessageTooLarge => (io::ErrorKind::InvalidInput, "MessageTooLarge"),
            Error::Malformed => (io::ErrorKind::InvalidInput, "Malformed"),
            Error::MtuTooSmall => (io::ErrorKind::InvalidInput, "MtuTooSmall"),
            Error::WrongSocket => (io::ErrorKind::InvalidInput, "WrongSocket"),
            Error::BroadcastForbidden => (io::ErrorKind::PermissionDenied, "BroadcastForbidden"),
            Error::WouldBlock => (io::ErrorKind::WouldBlock, "WouldBlock"),
            Error::LimitReached => (io::ErrorKind::QuotaExceeded, "LimitReached"),
        }
    }

    const ALL: [Error; 29] = [
        Error::Refused,
        Error::Reset,
        Error::PeerClosed,
        Error::Aborted,
        Error::AddressRemoved,
        Error::TimedOut,
        Error::Closed,
        Error::NoPeer,
        Error::Shutdown,
        Error::Ended,
        Error::StackGone,
        Error::DeviceRemoved,
        Error::DeviceFailed,
        Error::AddressInUse,
        Error::AddressNotAvailable,
        Error::NoFreePort,
        Error::NetworkUnreachable,
        Error::GatewayNotOnLink,
        Error::HostUnreachable,
        Error::TtlExceeded,
        Error::WrongFamily,
        Error::ZeroPort,
        Error::MessageTooLarge,
        Error::Malformed,
        Error::MtuTooSmall,
        Error::WrongSocket,
        Error::BroadcastForbidden,
        Error::WouldBlock,
        Error::LimitReached,
    ];

    /// The rows of the table in the documentation: a variant and its kind.
    fn documented() -> Vec<(&'static str, &'static str)> {
        let rows = include_str!("error.rs").lines().take_while(|line| !line.contains("pub enum"));
        let rows = rows.filter_map(|line| line.strip_prefix("/// | [`"));
        rows.flat_map(|row| {
            let (variants, kind) = row.split_once(" | `").expect("two columns");
            let kind = kind.trim_end_matches("` |");
            variants.split(", [`").map(move |variant| {
                let (name, _) = variant.split_once('`').expect("a link");
                (name, kind)
            })
        })
        .collect()
    }

    #[test]
    fn each_variant_has_a_kind_and_a_row_in_the_docs() {
        let mut rows = documented();
        for error in ALL {
            let (kind, name) = expected(error);
            assert_eq!(error.kind(), kind, "{name}");
            let row = rows.iter().position(|row| *row == (name, &*format!("{kind:?}")));
            rows.remove(row.unwrap_or_else(|| panic!("the table lacks {name}, {kind:?}")));
        }
        assert_eq!(rows, [], "the table has a row without a variant");
        let (_, definition) =
            include_str!("error.rs").split_once("pub enum Error {").expect("the enum");
        let (definition, _) = definition.split_once("\n}").expect("its end");
        let is_variant = |line: &&str| line.trim_start().starts_with(char::is_uppercase);
        let variants = definition.lines().filter(is_variant);
        assert_eq!(variants.count(), ALL.len(), "a variant is not tested");
    }

    #[test]
    fn io_error_keeps_the_cause() {
        for error in ALL {
            let io = io::Error::from(error);

            assert_eq!(io.kind(), error.kind());
            let cause = io.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
            // The kind alone carries this one, without an allocation.
            let is_kept = error != Error::WouldBlock;
            assert_eq!(cause, is_kept.then_some(&error));
        }
    }
}
