//! From the request of a client to its port.

use super::directory::Directory;
use super::numbers::Number;
use super::{Shared, VdeListenerConfig};
use crate::device::Device;
use crate::device::{REQUEST_BYTES_MAX, VdeDevice, VdeRequest, VdeRequestError, address};
use crate::switch::PortConfig;
use crate::switch::uplink::Uplink;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, send, socket_with,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// A port in use.
struct Port {
    uplink: Uplink,
    /// Free again with it.
    _number: Number,
}

impl Shared {
    /// Serves a client from its request to its end.
    pub(super) async fn serve(
        &self,
        directory: &Directory,
        stream: UnixStream,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let opened = timeout(self.config.request_timeout, self.open(directory, stream));
        let opened = tokio::select! {
            opened = opened => opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            () = self.ended() => return,
        };
        drop(permit);
        let port = match opened {
            Ok(port) => port,
            // Closing the stream is the refusal.
            Err(error) => return tracing::info!(%error, "a VDE client was refused"),
        };
        tokio::select! {
            // The uplink has reported its error.
            _ = port.uplink.ended() => {}
            () = self.ended() => {
                self.hub.remove_port(port.uplink.id());
                let _ = port.uplink.ended().await;
            }
        }
    }

    /// Gives a client its port.
    async fn open(&self, directory: &Directory, mut stream: UnixStream) -> io::Result<Port> {
        let user = stream.peer_cred()?.uid();
        let request = read(&mut stream).await?;
        let number = self.numbers.take(request.port).ok_or_else(|| match request.port {
            Some(port) => io::Error::other(format!("port {port} is taken, or there is none")),
            None => io::Error::other("no port is free"),
        })?;
        let socket = connected(&request.socket, user)?;
        let name = format!("{:03}.{}", number.get(), socket.as_raw_fd());
        let path = directory.bind(&socket, &name, user)?;
        let answer = address(path.path())?;

        let config = PortConfig {
            name: request.description.clone(),
            vlan: vlan(&self.config, number.get()),
            jumbo: false,
        };
        let mtu = self.hub.config.mtu;
        let client = stream.as_fd().try_clone_to_owned()?;
        let mut device = VdeDevice::served(stream, UnixDatagram::from(socket), path, mtu)?;
        device.attach()?;
        let port = self.hub.add_port(config, Some(mtu))?;
        number.show(port.id, request.description, user);
        let uplink = Uplink::spawn(self.hub.clone(), port, device);
        // A client that has the answer has its port, and may look for it. Nothing was written before, so
        // there is room.
        send(&client, &answer, SendFlags::NOSIGNAL)?;
        Ok(Port { uplink, _number: number })
    }
}

/// Reads a request, which has no length: its end is that of what was written at once.
async fn read(stream: &mut UnixStream) -> io::Result<VdeRequest> {
    let (mut bytes, mut len) = ([0; REQUEST_BYTES_MAX], 0);
    loop {
        let read = stream.read(&mut bytes[len..]).await?;
        len += read;
        match VdeRequest::parse(&bytes[..len]) {
            Err(VdeRequestError::Short(_)) if read > 0 => {}
            parsed => return Ok(parsed?),
        }
    }
}

/// A datagram socket that is connected to that of a client.
///
/// The file must be a socket of the user that asks: else whoever may take a port could make a switch
/// of root write to any socket of the machine.
fn connected(path: &Path, user: u32) -> io::Result<OwnedFd> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let status = rustix::fs::fstat(&file)?;
    let is_socket = FileType::from_raw_mode(status.st_mode) == FileType::Socket;
    if !is_socket || (status.st_uid != user && user != 0) {
        let message = format!("{} is no socket of user {user}", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // The file that was looked at, whatever the path leads to by now.
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::net::connect(&socket, &SocketAddrUnix::new(opened.as_str())?)?;
    Ok(socket)
}

fn vlan(config: &VdeListenerConfig, number: u16) -> crate::switch::Vlan {
    config.port_vlans.get(&number).unwrap_or(&config.vlan).clone()
}
