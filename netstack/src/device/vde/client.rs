//! A client's way to a port of a VDE switch.

use super::VdeDevice;
use super::request::{ADDRESS_BYTES, VdeRequest, parse_address};
use crate::device::unix_datagram::UnixDatagramDevice;
use crate::unix_path::{BoundPath, group_id};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::env;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// Which port of which VDE switch a [`VdeDevice`] takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct VdeConfig {
    /// The directory of the switch; without one `/var/run/vde.ctl`, else `/tmp/vde.ctl`.
    pub directory: Option<PathBuf>,
    /// The number of the port, from 1; without one it is the first that is free.
    pub port: Option<u32>,
    /// The name of a port group: the socket of this name in the directory, if there is one.
    pub port_group: Option<String>,
    /// The group that the own socket is given to: a number, or a name in /etc/group. Without one
    /// the socket is open to the switch only, as far as permissions can express that.
    pub group: Option<String>,
    /// The mode of the own socket; 0700 unless the switch needs more.
    pub mode: Option<u32>,
    /// How the switch lists this client; without one the program, its user and its number.
    pub description: Option<String>,
}

/// The directories of a switch without another one.
const DIRECTORIES: [&str; 2] = ["/var/run/vde.ctl", "/tmp/vde.ctl"];
/// Where the own socket is if it cannot be in the switch's directory.
const OTHER_DIRECTORIES: [&str; 3] = ["/var/run", "/var/tmp", "/tmp"];
/// How many sockets of this process may be in a directory.
const SOCKETS_MAX: usize = 1000;
/// How long a switch may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const MODE: u32 = 0o700;
const MODE_OF_GROUP: u32 = 0o070;
const MODE_OF_OTHERS: u32 = 0o077;

impl VdeDevice {
    /// Asks a switch for a port, for IP packets of up to `mtu` bytes. Does not wait for the answer:
    /// the link has no carrier until the switch has given a port.
    ///
    /// A refusal ends the stack, with `ConnectionRefused`, and has no reason in VDE: no port is free,
    /// that port is taken or there is none, or the switch may not write to the socket of this process.
    /// Without an answer the stack ends with `TimedOut`, 3 s after its start.
    ///
    /// # Errors
    ///
    /// `NotFound` and others of the kernel if there is no switch; `InvalidInput` for a path of more
    /// than 107 bytes.
    pub fn connect(config: &VdeConfig, mtu: usize) -> io::Result<Self> {
        let (mut control, switch) = reach(config)?;
        let (socket, own) = bind(config, &switch)?;
        let request = VdeRequest {
            port: switch.port,
            socket: own.path().to_owned(),
            description: config.description.clone().unwrap_or_else(description),
        };
        // There is room for it: nothing was written before.
        control.write_all(&request.encode()?)?;
        let frames = UnixDatagramDevice::to_be_connected(socket.try_clone()?, mtu)?;
        let asked =
            Asked { socket, _own: own, switch, answer: [0; ADDRESS_BYTES], len: 0, end: None };
        Ok(Self::new(control, frames, asked))
    }
}

/// A request that the switch has not answered.
pub(super) struct Asked {
    /// That of the frames, too.
    socket: UnixDatagram,
    /// Where the switch finds it. Once both are connected nobody needs the path.
    _own: BoundPath,
    switch: Reached,
    /// The answer, and how much of it has come.
    answer: [u8; ADDRESS_BYTES],
    len: usize,
    /// When the switch has had its time.
    end: Option<Pin<Box<Sleep>>>,
}

impl Asked {
    /// Waits for the answer, and connects the socket.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` and `TimedOut`, as in [`VdeDevice::connect`].
    pub(super) fn poll_answer(
        &mut self,
        control: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.len < ADDRESS_BYTES {
            let mut room = ReadBuf::new(&mut self.answer[self.len..]);
            let failure = match Pin::new(&mut *control).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    self.len += room.filled().len();
                    continue;
                }
                Poll::Ready(Ok(())) => io::ErrorKind::UnexpectedEof.into(),
                Poll::Ready(Err(error)) => error,
                Poll::Pending => {
                    let end =
                        self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
                    ready!(end.as_mut().poll(cx));
                    io::ErrorKind::TimedOut.into()
                }
            };
            return Poll::Ready(Err(refused(&failure, &self.switch)));
        }
        let connected = parse_address(&self.answer)
            .map_err(io::Error::from)
            .and_then(|path| self.socket.connect(path));
        Poll::Ready(connected.map_err(|error| refused(&error, &self.switch)))
    }
}

/// The switch that was reached.
struct Reached {
    directory: PathBuf,
    control: PathBuf,
    /// The port to ask for.
    port: Option<u32>,
}

/// Connects to the control socket.
fn reach(config: &VdeConfig) -> io::Result<(UnixStream, Reached)> {
    let mut failure = None;
    let given = config.directory.as_deref();
    let directories = given.map_or_else(|| DIRECTORIES.map(Path::new).to_vec(), |it| vec![it]);
    for directory in directories {
        let attempt = fs::canonicalize(directory).and_then(|it| reach_in(it, config));
        match attempt {
            Ok(reached) => return Ok(reached),
            Err(error) => {
                let message = format!("no VDE switch at {}: {error}", directory.display());
                failure.get_or_insert(io::Error::new(error.kind(), message));
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn reach_in(directory: PathBuf, config: &VdeConfig) -> io::Result<(UnixStream, Reached)> {
    if let Some(group) = config.port_group.as_deref().filter(|_| config.port.is_none()) {
        let control = directory.join(group);
        if let Ok(stream) = stream_to(&control) {
            return Ok((stream, Reached { directory, control, port: None }));
        }
    }
    let control = directory.join("ctl");
    let stream = stream_to(&control)?;
    Ok((stream, Reached { directory, control, port: config.port }))
}

/// Connects without waiting for room in the backlog. The stream does not block.
fn stream_to(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Makes the own socket in a directory that both ends see.
fn bind(config: &VdeConfig, switch: &Reached) -> io::Result<(UnixDatagram, BoundPath)> {
    let pid = process::id();
    let places = std::iter::once((switch.directory.as_path(), "."))
        .chain(OTHER_DIRECTORIES.map(|other| (Path::new(other), "vde.")));
    let mut failure = None;
    for (directory, prefix) in places {
        for number in 0..SOCKETS_MAX {
            let path = directory.join(format!("{prefix}{pid:05}-{number:05}"));
            match BoundPath::bind(&path, |path| UnixDatagram::bind(path), |_| true) {
                Ok((socket, own)) => {
                    permit(&path, config, switch)?;
                    return Ok((socket, own));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    failure.get_or_insert(error);
                    break;
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Lets the switch write to the own socket.
fn permit(path: &Path, config: &VdeConfig, switch: &Reached) -> io::Result<()> {
    let mut mode = config.mode.unwrap_or(MODE);
    if let Some(group) = &config.group {
        chown(path, None, Some(group_id(group)?))?;
        if config.mode.is_none() {
            mode |= MODE_OF_GROUP;
        }
    } else if mode & MODE_OF_OTHERS == 0 {
        let owner = fs::metadata(&switch.control)?;
        let own = fs::metadata(path)?.uid();
        if owner.uid() != 0 && owner.uid() != own {
            // A user that is in the switch's group may give the socket to it.
            mode |= match chown(path, None, Some(owner.gid())) {
                Ok(()) => MODE_OF_GROUP,
                Err(_) => MODE_OF_OTHERS,
            };
        }
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The refusal of the switch, or its silence.
fn refused(error: &io::Error, switch: &Reached) -> io::Error {
    let place = switch.directory.display();
    let port = match switch.port {
        Some(port) => format!("port {port} is taken or there is none"),
        None => "no port is free".to_owned(),
    };
    let (kind, message) = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => (
            io::ErrorKind::ConnectionRefused,
            format!(
                "the VDE switch at {place} has refused: {port}, or it may not write to the socket of \
                 this process"
            ),
        ),
        // vde_switch 2.3.2 says nothing where it has no such port.
        io::ErrorKind::TimedOut => (
            io::ErrorKind::TimedOut,
            format!("the VDE switch at {place} has not answered in {PATIENCE:?}: perhaps {port}"),
        ),
        kind => (kind, format!("the VDE switch at {place}: {error}")),
    };
    io::Error::new(kind, message)
}

/// This process as the switch lists it.
fn description() -> String {
    let program = env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    let user = env::var("USER").unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string());
    format!("{} user={user} pid={}", program.display(), process::id())
}
