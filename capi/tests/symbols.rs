//! What the shared library exports.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stderr, reason = "a test that cannot run here prints the reason")]

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

const HEADER: &str = include_str!("../include/netstack.h");

#[test]
fn the_library_exports_what_the_header_declares_only() {
    let own = env::current_exe().expect("a test program");
    let library = own.with_file_name("libnetstack_c.so");
    let output = match Command::new("nm").args(["-D", "--defined-only"]).arg(library).output() {
        Ok(output) => output,
        Err(error) if env::var_os("NETSTACK_TEST_REQUIRE_ALL").is_some_and(|it| it == "1") => {
            panic!("nm: {error}");
        }
        Err(error) => return eprintln!("skipped: nm: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let text = String::from_utf8_lossy(&output.stdout);
    let exported: BTreeSet<_> =
        text.lines().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(exported, declared());
}

/// The names before a parenthesis, at the beginnings of lines.
fn declared() -> BTreeSet<&'static str> {
    let declarations = HEADER.lines().filter(|line| line.starts_with(char::is_alphabetic));
    let names = declarations.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    names.collect()
}

#[test]
fn the_header_documents_each_function() {
    let mut was_comment = false;
    for line in HEADER.lines() {
        let is_function = line.starts_with(char::is_alphabetic) && line.contains('(');
        assert!(!is_function || was_comment, "{line}");
        was_comment = line == " */";
    }
    assert_eq!(declared().len(), 27);
}
