//! What there is not.

use super::{on_stack, output, text};
use crate::namespace::Outcome;

const CALLS: &str = "
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
def told(name, call):
    try: call(); print(name, 'done')
    except OSError as e: print(name, errno.errorcode[e.errno])
libc.syscall(425, 1, 0)
print('io_uring_setup', errno.errorcode[ctypes.get_errno()])
told('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
told('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
told('mptcp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))
told('unix', lambda: socket.socket(socket.AF_UNIX))
told('option', lambda: socket.socket().setsockopt(6, 99, 1))
told('option', lambda: socket.socket().setsockopt(6, 99, 1))
print('no descriptor', libc.listen(-1, 1), errno.errorcode[ctypes.get_errno()])
a, b = socket.socketpair(); a.sendmsg([b'x']); print(b.recvmsg(1)[0], a.getsockopt(1, 3))
";

/// They fail as where a kernel has them not, and an unknown option is told once.
pub(crate) fn calls() -> Outcome {
    let mut python = on_stack("python3")?;
    let done = python.args(["-c", CALLS]).output()?;
    let expected = "io_uring_setup ENOSYS\npacket EPERM\nraw EPERM\nmptcp EPROTONOSUPPORT\n\
                    unix done\noption ENOPROTOOPT\noption ENOPROTOOPT\n\
                    no descriptor -1 EBADF\n";
    assert!(
        text(&done.stdout).starts_with(expected),
        "{}{}",
        text(&done.stdout),
        text(&done.stderr)
    );
    assert!(text(&done.stdout).ends_with("b'x' 1\n"), "{}", text(&done.stdout));
    assert_eq!(text(&done.stderr).matches("socket option 99").count(), 1, "{}", text(&done.stderr));
    Ok(())
}

const MESSAGE: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 0))
for i in range(2): s.sendmsg([b'x'], [], 0, ('10.9.0.1', 9))
s.settimeout(0.3)
try: s.recv(1)
except TimeoutError: pass
";

/// Without `--udp-msg` nobody sees the address, and standard error says so once.
pub(crate) fn unwatched_messages() -> Outcome {
    let done = on_stack("python3")?.args(["-c", MESSAGE]).output()?;
    let told = text(&done.stderr);
    assert_eq!((done.status.code(), told.matches("--udp-msg").count()), (Some(0), 1), "{told}");
    Ok(())
}

const LOOPBACK: &str = "
import socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
c = socket.create_connection(l.getsockname()); s, _ = l.accept()
c.sendall(b'x'); print(s.recv(1))
try: socket.create_connection(('127.0.0.1', 7777), 5)
except ConnectionRefusedError: print('refused')
";

/// A program's loopback is the stack's, and not the host's.
pub(crate) fn loopback() -> Outcome {
    let _host = std::net::TcpListener::bind("127.0.0.1:7777")?;
    let shown = output(on_stack("python3")?.args(["-c", LOOPBACK]))?;
    assert_eq!(text(&shown), "b'x'\nrefused\n");
    Ok(())
}
