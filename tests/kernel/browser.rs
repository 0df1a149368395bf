//! Chromium without a screen, driven by its own protocol over a pair of pipes.

use crate::daemon::Failure;
use crate::namespace::program;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A page in a browser.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    number: u64,
    session: Option<String>,
    _profile: TempDir,
}

/// As long as a busy machine may take for a step.
const PATIENCE: Duration = Duration::from_secs(60);

impl Browser {
    /// Opens a page in a window of this width, or says why the test cannot run.
    pub(crate) fn open(address: &str, width: u32) -> Result<Self, Failure> {
        Self::open_with(&[], address, width)
    }

    /// The same with flags of the browser.
    pub(crate) fn open_with(flags: &[&str], address: &str, width: u32) -> Result<Self, Failure> {
        let chromium = program("chromium")?;
        let profile = TempDir::new()?;
        // Its protocol has the descriptors 3 and 4, which are the standard ones of the shell.
        let mut shell = program("sh")?;
        shell.args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null", "sh"]);
        shell.arg(chromium.get_program()).args(["--headless=new", "--remote-debugging-pipe"]);
        // The namespace of the test has no room for another one, and needs none.
        shell.args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        shell.arg(format!("--user-data-dir={}", profile.path().display())).args(flags);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|n| n > 1) {
                message.pop();
                if let Ok(value) = serde_json::from_slice(&message) {
                    let _ = sender.send(value);
                }
                message.clear();
            }
        });
        let mut browser =
            Self { child, commands, answers, number: 0, session: None, _profile: profile };
        browser.attach(address, width)?;
        Ok(browser)
    }

    fn attach(&mut self, address: &str, width: u32) -> Result<(), Failure> {
        let target = self.ask("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask("Target.attachToTarget", &attached)?;
        self.session = session["sessionId"].as_str().map(str::to_owned);
        self.resize(width)?;
        self.ask("Page.navigate", &json!({"url": address}))?;
        // The answer comes before the page is read.
        self.wait_until("location.href !== 'about:blank' && document.readyState !== 'loading'")
    }

    /// Has the window be so wide.
    pub(crate) fn resize(&mut self, width: u32) -> Result<(), Failure> {
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.ask("Emulation.setDeviceMetricsOverride", &size).map(|_| ())
    }

    /// The value of an expression of JavaScript, or of its promise.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value, Failure> {
        let evaluated =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", &evaluated)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(format!("{expression}: {details}").into()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_until(&mut self, expression: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression)? != Value::Bool(true) {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText")?;
                return Err(format!("{expression} is not true: {text}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Sends a command, and returns its result.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.clone().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left);
            let mut answer = answer.map_err(|error| format!("chromium: {method}: {error}"))?;
            if answer["id"] == self.number {
                return match answer.get("error") {
                    Some(error) => Err(format!("chromium: {method}: {error}").into()),
                    None => Ok(answer["result"].take()),
                };
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The shell has become the browser; its other processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
