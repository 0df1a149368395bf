//! The carrier of an interface: whether the kernel has it up, and the other end of a cable too.

use super::host;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches the state of an interface. Packets to one that is down are lost; the write fails, but
/// only rtnetlink reports the interface up again.
pub(super) struct Carrier {
    socket: AsyncFd<Socket>,
    name: String,
    index: u32,
    /// What makes a carrier.
    flags: LinkFlags,
    is_up: bool,
    is_removed: bool,
}

/// `RTMGRP_LINK` of Linux.
const LINK_GROUP: u32 = 1;

impl Carrier {
    /// Subscribes to the changes of an interface, which has a carrier while it has these flags.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn watch(name: &str, flags: LinkFlags) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINK_GROUP))?;
        socket.set_non_blocking(true)?;
        // SAFETY: the socket owns its open descriptor, and neither closes nor replaces it while
        // `AsyncFd` has it.
        #[expect(unsafe_code, reason = "AsyncFd wants a descriptor that stays open")]
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        // After the subscription, so that no change is missed.
        let now = host::link(name)?;
        let (index, is_up) = (now.header.index, now.header.flags.contains(flags));
        Ok(Self { socket, name: name.into(), index, flags, is_up, is_removed: false })
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether the interface was deleted, or moved into another namespace.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// Waits until the carrier has changed, or the interface was removed.
    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = (self.is_up, self.is_removed);
        while let Poll::Ready(Ok(mut guard)) = self.socket.poll_read_ready(cx) {
            match guard.try_io(|socket| socket.get_ref().recv_from_full()) {
                Ok(Ok((bytes, _))) => self.read(&bytes),
                // ENOBUFS: the socket has lost messages.
                Ok(Err(_)) => {
                    if let Ok(now) = host::link(&self.name) {
                        self.is_up = now.header.flags.contains(self.flags);
                    }
                }
                Err(_would_block) => {}
            }
        }
        if (self.is_up, self.is_removed) == before { Poll::Pending } else { Poll::Ready(()) }
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            let len = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[len..];
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
                    if link.header.index == self.index =>
                {
                    self.is_up = link.header.flags.contains(self.flags);
                }
                // Of the family of bridges it tells that the interface has left a bridge.
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                    if link.header.index == self.index
                        && link.header.interface_family == AddressFamily::Unspec =>
                {
                    self.is_removed = true;
                }
                _ => {}
            }
        }
    }
}
