//! How a run ends.

use super::{KERNEL, failure, on_stack, output, run, start, text};
use crate::namespace::{Outcome, program};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

pub(crate) fn statuses() -> Outcome {
    for (script, expected) in
        [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        let output = on_stack("sh")?.args(["-c", script]).output()?;
        assert_eq!(output.status.code(), Some(expected), "{script}: {}", text(&output.stderr));
    }
    for (path, expected) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let output = run()?.args(["--", path]).output()?;
        assert_eq!(output.status.code(), Some(expected), "{path}: {}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with(&format!("netstack run: {path}: ")));
    }
    let nested = run()?.arg("--").arg(run()?.get_program()).args(["run", "--", "true"]).output()?;
    assert_eq!(nested.status.code(), Some(125), "{}", text(&nested.stderr));
    Ok(())
}

/// A daemon outlives the program, and the run lasts as long as that.
pub(crate) fn descendants() -> Outcome {
    let script = "(sleep 0.3; echo late) & exit 3";
    let output = on_stack("sh")?.args(["-c", script]).output()?;
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "late\n");
    Ok(())
}

const ACCEPTING: &str = "
import signal, socket
signal.signal(signal.SIGINT, signal.default_int_handler)  # A parent may ignore it.
l = socket.socket(); l.bind(('0.0.0.0', 8001)); l.listen()
try: print('accepting', flush=True); l.accept()
except KeyboardInterrupt: print('interrupted', flush=True)
";

pub(crate) fn signals() -> Outcome {
    let mut server = start(on_stack("python3")?.args(["-c", ACCEPTING]))?;
    server.expect_line("accepting")?;
    server.signal("INT")?;
    server.expect_line("interrupted")?;
    assert_eq!(server.status()?.code(), Some(0));
    Ok(())
}

const ORPHAN: &str = "
import errno, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(b'x')
print(s.recv(9), flush=True)
print('after', s.recv(9), flush=True)
def told(name, call):
    try: call(); print(name, 'done', flush=True)
    except OSError as e: print(name, errno.errorcode[e.errno], flush=True)
told('socket', socket.socket)
told('getpeername', s.getpeername)
told('send', lambda: (s.send(b'x'), s.send(b'x')))
";

pub(crate) fn supervisor_killed() -> Outcome {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port().to_string();
    let run = start(on_stack("python3")?.args(["-c", ORPHAN, KERNEL, &port]))?;
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0; 1])?;
    stream.write_all(b"y")?;
    run.expect_line("b'y'")?;

    run.signal("KILL")?;

    run.expect_line("after b''")?;
    run.expect_line("socket ENOSYS")?;
    run.expect_line("getpeername ENOSYS")?;
    run.expect_line("send EPIPE")?;
    Ok(())
}

const KILLED: &str = "
import os, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(b'x'); s.recv(1)
os.kill(os.getpid(), 9)
";

pub(crate) fn program_killed() -> Outcome {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port().to_string();
    let mut python = on_stack("python3")?;
    python.args(["-c", KILLED, KERNEL, &port]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = python.spawn()?;
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0; 1])?;
    stream.write_all(b"y")?;

    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    assert_eq!(stream.read(&mut [0; 1])?, 0);

    let ended = run.wait_with_output()?;
    assert_eq!(ended.status.code(), Some(137), "signal {:?}", ended.status.signal());
    assert!(text(&ended.stderr).contains(" 0 sockets left"), "{}", text(&ended.stderr));
    Ok(())
}

const MANY: &str = "
import os, socket, sys
before = len(os.listdir('/proc/self/fd'))
for i in range(10000): socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
print(len(os.listdir('/proc/self/fd')) - before)
";

/// Neither the program nor the supervisor is left with anything.
pub(crate) fn many_connections() -> Outcome {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port().to_string();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let mut descriptors = program("prlimit")?;
    let inner = {
        let mut inner = on_stack("python3")?;
        inner.args(["-c", MANY, KERNEL, &port]);
        inner
    };
    // Fewer than there are connections, for both.
    descriptors.arg("--nofile=256").arg(inner.get_program()).args(inner.get_args());
    let started = Instant::now();
    let shown = output(&mut descriptors)?;
    assert_eq!(text(&shown), "0\n", "after {:?}", started.elapsed());
    Ok(())
}

/// A run needs no capability where root has made the interface.
pub(crate) fn without_capabilities() -> Outcome {
    for arguments in [
        "tuntap add dev tun0 mode tun user 0",
        "address add 10.9.0.1/24 dev tun0",
        "link set tun0 up",
    ] {
        program("ip")?.args(arguments.split(' ')).status()?;
    }
    let port = super::serve_page(b"a page".to_vec())?;
    let url = format!("http://{KERNEL}:{port}/");
    let mut setpriv = program("setpriv")?;
    setpriv.arg("--bounding-set=-all").arg(run()?.get_program());
    setpriv.args(["run", "--tun", "tun0", "--address", "10.9.0.2/24", "--"]);
    setpriv.arg(program("curl")?.get_program()).args(["-sS", &url]);
    let output = setpriv.stdin(Stdio::null()).output()?;
    if text(&output.stdout) != "a page" {
        return Err(failure(&setpriv, &output));
    }
    Ok(())
}
