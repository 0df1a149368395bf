//! The command line of the program itself.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn netstack(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netstack")).args(arguments).output().expect("it was built")
}

#[test]
fn help_shows_the_commands_and_their_flags() {
    for (arguments, expected) in [(&["--help"][..], "run"), (&["run", "--help"], "--link <URL>")] {
        let output = netstack(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn an_unknown_flag_is_named() {
    let output = netstack(&["run", "--no-such-flag", "true"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("--no-such-flag"), "{text}");
}

#[test]
fn each_shell_gets_a_script_with_all_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = netstack(&["completion", shell]);
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{shell}");
        for expected in ["http-server", "resolve", "--link", "host-address"] {
            // fish has flags without their dashes.
            let expected =
                if shell == "fish" { expected.trim_start_matches('-') } else { expected };
            assert!(script.contains(expected), "{shell}: no {expected}");
        }
    }
}
