//! A netlink server over a stack: what rtnetlink(7) shows and changes, and what sock_diag(7) shows, is
//! the stack's, for `ip`, `ss` and every other program that speaks them.
//!
//! A [`Server`] has a [`Subject`], the stack, and a [`Socket`] is what the kernel has of a netlink
//! socket: its port, its groups, its options. Its descriptor is the near end of a pair, as with
//! [`posix`](crate::posix) sockets; a [`Service`] at the far end answers requests and tells of
//! changes.
//!
//! The stack is shown as two interfaces: `lo`, with index 1, and its link, with index 2. What a
//! stack has not, as metrics and further tables, is refused with `EOPNOTSUPP` and a text
//! (`NLMSGERR_ATTR_MSG`); other errors have the kernel's numbers and texts.
//!
//! Sockets are shown with what the kernel shows of them: `TCP_INFO`, memory, timers, the congestion
//! control, behind the filters of `ss`, and `SOCK_DESTROY` aborts one. The sockets of other families
//! than IP are none, and a ping socket is not shown, as by the kernel.
//!
//! # The address of the sender
//!
//! Programs expect 12 bytes of `sockaddr_nl` from `recvmsg`, with port 0. The far end is bound to an
//! abstract name of just that form, so the kernel gives them that, `AF_UNIX` in place of
//! `AF_NETLINK`, and ignores the destination of `sendmsg`. Programs that look at the family need
//! their messages served with [`Address::encode`].
//!
//! # Bounds
//!
//! A request has at most 64 KiB. For a program that does not read, 4,096 notifications are kept; then
//! it has missed some, which [`Reports`] tells it: `ENOBUFS`, or a message of `NLMSG_OVERRUN`.
//! Neighbours are looked at once a second while somebody listens to them.

mod address;
mod addresses;
mod changes;
mod failure;
mod groups;
mod links;
mod message;
mod name;
mod neighbours;
mod netdevice;
mod options;
mod ports;
mod protocol;
mod routes;
mod rtnetlink;
mod server;
mod service;
mod sock_diag;
mod socket;
mod subject;

pub use address::Address;
pub use name::netlink_pair;
pub use netdevice::{Ifreq, In6Ifreq, Rtentry};
pub use protocol::Protocol;
pub use server::Server;
pub use service::{NetlinkEnd, Service};
pub use socket::{Reports, Socket};
pub use subject::{Ends, Inodes, Own, Refusal, Subject};
