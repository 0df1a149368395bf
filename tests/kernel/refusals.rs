//! Machines that refuse a TUN, made by changes in a mount namespace inside the test's own.

use crate::namespace::{Outcome, example, netstack, program, skip};
use crate::programs::output;
use std::net::TcpListener;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The status of a script that cannot change the machine as needed.
const CANNOT: i32 = 77;

/// Runs `httpd` on a machine that was changed by a script, and returns the error that it prints.
fn refusal_after(script: &str, flags: &[&str]) -> Result<String> {
    let mut changed = program("unshare")?;
    changed.args(["--mount", "sh", "-c"]);
    changed.arg(format!("{{ {script}; }} || exit {CANNOT}; exec \"$@\"")).arg("sh");
    changed.arg(example("httpd")?.get_program()).args(["--tun", "tun0"]).args(flags);
    let output = changed.output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(CANNOT) || text.starts_with("unshare: ") {
        skip(&format!("{script}: {}", text.trim()))?;
    }
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    Ok(text)
}

pub(crate) fn driver() -> Outcome {
    // As a mode of 0600 is to an ordinary user, also to root.
    let closed = "mount --bind /dev/net/tun /dev/net/tun && \
                  mount -o remount,bind,nodev,nosuid,noexec /dev/net/tun";
    for (script, expected, other_cures) in [
        (closed, "chmod 0666 /dev/net/tun", "CAP_NET_ADMIN"),
        ("mount -t tmpfs none /dev/net", "modprobe tun", "CAP_NET_ADMIN"),
        ("mount --bind /dev/null /dev/net/tun", "not the kernel's driver", "CAP_NET_ADMIN"),
    ] {
        let text = refusal_after(script, &[])?;

        assert!(text.contains(expected) && !text.contains(other_cures), "{script}: {text}");
    }
    Ok(())
}

pub(crate) fn capability() -> Outcome {
    let mut unprivileged = program("setpriv")?;
    unprivileged.arg("--bounding-set=-net_admin").arg(example("httpd")?.get_program());
    let text = String::from_utf8(unprivileged.output()?.stderr)?;

    assert!(text.contains("needs the capability CAP_NET_ADMIN"), "{text}");
    assert!(text.lines().count() == 1 && !text.contains("chmod"), "{text}");
    Ok(())
}

pub(crate) fn settings() -> Outcome {
    let ipv6_off = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
    for (script, flags, expected) in [
        (ipv6_off, &["--host-address", "fd00::1/64"][..], "IPv6 is disabled on tun0"),
        ("true", &["--host-address", "fd00::1/64", "--mtu", "1279"], "an MTU of 1280"),
        (
            "true",
            &["--host-address", "10.0.0.1/24", "--host-address", "10.0.0.1/24"],
            "10.0.0.1/24: tun0 has it already",
        ),
    ] {
        let text = refusal_after(script, flags)?;

        assert!(text.contains(expected), "{script} {flags:?}: {text}");
    }
    Ok(())
}

/// An interface for this user, on which the stack needs no capability.
pub(crate) fn made_by_root() -> Outcome {
    for arguments in [
        "tuntap add dev tun0 mode tun user 0",
        "address add 10.9.0.1/24 dev tun0",
        "link set tun0 up",
    ] {
        output(program("ip")?.args(arguments.split(' ')))?;
    }
    let listener = TcpListener::bind("10.9.0.1:0")?;
    let target = listener.local_addr()?.to_string();
    let connect = |flags: &[&str]| -> Result<Command> {
        let mut connect = program("setpriv")?;
        connect.arg("--bounding-set=-net_admin").arg(netstack()?.get_program());
        connect
            .args(["connect", "--tun", "tun0", "--address", "10.9.0.2/24"])
            .args(flags)
            .arg(&target);
        connect.stdin(std::process::Stdio::null());
        Ok(connect)
    };

    let text = output(&mut connect(&["--mtu", "1400"])?).err().ok_or("an MTU is changed")?;
    assert!(text.to_string().contains("MTU to 1400 needs the capability"), "{text}");

    let accepting = std::thread::spawn(move || listener.accept().map(|(_, peer)| peer));
    output(&mut connect(&[])?)?;
    let peer = accepting.join().map_err(|_| "the server panicked")??;
    assert_eq!(peer.ip().to_string(), "10.9.0.2");
    Ok(())
}
