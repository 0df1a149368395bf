//! The directory of a VDE switch, and the sockets in it.

use super::VdeListenerConfig;
use crate::unix_path::{BoundPath, group_id};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::net::UnixListener;

/// The directory. Removed at the end, if it is empty then.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The control socket.
    control: Mutex<Option<BoundPath>>,
    mode: u32,
    group: Option<u32>,
}

/// The name of the control socket.
pub(super) const CONTROL: &str = "ctl";
/// The longest name in the directory: a number of a port and one of a descriptor.
const NAME_BYTES_MAX: usize = "/65535.2147483647".len();
/// The longest path of a socket (unix(7)).
const PATH_BYTES_MAX: usize = 107;
/// Connections that the kernel keeps for the listener.
const BACKLOG: i32 = 64;
const SET_GROUP_ID: u32 = 0o2000;
const OWNER: u32 = 0o700;

impl Directory {
    /// Makes the directory and the control socket, and listens on that.
    pub(super) fn make(
        path: &Path,
        config: &VdeListenerConfig,
    ) -> io::Result<(UnixListener, Self)> {
        let group = config.group.as_deref().map(group_id).transpose()?;
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        // Closed until it has its mode.
        match DirBuilder::new().mode(OWNER).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let path = fs::canonicalize(path).map_err(failed)?;
        if path.as_os_str().len() + NAME_BYTES_MAX > PATH_BYTES_MAX {
            let longest = PATH_BYTES_MAX - NAME_BYTES_MAX;
            let message = format!(
                "{}: the directory of a switch has at most {longest} bytes, so that the paths of \
                 its sockets have {PATH_BYTES_MAX}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (listener, control) = listen(&path.join(CONTROL), config.mode, group)?;
        let mode = config.directory_mode.unwrap_or_else(|| directory_mode(config.mode));
        permit(&path, mode, None, group).map_err(failed)?;
        let control = Mutex::new(Some(control));
        Ok((listener, Self { path, control, mode: config.mode, group }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Binds a data socket to a path in the directory, for a client of this user.
    pub(super) fn bind(&self, socket: &OwnedFd, name: &str, user: u32) -> io::Result<BoundPath> {
        // Only a switch of this directory makes such a name.
        let is_alive = |_: &Path| false;
        let bind = |path: &Path| Ok(rustix::net::bind(socket, &SocketAddrUnix::new(path)?)?);
        let ((), path) = BoundPath::bind(&self.path.join(name), bind, is_alive)?;
        match rustix::process::geteuid().is_root() {
            // As vde_switch: the client alone.
            true => permit(path.path(), self.mode & OWNER, Some(user), self.group)?,
            false => permit(path.path(), self.mode, None, self.group)?,
        }
        Ok(path)
    }

    /// Removes the control socket.
    pub(super) fn close(&self) {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.close();
        // Others may have files in it.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Listens on a path of this mode and group.
pub(super) fn listen(
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> io::Result<(UnixListener, BoundPath)> {
    let is_alive = |path: &Path| UnixStream::connect(path).is_ok();
    let bind = |path: &Path| -> io::Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    let (socket, bound) = BoundPath::bind(path, bind, is_alive)?;
    // Nobody can connect before it listens.
    permit(path, mode, None, group)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from_std(StdListener::from(socket))?, bound))
}

fn permit(path: &Path, mode: u32, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    if user.is_some() || group.is_some() {
        chown(path, user, group)?;
    }
    // Behind chown, which clears the bits beyond the permissions.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Who may read or write the sockets may enter the directory; clients make their own sockets in it.
fn directory_mode(mode: u32) -> u32 {
    let enter = (mode | mode >> 1) >> 1 & 0o111;
    SET_GROUP_ID | mode & 0o666 | enter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_can_be_entered_by_the_users_of_its_sockets() {
        for (mode, expected) in [(0o600, 0o2700), (0o660, 0o2770), (0o666, 0o2777), (0o620, 0o2730)]
        {
            assert_eq!(directory_mode(mode), expected, "{mode:o}");
        }
    }
}
