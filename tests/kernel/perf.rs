//! `netstack perf`: on a TUN with Debian's iperf3 at the other end, as its client and as its server, and
//! over each link with itself.

use crate::daemon::Daemon;
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::vde::Switch;
use serde_json::Value;
use std::process::{Command, Stdio};
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const STACK: [&str; 2] = ["10.9.0.2", "fd00::2"];
const KERNEL: [&str; 2] = ["10.9.0.1", "[fd00::1]"];
/// What iperf3 sends: every flag that the tests need, on its own and together.
const TESTS: [&[&str]; 6] = [
    &["-n", "4M"],
    &["-n", "4M", "-R"],
    &["-n", "4M", "-P", "4"],
    &["-t", "1", "--bidir", "-P", "2"],
    &["-u", "-b", "20M", "-t", "1"],
    &["-u", "-b", "20M", "-t", "1", "-R", "-P", "2"],
];

/// An end of `netstack perf` on a TUN.
fn perf(end: &str, uri: &str) -> Result<Command> {
    let mut perf = netstack()?;
    perf.args(["perf", end, uri, "--tun", "tun0"]);
    perf.args(["--host-address", "10.9.0.1/24", "--address", "10.9.0.2/24"]);
    perf.args(["--host-address", "fd00::1/64", "--address", "fd00::2/64"]);
    perf.stdin(Stdio::null());
    Ok(perf)
}

/// A number in JSON by its name, the first with this name behind the last of another.
fn number(json: &str, behind: &str, name: &str) -> Result<f64> {
    let missing = || format!("no {name} behind {behind} in\n{json}");
    let rest = json.rsplit_once(&format!("\"{behind}\":")).ok_or_else(missing)?.1;
    let rest = rest.split_once(&format!("\"{name}\":")).ok_or_else(missing)?.1;
    let end = rest.find([',', '}', '\n']).ok_or_else(missing)?;
    Ok(rest[..end].trim().parse()?)
}

pub(crate) fn iperf3_as_client() -> Outcome {
    program("iperf3")?;
    let server = Daemon::start(&mut perf("server", "tcp://")?)?;
    server.expect_output("serving tcp and udp on [::]:5201")?;
    for (index, flags) in TESTS.iter().enumerate() {
        let mut iperf3 = program("iperf3")?;
        // Each test over one of the families.
        iperf3.args(["-c", STACK[index % 2], "-J"]).args(*flags);

        let json = output(&mut iperf3)?;

        if flags.contains(&"-u") {
            // iperf3 has this of the receiver, whichever end that is.
            assert!(number(&json, "sum", "packets")? > 100.0, "{flags:?}: {json}");
            assert!(number(&json, "sum", "lost_percent")? < 50.0, "{flags:?}: {json}");
        } else {
            assert!(number(&json, "sum_received", "bytes")? > 0.0, "{flags:?}: {json}");
        }
        server.expect_output("- - -")?;
    }
    Ok(())
}

pub(crate) fn iperf3_as_server() -> Outcome {
    program("iperf3")?;
    let mut iperf3 = program("iperf3")?;
    let server = Daemon::start(iperf3.args(["-s", "--forceflush"]))?;
    for (index, flags) in TESTS.iter().enumerate() {
        // Between two tests it closes its listener.
        server.expect_output("Server listening")?;
        let is_udp = flags.contains(&"-u");
        let scheme = if is_udp { "udp" } else { "tcp" };
        let uri = format!("{scheme}://{}", KERNEL[index % 2]);
        let flags: Vec<_> = flags.iter().filter(|flag| **flag != "-u").collect();

        let json = output(perf("client", &uri)?.arg("--json").args(&flags))?;

        let end = json.lines().last().ok_or("no output")?;
        assert!(end.contains("\"event\":\"end\""), "{flags:?}: {json}");
        assert!(number(end, "receiver", "bytes")? > 0.0, "{flags:?}: {json}");
        if is_udp {
            assert!(number(end, "receiver", "lost_percent")? < 50.0, "{flags:?}: {json}");
        }
    }

    // What iperf3 does not have is refused at once, and harms it not.
    server.expect_output("Server listening")?;
    for flags in [&["--verify"][..], &["--mode", "request"], &["--mode", "connect"]] {
        let refused = perf("client", "tcp://10.9.0.1")?.args(flags).output()?;
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{flags:?}: {text}");
        assert!(text.contains("the server is iperf3"), "{flags:?}: {text}");
        server.expect_output("Server listening")?;
    }
    Ok(())
}

/// What streams of bytes run over.
const SCHEMES: [&str; 4] = ["tcp", "tls", "quic", "http"];

/// Stops a test once something was counted, and returns its results: how far it comes within a time is up
/// to the machine.
fn until_it_counts(client: &mut Command) -> Result<Value> {
    let mut client = Daemon::start(client.args(["-t", "60", "-i", "0.1"]))?;
    let counts = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let mut streams = event["data"]["streams"].as_array().into_iter().flatten();
        event["event"] == "interval" && streams.any(|stream| stream["bytes"] != 0)
    };
    client.wait_for_line("an interval with bytes", counts)?;
    client.signal("INT")?;
    let end = client.expect_output("\"event\":\"end\"")?;
    assert_eq!(client.status()?.code(), Some(130), "{end}");
    let end: Value = serde_json::from_str(&end)?;
    assert_eq!(end["data"].get("error"), None, "{end}");
    Ok(end["data"].clone())
}

/// Tests each scheme between two stacks on links with these flags; the server has the addresses of host 2.
/// The families take turns.
fn with_itself(server_flags: &[&str], client_flags: &[&str]) -> Outcome {
    let folder = TempDir::new()?;
    let cert = folder.path().join("cert.pem");
    let cert = cert.to_str().ok_or("a path in UTF-8")?;
    for scheme in SCHEMES {
        let (mut server, mut trust) = (netstack()?, Vec::new());
        server.args(["perf", "server", &format!("{scheme}://")]).args(server_flags);
        server.args(["--address", "10.9.0.2/24", "--address", "fd00::2/64"]);
        if ["tls", "quic"].contains(&scheme) {
            server.args(["--save-cert", cert]);
            trust = vec!["--cacert", cert];
        }
        let server = Daemon::start(&mut server)?;
        server.expect_output("serving")?;
        let client = |scheme: &str, target: &str| -> Result<Command> {
            let mut client = netstack()?;
            client.args(["perf", "client", &format!("{scheme}://{target}"), "--json"]);
            client.args(client_flags).args(&trust);
            Ok(client)
        };
        let test = |scheme: &str, target: &str, flags: &[&str]| -> Result<Value> {
            let json = output(client(scheme, target)?.args(flags))?;
            let end = json.lines().last().ok_or("no output")?;
            let end: Value = serde_json::from_str(end)?;
            assert_eq!(end["event"], "end", "{scheme} {flags:?}: {json}");
            assert_eq!(end["data"].get("error"), None, "{scheme} {flags:?}: {json}");
            Ok(end["data"].clone())
        };
        let [ipv4, ipv6] = ["10.9.0.2", "[fd00::2]"];

        let end = test(scheme, ipv6, &["-n", "3M", "-P", "2", "--bidir", "--verify"])?;
        for way in ["up", "down"] {
            assert_eq!(end[way]["sender"]["bytes"], 3 << 20, "{scheme}: {end}");
            assert_eq!(end[way]["receiver"]["bytes"], 3 << 20, "{scheme}: {end}");
        }
        let end = test(scheme, ipv4, &["-n", "1M", "-R", "--verify"])?;
        assert_eq!(end["down"]["receiver"]["bytes"], 1 << 20, "{scheme}: {end}");
        if scheme == "tcp" {
            let end = test("udp", ipv6, &["-n", "100K", "-b", "10M", "--verify"])?;
            let received = end["up"]["receiver"]["bytes"].as_u64();
            assert!(received.is_some_and(|bytes| bytes > 0), "udp: {end}");
        }
        for (target, mode) in [(ipv4, "request"), (ipv6, "connect")] {
            let mut client = client(scheme, target)?;
            let end = until_it_counts(client.args(["--mode", mode, "--verify"]))?;
            let answered = end["up"]["sender"]["transactions"].as_u64();
            assert!(answered.is_some_and(|count| count > 0), "{scheme} {mode}: {end}");
        }
    }
    Ok(())
}

pub(crate) fn over_taps() -> Outcome {
    for forwarding in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{forwarding}"), "1")?;
    }
    with_itself(
        &[
            &["--tap", "tap0", "--host-address", "10.9.0.1/24", "--host-address", "fd00::1/64"][..],
            &["--gateway", "10.9.0.1", "--gateway", "fd00::1"],
        ]
        .concat(),
        &[
            &["--tap", "tap1", "--host-address", "10.8.0.1/24", "--host-address", "fd01::1/64"][..],
            &["--address", "10.8.0.2/24", "--address", "fd01::2/64"],
            &["--gateway", "10.8.0.1", "--gateway", "fd01::1"],
        ]
        .concat(),
    )
}

/// Over a switch of VDE.
fn over(switch: &Switch) -> Outcome {
    let url = switch.url();
    let client = ["--link", &url, "--address", "10.9.0.3/24", "--address", "fd00::3/64"];
    with_itself(&["--link", &url], &client)
}

pub(crate) fn over_our_switch() -> Outcome {
    over(&Switch::ours(&[])?)
}

pub(crate) fn over_debians_switch() -> Outcome {
    over(&Switch::debians()?)
}

/// The server of HTTP has bytes for any client, and takes some.
pub(crate) fn with_curl() -> Outcome {
    let server = Daemon::start(&mut perf("server", "http://")?)?;
    server.expect_output("serving http on [::]:5201")?;
    let mut noise = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut noise, &vec![7; 3_000_000])?;
    let noise = noise.path().to_str().ok_or("a path in UTF-8")?;
    for host in ["10.9.0.2", "[fd00::2]"] {
        let base = format!("http://{host}:5201/");
        let curl = |flags: &[&str]| -> Result<String> {
            output(program("curl")?.args(["--silent", "--show-error", "--globoff"]).args(flags))
        };

        let got =
            curl(&["-o", "/dev/null", "-w", "%{size_download}", &format!("{base}?bytes=3000001")])?;
        assert_eq!(got, "3000001", "{host}");
        let counted = curl(&["--data-binary", &format!("@{noise}"), &base])?;
        assert_eq!(serde_json::from_str::<Value>(&counted)?["bytes"], 3_000_000, "{counted}");
        let counted = curl(&["--upload-file", noise, &base])?;
        assert_eq!(serde_json::from_str::<Value>(&counted)?["bytes"], 3_000_000, "{counted}");
        let status = curl(&["-o", "/dev/null", "-w", "%{http_code}", &format!("{base}none")])?;
        assert_eq!(status, "404", "{host}");
    }
    Ok(())
}

pub(crate) fn in_memory() -> Outcome {
    for flags in [
        &["tcp://", "-n", "100M", "--verify", "-P", "3", "--bidir"][..],
        &["tls://", "-n", "20M", "--verify", "-P", "3", "--bidir"],
        &["quic://", "-n", "3M", "--verify", "-P", "3", "--bidir"],
        &["http://", "-n", "20M", "--verify", "-P", "3", "--bidir"],
        &["udp://", "-n", "1M", "-b", "100M", "--verify", "-R"],
    ] {
        let json = output(netstack()?.args(["perf", "client", "--json"]).args(flags))?;
        let events: Vec<_> = json.lines().filter_map(|line| line.split('"').nth(3)).collect();
        let names = |event: &&str| ["start", "interval", "end"].contains(event);
        assert!(events.len() >= 2 && events.iter().all(names), "{flags:?}: {json}");
        assert_eq!(events.last(), Some(&"end"), "{flags:?}: {json}");
    }
    for flags in [
        &["tcp://", "--mode", "request"][..],
        &["tcp://", "--mode", "connect"],
        &["tls://", "--mode", "request", "--insecure"],
        &["tls://", "--mode", "connect", "--mtu", "1500"],
        &["quic://", "--mode", "request", "--insecure"],
        &["quic://", "--mode", "connect"],
        &["http://", "--mode", "request", "-P", "2"],
        &["http://", "--mode", "connect"],
        &["udp://", "--mode", "request", "--verify"],
    ] {
        let end = until_it_counts(netstack()?.args(["perf", "client", "--json"]).args(flags))?;
        let answered = end["up"]["sender"]["transactions"].as_u64();
        assert!(answered.is_some_and(|count| count > 0), "{flags:?}: {end}");
    }
    Ok(())
}

pub(crate) fn interrupted() -> Outcome {
    let mut server = Daemon::start(&mut perf("server", "tcp://")?)?;
    server.expect_output("serving")?;
    let mut iperf3 = program("iperf3")?;
    let mut client = Daemon::start(iperf3.args(["-c", STACK[0], "-t", "60", "--forceflush"]))?;
    server.expect_output("s  ")?;
    server.signal("INT")?;
    // It is told, and so does not wait for a minute.
    client.expect_output("the server has terminated")?;
    assert!(!client.status()?.success());
    assert!(server.status()?.success());

    let mut netstack = netstack()?;
    let mut client = Daemon::start(netstack.args(["perf", "client", "tcp://", "-t", "60"]))?;
    client.expect_output("s  ")?;
    client.signal("INT")?;
    client.expect_output("receiver")?;
    assert_eq!(client.status()?.code(), Some(130));
    Ok(())
}

pub(crate) fn usage() -> Outcome {
    for (flags, status, expected) in [
        (&["perf", "client", "10.9.0.1"][..], 2, "none of tcp://, udp://, tls://"),
        (&["perf", "client", "tcp://a:0"], 2, "not a port from 1 to 65535"),
        (&["perf", "client", "tcp://", "-P", "129"], 2, "from 1 to 128"),
        (&["perf", "client", "tcp://", "-t", "0"], 2, "from 0.001 to 86400 seconds"),
        (&["perf", "client", "tcp://", "-b", "fast"], 2, "for example 100M"),
        (&["perf", "client", "tcp://", "--tun", "tun0"], 1, "the host of the server is missing"),
        (&["perf", "client", "tcp://", "-C", "vegas"], 1, "none of cubic, reno and bbr"),
        (&["perf", "client", "udp://", "-l", "70000"], 1, "from 16 to 65507 bytes over udp"),
        (&["perf", "client", "udp://", "--mode", "connect"], 1, "datagrams have no connections"),
        (&["perf", "server", "tcp://web.test"], 1, "not on a name"),
        (&["perf", "server", "--save-cert", "/dev/null"], 1, "tcp:// has no certificates"),
        (&["perf", "client", "quic://", "-C", "bbr"], 1, "it is quinn's CUBIC"),
        (&["perf", "client", "udp://", "--insecure"], 1, "udp:// has no certificates"),
        (&["http-server", "--save-cert", "/dev/null"], 2, "--tls"),
    ] {
        let output = netstack()?.args(flags).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {text}");
        assert!(text.contains(expected), "{flags:?}: {text}");
    }
    Ok(())
}
