//! The folder that is served, and what a request for something in it is answered.

use super::{listing, upload};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, HeaderValue, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::path::{Path, PathBuf};
use tower_http::services::ServeDir;

/// A folder.
#[derive(Debug)]
pub(super) struct Site {
    /// Absolute, and without links in it.
    pub(super) root: PathBuf,
    /// The most bytes of an upload, if there may be any.
    pub(super) upload_max: Option<u64>,
}

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

const INDEX: &str = "index.html";

impl Site {
    /// Answers a request.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, which ends the connection.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        match *request.method() {
            Method::GET | Method::HEAD => self.get(request).await,
            Method::PUT if self.upload_max.is_some() => Ok(upload::answer(self, request).await),
            _ => {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, String::new());
                let methods =
                    if self.upload_max.is_some() { "GET, HEAD, PUT" } else { "GET, HEAD" };
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
                Ok(answer)
            }
        }
    }

    async fn get(&self, mut request: Request<Incoming>) -> io::Result<Response<Body>> {
        let url = request.uri().path();
        let has_slash = url.ends_with('/');
        let missing = || text(StatusCode::NOT_FOUND, "there is no such file\n".into());
        let Some(path) = self.below(url).and_then(|path| self.inside(&path)) else {
            return Ok(missing());
        };
        // Others, as a named pipe, may never end. The name of a file has no slash behind it.
        let Ok(about) = path.metadata() else { return Ok(missing()) };
        if !about.is_dir() && (!about.is_file() || has_slash) {
            return Ok(missing());
        }
        if about.is_file() && about.len() == 0 {
            // There is no byte that it could be from and to.
            request.headers_mut().remove(RANGE);
        }
        // Without the slash it is redirected to the URL that has it.
        if about.is_dir() && has_slash {
            let index = path.join(INDEX);
            if !index.exists() {
                return Ok(listing::answer(&self.root, path, request.method()).await);
            }
            if self.inside(&index).is_none_or(|index| !index.is_file()) {
                return Ok(missing());
            }
        }
        let answer = ServeDir::new(&self.root).try_call(request).await?;
        Ok(answer.map(BodyExt::boxed_unsync))
    }

    /// The path of a URL below the root, unless it leads out of it by its own names.
    pub(super) fn below(&self, url: &str) -> Option<PathBuf> {
        let mut path = self.root.clone();
        for part in url.split('/').filter(|part| !part.is_empty()) {
            let part = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
            let is_name = !matches!(&*part, "." | "..") && !part.contains(['/', '\\', '\0']);
            path.push(is_name.then_some(&*part)?);
        }
        Some(path)
    }

    /// What there is at a path, behind all links, unless these lead out of the root.
    pub(super) fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.canonicalize().ok().filter(|path| path.starts_with(&self.root))
    }
}

/// An answer that is a text.
pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(root: &Path) -> Site {
        Site { root: root.canonicalize().expect("a path"), upload_max: None }
    }

    #[test]
    fn a_url_leads_below_the_root_or_nowhere() {
        let site = site(&std::env::temp_dir());
        for (url, path) in [
            ("/", Some("")),
            ("/a/b", Some("a/b")),
            ("//a//b/", Some("a/b")),
            ("/a%20b/%C3%A4", Some("a b/ä")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2E/b", None),
            ("/a%2f..%2f..%2fb", None),
            ("/a%5c..", None),
            ("/a%00", None),
            ("/%ff", None),
        ] {
            assert_eq!(site.below(url), path.map(|path| site.root.join(path)), "{url}");
        }
    }

    #[test]
    fn a_link_out_of_the_root_is_not_there() {
        let (folder, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, other) = (folder.expect("a folder"), other.expect("a folder"));
        let site = site(folder.path());
        std::fs::write(site.root.join("file"), "").expect("a file");
        for (link, target) in [("in", "file".as_ref()), ("out", other.path())] {
            std::os::unix::fs::symlink(target, site.root.join(link)).expect("a link");
        }

        assert_eq!(site.inside(&site.root.join("in")), Some(site.root.join("file")));
        assert_eq!(site.inside(&site.root.join("out")), None);
        assert_eq!(site.inside(&site.root.join("none")), None);
    }
}
