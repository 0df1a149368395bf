//! `netstack run`, with common programs on the stack and the kernel as the other end.

pub(super) mod clients;
pub(super) mod diag;
pub(super) mod endings;
pub(super) mod escape;
pub(super) mod interfaces;
pub(super) mod join;
pub(super) mod limits;
pub(super) mod load;
pub(super) mod names;
pub(super) mod netlink;
pub(super) mod netns;
pub(super) mod owners;
pub(super) mod ping;
pub(super) mod remote;
pub(super) mod semantics;
pub(super) mod servers;
pub(super) mod wireguard;

use crate::daemon::{Daemon, Failure, PATIENCE};
use crate::namespace::{netstack, program};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Failure>;

/// The kernel's end of the link, and the stack's.
const KERNEL: &str = "10.9.0.1";
const STACK: &str = "10.9.0.2";

/// `netstack run`, without a program yet.
fn run() -> Result<Command> {
    let mut run = netstack()?;
    run.args(["run", "--report", "--tun", "tun0"]);
    run.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
    run.args(["--host-address", "fd00::1/64", "--address", "fd00::2/64"]);
    run.stdin(Stdio::null());
    Ok(run)
}

/// A program on the stack, with these flags of `run` before it.
fn on_stack_with<F: AsRef<OsStr>>(flags: &[F], name: &str) -> Result<Command> {
    let mut run = run()?;
    run.args(flags).arg("--").arg(program(name)?.get_program());
    Ok(run)
}

fn on_stack(name: &str) -> Result<Command> {
    on_stack_with::<&str>(&[], name)
}

/// Runs a command to its end, which must be a good one and leave no socket; returns its output.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output()?;
    if output.status.success() && text(&output.stderr).contains(" 0 sockets left") {
        return Ok(output.stdout);
    }
    Err(failure(command, &output))
}

fn failure(command: &Command, output: &Output) -> Failure {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    format!("{command:?}: {}\n{stdout}{stderr}", output.status).into()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The kernel's web server: every page is this one. Returns its port.
fn serve_page(page: Vec<u8>) -> Result<u16> {
    // On all addresses, so that it is there before the interface is.
    serve_page_on(TcpListener::bind("0.0.0.0:0")?, page)
}

fn serve_page_on(listener: TcpListener, page: Vec<u8>) -> Result<u16> {
    let port = listener.local_addr()?.port();
    let page = Arc::new(page);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let page = page.clone();
            // A client that has left is its own affair.
            std::thread::spawn(move || answer(stream, &page));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream, page: &[u8]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let len = page.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(page)
}

/// Connects from the kernel, once the server is there.
fn connect(port: u16) -> Result<TcpStream> {
    connect_to(format!("{STACK}:{port}").parse()?)
}

fn connect_to(address: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Gets a page from a server on the stack.
fn get(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {STACK}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").ok_or("no header")? + 4;
    Ok(answer.split_off(end))
}

/// Starts a server on the stack.
fn start(command: &mut Command) -> Result<Daemon> {
    Daemon::start(command)
}
