//! Debian's `ping` on the stack.

use super::{on_stack, on_stack_with, output, text};
use crate::namespace::{Outcome, program};
use std::fs;

pub(crate) fn both_families() -> Outcome {
    program("ping")?;
    for (family, target) in [("-4", "10.9.0.1"), ("-6", "fd00::1")] {
        let mut ping = on_stack("ping")?;
        ping.args([family, "-n", "-c", "3", "-i", "0.2", "-s", "1000", target]);
        let done = ping.output()?;

        let (told, errors) = (text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "{told}{errors}");
        for sequence in 1..=3 {
            let reply = format!("1008 bytes from {target}: icmp_seq={sequence} ttl=64 time=");
            assert!(told.contains(&reply), "{reply}: {told}{errors}");
        }
        assert!(told.contains("3 packets transmitted, 3 received, 0% packet loss"), "{told}");
        let has_warned = ["BAD CHECKSUM", "DUP", "WARNING", "truncated", "wrong data"];
        let has_warned = has_warned.map(|word| told.contains(word) || errors.contains(word));
        assert_eq!(has_warned, [false; 5], "{told}{errors}");
        assert!(errors.contains(" 0 sockets left") && errors.lines().count() == 1, "{errors}");
    }
    Ok(())
}

pub(crate) fn without_an_answer() -> Outcome {
    program("ping")?;
    // A router without a route to there.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
    let gateways = ["--gateway", "10.9.0.1", "--gateway", "fd00::1"];
    for (target, told) in [
        ("192.0.2.1", "From 10.9.0.1 icmp_seq=1 Destination Net Unreachable"),
        ("2001:db8::1", "From fd00::1 icmp_seq=1 Destination unreachable: No route"),
    ] {
        let mut ping = on_stack_with(&gateways, "ping")?;
        let done = ping.args(["-n", "-c", "1", "-W", "20", target]).output()?;
        let (shown, errors) = (text(&done.stdout), text(&done.stderr));
        assert!(shown.contains(told) && shown.contains(" +1 errors"), "{shown}{errors}");
        assert_eq!(done.status.code(), Some(1), "{shown}{errors}");
    }

    // Nobody has this address behind the TUN.
    let done = on_stack("ping")?.args(["-n", "-c", "1", "-W", "1", "10.9.0.77"]).output()?;
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{told}{}", text(&done.stderr));
    assert!(told.contains("1 packets transmitted, 0 received"), "{told}");

    let done = on_stack("ping")?.args(["-n", "-c", "1", "192.0.2.1"]).output()?;
    assert!(text(&done.stderr).contains("Network is unreachable"), "{}", text(&done.stderr));
    Ok(())
}

/// As busybox has it, and its own sums: what a program with recvfrom gets.
const ECHO: &str = "
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
s.settimeout(30)
s.sendto(struct.pack('!BBHHH', 8, 0, 0, 0, 5) + b'hello', ('10.9.0.1', 0))
reply, sender = s.recvfrom(100)
kind, code, total, identifier, sequence = struct.unpack('!BBHHH', reply[:8])
print(sender[0], kind, code, identifier == s.getsockname()[1], sequence, reply[8:])
";

pub(crate) fn by_hand() -> Outcome {
    let shown = output(on_stack("python3")?.args(["-c", ECHO]))?;
    assert_eq!(text(&shown), "10.9.0.1 0 0 True 5 b'hello'\n");
    Ok(())
}
