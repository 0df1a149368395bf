//! sock_diag(7): the sockets of the stack, and the end of one.

mod bytecode;
mod dump;
mod message;
mod wanted;

use crate::netlink::failure::Failure;
use crate::netlink::message::Request;
use crate::netlink::{Server, Subject};
use dump::Dump;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_sock_diag::{SOCK_DESTROY, SOCK_DIAG_BY_FAMILY};
use netsocket::netcore::control::Command;
use rustix::io::Errno;
use wanted::Wanted;

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Found {
    /// The acknowledgement, if one is wanted.
    Nothing,
    One(Vec<u8>),
    All(Dump),
}

/// The first type that is not netlink's own.
const FIRST: u16 = 16;

/// Answers a request.
pub(crate) async fn answer<S: Subject>(
    server: &Server<S>,
    request: &Request<'_>,
) -> Result<Found, Failure> {
    match request.kind {
        ..FIRST => return Ok(Found::Nothing),
        SOCK_DIAG_BY_FAMILY | SOCK_DESTROY => {}
        _ => return Err(Errno::OPNOTSUPP.into()),
    }
    let is_dump = request.kind == SOCK_DIAG_BY_FAMILY && request.has(NLM_F_DUMP);
    let family = *request.payload.first().ok_or(Errno::INVAL)?;
    if !Wanted::is_ip(family) {
        // Sockets of other families, as UNIX, are not the stack's: it has none.
        let none = Failure::new(Errno::NOENT, "a stack has sockets of IP alone");
        return if is_dump { Ok(Found::All(Dump::empty())) } else { Err(none) };
    }
    let wanted = Wanted::parse(request.payload)?;
    if is_dump {
        return Ok(Found::All(Dump::new(wanted, server.subject().inodes())));
    }
    let mut dump = Dump::new(wanted, server.subject().inodes());
    let socket = dump.find(server).await?.ok_or(Errno::NOENT)?;
    if request.kind == SOCK_DIAG_BY_FAMILY {
        return Ok(Found::One(dump.message(&socket)));
    }
    server.ask(Command::Abort { id: socket.id }).await?;
    Ok(Found::Nothing)
}
