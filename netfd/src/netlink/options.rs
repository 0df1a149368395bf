//! Options of netlink sockets: `SOL_NETLINK`.

use crate::netlink::groups::Groups;
use crate::netlink::message::AckOptions;
use crate::posix::{Done, Value};
use rustix::io::Errno;

/// The options that are kept. Those that change nothing here are read back as they were set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    packet_info: bool,
    broadcast_error: bool,
    /// `NETLINK_NO_ENOBUFS`.
    pub(crate) no_missed: bool,
    all_namespaces: bool,
    without_request: bool,
    with_text: bool,
    strict: bool,
}

impl Options {
    pub(crate) fn acks(&self) -> AckOptions {
        AckOptions { with_text: self.with_text, without_request: self.without_request }
    }

    pub(crate) fn set(
        &mut self,
        groups: &mut Groups,
        level: libc::c_int,
        name: libc::c_int,
        value: &[u8],
    ) -> Result<Done, Errno> {
        if level == libc::SOL_SOCKET {
            return Ok(Done::ByDescriptor);
        }
        let value = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        let value = value.ok_or(Errno::INVAL)?;
        match (level, name) {
            (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP | libc::NETLINK_DROP_MEMBERSHIP) => {
                let number = u32::try_from(value).map_err(|_| Errno::INVAL)?;
                let is_member = name == libc::NETLINK_ADD_MEMBERSHIP;
                groups.set(number, is_member).ok_or(Errno::INVAL)?;
            }
            _ => *self.flag(level, name).ok_or(Errno::NOPROTOOPT)? = value != 0,
        }
        Ok(Done::Here)
    }

    pub(crate) fn get(
        mut self,
        groups: Groups,
        level: libc::c_int,
        name: libc::c_int,
    ) -> Result<Value, Errno> {
        match (level, name) {
            (libc::SOL_SOCKET, _) => Ok(Value::OfDescriptor),
            (libc::SOL_NETLINK, libc::NETLINK_LIST_MEMBERSHIPS) => {
                Ok(Value::Bytes(groups.low().to_ne_bytes().to_vec()))
            }
            _ => Ok(i32::from(*self.flag(level, name).ok_or(Errno::NOPROTOOPT)?).into()),
        }
    }

    fn flag(&mut self, level: libc::c_int, name: libc::c_int) -> Option<&mut bool> {
        if level != libc::SOL_NETLINK {
            return None;
        }
        Some(match name {
            libc::NETLINK_PKTINFO => &mut self.packet_info,
            libc::NETLINK_BROADCAST_ERROR => &mut self.broadcast_error,
            libc::NETLINK_NO_ENOBUFS => &mut self.no_missed,
            libc::NETLINK_LISTEN_ALL_NSID => &mut self.all_namespaces,
            libc::NETLINK_CAP_ACK => &mut self.without_request,
            libc::NETLINK_EXT_ACK => &mut self.with_text,
            libc::NETLINK_GET_STRICT_CHK => &mut self.strict,
            _ => return None,
        })
    }
}
