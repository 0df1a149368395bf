//! The answers to a browser.

use super::query::Query;
use super::watch::Watch;
use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The page, and the stack that it shows.
#[derive(Debug)]
pub(super) struct Site {
    watch: Arc<Mutex<Watch>>,
    token: String,
}

pub(super) type Answer = Response<Full<Bytes>>;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const TEXT: &str = "text/plain; charset=utf-8";
/// What a browser may do with an answer: nothing with what is from elsewhere, or in a frame.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
];

impl Site {
    pub(super) fn new(watch: Watch, token: String) -> Self {
        Self { watch: Arc::new(Mutex::new(watch)), token }
    }

    /// Answers a request. Its body is not read.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        // A name of another that leads here (DNS rebinding) would make its pages ours.
        if !is_for_loopback(request) {
            return plain(
                StatusCode::MISDIRECTED_REQUEST,
                "this is for loopback addresses alone\n",
            );
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => answer(StatusCode::OK, "text/html; charset=utf-8", PAGE),
            (&Method::GET, "/page.css") => answer(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            (&Method::GET, "/page.js") => {
                answer(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT)
            }
            (&Method::GET, "/state") if self.is_known(request) => {
                let query = Query::parse(request.uri().query().unwrap_or_default());
                self.ask(move |watch| watch.show(&query)).await
            }
            (&Method::POST, "/kill") if self.is_known(request) => {
                match request.uri().query().unwrap_or_default().parse() {
                    Ok(id) => self.ask(move |watch| watch.kill(id).map(|()| "{}".into())).await,
                    Err(_) => plain(StatusCode::BAD_REQUEST, "no id, for example /kill?17v3\n"),
                }
            }
            (&Method::GET, "/state") | (&Method::POST, "/kill") => plain(
                StatusCode::UNAUTHORIZED,
                "open the address that netstack page has printed, with what is after the #\n",
            ),
            (_, "/" | "/page.css" | "/page.js" | "/state" | "/kill") => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "another method is needed\n")
            }
            _ => plain(StatusCode::NOT_FOUND, "there is nothing here; the page is at /\n"),
        }
    }

    /// Whether the request has the token. Each byte is compared, so that the time tells nothing.
    fn is_known<B>(&self, request: &Request<B>) -> bool {
        let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let Some(given) = given.and_then(|it| it.strip_prefix(b"Bearer ")) else { return false };
        let expected = self.token.as_bytes();
        let differences = given.iter().zip(expected).fold(0, |sum, (a, b)| sum | (a ^ b));
        given.len() == expected.len() && differences == 0
    }

    /// Asks the stack, on a thread that may wait for it.
    async fn ask(
        &self,
        work: impl FnOnce(&mut Watch) -> Result<String> + Send + 'static,
    ) -> Answer {
        let watch = self.watch.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // What a panic may leave is read again.
            work(&mut watch.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match asked.await {
            Ok(Ok(text)) => answer(StatusCode::OK, "application/json", text),
            Ok(Err(error)) => plain(StatusCode::BAD_GATEWAY, format!("{error:#}\n")),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// Whether the request names an address of this machine alone. The port may be that of a tunnel.
fn is_for_loopback<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str().unwrap_or_default().parse::<hyper::http::uri::Authority>() else {
        return false;
    };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, text)
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}
