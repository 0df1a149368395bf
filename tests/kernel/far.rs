//! Another machine: a network namespace beside that of the test, joined to it by a veth.

use crate::daemon::Failure;
use crate::namespace::program;
use crate::programs::output;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// A shell in the other namespace. The interface is called v0 on both sides.
pub(crate) struct Far {
    shell: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

/// The addresses of both sides of the veth, which have no duplicates.
pub(crate) const NEAR: [&str; 2] = ["192.168.78.1", "fd78::1"];
pub(crate) const FAR: [&str; 2] = ["192.168.78.2", "fd78::2"];
const PREFIXES: [&str; 2] = ["24", "64"];
/// Where the machine has IPv6 switched off.
const ENABLE_IPV6: &str =
    "for scope in all default; do echo 0 >/proc/sys/net/ipv6/conf/$scope/disable_ipv6; done";

impl Far {
    /// Makes the namespace and the veth, with addresses on both sides and a route to all groups.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut unshare = program("unshare")?;
        unshare.args(["--net", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = unshare.spawn()?;
        let input = shell.stdin.take().ok_or("no input")?;
        let lines = BufReader::new(shell.stdout.take().ok_or("no output")?);
        let mut far = Self { shell, input, lines };
        far.run(&format!("exec 2>&1; {ENABLE_IPV6}"))?;

        let pid = far.shell.id().to_string();
        let pair = ["link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns"];
        output(program("ip")?.args(pair).arg(pid))?;
        for command in set_up(NEAR) {
            output(program("ip")?.args(command.split(' ')))?;
        }
        let commands: Vec<_> = set_up(FAR).map(|command| format!("ip {command}")).collect();
        far.run(&commands.join(" && "))?;
        Ok(far)
    }

    /// Runs a script to its end, and returns its output.
    pub(crate) fn run(&mut self, script: &str) -> Result<String, Failure> {
        writeln!(self.input, "{script}\necho ended $?")?;
        let mut text = String::new();
        loop {
            let start = text.len();
            if self.lines.read_line(&mut text)? == 0 {
                return Err(format!("{script}: the shell has ended\n{text}").into());
            }
            match text[start..].trim_end().strip_prefix("ended ") {
                Some("0") => {
                    text.truncate(start);
                    return Ok(text);
                }
                Some(status) => return Err(format!("{script}: status {status}\n{text}").into()),
                None => {}
            }
        }
    }

    /// A script that runs another in the namespace of `vdens`, which has an interface vde0.
    pub(crate) fn vdens(url: &str, script: &str) -> String {
        format!("vdens '{url}' sh -ec '{ENABLE_IPV6}; {script}' </dev/null")
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The arguments of ip.
fn set_up(addresses: [&str; 2]) -> impl Iterator<Item = String> {
    let addresses = addresses.into_iter().zip(PREFIXES);
    let addresses = addresses.map(|(it, len)| format!("address add {it}/{len} dev v0 nodad"));
    let up = ["lo", "v0"].map(|name| format!("link set {name} up"));
    let routes = ["route add 224.0.0.0/4 dev v0".to_owned()];
    addresses.chain(up).chain(routes)
}
