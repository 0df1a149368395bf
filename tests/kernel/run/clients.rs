//! Programs that connect.

use super::{KERNEL, on_stack, output, run, serve_page, text};
use crate::namespace::{Outcome, program, skip};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tests::{noise, sha256};

const LEN: usize = 20_000_000;

pub(crate) fn curl() -> Outcome {
    let port = serve_page(noise(LEN))?;
    let url = format!("http://{KERNEL}:{port}/");
    let page = output(on_stack("curl")?.args(["-sS", "--max-time", "60", &url]))?;
    assert_eq!(sha256(&page), sha256(&noise(LEN)));

    let closed = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    let url = format!("http://{KERNEL}:{closed}/");
    let refused = on_stack("curl")?.args(["-s", "--max-time", "60", &url]).output()?;
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
    Ok(())
}

pub(crate) fn netcat() -> Outcome {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = String::new();
        // The end of the stream, and not of the connection.
        stream.read_to_string(&mut request)?;
        stream.write_all(b"answer to ")?;
        stream.write_all(request.as_bytes())
    });
    let mut nc = on_stack("nc")?;
    nc.args(["-N", KERNEL, &port]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut nc = nc.stderr(Stdio::piped()).spawn()?;
    nc.stdin.take().ok_or("no input")?.write_all(b"a question\n")?;
    let output = nc.wait_with_output()?;
    server.join().map_err(|_| "the server panicked")??;
    assert_eq!(text(&output.stdout), "answer to a question\n", "{}", text(&output.stderr));
    Ok(())
}

pub(crate) fn scripts() -> Outcome {
    let port = serve_page(b"a page".to_vec())?;
    let url = format!("http://{KERNEL}:{port}/");
    let python = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())";
    let page = output(on_stack("python3")?.args(["-c", python, &url]))?;
    assert_eq!(text(&page), "a page\n");

    let both = format!("curl -sS {url}; curl -sS {url}");
    program("curl")?;
    let pages = output(on_stack("sh")?.args(["-c", &both]))?;
    assert_eq!(text(&pages), "a pagea page");
    Ok(())
}

pub(crate) fn node() -> Outcome {
    let port = serve_page(b"a page".to_vec())?;
    let url = format!("http://{KERNEL}:{port}/");
    let script =
        "require('http').get(process.argv[1], r => r.on('data', d => process.stdout.write(d)))";
    let page = output(on_stack("node")?.args(["-e", script, &url]))?;
    assert_eq!(text(&page), "a page");
    Ok(())
}

pub(crate) fn busybox() -> Outcome {
    let port = serve_page(noise(LEN))?;
    let url = format!("http://{KERNEL}:{port}/");
    let page = output(on_stack("busybox")?.args(["wget", "-q", "-O", "-", &url]))?;
    assert_eq!(sha256(&page), sha256(&noise(LEN)));
    Ok(())
}

/// A static program without a C library, with threads and signals of its own.
const GO: &str = r#"package main

import ("fmt"; "io"; "net/http"; "os")

func main() {
	if os.Args[1] == "serve" {
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "a page") })
		fmt.Println(http.ListenAndServe(os.Args[2], nil))
		return
	}
	r, err := http.Get(os.Args[2])
	if err != nil { fmt.Println("error:", err); os.Exit(1) }
	b, _ := io.ReadAll(r.Body)
	fmt.Println(r.Status, len(b))
}
"#;

/// Builds the Go program.
pub(super) fn go(folder: &TempDir) -> super::Result<PathBuf> {
    let source = folder.path().join("main.go");
    let built = folder.path().join("program");
    fs::write(&source, GO)?;
    let mut go = program("go")?;
    go.env("CGO_ENABLED", "0").env("GOCACHE", folder.path().join("cache"));
    go.env("GO111MODULE", "off").current_dir(folder.path());
    let output = go.arg("build").arg("-o").arg(&built).arg(&source).output()?;
    if !output.status.success() {
        return Err(skip(&format!("go build: {}", text(&output.stderr))).unwrap_err());
    }
    Ok(built)
}

pub(crate) fn go_client() -> Outcome {
    let folder = TempDir::new()?;
    let program = go(&folder)?;
    let port = serve_page(noise(LEN))?;
    let url = format!("http://{KERNEL}:{port}/");
    let shown = output(run()?.arg("--").arg(program).args(["get", &url]))?;
    assert_eq!(text(&shown), format!("200 OK {LEN}\n"));
    Ok(())
}
