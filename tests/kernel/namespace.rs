//! A namespace for each test.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The outcome of a test: done, or the reason why not.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A test, and the function to run inside its namespace.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    name: &'static str,
    run: fn() -> Outcome,
    needs_interface: bool,
}

/// The test to run, for the process inside.
const INSIDE: &str = "NETSTACK_TEST_INSIDE";
/// Makes tests fail that cannot run.
const REQUIRE_ALL: &str = "NETSTACK_TEST_REQUIRE_ALL";
/// The start of the message of a test that cannot run.
const CANNOT_RUN: &str = "cannot run: ";
/// After this long a test inside is killed.
const PATIENCE: Duration = Duration::from_secs(600);

impl Test {
    pub(crate) const fn new(name: &'static str, run: fn() -> Outcome) -> Self {
        Self { name, run, needs_interface: true }
    }

    /// It makes no TUN or TAP.
    pub(crate) const fn without_interface(self) -> Self {
        Self { needs_interface: false, ..self }
    }

    /// Runs the test, inside.
    fn run(self) -> Outcome {
        if self.needs_interface {
            let mut options = OpenOptions::new();
            if let Err(error) = options.read(true).write(true).open("/dev/net/tun") {
                return skip(&format!("/dev/net/tun: {error}"));
            }
            enable_ipv6()?;
        }
        (self.run)()
    }

    /// Runs the test in a process and a namespace of its own.
    fn in_namespace(self) -> Result<Completion, Failed> {
        let program = env::current_exe()?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "--kill-child", "--pid", "--fork"]);
        unshare.arg(program).env(INSIDE, self.name);
        unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = match unshare.spawn() {
            Ok(child) => child,
            Err(error) => return cannot_run(&format!("unshare: {error}")),
        };
        let (succeeded, output) = wait(child)?;
        if succeeded {
            if Arguments::from_args().nocapture {
                eprint!("{output}");
            }
            return Ok(Completion::Completed);
        }
        if let Some(reason) = output.lines().find_map(|line| line.strip_prefix(CANNOT_RUN)) {
            return cannot_run(reason);
        }
        if output.starts_with("unshare: ") {
            return cannot_run(output.trim());
        }
        Err(output.into())
    }
}

/// Runs the tests, or inside a namespace one of them.
pub(crate) fn run(tests: &'static [Test]) -> ExitCode {
    if let Ok(name) = env::var(INSIDE) {
        let test = tests.iter().find(|test| test.name == name).expect("a test of this name");
        return match test.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let trial = |test: &'static Test| Trial::ignorable_test(test.name, || test.in_namespace());
    let mut arguments = Arguments::from_args();
    // Each is a process with threads of its own, and some measure time.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, tests.iter().map(trial).collect()).exit_code()
}

/// Enables IPv6 in this namespace, where the machine has it switched off.
fn enable_ipv6() -> Outcome {
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        match fs::read_to_string(&path) {
            Ok(value) if value.trim() == "0" => {}
            Ok(_) => {
                if let Err(error) = fs::write(&path, "0") {
                    return skip(&format!("IPv6 is disabled, and {path}: {error}"));
                }
            }
            Err(_) => return skip("the kernel has no IPv6"),
        }
    }
    Ok(())
}

/// The outcome, inside a namespace, of a test that cannot run here.
pub(crate) fn skip(reason: &str) -> Outcome {
    Err(format!("{CANNOT_RUN}{reason}").into())
}

fn cannot_run(reason: &str) -> Result<Completion, Failed> {
    if env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1") {
        return Err(format!("cannot run: {reason}").into());
    }
    Ok(Completion::ignored_with(reason))
}

/// Waits for a process and returns whether it succeeded, and all that it printed.
fn wait(mut child: Child) -> Result<(bool, String), Failed> {
    let mut readers = Vec::new();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for mut stream in streams.into_iter().flatten() {
        readers.push(std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }));
    }
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > PATIENCE => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut output: String =
        readers.into_iter().map(|reader| reader.join().unwrap_or_default()).collect();
    if status.is_none() {
        output.push_str("\nkilled: it took too long");
    }
    Ok((status.is_some_and(|status| status.success()), output))
}

/// A program that is installed, or why the test cannot run.
pub(crate) fn program(name: &str) -> Result<Command, Box<dyn std::error::Error + Send + Sync>> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths)
        // Servers are there, outside of most users' PATH.
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    let path = found.ok_or_else(|| skip(&format!("{name} is not installed")).unwrap_err())?;
    if let Some((_, question, answer, whose)) = MAKERS.iter().find(|(it, ..)| *it == name) {
        let said = Command::new(&path).arg(question).stdin(Stdio::null()).output()?;
        let said = [said.stdout, said.stderr].concat();
        if !String::from_utf8_lossy(&said).contains(answer) {
            return Err(skip(&format!("{name} is not from {whose}")).unwrap_err());
        }
    }
    Ok(Command::new(path))
}

/// Programs with several implementations: the argument, a part of the right one's output, and its
/// package.
const MAKERS: [(&str, &str, &str, &str); 2] = [
    ("nc", "-h", "Shutdown the network socket", "netcat-openbsd"),
    ("ping", "-V", "iputils", "iputils-ping"),
];

/// The `netstack` command of this workspace, built with the tests.
pub(crate) fn netstack() -> Result<Command, Box<dyn std::error::Error + Send + Sync>> {
    let path: PathBuf = env::current_exe()?
        .parent()
        .and_then(|folder| folder.parent())
        .map(|folder| folder.join("netstack"))
        .ok_or("the test program is in no folder")?;
    if !path.is_file() {
        return Err(skip("netstack is not built: run cargo test --workspace").unwrap_err());
    }
    Ok(Command::new(path))
}

/// A program of this workspace with its arguments: `netstack NAME …` is a tool, `NAME …` an example.
pub(crate) fn ours(line: &str) -> Result<Command, Box<dyn std::error::Error + Send + Sync>> {
    let mut words = line.split(' ');
    let mut command = match words.next().unwrap_or_default() {
        "netstack" => netstack()?,
        name => example(name)?,
    };
    command.args(words);
    Ok(command)
}

/// An example of this workspace, built with the tests.
pub(crate) fn example(name: &str) -> Result<Command, Box<dyn std::error::Error + Send + Sync>> {
    let path: PathBuf = env::current_exe()?
        .parent()
        .and_then(|folder| folder.parent())
        .map(|folder| folder.join("examples").join(name))
        .ok_or("the test program is in no folder")?;
    if !path.is_file() {
        let reason = format!("example {name} is not built: run cargo test --workspace");
        return Err(skip(&reason).unwrap_err());
    }
    Ok(Command::new(path))
}
