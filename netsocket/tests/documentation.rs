//! Required sections in the documentation of every public function.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_async_function_documents_cancel_safety() {
    assert_documented("# Cancel safety", |signature| signature.starts_with("pub async fn "));
}

#[test]
fn every_fallible_function_documents_its_errors() {
    assert_documented("# Errors", |signature| {
        let (_, returned) = signature.split_once("->").unwrap_or_default();
        // The errors of a `poll_*` method are documented at its async sibling.
        returned.trim_start().starts_with("io::Result<")
    });
}

/// Checks every public function whose signature `concerns` us for a section.
fn assert_documented(section: &str, concerns: impl Fn(&str) -> bool) {
    let (mut seen, mut missing) = (0, Vec::new());
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("a source file");
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            if !(line.starts_with("pub fn ") || line.starts_with("pub async fn ")) {
                continue;
            }
            let rest = lines[index..].iter();
            let signature: Vec<_> =
                rest.take_while(|line| **line != "{").scan(false, until_body).collect();
            let signature = signature.join(" ");
            if !concerns(&signature) {
                continue;
            }
            seen += 1;
            let above = lines[..index].iter().rev();
            let mut above =
                above.take_while(|line| line.starts_with("///") || line.starts_with('#'));
            if !above.any(|line| line.trim_start_matches("///").trim() == section) {
                missing.push(format!("{}:{}: {signature}", path.display(), index + 1));
            }
        }
    }
    assert!(seen > 10, "only {seen} functions were found: does this test still read the sources?");
    assert!(missing.is_empty(), "without {section:?}:\n{}", missing.join("\n"));
}

/// Passes lines on until one has ended with the brace that opens the body.
fn until_body<'a>(is_over: &mut bool, line: &&'a str) -> Option<&'a str> {
    if *is_over {
        return None;
    }
    *is_over = line.ends_with('{');
    Some(line)
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources.sort();
    sources
}
