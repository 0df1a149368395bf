//! Programs that fetch from elsewhere: ssh, git, and curl with many transfers.

use super::{KERNEL, failure, on_stack, output, serve_page, text};
use crate::daemon::Daemon;
use crate::namespace::{Outcome, program};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use tempfile::TempDir;
use tests::{noise, sha256};

const LEN: usize = 3_000_000;

/// Runs a command that must succeed.
fn done(command: &mut Command) -> super::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() { Ok(()) } else { Err(failure(command, &output)) }
}

/// The server of Debian, with keys of its own and a user of its own: as root it would change to a
/// user that this namespace does not have.
fn sshd(folder: &Path, port: &str) -> super::Result<Daemon> {
    let path = |name: &str| folder.join(name).display().to_string();
    for key in ["host", "client"] {
        done(program("ssh-keygen")?.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]))?;
    }
    fs::copy(path("client.pub"), path("authorized"))?;
    fs::write(path("passwd"), format!("tester:x:1000:1000::{}:/bin/sh\n", folder.display()))?;
    let config = format!(
        "Port {port}\nListenAddress 0.0.0.0\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\n",
        path("host"),
        path("authorized")
    );
    fs::write(path("config"), config)?;
    let mut sshd = program("unshare")?;
    let script = "mount --bind \"$0\" /etc/passwd && \
                  exec unshare --user --map-user=1000 --map-group=1000 \"$@\"";
    sshd.args(["--mount", "sh", "-c", script, &path("passwd")]);
    sshd.arg(program("sshd")?.get_program()).args(["-D", "-e", "-f", &path("config")]);
    let daemon = Daemon::start(&mut sshd)?;
    daemon.expect_output("Server listening on")?;
    Ok(daemon)
}

pub(crate) fn ssh() -> Outcome {
    let folder = TempDir::new()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    program("ssh")?;
    let server = sshd(folder.path(), "2222")?;
    let mut ssh = on_stack("ssh")?;
    ssh.args(["-F", "none", "-p", "2222", "-i", &path("client"), "-o", "BatchMode=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"]);
    ssh.args(["-o", &format!("UserKnownHostsFile={}", path("known"))]);
    ssh.arg(format!("tester@{KERNEL}")).arg("cat; exit 7");
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = ssh.spawn()?;
    let mut input = running.stdin.take().ok_or("no input")?;
    let writing = thread::spawn(move || input.write_all(&noise(LEN)));
    let ended = running.wait_with_output()?;
    if ended.status.code() != Some(7) {
        let server = server.expect_output("no such line").map_err(|log| log.to_string());
        return Err(format!("{}\n{server:?}", failure(&ssh, &ended)).into());
    }
    writing.join().map_err(|_| "writing panicked")??;
    assert_eq!(sha256(&ended.stdout), sha256(&noise(LEN)), "{} bytes", ended.stdout.len());
    Ok(())
}

/// A web server for git's own program (git-http-backend(1)).
const BACKEND: &str = r"
import http.server, os, subprocess
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition('?')
        env = dict(os.environ, GIT_PROJECT_ROOT=os.getcwd(), GIT_HTTP_EXPORT_ALL='1', PATH_INFO=path,
                   QUERY_STRING=query, REQUEST_METHOD=self.command,
                   CONTENT_TYPE=self.headers.get('Content-Type', ''),
                   HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding', ''),
                   GIT_PROTOCOL=self.headers.get('Git-Protocol', ''))
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        out = subprocess.run(['git', 'http-backend'], input=body, stdout=subprocess.PIPE, env=env).stdout
        head, _, body = out.partition(b'\r\n\r\n')
        fields = [line.split(': ', 1) for line in head.decode().split('\r\n')]
        status = next((value for name, value in fields if name == 'Status'), '200 OK')
        self.send_response(int(status.split()[0]))
        for name, value in fields: self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers(); self.wfile.write(body)
    do_GET = do_POST = answer
server = http.server.ThreadingHTTPServer(('0.0.0.0', 0), Handler)
print('port', server.server_port, flush=True)
server.serve_forever()
";

/// A git that reads no settings of the machine's.
fn git(mut command: Command, folder: &Path) -> Command {
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", folder).env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@b.test");
    }
    command
}

pub(crate) fn git_clone() -> Outcome {
    let folder = TempDir::new()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let on_kernel = |arguments: &[&str]| -> Outcome {
        done(git(program("git")?, folder.path()).args(arguments))
    };
    let source = path("source");
    on_kernel(&["init", "-q", &source])?;
    for n in 0..20 {
        fs::write(folder.path().join(format!("source/file{n}")), noise(10_000 * n))?;
        on_kernel(&["-C", &source, "add", "."])?;
        on_kernel(&["-C", &source, "commit", "-q", "-m", "a change"])?;
    }
    on_kernel(&["clone", "-q", "--bare", &source, &path("bare")])?;
    on_kernel(&["-C", &path("bare"), "update-server-info"])?;
    let mut server = git(program("python3")?, folder.path());
    let server = Daemon::start(server.args(["-c", BACKEND]).current_dir(&folder))?;
    let port = server.expect_output("port ")?.replace("port ", "");

    // With one packed answer, and as files one by one.
    for (name, smart) in [("smart", "1"), ("plain", "0")] {
        let mut clone = git(on_stack("git")?, folder.path());
        let url = format!("http://{KERNEL}:{port}/bare");
        output(clone.env("GIT_SMART_HTTP", smart).args(["clone", "-q", &url, &path(name)]))?;
        on_kernel(&["-C", &path(name), "fsck", "--strict"])?;
        let (ours, its) = (path("source/file19"), path(&format!("{name}/file19")));
        assert_eq!(sha256(&fs::read(ours)?), sha256(&fs::read(its)?));
    }
    Ok(())
}

/// Twenty files at a time, as a package manager downloads.
pub(crate) fn parallel_curl() -> Outcome {
    const FILES: usize = 60;
    let folder = TempDir::new()?;
    let port = serve_page(noise(200_000))?;
    let mut curl = on_stack("curl")?;
    curl.args(["-sS", "-Z", "--parallel-max", "20", "--parallel-immediate", "--max-time", "60"]);
    let target = folder.path().join("#1").display().to_string();
    curl.args(["-o", &target, &format!("http://{KERNEL}:{port}/[1-{FILES}]")]);
    let shown = output(&mut curl)?;
    for n in 1..=FILES {
        let file = fs::read(folder.path().join(n.to_string()))?;
        assert_eq!(sha256(&file), sha256(&noise(200_000)), "file {n}: {}", text(&shown));
    }
    Ok(())
}
