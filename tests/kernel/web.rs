//! `netstack http-server`, with the clients that people have for such servers.

use crate::daemon::Daemon;
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::wire::NETWORK;
use std::fs;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tests::{noise, sha256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A tool on a TUN, which serves when it has printed this.
pub(crate) fn start(arguments: &[&str], serves: &str) -> Result<Daemon> {
    let daemon = Daemon::start(netstack()?.args(arguments).args(NETWORK))?;
    daemon.expect_output(serves)?;
    Ok(daemon)
}

pub(crate) fn curl(arguments: &[&str]) -> Result<Command> {
    let mut curl = program("curl")?;
    curl.args(["-sS", "--max-time", "60"]).args(arguments);
    Ok(curl)
}

/// The status of a request.
pub(crate) fn status(arguments: &[&str]) -> Result<String> {
    output(curl(&["-o", "/dev/null", "-w", "%{http_code}"])?.args(arguments))
}

/// A folder with a large file, one below it, and one with a name that needs care.
fn site() -> Result<(TempDir, Vec<u8>)> {
    let (folder, large) = (TempDir::new()?, noise(3_000_000));
    fs::write(folder.path().join("large"), &large)?;
    fs::create_dir(folder.path().join("below"))?;
    fs::write(folder.path().join("below/a & <b>.txt"), "odd\n")?;
    std::os::unix::fs::symlink("/etc", folder.path().join("outside"))?;
    Ok((folder, large))
}

fn path(folder: &TempDir) -> Result<&str> {
    Ok(folder.path().to_str().ok_or("a path that is no text")?)
}

pub(crate) fn files() -> Outcome {
    program("curl")?;
    let (folder, large) = site()?;
    fs::write(folder.path().join("empty"), "")?;
    fs::create_dir(folder.path().join("piped"))?;
    for pipe in ["pipe", "piped/index.html"] {
        output(program("mkfifo")?.arg(folder.path().join(pipe)))?;
    }
    let _server = start(&["http-server", path(&folder)?], "on http [::]:80")?;
    for host in ["10.9.0.2", "[fd00::2]"] {
        let url = format!("http://{host}/large");
        assert_eq!(sha256(&curl(&[&url])?.output()?.stdout), sha256(&large));
        let part = curl(&["--range", "1000000-1999999", &url])?.output()?.stdout;
        assert_eq!(sha256(&part), sha256(&large[1_000_000..2_000_000]));
        assert_eq!(status(&["--range", "9000000-", &url])?, "416");

        let listing = output(&mut curl(&[&format!("http://{host}/")])?)?;
        assert!(listing.contains("<a href=\"./below/\">below/</a>"), "{listing}");
        assert!(listing.contains("<a href=\"./large\">large</a>  3000000"), "{listing}");
        assert!(!listing.contains("outside") && !listing.contains("pipe\""), "{listing}");
    }
    for (target, expected) in [
        ("http://10.9.0.2/none", "404"),
        ("http://10.9.0.2/%2e%2e/etc/passwd", "404"),
        ("http://10.9.0.2/below/..%2f..%2fetc/", "404"),
        ("http://10.9.0.2/below/../../etc/passwd", "404"),
        ("http://10.9.0.2/outside/", "404"),
        ("http://10.9.0.2/outside/hostname", "404"),
        ("http://10.9.0.2/below", "307"),
        ("http://10.9.0.2/large/", "404"),
        // Opening it would wait for a writer.
        ("http://10.9.0.2/pipe", "404"),
        ("http://10.9.0.2/piped/", "404"),
    ] {
        assert_eq!(status(&["--path-as-is", target])?, expected, "{target}");
    }
    assert_eq!(status(&["--range", "0-0", "http://10.9.0.2/empty"])?, "200");
    assert_eq!(status(&["-T", "/dev/null", "http://10.9.0.2/new"])?, "405");
    Ok(())
}

pub(crate) fn mirrored() -> Outcome {
    program("wget")?;
    let (folder, large) = site()?;
    let _server = start(&["http-server", path(&folder)?], "on http")?;
    let copy = TempDir::new()?;
    // The first part of the large file is there already.
    fs::create_dir(copy.path().join("10.9.0.2"))?;
    fs::write(copy.path().join("10.9.0.2/large"), &large[..1_000_000])?;

    let mut wget = program("wget")?;
    wget.args([
        "--quiet",
        "-e",
        "robots=off",
        "--recursive",
        "--no-parent",
        "--continue",
        "http://10.9.0.2/",
    ]);
    output(wget.current_dir(copy.path()))?;

    assert_eq!(sha256(&fs::read(copy.path().join("10.9.0.2/large"))?), sha256(&large));
    let odd = fs::read_to_string(copy.path().join("10.9.0.2/below/a & <b>.txt"))?;
    assert_eq!(odd, "odd\n");
    Ok(())
}

pub(crate) fn uploads() -> Outcome {
    program("curl")?;
    let (folder, large) = site()?;
    let files = TempDir::new()?;
    let arguments = ["http-server", path(&files)?, "--upload", "--upload-max", "3000000"];
    let _server = start(&arguments, "on http")?;
    let file = folder.path().join("large");
    let file = file.to_str().ok_or("a path that is no text")?;

    let answer = output(&mut curl(&["-T", file, "http://10.9.0.2/new"])?)?;

    assert_eq!(answer, format!("3000000 {}\n", sha256(&large)));
    assert_eq!(sha256(&fs::read(files.path().join("new"))?), sha256(&large));
    let digest = "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    fs::write(folder.path().join("larger"), [large, vec![0]].concat())?;
    let larger = folder.path().join("larger");
    let larger = larger.to_str().ok_or("a path that is no text")?;
    for (arguments, expected) in [
        (&["-T", file, "http://10.9.0.2/new"][..], "200"),
        (&["-T", file, "-H", digest, "http://10.9.0.2/wrong"], "400"),
        (&["-T", file, "http://10.9.0.2/none/new"], "404"),
        (&["-T", larger, "http://10.9.0.2/larger"], "413"),
        (&["--path-as-is", "-T", file, "http://10.9.0.2/%2e%2e/new"], "404"),
    ] {
        assert_eq!(status(arguments)?, expected, "{arguments:?}");
    }
    // What was refused left nothing.
    assert_eq!(fs::read_dir(files.path())?.count(), 1);
    Ok(())
}

pub(crate) fn https() -> Outcome {
    program("curl")?;
    program("openssl")?;
    let (folder, large) = site()?;
    let files = TempDir::new()?;
    let [made, cert, key] = ["made.pem", "cert.pem", "key.pem"].map(|name| files.path().join(name));
    let [made, cert, key] = [&made, &cert, &key].map(|path| path.to_str().unwrap_or_default());
    let arguments = ["http-server", path(&folder)?, "--tls", "--save-cert", made];
    let server = start(&arguments, "on https [::]:443")?;
    for host in ["10.9.0.2", "[fd00::2]"] {
        let url = format!("https://{host}/large");
        assert_eq!(sha256(&curl(&["--cacert", made, &url])?.output()?.stdout), sha256(&large));
        assert_eq!(curl(&[&url])?.output()?.status.code(), Some(60), "it is not trusted otherwise");
    }
    drop(server);

    let mut openssl = program("openssl")?;
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args(["-subj", "/CN=web.test", "-addext", "subjectAltName=DNS:web.test"]);
    output(openssl.args(["-keyout", key, "-out", cert]).stderr(Stdio::null()))?;
    let arguments = ["http-server", path(&folder)?, "--cert", cert, "--key", key, "--port", "8443"];
    let _server = start(&arguments, "on https [::]:8443")?;
    let resolve = ["--cacert", cert, "--resolve", "web.test:8443:10.9.0.2"];
    let odd = output(curl(&resolve)?.arg("https://web.test:8443/below/a%20%26%20%3Cb%3E.txt"))?;
    assert_eq!(odd, "odd\n");
    Ok(())
}
