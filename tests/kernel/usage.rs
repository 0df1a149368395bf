//! Flags and output of the examples and the tools.

use crate::daemon::Failure;
use crate::namespace::{Outcome, example, netstack, ours};
use crate::programs::without_tun;
use std::fs::OpenOptions;
use std::process::{Output, Stdio};

const EXAMPLES: [&str; 13] = [
    "quickstart",
    "httpd",
    "echo",
    "ping",
    "connect",
    "tls",
    "proxy",
    "chat",
    "lan",
    "resolve",
    "fetch",
    "ifconfig",
    "perf_server",
];

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn wrong() -> Outcome {
    let missing = "the prefix length is missing, for example \"10.9.0.2/24\"";
    for (name, flags, expected) in [
        ("httpd", &["--address", "10.9.0.2"][..], missing),
        ("netstack proxy", &["--to-address", "10.9.0.2"], missing),
        ("httpd", &["--address", "10.9.0.999/24"], "\"10.9.0.999\" is not an IP address"),
        ("httpd", &["--gateway", "10.9.0.1/24"], "for example \"10.9.0.1\""),
        ("netstack http-server", &["--port", "70000"], "not a port from 0 to 65535"),
        ("httpd", &["--mtu", "many"], "not a whole number"),
        ("netstack proxy", &["--listen", "host:80"], "\"host\" is not an IP address"),
        ("netstack proxy", &["--forward", "fd00::1"], "for example \"[fd00::1]:80\""),
        ("netstack connect", &["web.test"], "the port is missing, for example \"web.test:80\""),
        ("netstack ping", &["--interval", "soon", "10.9.0.1"], "not a number of seconds"),
        ("netstack ping", &["--count", "0", "10.9.0.1"], "not a whole number of 1 or more"),
        ("netstack fetch", &["web.test"], "for example \"http://web.test/\""),
        ("netstack fetch", &["ftp://web.test/"], "neither http:// nor https://"),
        ("netstack connect", &[], "<TARGET>"),
    ] {
        let output = ours(name)?.args(flags).stdin(Stdio::null()).output()?;
        let text = text(&output);
        assert_eq!(output.status.code(), Some(2), "{name} {flags:?}: {text}");
        assert!(text.contains(expected), "{name} {flags:?}: {text}");
        assert!(text.contains("For more information, try '--help'."), "{text}");
    }
    for name in EXAMPLES {
        let output = example(name)?.arg("--no-such-flag").output()?;
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains("Usage: "), "{name}: {}", text(&output));
    }
    Ok(())
}

pub(crate) fn no_errors() -> Outcome {
    for name in EXAMPLES {
        for flag in ["--help", "--version"] {
            let output = example(name)?.arg(flag).output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!((output.status.code(), text(&output)), (Some(0), String::new()));
            assert!(said.contains(name), "{name}: {said}");
            assert_eq!(said.contains("--verbose"), flag == "--help", "{name}: {said}");
        }
    }
    Ok(())
}

pub(crate) fn output() -> Outcome {
    let (tap, size) = (&["--tap", "tap0", "10.0.0.60/24"][..], &["--size", "1"][..]);
    for (name, flags) in [
        ("quickstart", size),
        ("lan", &[]),
        ("httpd", &["--help"]),
        ("httpd", &[]),
        ("echo", &[]),
        ("chat", &[]),
        ("chat", &["--blocking"]),
        ("tls", &[]),
        ("netstack proxy", &["--on-stack"]),
        ("perf_server", &[]),
        ("proxy", &["10.10.0.1:1"]),
        ("ifconfig", tap),
        ("ping", &["10.9.0.1"]),
        ("netstack ping", &["--count", "2", "10.9.0.1"]),
        ("netstack http-server", &["."]),
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full")?;
        let output = ours(name)?.args(flags).stdin(Stdio::null()).stdout(full).output()?;
        if output.status.code() != Some(1) && name != "netstack ping" {
            without_tun(&text(&output))?;
        }
        let program = name.split(' ').next().unwrap_or_default();
        let expected = format!("{program}: write error: No space left on device\n");
        assert_eq!(text(&output), expected, "{name} {flags:?}");

        let (reader, closed) = std::io::pipe()?;
        drop(reader);
        let output = ours(name)?.args(flags).stdin(Stdio::null()).stdout(closed).output()?;
        // 128 and the number of SIGPIPE, as a shell has it.
        assert_eq!((output.status.code(), text(&output)), (Some(141), String::new()), "{name}");
    }
    Ok(())
}

/// What the tool prints for a subcommand and this flag.
pub(crate) fn help(path: &[String], flag: &str) -> Result<String, Failure> {
    let shown = netstack()?.args(path).arg(flag).stdin(Stdio::null()).output()?;
    assert_eq!((shown.status.code(), text(&shown)), (Some(0), String::new()), "{path:?} {flag}");
    Ok(String::from_utf8(shown.stdout)?)
}

/// All subcommands, those of others too.
pub(crate) fn subcommands() -> Result<Vec<Vec<String>>, Failure> {
    let (mut all, mut next) = (vec![], vec![vec![]]);
    while let Some(path) = next.pop() {
        let shown = help(&path, "-h")?;
        let listed = shown.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in listed.take_while(|line| !line.is_empty()) {
            // The second line of a description begins further to the right.
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
            if let Some(name) =
                name.and_then(|rest| rest.split(' ').next()).filter(|it| *it != "help")
            {
                next.push([&path[..], &[name.to_owned()]].concat());
            }
        }
        all.push(path);
    }
    Ok(all)
}

/// A screen has 40 lines of 100 columns.
pub(crate) fn screens() -> Outcome {
    let all = subcommands()?;
    for path in [&["perf", "client"][..], &["set", "name-servers"], &["fetch"], &["run"]] {
        assert!(all.iter().any(|it| it == path), "{path:?} is not in {all:?}");
    }
    for path in all {
        let name = [&["netstack".to_owned()], &path[..]].concat().join(" ");
        let short = help(&path, "-h")?;
        let columns = short.lines().map(|line| line.chars().count()).max();
        assert!(
            short.lines().count() <= 40 && columns <= Some(100),
            "{name}: {columns:?}\n{short}"
        );

        let long = help(&path, "--help")?;
        let (_, examples) = long.split_once("\nExamples:\n").ok_or("no examples")?;
        assert!(examples.contains(&name), "{name}: {long}");
        // They are the end.
        let is_example = |line: &str| line.is_empty() || line.starts_with("  ");
        assert!(examples.lines().all(is_example), "{name}: {examples}");
        assert!(!short.contains("Examples:"), "{name}: {short}");
    }
    Ok(())
}
