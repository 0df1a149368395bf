//! `netstack run --netns`: the program in a network namespace of its own, with the kernel's sockets,
//! and everything that it sends relayed over the stack.
#![expect(
    unsafe_code,
    reason = "std's unsafe interface between fork and exec, and rustix's to unshare"
)]

mod relay;

pub(super) use relay::Relay;

use crate::resolv_conf::servers_of_host;
use crate::route;
use anyhow::{Context, Result};
use netstack::device::{InterfaceConfig, Tun};
use nix::sys::signal::SigSet;
use rustix::process::Pid;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::ffi::OsString;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::{io, thread};
use tokio::sync::oneshot;

/// The addresses of the program, and those of the stack in front of it.
const OUTER: [&str; 2] = ["10.200.0.2/24", "fd20:0:0:200::2/64"];
const INNER: [&str; 2] = ["10.200.0.1/24", "fd20:0:0:200::1/64"];
/// The largest packet: the program and the relay are on one machine.
const MTU: usize = 65_520;

/// A network namespace, and the thread in it that will start the program.
#[derive(Debug)]
pub(super) struct Namespace {
    start: mpsc::Sender<Start>,
}

type Start = (Vec<OsString>, SigSet, oneshot::Sender<io::Result<Pid>>);

/// What the supervisor has in the namespace.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) tun: Tun,
    /// At port 53 of the loopback addresses that resolv.conf names.
    pub(super) name_sockets: Vec<UdpSocket>,
}

impl Namespace {
    /// Makes one whose default routes lead to the returned TUN.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without CAP_SYS_ADMIN: root of a user namespace has it.
    pub(super) async fn make() -> Result<(Self, Inside)> {
        let (made, making) = oneshot::channel();
        let (start, starting) = mpsc::channel::<Start>();
        // The namespace of a thread is that of its children.
        thread::Builder::new().name("namespace".into()).spawn(move || {
            let inside = enter();
            let is_made = inside.is_ok();
            if made.send(inside).is_err() || !is_made {
                return;
            }
            if let Ok((command, signals, started)) = starting.recv() {
                let _ = started.send(spawn(&command, signals));
            }
        })?;
        let inside = making.await.context("the thread of the namespace")??;
        Ok((Self { start }, inside))
    }

    /// Starts the program in it.
    ///
    /// # Errors
    ///
    /// Those of exec.
    pub(super) async fn start(self, command: &[OsString], signals: SigSet) -> io::Result<Pid> {
        let (started, starting) = oneshot::channel();
        let _ = self.start.send((command.to_vec(), signals, started));
        starting.await.map_err(io::Error::other)?
    }
}

/// Makes a namespace for this thread.
fn enter() -> Result<Inside> {
    // SAFETY: only the network namespace of this thread changes, on which no memory depends.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context(
        "a network namespace: needs CAP_SYS_ADMIN, as under unshare --user --map-root-user",
    )?;
    let host_addresses = INNER.map(|it| it.parse().expect("an address")).to_vec();
    let config =
        InterfaceConfig { name: "tun0".into(), mtu: MTU, host_addresses, ..Default::default() };
    let tun = Tun::open(&config).context("the TUN of the namespace")?;
    route::set_up("lo").context("the loopback interface of the namespace")?;
    route::add_default_routes("tun0").context("the routes of the namespace")?;
    let loopback = servers_of_host().into_iter().filter(std::net::IpAddr::is_loopback);
    // Where one cannot be bound, as without IPv6, nobody asks there.
    let name_sockets = loopback.filter_map(|ip| UdpSocket::bind((ip, 53)).ok()).collect();
    Ok(Inside { tun, name_sockets })
}

fn spawn(command: &[OsString], signals: SigSet) -> io::Result<Pid> {
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]);
    // SAFETY: between fork and exec it makes one system call, and neither allocates nor locks.
    unsafe { child.pre_exec(move || Ok(signals.thread_set_mask()?)) };
    let child = child.spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::Other.into())
}

/// A stack that takes what the program sends to anywhere.
pub(super) fn front(tun: Tun) -> io::Result<netstack::Stack> {
    let builder = netstack::Builder::new().any_ip(true);
    let addresses = OUTER.map(|it| it.parse().expect("an address"));
    addresses.into_iter().fold(builder, netstack::Builder::address).spawn(tun)
}
