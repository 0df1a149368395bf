//! Programs that run beside a test.

use crate::namespace::program;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A program that runs until the test is done with it, and its output.
pub(crate) struct Daemon {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Where its files are.
    pub(crate) folder: Option<TempDir>,
    /// How long it may take to say or to do something.
    pub(crate) patience: Duration,
}

/// As long as any of the programs may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // Keeps reading, so that the pipe does not fill up.
                    let _ = sender.send(line);
                }
            });
        }
        let input = child.stdin.take();
        Ok(Self { child, input, lines, folder: None, patience: PATIENCE })
    }

    /// Waits for a line with this in it.
    pub(crate) fn expect_output(&self, text: &str) -> Result<String, Failure> {
        self.wait_for_line(text, |line| line.contains(text))
    }

    /// Waits for a line that is this.
    pub(crate) fn expect_line(&self, text: &str) -> Result<String, Failure> {
        self.wait_for_line(text, |line| line == text)
    }

    /// Waits for a line of which this is true, and that `what` names.
    pub(crate) fn wait_for_line(
        &self,
        what: &str,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<String, Failure> {
        let deadline = Instant::now() + self.patience;
        let mut other = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if is_it(&line) => return Ok(line),
                Ok(line) => other = other + &line + "\n",
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(format!("no line {what:?} in\n{other}").into());
                }
            }
        }
    }

    /// Waits until it has ended.
    pub(crate) fn status(&mut self) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => return Err("it does not end".into()),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) -> Result<(), Failure> {
        let pid = self.child.id().to_string();
        let status = program("kill")?.args(["-s", name, &pid]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill: {status}").into()) }
    }

    /// Writes a line to its standard input.
    pub(crate) fn write_line(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("no input")?;
        Ok(input.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Ends its standard input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.folder.take();
    }
}

/// A dnsmasq that reads no files of the machine's. It answers on all addresses, unless the flags name
/// an interface.
pub(crate) fn dnsmasq(flags: &[&str]) -> Result<Daemon, Failure> {
    let mut dnsmasq = program("dnsmasq")?;
    // In the foreground, and without changing to a user that the namespace does not have.
    dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--pid-file="]);
    dnsmasq.args(["--no-resolv", "--no-hosts"]);
    let daemon = Daemon::start(dnsmasq.args(flags))?;
    // Its sockets are there by then.
    daemon.expect_output("started, ")?;
    Ok(daemon)
}

/// A dnsmasq on `tap0` that has leased nothing yet.
pub(crate) fn dhcp_server(flags: &[&str]) -> Result<Daemon, Failure> {
    let folder = TempDir::new()?;
    let leases = format!("--dhcp-leasefile={}", folder.path().join("leases").display());
    let own = ["--interface=tap0", "--except-interface=lo", "--bind-interfaces"];
    let leasing = ["--log-dhcp", "--no-ping", "--dhcp-authoritative", &leases];
    let mut daemon = dnsmasq(&[&own[..], &leasing, flags].concat())?;
    daemon.folder = Some(folder);
    daemon.expect_output("sockets bound exclusively to interface tap0")?;
    Ok(daemon)
}

/// Waits until the kernel's duplicate address detection on `tap0` is done: before that it sends
/// nothing from its addresses.
pub(crate) fn settled() -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = program("ip")?.args(["-6", "address", "show", "dev", "tap0"]).output()?;
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        if text.contains("fe80::") && !text.contains("tentative") {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
