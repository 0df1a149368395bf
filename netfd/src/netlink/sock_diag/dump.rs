//! Sockets, page by page.

use crate::netlink::failure::Failure;
use crate::netlink::sock_diag::message::{self, Owner};
use crate::netlink::sock_diag::wanted::Wanted;
use crate::netlink::{Ends, Inodes, Refusal, Server, Subject};
use netlink_packet_sock_diag::inet::ExtensionFlags;
use netsocket::netcore::control::{Command, Response};
use netsocket::netcore::{Instant, SocketInfo};

/// The sockets that a request wants, read from the stack one page after the other: those that are made
/// or closed meanwhile may be in none.
#[derive(Debug)]
pub(crate) struct Dump {
    wanted: Option<Wanted>,
    inodes: Inodes,
    next: Next,
}

/// The page to read.
#[derive(Debug, Clone, Copy)]
enum Next {
    Sockets(usize),
    TimeWait(Instant),
    End,
}

/// Slots of the stack's table that are read at once.
const SLOTS: usize = 128;
/// As many of those in TIME-WAIT.
const FLOWS: usize = 256;

impl Dump {
    pub(crate) fn new(wanted: Wanted, inodes: Inodes) -> Self {
        Self { wanted: Some(wanted), inodes, next: Next::Sockets(0) }
    }

    /// Of nothing.
    pub(crate) fn empty() -> Self {
        Self { wanted: None, inodes: Inodes::new(), next: Next::End }
    }

    /// The payloads of the next page; `None` after the last.
    pub(crate) async fn next<S: Subject>(
        &mut self,
        server: &Server<S>,
    ) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let Some(wanted) = &self.wanted else { return Ok(None) };
        match self.next {
            Next::Sockets(from) => {
                let (sockets, next) = page(server, from).await?;
                let sockets = sockets.iter().filter(|socket| wanted.wants(socket));
                let payloads = sockets.map(|socket| self.message(socket)).collect();
                self.next = match next {
                    Some(slot) => Next::Sockets(slot),
                    None if wanted.wants_time_wait() => Next::TimeWait(Instant::ZERO),
                    None => Next::End,
                };
                Ok(Some(payloads))
            }
            Next::TimeWait(after) => {
                let command = Command::TimeWait { after, max: FLOWS };
                let Some(Response::TimeWait(page)) = server.ask(command).await? else {
                    return Err(Refusal::unexpected().into());
                };
                let flows = page.flows.into_iter();
                let flows = flows.filter(|(local, peer)| wanted.wants_ends(*local, Some(*peer)));
                let payloads = flows.map(|(local, peer)| message::time_wait(local, peer));
                self.next = page.next.map_or(Next::End, Next::TimeWait);
                Ok(Some(payloads.collect()))
            }
            Next::End => Ok(None),
        }
    }

    /// The one socket that is meant.
    pub(crate) async fn find<S: Subject>(
        &mut self,
        server: &Server<S>,
    ) -> Result<Option<Box<SocketInfo>>, Failure> {
        let Some(wanted) = &self.wanted else { return Ok(None) };
        let mut from = Some(0);
        while let Some(start) = from {
            let (sockets, next) = page(server, start).await?;
            if let Some(socket) = sockets.into_iter().find(|socket| wanted.means(socket)) {
                return Ok(Some(Box::new(socket)));
            }
            from = next;
        }
        Ok(None)
    }

    /// The message of a socket.
    pub(crate) fn message(&self, socket: &SocketInfo) -> Vec<u8> {
        let SocketInfo { kind, local, peer, .. } = *socket;
        let inode = self.inodes.get(&Ends { kind, local, peer }).copied().unwrap_or(0);
        let uid = rustix::process::geteuid().as_raw();
        let extensions = self.wanted.as_ref().map_or(ExtensionFlags::empty(), Wanted::extensions);
        message::socket(socket, extensions, Owner { uid, inode })
    }
}

async fn page<S: Subject>(
    server: &Server<S>,
    from: usize,
) -> Result<(Vec<SocketInfo>, Option<usize>), Failure> {
    match server.ask(Command::Sockets { from, slots: SLOTS }).await? {
        Some(Response::Sockets(page)) => Ok((page.sockets, page.next)),
        _ => Err(Refusal::unexpected().into()),
    }
}
