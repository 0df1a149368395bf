//! The protocols of netlink sockets.

/// The protocol of a netlink socket: the third argument of `socket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// rtnetlink(7), `NETLINK_ROUTE`.
    Route,
    /// sock_diag(7), `NETLINK_SOCK_DIAG`.
    SockDiag,
}

impl Protocol {
    /// That of a number; `None` for one that is not served.
    pub fn from_number(number: libc::c_int) -> Option<Self> {
        [Self::Route, Self::SockDiag].into_iter().find(|it| it.number() == number)
    }

    /// Its number.
    pub fn number(self) -> libc::c_int {
        match self {
            Self::Route => libc::NETLINK_ROUTE,
            Self::SockDiag => libc::NETLINK_SOCK_DIAG,
        }
    }
}
