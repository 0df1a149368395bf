//! Whose the sockets are, as those who look from outside see it.

use super::{Result, on_stack_with, start, text};
use crate::daemon::PATIENCE;
use crate::namespace::{Outcome, netstack, program};
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// A socket is that of the program which made it, and not of the supervisor.
pub(crate) fn programs() -> Outcome {
    let folder = TempDir::new()?;
    let control = folder.path().join("run");
    let flags = ["--control".as_ref(), control.as_os_str()];
    let mut run = on_stack_with(&flags, "nc")?;
    run.args(["-l", "-p", "7000"]);
    // The namespace of the test has the /proc of the machine, with other processes.
    let mut inside = program("unshare")?;
    let script = "mount -t proc proc /proc && exec \"$@\"";
    inside.args(["--mount", "sh", "-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    let _nc = start(&mut inside)?;

    let line = listener(&control)?;

    assert!(line.contains("users:((\"nc\",pid=") && line.contains(",stack="), "{line}");
    Ok(())
}

/// The line of the listener on port 7000.
fn listener(control: &Path) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut ss = netstack()?;
        ss.args(["ss", "-tlpH", "--control"]).arg(control).args(["sport", "=", ":7000"]);
        let output = ss.output()?;
        let shown = text(&output.stdout);
        if let Some(line) = shown.lines().next() {
            return Ok(line.to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("nobody listens: {}", text(&output.stderr)).into());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
