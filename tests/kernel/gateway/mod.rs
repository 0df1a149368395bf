//! `netstack gateway`, with a network namespace as its guest.

pub(super) mod carrying;
pub(super) mod configuring;
pub(super) mod tunnel;

use crate::daemon::{Daemon, Failure, PATIENCE};
use crate::namespace::{netstack, program};
use crate::programs::output;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Failure>;

/// The machine's addresses, which are none of loopback's, and one that no route leads to.
const MACHINE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const NOWHERE: &str = "198.51.100.1";
/// The guest's addresses with `--configure`, and the gateway's.
const GUEST: [&str; 2] = ["10.0.2.15", "fd00::f"];
const GATEWAY: [&str; 2] = ["10.0.2.2", "fd00::2"];
const NAME_SERVER: &str = "10.0.2.3";

/// A network namespace, for as long as a process in it lives.
struct Guest {
    _process: Daemon,
    /// Of the process, as /proc has it: that is the one of the first process namespace.
    pid: String,
}

impl Guest {
    fn new() -> Result<Self> {
        let mut unshare = program("unshare")?;
        let script = "read pid rest < /proc/self/stat; echo process $pid; exec sleep 1000";
        let process = Daemon::start(unshare.args(["--net", "sh", "-c", script]))?;
        let line = process.expect_output("process ")?;
        let pid = line.trim_start_matches("process ").to_owned();
        Ok(Self { _process: process, pid })
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid)
    }

    /// A program in it.
    fn program(&self, name: &str) -> Result<Command> {
        let mut command = program("nsenter")?;
        command.arg(format!("--net={}", self.path())).arg(program(name)?.get_program());
        Ok(command)
    }

    /// Runs a function on a thread that is in it.
    fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(self.path())?;
        let done = thread::scope(|scope| {
            scope
                .spawn(move || {
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                    work()
                })
                .join()
        });
        done.map_err(|_| "a panic in the namespace")?
    }
}

/// Gives this machine its addresses.
fn prepare() -> Result<()> {
    let ip = |arguments: &[&str]| output(program("ip")?.args(arguments));
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", "192.0.2.1/32", "dev", "lo"])?;
    ip(&["address", "add", "2001:db8::1/128", "dev", "lo", "nodad"])?;
    Ok(())
}

/// A gateway for a guest, with these flags.
fn gateway<F: AsRef<OsStr>>(guest: &Guest, flags: &[F]) -> Result<Daemon> {
    let mut gateway = netstack()?;
    gateway.args(["gateway", "--link", "tap://tap0", "--netns", &guest.pid]).args(flags);
    let gateway = Daemon::start(&mut gateway)?;
    gateway.expect_output("netstack gateway: ")?;
    Ok(gateway)
}

/// A gateway that has configured its guest.
fn configured(flags: &[&str]) -> Result<(Guest, Daemon)> {
    prepare()?;
    let guest = Guest::new()?;
    let gateway = gateway(&guest, &[&["--configure"], flags].concat())?;
    // Before that nothing leaves from the guest's IPv6 address.
    guest.until("ip", &["-6", "address", "show", "dev", "tap0"], |text| {
        text.contains("fd00::f") && !text.contains("tentative")
    })?;
    Ok((guest, gateway))
}

impl Guest {
    /// Waits until a program in the namespace prints what it should.
    fn until(
        &self,
        name: &str,
        arguments: &[&str],
        is_there: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = output(self.program(name)?.args(arguments))?;
            if is_there(&text) {
                return Ok(text);
            }
            if Instant::now() > deadline {
                return Err(format!("{name} {arguments:?}: {text}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
