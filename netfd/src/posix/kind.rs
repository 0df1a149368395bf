//! The options that tell what a socket is.

use super::{Family, Phase, StreamSocket, Value};

/// An option that follows from the kind of a socket and its state, and that no program sets:
/// `SO_TYPE`, `SO_DOMAIN`, `SO_PROTOCOL` and `SO_ACCEPTCONN`. `stream` is the socket if it is one of
/// TCP; any other is one of UDP. `None` for all other options.
pub fn kind_option(
    family: Family,
    stream: Option<&StreamSocket>,
    level: libc::c_int,
    name: libc::c_int,
) -> Option<Value> {
    if level != libc::SOL_SOCKET {
        return None;
    }
    let of = |tcp, udp| if stream.is_some() { tcp } else { udp };
    match name {
        libc::SO_TYPE => Some(of(libc::SOCK_STREAM, libc::SOCK_DGRAM).into()),
        libc::SO_DOMAIN => Some(family.number().into()),
        libc::SO_PROTOCOL => Some(of(libc::IPPROTO_TCP, libc::IPPROTO_UDP).into()),
        libc::SO_ACCEPTCONN => {
            Some(stream.is_some_and(|socket| socket.phase() == Phase::Listening).into())
        }
        _ => None,
    }
}
