//! The real `ip` on the stack, beside the same `ip` on the kernel.

use super::{Daemon, on_stack, on_stack_with, output, text};
use crate::namespace::{Outcome, program};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

type Result<T> = super::Result<T>;

/// Changes of an interface, each with whether it can be made. IPv6 addresses take part in no
/// duplicate address detection on a TUN.
const CHANGES: [(&str, bool); 22] = [
    ("link set tun0 mtu 1400", true),
    ("addr add 10.7.0.1/24 dev tun0", true),
    ("addr add 10.7.0.1/24 dev tun0", false),
    ("addr add 10.7.0.1/24 dev nowhere0", false),
    ("addr del 10.7.9.9/24 dev tun0", false),
    ("route add 10.8.0.0/24 via 10.7.0.9", true),
    ("route add 10.8.0.0/24 via 10.7.0.9", false),
    ("route replace 10.8.0.0/24 via 10.7.0.8", true),
    ("route change 10.66.0.0/24 via 10.7.0.9", false),
    ("route add 10.8.1.0/24 via 172.31.0.1", false),
    ("route add 10.8.1.0/24 via 172.31.0.1 dev tun0 onlink", true),
    ("route add 10.8.2.1/24 via 10.7.0.9", false),
    ("route del 10.99.0.0/24", false),
    ("route del 10.8.1.0/24", true),
    ("route get 203.0.113.1", false),
    ("-6 addr add fd01::1/64 dev tun0", true),
    ("-6 addr add fd01::1/64 dev tun0", false),
    ("-6 addr del fd09::9/64 dev tun0", false),
    ("-6 route add 2001:db8::/32 via fd01::9", true),
    ("-6 route add 2001:db8::/32 via fd01::9", false),
    ("-6 route del 2001:db9::/32", false),
    ("route get 10.8.0.77", true),
];

/// The exit status of each change, and then addresses and routes as JSON.
fn script() -> String {
    let changes = CHANGES.map(|(change, _)| format!("ip {change} >&2; echo $?"));
    format!("{}\nip -d -j addr show dev tun0\nip -j route\nip -j -6 route\n", changes.join("\n"))
}

pub(crate) fn changes() -> Outcome {
    program("ip")?;
    let ours = output(on_stack("sh")?.args(["-c", &script()]))?;
    // An interface of the kernel, with the same addresses but for one bit.
    let holder = Daemon::start(on_stack("sh")?.args(["-c", "echo there; read line"]))?;
    holder.expect_line("there")?;
    let theirs = Command::new("sh").args(["-c", &script()]).output()?;
    drop(holder);

    let (ours, theirs) = (text(&ours), text(&theirs.stdout));
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.lines().collect(), theirs.lines().collect());
    for (index, (change, is_possible)) in CHANGES.iter().enumerate() {
        assert_eq!((ours[index] == "0", ours[index]), (*is_possible, theirs[index]), "{change}");
    }
    for (ours, theirs) in ours[CHANGES.len()..].iter().zip(&theirs[CHANGES.len()..]) {
        let kernels = theirs.replace("10.9.0.1\"", "10.9.0.2\"").replace("fd00::1\"", "fd00::2\"");
        assert_eq!(facts(ours)?, facts(&kernels)?);
    }
    Ok(())
}

/// What `ip -j` tells, without what differs: the numbers of interfaces, and what a kernel adds of its
/// own accord, as link-local addresses.
pub(super) fn facts(json: &str) -> Result<Vec<String>> {
    let all: Vec<Value> = serde_json::from_str(json)?;
    let mut facts = Vec::new();
    for row in &all {
        if row["ifname"] == "tun0" {
            facts.push(format!("{} {}", row["mtu"], row["link_type"]));
        }
        for address in row["addr_info"].as_array().into_iter().flatten() {
            let fields = ["family", "local", "prefixlen", "scope", "label"];
            facts.push(fields.map(|field| address[field].to_string()).join(" "));
        }
        if !row["dst"].is_null() {
            let fields = ["dst", "gateway", "dev", "scope", "prefsrc", "metric", "protocol"];
            facts.push(fields.map(|field| row[field].to_string()).join(" "));
        }
    }
    facts.retain(|fact| !fact.contains("fe80::"));
    facts.sort();
    Ok(facts)
}

/// Lines for `ip -batch`: 500 addresses, each added and removed.
pub(super) fn thousand_changes() -> String {
    let pair = |n: u32| {
        let address = format!("10.7.{}.{}/24 dev tun0", n / 250, n % 250 + 1);
        format!("addr add {address}\naddr del {address}\n")
    };
    (0..500).map(pair).collect()
}

/// Lines of a monitor, and how many changes there were of each kind.
const MONITORED: &str = "
ip monitor address > $OUT 2>&1 &
until grep -q 10.6.6.6 $OUT; do
    ip addr add 10.6.6.6/32 dev tun0 && ip addr del 10.6.6.6/32 dev tun0
done
ip -batch $BATCH
ip addr add 10.5.5.5/32 dev tun0
until grep -q -e 10.5.5.5 -e 'No buffer space' -e 0x00000004 $OUT; do sleep 0.05; done
kill $!
";

pub(crate) fn monitor() -> Outcome {
    program("ip")?;
    for flags in [&[][..], &["--udp-msg"]] {
        let folder = TempDir::new()?;
        let [out, batch] = ["out", "batch"].map(|name| folder.path().join(name));
        fs::write(&batch, thousand_changes())?;

        let mut shell = on_stack_with(flags, "sh")?;
        shell.args(["-c", MONITORED]).env("OUT", &out).env("BATCH", &batch);
        output(&mut shell)?;

        let seen = fs::read_to_string(&out)?;
        let is_told = seen.contains("No buffer space") || seen.contains("0x00000004");
        let of_batch = |line: &&str| line.contains("inet 10.7.");
        let (removed, added): (Vec<_>, Vec<_>) =
            seen.lines().filter(of_batch).partition(|line| line.starts_with("Deleted"));
        let counts = (added.len(), removed.len());
        assert!(is_told || counts == (500, 500), "{flags:?}: {counts:?}");
    }
    Ok(())
}

pub(crate) fn libraries() -> Outcome {
    let python = "import socket; print(socket.if_nameindex())";
    let names = output(on_stack("python3")?.args(["-c", python]))?;
    assert_eq!(text(&names), "[(1, 'lo'), (2, 'tun0')]\n");

    let shown = output(on_stack("busybox")?.args(["ip", "-o", "addr"]))?;
    let shown = text(&shown);
    assert!(shown.contains("inet 10.9.0.2/24") && shown.contains("fd00::2/64"), "{shown}");

    let refused = on_stack("ip")?.args(["link", "add", "type", "dummy"]).output()?;
    let Output { status, stderr, .. } = &refused;
    let told = text(stderr);
    assert!(!status.success() && told.contains("cannot be made on a userspace stack"), "{told}");
    Ok(())
}
