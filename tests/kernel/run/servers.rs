//! Programs that listen.

use super::{KERNEL, STACK, connect, get, on_stack, output, start, text};
use crate::namespace::{Outcome, program};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tests::{noise, sha256};

const LEN: usize = 20_000_000;

/// A folder with a large file.
fn folder() -> super::Result<TempDir> {
    let folder = TempDir::new()?;
    fs::write(folder.path().join("large"), noise(LEN))?;
    fs::write(folder.path().join("small"), b"a page")?;
    Ok(folder)
}

pub(crate) fn python() -> Outcome {
    let folder = folder()?;
    let mut server = on_stack("python3")?;
    server.args(["-m", "http.server", "8001"]).current_dir(&folder);
    let _server = start(&mut server)?;
    assert_eq!(sha256(&get(8001, "/large")?), sha256(&noise(LEN)));
    Ok(())
}

pub(crate) fn redis() -> Outcome {
    let folder = TempDir::new()?;
    let mut server = on_stack("redis-server")?;
    server.args(["--port", "6379", "--save", "", "--protected-mode", "no"]).current_dir(&folder);
    let _server = start(&mut server)?;
    let mut lines = BufReader::new(connect(6379)?);
    let mut say = |request: &str| -> super::Result<String> {
        lines.get_mut().write_all(request.as_bytes())?;
        let mut answer = String::new();
        lines.read_line(&mut answer)?;
        Ok(answer)
    };
    assert_eq!(say("SET key value\r\n")?, "+OK\r\n");
    assert_eq!(say("STRLEN key\r\n")?, ":5\r\n");
    Ok(())
}

/// nginx with two workers and the pages of a folder.
pub(super) fn nginx_at(folder: &TempDir, port: u16) -> super::Result<Command> {
    let path = folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {path}/{name}; "))
        .concat();
    let config = format!(
        "daemon off; worker_processes 2; pid {path}/pid; error_log {path}/errors notice; \
         user root; events {{}} http {{ access_log off; sendfile on; {temporary} \
         server {{ listen {port}; root {path}; }} }}"
    );
    fs::write(folder.path().join("config"), config)?;
    let mut server = on_stack("nginx")?;
    server.arg("-e").arg(folder.path().join("errors"));
    server.arg("-c").arg(folder.path().join("config"));
    Ok(server)
}

pub(crate) fn nginx() -> Outcome {
    let folder = folder()?;
    let _server = start(&mut nginx_at(&folder, 8003)?)?;
    assert_eq!(sha256(&get(8003, "/large")?), sha256(&noise(LEN)));
    for _ in 0..200 {
        assert_eq!(text(&get(8003, "/small")?), "a page");
    }
    Ok(())
}

pub(crate) fn iperf3() -> Outcome {
    let mut client = program("iperf3")?;
    let server = start(on_stack("iperf3")?.args(["-s", "-p", "5201", "--forceflush"]))?;
    for direction in [&[][..], &["-R"]] {
        // Between two tests it closes its listener.
        server.expect_output("Server listening")?;
        let arguments = ["-c", STACK, "-p", "5201", "-n", "4M"];
        let ended = client.args(arguments).args(direction).stdin(Stdio::null()).output()?;
        let shown = text(&ended.stdout) + &text(&ended.stderr);
        assert!(ended.status.success(), "{direction:?}: {shown}");
        client = program("iperf3")?;
    }
    // Its sockets for UDP are all on one port.
    for direction in [&[][..], &["-R"]] {
        server.expect_output("Server listening")?;
        let mut client = program("iperf3")?;
        client.args(["-c", STACK, "-p", "5201", "-u", "-b", "20M", "-n", "1M"]).args(direction);
        let ended = client.stdin(Stdio::null()).output()?;
        let shown = text(&ended.stdout) + &text(&ended.stderr);
        assert!(ended.status.success(), "{direction:?}: {shown}");
    }
    drop(server);

    let server = start(program("iperf3")?.args(["-s", "-p", "5202", "--forceflush"]))?;
    for direction in [&[][..], &["-R"]] {
        server.expect_output("Server listening")?;
        let mut client = on_stack("iperf3")?;
        client.args(["-c", KERNEL, "-p", "5202", "-u", "-b", "20M", "-n", "1M"]).args(direction);
        output(&mut client)?;
    }
    Ok(())
}
