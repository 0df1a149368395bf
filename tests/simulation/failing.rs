//! The output of a failing run: the command that repeats it, and its packets.

use netstack::sim::{self, LinkConfig};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Has seed 3 fail.
const FAIL_VARIABLE: &str = "NETSTACK_TEST_SEED_3_FAILS";

#[test]
fn pings_are_answered_and_seed_3_fails_if_asked() {
    sim::run_seeds(0..5, |sim| async move {
        let (near, _far) = sim.pair(LinkConfig::new());
        let socket = near.net().ping("10.0.0.2".parse().expect("an address")).await.expect("free");
        let (reply, _) = socket.ping(1, b"hello").await.expect("an answer");
        assert_eq!(&reply.payload[..], b"hello");
        assert!(sim.seed() != 3 || std::env::var_os(FAIL_VARIABLE).is_none(), "as asked");
    });
}

/// Runs this program with arguments, and has the test above fail.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("a test has a file");
    let mut command = Command::new(program);
    command.args(arguments).env_remove("NETSTACK_SIM_SEED").env_remove("NETSTACK_SIM_PCAP");
    // As cargo sets them; this program may have been started otherwise.
    command.env("CARGO_PKG_NAME", env!("CARGO_PKG_NAME"));
    command.env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
    command.envs(variables.iter().copied()).env(FAIL_VARIABLE, "1");
    command.output().expect("this program can be run")
}

/// The rest of the line after `start`.
fn after(output: &Output, start: &str) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix(start));
    found.unwrap_or_else(|| panic!("nothing of {start:?} in\n{text}")).to_owned()
}

#[test]
fn a_failing_run_prints_its_command_and_keeps_its_packets() {
    let name = "failing::pings_are_answered_and_seed_3_fails_if_asked";
    let first = run(&["--exact", name], &[]);
    assert!(!first.status.success());
    let capture = PathBuf::from(after(&first, "the packets of seed 3 are in "));
    let packets = std::fs::read(&capture).expect("the first failure is captured");
    std::fs::remove_file(&capture).expect("it was just read");

    let line = after(&first, "to repeat this run: ");
    let (head, arguments) = line.split_once(" -- ").expect("arguments for the test");
    let folder = std::env::current_exe().expect("a test has a file");
    let is_release = folder.ancestors().nth(2).is_some_and(|folder| folder.ends_with("release"));
    let release = if is_release { " --release" } else { "" };
    let cargo = format!("NETSTACK_SIM_SEED=3 cargo test{release} -p tests --test simulation");
    assert_eq!(head, cargo);
    let arguments: Vec<&str> = arguments.split(' ').collect();
    assert_eq!(arguments, ["--exact", name, "--include-ignored"]);

    let again = run(&arguments, &[("NETSTACK_SIM_SEED", "3")]);
    assert!(!again.status.success());
    assert_eq!(after(&again, "to repeat this run: "), line);
    let repeated = std::fs::read(after(&again, "the packets of seed 3 are in "));
    // A header of 24 bytes, and at least a request and its reply.
    assert!(packets.len() > 24 + 2 * 16, "{} bytes", packets.len());
    assert!(repeated.expect("a capture") == packets, "a seed has the same packets each time");
    std::fs::remove_file(&capture).expect("it was just read");
}

#[test]
fn a_named_file_takes_the_packets_of_a_failing_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("named.pcap");
    let name = "failing::pings_are_answered_and_seed_3_fails_if_asked";

    let failed = run(&["--exact", name], &[("NETSTACK_SIM_PCAP", &file.to_string_lossy())]);

    assert!(!failed.status.success());
    assert!(std::fs::read(file).expect("a capture").len() > 24);
}
