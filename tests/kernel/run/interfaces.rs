//! What a program on the stack does to interfaces by ioctl: it is the stack's that it sees and changes.

use super::{on_stack, output, start, text};
use crate::namespace::{Outcome, program};
use std::process::Command;

/// Each line is what one request has returned: the first bytes of the value, or the error.
const PROGRAM: &str = "
import errno, fcntl, socket, struct, sys
def inet(ip): return struct.pack('HH4s', socket.AF_INET, 0, socket.inet_aton(ip))
def request(name, number, interface='tun0', value=b'', bytes=4):
    try: told = fcntl.ioctl(s, number, struct.pack('16s24s', interface.encode(), value))[16:16 + bytes].hex() or 'done'
    except OSError as e: told = errno.errorcode[e.errno]
    print(name, told, flush=True)
for family in ('AF_INET', 'AF_UNIX'):
    s = socket.socket(getattr(socket, family), socket.SOCK_DGRAM)
    print(family)
    request('index', 0x8933)
    request('name', 0x8910, '', struct.pack('i', 2))
    request('nowhere', 0x8933, 'nowhere0')
    request('address', 0x8915, bytes=8)
    request('mask', 0x891b, bytes=8)
    request('set mtu', 0x8922, value=struct.pack('i', 1400), bytes=0)
    request('mtu', 0x8921)
    request('set mtu', 0x8922, value=struct.pack('i', 7), bytes=0)
    request('set flags', 0x8914, 'lo', bytes=0)
    request('rename', 0x8923, value=b'other0')
    request('hardware address', 0x8924)
    request('a namespace', 0x894c)
    request('a bridge', 0x89a0, 'br0')
    request('ethtool', 0x8946)
    request('radio', 0x8b01)
s = socket.socket()
request('set address', 0x8916, value=inet('10.7.0.2'), bytes=0)
request('set mask', 0x891c, value=inet('255.255.255.0'), bytes=0)
request('address', 0x8915, bytes=8)
request('mask', 0x891b, bytes=8)
print('end', flush=True)
sys.stdin.readline()
";

const ANSWERS: &str = "\
index 02000000
name 02000000
nowhere ENODEV
address 020000000a090002
mask 02000000ffffff00
set mtu done
mtu 78050000
set mtu EINVAL
set flags EPERM
rename EPERM
hardware address EPERM
a namespace EPERM
a bridge EPERM
ethtool ENOTSUP
radio ENOTSUP
";

const CHANGES: &str = "\
set address done
set mask done
address 020000000a070002
mask 02000000ffffff00
";

pub(crate) fn requests() -> Outcome {
    let run = start(on_stack("python3")?.args(["-c", PROGRAM]))?;

    let answers = format!("AF_INET\n{ANSWERS}AF_UNIX\n{ANSWERS}{CHANGES}end\n");
    for line in answers.lines() {
        run.expect_line(line)?;
    }
    // The kernel's interface of the same name, and the others, are as they were.
    let kernels = Command::new("ip").args(["-o", "addr", "show", "dev", "tun0"]).output()?;
    let (kernels, link) =
        (text(&kernels.stdout), Command::new("ip").args(["-o", "link"]).output()?);
    assert!(kernels.contains("10.9.0.1/24") && !kernels.contains("10.7.0."), "{kernels}");
    let link = text(&link.stdout);
    assert!(!link.contains("mtu 1400") && !link.contains("other0"), "{link}");
    Ok(())
}

/// The commands that are older than rtnetlink, of busybox.
pub(crate) fn ifconfig() -> Outcome {
    program("busybox")?;
    let script = "
        busybox ifconfig tun0 10.7.0.2 netmask 255.255.255.0 mtu 1400 up || exit 1
        busybox ifconfig tun0
        busybox route add -net 10.8.0.0 netmask 255.255.255.0 gw 10.7.0.9 || exit 2
        ip route get 10.8.0.77
        busybox route del -net 10.8.0.0 netmask 255.255.255.0 || exit 3
        ip route get 10.8.0.77 2>&1
        busybox ifconfig tun0 down || exit 4
        busybox ifconfig tun0";
    let shown = text(&output(on_stack("sh")?.args(["-c", script]))?);
    let at = |part: &str| shown.find(part).ok_or_else(|| format!("no \"{part}\" in {shown}"));
    let up = at("UP POINTOPOINT RUNNING")?;
    assert!(at("inet addr:10.7.0.2")? < up && at("Mask:255.255.255.0")? < up, "{shown}");
    assert!(at("10.8.0.77 via 10.7.0.9 dev tun0 src 10.7.0.2")? > at("MTU:1400")?, "{shown}");
    assert!(at("unreachable")? > up, "{shown}");
    assert!(!shown[at("unreachable")?..].contains("UP "), "{shown}");
    Ok(())
}
