//! Where a page is, and what is asked for with it.

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use std::str::FromStr;

/// A URL of HTTP.
#[derive(Debug, Clone)]
pub(super) struct Url {
    pub(super) uri: Uri,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_https: bool,
}

/// A name and its value.
pub(super) type Header = (HeaderName, HeaderValue);

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what}, for example \"http://web.test/\"");
        let is_https = match text.split_once("://") {
            Some(("http", _)) => false,
            Some(("https", _)) => true,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let mut url =
            ::url::Url::parse(text).map_err(|error| wrong(&format!("not a URL ({error})")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a name and a password in a URL are not sent; give them by -H \
                        'Authorization: ...'"
                .into());
        }
        // A server is not told of it.
        url.set_fragment(None);
        let uri: Uri =
            url.as_str().parse().map_err(|error| wrong(&format!("not a URL ({error})")))?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("the host is missing"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Ok(Self { uri, host, port, is_https })
    }
}

impl Url {
    /// What a reference means on this page (RFC 3986 section 5).
    pub(super) fn join(&self, reference: &str) -> Result<Self, String> {
        let wrong = |error| format!("a redirection to \"{reference}\": {error}");
        let base = ::url::Url::parse(&self.uri.to_string());
        let joined =
            base.and_then(|base| base.join(reference)).map_err(|error| wrong(error.to_string()))?;
        joined.as_str().parse().map_err(wrong)
    }
}

/// A header, as in a request.
pub(super) fn header(text: &str) -> Result<Header, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    parsed.ok_or_else(|| "not a header, for example \"Accept: text/html\"".into())
}

/// The bytes of a range, as in a request.
pub(super) fn range(text: &str) -> Result<String, String> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((first, last)) if text != "-" && is_number(first) && is_number(last) => {
            Ok(format!("bytes={text}"))
        }
        _ => Err("not a range, for example \"0-99\", \"100-\" or \"-100\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_the_scheme() {
        for (text, host, port) in [
            ("http://web.test/", "web.test", 80),
            ("https://web.test", "web.test", 443),
            ("http://[fd00::1]:8080/a?b", "fd00::1", 8080),
            ("http://b\u{fc}cher.test/", "xn--bcher-kva.test", 80),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((&url.host[..], url.port), (host, port), "{text}");
        }
    }

    #[test]
    fn a_query_needs_no_path_and_a_fragment_stays_here() {
        let url: Url = "http://web.test:8080?x=1#y".parse().expect("a URL");
        assert_eq!(url.uri.path_and_query().map(|it| it.as_str()), Some("/?x=1"));
    }

    #[test]
    fn a_redirection_is_relative_to_its_page() {
        let page: Url = "http://web.test:8080/a/b?c".parse().expect("a URL");
        for (reference, expected) in [
            ("d", "http://web.test:8080/a/d"),
            ("../d?e#f", "http://web.test:8080/d?e"),
            ("/d", "http://web.test:8080/d"),
            ("//other.test/d", "http://other.test/d"),
            ("https://[fd00::1]/", "https://[fd00::1]/"),
        ] {
            let joined = page.join(reference).map(|url| url.uri.to_string());
            assert_eq!(joined.as_deref(), Ok(expected), "{reference}");
        }
        let error = page.join("file:///etc/passwd").expect_err("another scheme");
        assert!(error.starts_with("a redirection to \"file:///etc/passwd\": it begins"), "{error}");
    }

    #[test]
    fn each_error_names_the_mistake() {
        for (error, expected) in [
            ("web.test".parse::<Url>().err(), "neither http:// nor https://"),
            ("http://".parse::<Url>().err(), "for example \"http://web.test/\""),
            ("http://web.test:99999/".parse::<Url>().err(), "invalid port number"),
            ("http://web.test:abc/".parse::<Url>().err(), "invalid port number"),
            ("http://me:secret@web.test/".parse::<Url>().err(), "Authorization"),
            (header("Accept").err(), "not a header"),
            (header("a b: c").err(), "not a header"),
            (range("-").err(), "not a range"),
            (range("0-9,20-29").err(), "not a range"),
        ] {
            let error = error.expect("an error");
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(range("-100").as_deref(), Ok("bytes=-100"));
    }
}
