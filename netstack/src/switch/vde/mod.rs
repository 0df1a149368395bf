//! A switch as a VDE switch: other processes take ports by a socket in a directory.

mod directory;
mod management;
mod numbers;
mod request;

use super::hub::Hub;
use super::vlan::Vlan;
use super::{PortId, Switch};
use directory::Directory;
use management::Management;
use numbers::Numbers;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, SetOnce};
use tokio::task::{JoinHandle, JoinSet};

/// Configuration of a [`VdeListener`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct VdeListenerConfig {
    /// Ports at a time, numbered from 1.
    pub ports_max: u16,
    /// The mode of the sockets: who may write to them may take a port.
    pub mode: u32,
    /// The mode of the directory; without one that of the sockets, with the right to enter it for
    /// whoever may use them, and the group handed down to what is made in it.
    pub directory_mode: Option<u32>,
    /// The group of the directory and the sockets: a number, or a name in /etc/group.
    pub group: Option<String>,
    /// Connections at a time that have not made their request yet; others wait.
    pub requests_max: usize,
    /// How long a connection may take for its request.
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub request_timeout: Duration,
    /// The virtual LANs of a port that is not in `port_vlans`.
    pub vlan: Vlan,
    /// The virtual LANs of some ports, by number.
    pub port_vlans: BTreeMap<u16, Vlan>,
}

impl Default for VdeListenerConfig {
    /// 32 ports, sockets of mode 0600 in a directory of mode 02700, 16 requests at a time with 5 s
    /// for each, no virtual LANs.
    fn default() -> Self {
        Self {
            ports_max: 32,
            mode: 0o600,
            directory_mode: None,
            group: None,
            requests_max: 16,
            request_timeout: Duration::from_secs(5),
            vlan: Vlan::default(),
            port_vlans: BTreeMap::new(),
        }
    }
}

/// A port that a client has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VdePortInfo {
    /// Its number, from 1.
    pub number: u16,
    /// Which port of the switch it is.
    pub id: PortId,
    /// How the client names itself.
    pub description: String,
    /// The number of the client's user.
    pub user: u32,
}

/// Serves ports of a switch to other processes, as `vde_switch` does. Dropping it ends them.
///
/// Returned by [`Switch::vde_listener`]. It ends with the switch, too.
#[derive(Debug)]
#[must_use = "dropping it ends its ports"]
pub struct VdeListener {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the listener and the tasks of its clients share.
#[derive(Debug)]
struct Shared {
    hub: Arc<Hub>,
    config: VdeListenerConfig,
    numbers: Numbers,
    /// Set at the end of the listener.
    stop: SetOnce<()>,
}

/// The pause after a connection that could not be accepted, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

impl Switch {
    /// Opens the switch to other processes: vdens, vde_plug, QEMU's `-netdev vde` and
    /// [`VdeDevice`](crate::device::VdeDevice) take ports at the directory, which is made if need
    /// be.
    ///
    /// A client has a port until either end closes the connection of its request. Its frames are as
    /// on a wire, without offload; what it does not read is dropped after 0.1 s. A port has one
    /// client: a number that is taken is refused. The socket of a client must belong to the user
    /// that asks for the port.
    ///
    /// A socket that nobody listens on is replaced. The sockets are removed at the end, and so is
    /// the directory if it is empty then.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if a switch is there already; `NotFound` for an unknown group; `InvalidInput` if
    /// the path of a socket would have more than 107 bytes; the kernel's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn vde_listener(
        &self,
        directory: impl AsRef<Path>,
        config: VdeListenerConfig,
    ) -> io::Result<VdeListener> {
        let (listener, directory) = Directory::make(directory.as_ref(), &config)?;
        let directory = Arc::new(directory);
        let shared = Arc::new(Shared {
            hub: self.hub.clone(),
            numbers: Numbers::new(config.ports_max),
            config,
            stop: SetOnce::new(),
        });
        let task =
            crate::task::spawn("VDE listener", accept(shared.clone(), directory.clone(), listener));
        Ok(VdeListener { shared, directory, tasks: vec![task] })
    }
}

impl VdeListener {
    /// The directory, without symbolic links.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of the socket that clients connect to.
    pub fn control(&self) -> PathBuf {
        self.directory.path().join(directory::CONTROL)
    }

    /// The ports that clients have, sorted by number.
    pub fn ports(&self) -> Vec<VdePortInfo> {
        self.shared.numbers.list()
    }

    /// Shows ports, addresses and virtual LANs on a UNIX socket, as vde_switch's `-M` does: `help`
    /// lists the commands. The ports that no VDE client has are numbered behind
    /// [`ports_max`](VdeListenerConfig::ports_max).
    ///
    /// Nothing can be changed there. It has 16 sessions at a time, and others wait. A socket that
    /// nobody listens on is replaced; it is removed at the end.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody listens there; the kernel's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn manage(&mut self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        let (listener, path) = Management::listen(path.as_ref(), mode)?;
        let management = Management::new(self.shared.clone(), self.directory.path());
        self.tasks.push(crate::task::spawn("VDE management", management.serve(listener, path)));
        Ok(())
    }

    /// Ends all ports, and waits until nothing is left of them.
    pub async fn shutdown(mut self) {
        let _ = self.shared.stop.set(());
        self.directory.close();
        for task in std::mem::take(&mut self.tasks) {
            // A panic of the task has been reported.
            let _ = task.await;
        }
    }
}

impl Drop for VdeListener {
    fn drop(&mut self) {
        let _ = self.shared.stop.set(());
        self.directory.close();
    }
}

/// Accepts connections until the listener or the switch ends, and then waits for the end of all
/// ports.
async fn accept(shared: Arc<Shared>, directory: Arc<Directory>, listener: UnixListener) {
    let requests = Arc::new(Semaphore::new(shared.config.requests_max.max(1)));
    let mut clients = JoinSet::new();
    let next = async || {
        // Never closed.
        let permit = requests.clone().acquire_owned().await.ok();
        (listener.accept().await, permit)
    };
    loop {
        tokio::select! {
            () = shared.ended() => break,
            Some(_) = clients.join_next() => {}
            (accepted, permit) = next() => match accepted {
                Ok((stream, _)) => {
                    let (shared, directory) = (shared.clone(), directory.clone());
                    clients.spawn(async move { shared.serve(&directory, stream, permit).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "no VDE client was accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    directory.close();
    while clients.join_next().await.is_some() {}
}

impl Shared {
    /// Waits for the end of the listener or of the switch.
    async fn ended(&self) {
        tokio::select! {
            _ = self.stop.wait() => {}
            _ = self.hub.closed.wait() => {}
        }
    }
}
