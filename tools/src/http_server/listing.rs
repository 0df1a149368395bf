//! The listing of a folder.

use super::site::{Body, text};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// The most entries of a listing.
const ENTRIES_MAX: usize = 10_000;
/// What may stand in a URL as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Lists a folder, which is the root or below it.
pub(super) async fn answer(root: &Path, folder: PathBuf, method: &Method) -> Response<Body> {
    let (is_root, root) = (folder == root, root.to_owned());
    let listed = tokio::task::spawn_blocking(move || entries(&root, &folder)).await;
    let page = match listed.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(entries) => page(is_root, &entries),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return text(StatusCode::FORBIDDEN, "this folder cannot be read\n".into());
        }
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let len = page.len();
    let page = if method == Method::HEAD { String::new() } else { page };
    let mut answer = text(StatusCode::OK, page);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(hyper::header::CONTENT_LENGTH, len.into());
    answer
}

/// A name, and the length of a file; a folder has none.
type Entry = (String, Option<u64>);

fn entries(root: &Path, folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in folder.read_dir()?.take(ENTRIES_MAX) {
        let entry = entry?;
        // A name that is no text has no URL, and a link may lead out of the root or to nothing.
        let (Ok(name), Ok(path)) = (entry.file_name().into_string(), entry.path().canonicalize())
        else {
            continue;
        };
        let about = path.metadata().ok().filter(|_| path.starts_with(root));
        // Nothing else is served.
        if let Some(about) = about.filter(|about| about.is_file() || about.is_dir()) {
            entries.push((name, about.is_file().then_some(about.len())));
        }
    }
    entries.sort();
    Ok(entries)
}

fn page(is_root: bool, entries: &[Entry]) -> String {
    let mut page = "<!doctype html>\n<meta charset=\"utf-8\">\n<pre>\n".to_owned();
    if !is_root {
        page.push_str("<a href=\"../\">../</a>\n");
    }
    for (name, len) in entries {
        let slash = if len.is_none() { "/" } else { "" };
        let url = utf8_percent_encode(name, ESCAPED);
        let len = len.map_or(String::new(), |len| format!("  {len}"));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "<a href=\"./{url}{slash}\">{}{slash}</a>{len}", escaped(name));
    }
    page + "</pre>\n"
}

fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        let page = page(false, &[("a<b>&\"c\".txt".into(), Some(7)), ("d e".into(), None)]);

        assert!(
            page.contains(r#"<a href="./a%3Cb%3E%26%22c%22.txt">a&lt;b&gt;&amp;"c".txt</a>  7"#)
        );
        assert!(page.contains(r#"<a href="./d%20e/">d e/</a>"#), "{page}");
        assert!(page.contains(r#"<a href="../">"#));
    }
}
