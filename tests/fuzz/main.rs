//! The fuzz targets, without a fuzzer: with the kept corpus and with noise.
//!
//! `NETSTACK_FUZZ_RUNS=100000 cargo test --release -p tests --test fuzz -- --nocapture` is a long
//! run; `NETSTACK_FUZZ_SEED` begins another one. A run is one story, of up to 4 KiB or
//! `NETSTACK_FUZZ_BYTES`: many short ones begin more often, as those of a fuzzer do, and a few long ones
//! go further. A failing run prints the command that repeats it.

// What repeats a failure, and how far a run has come.
#![expect(clippy::print_stdout, reason = "the counts of a run")]

use netstack::sim::repeat_command;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// How many stories of noise each target plays by default.
const RUNS: u64 = 60;
/// How long a story of noise is by default, at most, in bytes.
const BYTES_MAX: u64 = 4096;

#[test]
fn packets_of_any_kind_and_order_leave_every_byte_right() {
    let mut segments = 0;
    play("packets", |data| segments += fuzz::packets(data));
    println!("{segments} segments");
}

#[test]
fn commands_in_any_order_match_the_model() {
    play("commands", fuzz::commands);
}

#[test]
fn frames_of_any_bytes_change_nothing() {
    play("parser", fuzz::parser);
}

#[test]
fn lengths_of_any_kind_end_a_stream_behind_its_frames() {
    play("lengths", fuzz::lengths);
}

#[test]
fn messages_of_dhcp_clients_leave_each_address_one_holder() {
    play("dhcp_server", fuzz::dhcp_server);
}

#[test]
fn a_tunnels_file_is_what_its_lines_say() {
    play("wireguard_config", fuzz::wireguard_config);
}

#[test]
fn nobody_between_two_tunnels_changes_or_adds_a_packet() {
    let mut datagrams = 0;
    let stories_max = fuzz::WIREGUARD_STORIES_MAX;
    play_in_turns("wireguard", stories_max, |data| datagrams += fuzz::wireguard(data));
    println!("{datagrams} datagrams");
}

#[test]
fn datagrams_of_an_overlay_teach_no_more_than_they_should() {
    let mut steps = 0;
    play("overlay", |data| steps += fuzz::overlay(data));
    println!("{steps} datagrams, lookups and pauses");
}

#[test]
fn requests_of_any_bytes_are_parsed_or_refused() {
    play("requests", fuzz::requests);
}

#[test]
fn each_mistake_in_a_request_for_a_vde_port_is_found() {
    play("vde_request", fuzz::vde_request);
}

#[test]
fn messages_of_a_throughput_test_are_taken_or_refused() {
    play("perf_control", fuzz::perf_control);
}

#[test]
fn requests_of_any_bytes_to_a_netlink_server_are_answered() {
    play("netlink", fuzz::netlink);
}

#[test]
fn messages_of_socks5_clients_are_taken_or_refused() {
    play("socks5", fuzz::socks5);
}

/// Plays the corpus of a target, and noise.
fn play(target: &str, run: impl FnMut(&[u8])) {
    play_in_turns(target, 1, run);
}

/// As [`play`], for a target of which a run may depend on the ones before, up to so many in all: what
/// repeats it begins with those.
fn play_in_turns(target: &str, turn: u64, mut run: impl FnMut(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut kept = 0;
    for entry in std::fs::read_dir(&corpus).expect("the corpus is kept with the source") {
        let path = entry.expect("a readable directory").path();
        println!("{}", path.display());
        // No noise behind the corpus.
        let _shown = OnPanic(&[("NETSTACK_FUZZ_RUNS", &0)]);
        run(&std::fs::read(path).expect("a readable file"));
        kept += 1;
    }
    assert!(kept > 0, "no corpus in {}", corpus.display());
    let bytes_max = number("NETSTACK_FUZZ_BYTES").unwrap_or(BYTES_MAX);
    let began = Instant::now();
    for seed in seeds() {
        let from = (seed + 1).saturating_sub(turn).max(seeds().start);
        let _shown = OnPanic(&[
            ("NETSTACK_FUZZ_SEED", &from),
            ("NETSTACK_FUZZ_BYTES", &bytes_max),
            ("NETSTACK_FUZZ_RUNS", &(seed + 1 - from)),
        ]);
        run(&noise(seed, bytes_max));
    }
    println!("{target}: {} runs in {:?}", seeds().count(), began.elapsed());
}

/// Seeds from the environment, or the same ones each time.
fn seeds() -> Range<u64> {
    let first = number("NETSTACK_FUZZ_SEED").unwrap_or(0);
    first..first + number("NETSTACK_FUZZ_RUNS").unwrap_or(RUNS)
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A random input of less than so many bytes.
fn noise(seed: u64, bytes_max: u64) -> Vec<u8> {
    // Neighbouring seeds must not give stories that are parts of each other.
    let mut state = mixed(seed ^ 0x5851_f42d_4c95_7f2d);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(state)
    };
    let words = next() % (bytes_max / 8).max(1);
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}

/// What SplitMix64 makes of its state.
fn mixed(state: u64) -> u64 {
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Prints the command that repeats a failing run.
struct OnPanic<'a>(&'a [(&'a str, &'a dyn Display)]);

impl OnPanic<'_> {
    fn line(&self) -> String {
        format!("to repeat this run: {}", repeat_command(self.0))
    }
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.line());
        }
    }
}

#[test]
fn a_failing_run_prints_the_command_that_repeats_it() {
    let line = OnPanic(&[("NETSTACK_FUZZ_SEED", &7), ("NETSTACK_FUZZ_RUNS", &1)]).line();

    // Another profile or, without cargo, the program itself is between the two.
    assert!(line.starts_with("to repeat this run: NETSTACK_FUZZ_SEED=7 NETSTACK_FUZZ_RUNS=1 "));
    let arguments = "--exact a_failing_run_prints_the_command_that_repeats_it --include-ignored";
    assert!(line.ends_with(arguments), "{line}");
}
