//! Servers on the stack under load.

use super::clients::go;
use super::servers::nginx_at;
use super::{KERNEL, STACK, connect, get, on_stack, output, run, start, text};
use crate::namespace::{Outcome, program};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Requests to the page of a server, of which none may fail.
fn ab(port: u16, requests: u32, flags: &[&str]) -> Outcome {
    connect(port)?;
    let mut ab = program("ab")?;
    ab.args(["-q", "-n", &requests.to_string(), "-c", "16", "-s", "60"]).args(flags);
    let done = ab.arg(format!("http://{STACK}:{port}/")).stdin(Stdio::null()).output()?;
    let shown = text(&done.stdout) + &text(&done.stderr);
    let count = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u32>().ok()
    };
    assert_eq!(count("Complete requests:"), Some(requests), "{shown}");
    assert_eq!(count("Failed requests:"), Some(0), "{shown}");
    assert!(done.status.success(), "{shown}");
    Ok(())
}

/// Go's runtime preempts its threads by signals, which interrupt the calls that wait.
pub(crate) fn go_server() -> Outcome {
    program("ab")?;
    let folder = TempDir::new()?;
    let mut server = run()?;
    server.env("GODEBUG", "asyncpreemptoff=0").arg("--").arg(go(&folder)?);
    let _server = start(server.args(["serve", ":8002"]))?;
    ab(8002, 20_000, &["-k"])?;
    ab(8002, 2_000, &[])
}

/// A page, or why the server did not send it whole.
fn fetch(port: u16) -> super::Result<()> {
    let mut stream = TcpStream::connect((STACK, port))?;
    stream.set_read_timeout(Some(crate::daemon::PATIENCE))?;
    write!(stream, "GET /small HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.ends_with("\r\n\r\na page") {
        true => Ok(()),
        false => Err(format!("answered {answer:?}").into()),
    }
}

/// New workers have the listener of the old ones, which end their connections first.
pub(crate) fn nginx_reload() -> Outcome {
    const RELOADS: usize = 5;
    let folder = TempDir::new()?;
    fs::write(folder.path().join("small"), b"a page")?;
    let server = start(&mut nginx_at(&folder, 8003)?)?;
    // It listens before it handles signals, and serves after that.
    assert_eq!(text(&get(8003, "/small")?), "a page");
    let (reloaded, pages) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| -> Outcome {
        let load = || -> super::Result<()> {
            while !reloaded.load(Ordering::Relaxed) {
                fetch(8003)?;
                pages.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        let reloads = (1..=RELOADS).try_for_each(|n| {
            server.signal("HUP")?;
            let before = pages.load(Ordering::Relaxed);
            let log = || fs::read_to_string(folder.path().join("errors")).unwrap_or_default();
            wait_until(&|| format!("reload {n} in\n{}", log()), || {
                let log = log();
                // The old workers have ended, and some pages are from the new ones.
                log.matches("exited with code 0").count() >= 2 * n
                    && pages.load(Ordering::Relaxed) >= before + 100
            })
        });
        reloaded.store(true, Ordering::Relaxed);
        let clients = clients.into_iter().map(|it| it.join().expect("a client does not panic"));
        let failed: Vec<_> = clients.filter_map(Result::err).collect();
        match failed.is_empty() {
            true => reloads,
            false => Err(format!("{failed:?}, {reloads:?}").into()),
        }
    })
}

fn wait_until(what: &dyn Fn() -> String, mut it_is: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + crate::daemon::PATIENCE;
    while !it_is() {
        if Instant::now() > deadline {
            return Err(format!("no {}", what()).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The benchmark on either side of the link.
pub(crate) fn redis_benchmark() -> Outcome {
    let arguments = |host, port, requests| {
        ["-h", host, "-p", port, "-c", "50", "-n", requests, "-t", "get,set", "-q"]
    };
    program("redis-benchmark")?;
    let folder = TempDir::new()?;
    let redis = |port| ["--port", port, "--save", "", "--protected-mode", "no"];
    let mut server = on_stack("redis-server")?;
    let server = start(server.args(redis("6379")).current_dir(&folder))?;
    connect(6379)?;
    let mut client = program("redis-benchmark")?;
    let done = client.args(arguments(STACK, "6379", "10000")).stdin(Stdio::null()).output()?;
    finished(&text(&done.stdout))?;
    drop(server);

    let mut server = program("redis-server")?;
    let server = start(server.args(redis("6380")).current_dir(&folder))?;
    server.expect_output("Ready to accept connections")?;
    let mut client = on_stack("redis-benchmark")?;
    finished(&text(&output(client.args(arguments(KERNEL, "6380", "5000")))?))
}

/// Both parts of the benchmark have a result.
fn finished(shown: &str) -> Outcome {
    match shown.matches(" requests per second").count() {
        2 => Ok(()),
        _ => Err(shown.into()),
    }
}

/// A server in JavaScript, whose descriptors are all non-blocking.
const NODE: &str = "require('http').createServer((q, r) => r.end('a page')).listen(8004)";

pub(crate) fn node_server() -> Outcome {
    program("ab")?;
    let _server = start(on_stack("node")?.args(["-e", NODE]))?;
    assert_eq!(text(&get(8004, "/")?), "a page");
    ab(8004, 2_000, &["-k"])?;
    ab(8004, 500, &[])
}
