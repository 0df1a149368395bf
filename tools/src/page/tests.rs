//! The page's answers, about a running stack.

use super::answer::Site;
use super::query::ROWS_MAX;
use super::watch::Watch;
use crate::client::Target;
use http_body_util::BodyExt;
use hyper::{Request, StatusCode, header};
use netstack::Stack;
use netstack::device::PipeEnd;
use netstack::netsocket::{TcpListener, TcpStream};
use serde_json::Value;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "0123456789abcdef";
const AUTHORIZATION: &str = "Bearer 0123456789abcdef";

/// A stack with connections to itself, and its page.
struct World {
    site: Site,
    stack: (Stack, PipeEnd),
    path: PathBuf,
    listener: TcpListener,
    streams: Vec<(TcpStream, TcpStream)>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(connections: usize) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("control");
        let stack = stack(&path)?;
        let listener = stack.0.net().tcp_listen("127.0.0.1:80").await?;
        let mut streams = Vec::new();
        for _ in 0..connections {
            let near = stack.0.net().tcp_connect("127.0.0.1:80").await?;
            streams.push((near, listener.accept().await?.0));
        }
        let target = Target::at(&path);
        let client = target.connect().map_err(io::Error::other)?;
        let watch = Watch::new(target, client, None, Duration::from_millis(100));
        let site = Site::new(watch, TOKEN.into());
        Ok(Self { site, stack, path, listener, streams, _folder: folder })
    }

    /// What is answered to a request with these headers.
    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        ask(&self.site, method, uri, headers).await
    }

    /// The same with all headers that are needed.
    async fn known(&self, method: &str, uri: &str) -> (StatusCode, String) {
        self.ask(method, uri, &[("host", "127.0.0.1:8080"), ("authorization", AUTHORIZATION)]).await
    }

    async fn state(&self, query: &str) -> Value {
        let (status, text) = self.known("GET", &format!("/state?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// What is answered to a request with these headers.
async fn ask(
    site: &Site,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = site.answer(&request.body(()).expect("a request")).await;
    assert!(answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().is_ok());
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("a text"))
}

/// A stack, and the other end of its device, with which it would end.
fn stack(path: &Path) -> io::Result<(Stack, PipeEnd)> {
    let (device, far) = netstack::device::pipe(16, 1500);
    Ok((netstack::Builder::new().control(path).spawn(device)?, far))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_for_a_loopback_name_are_answered() -> io::Result<()> {
    let world = World::new(0).await?;

    for host in ["127.0.0.1:8080", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:80"] {
        let (status, text) = world.ask("GET", "/", &[("host", host)]).await;
        assert!(status == StatusCode::OK && text.contains("<!doctype html>"), "{host}: {status}");
    }
    for host in ["evil.example:8080", "127.0.0.1.evil.example", "", "10.0.0.1", "a b", "[::2]:80"] {
        let (status, _) = world.ask("GET", "/", &[("host", host)]).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host:?}");
    }
    let (status, _) = world.ask("GET", "/", &[]).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(world.ask("GET", "/", &two).await.0, StatusCode::MISDIRECTED_REQUEST);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_kill_need_the_token() -> io::Result<()> {
    let world = World::new(1).await?;
    let host = ("host", "localhost:8080");

    for (method, uri) in [("GET", "/state"), ("POST", "/kill?1v1")] {
        for token in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdee", "Basic 0123456789abcdef"]
        {
            let (status, text) = world.ask(method, uri, &[host, ("authorization", token)]).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{uri} {token}: {text}");
        }
        assert_eq!(world.ask(method, uri, &[host]).await.0, StatusCode::UNAUTHORIZED);
    }
    for (method, uri, expected) in [
        ("GET", "/kill?1v1", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/kill?", StatusCode::BAD_REQUEST),
        ("POST", "/kill?x", StatusCode::BAD_REQUEST),
        ("POST", "/kill?999v9", StatusCode::BAD_GATEWAY),
        ("GET", "/../etc/passwd", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(world.known(method, uri).await.0, expected, "{method} {uri}");
    }
    assert_eq!(world.state("").await["load"]["connections"], 2, "nothing was killed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bounded_whatever_is_asked_for() -> io::Result<()> {
    let world = World::new(300).await?;

    let (status, text) = world.known("GET", "/state?rows=99999&sort=age").await;

    assert_eq!(status, StatusCode::OK);
    assert!(text.len() < 256 * 1024, "{} bytes", text.len());
    let state: Value = serde_json::from_str(&text)?;
    assert_eq!(state["flows"]["total"], 600);
    assert_eq!(state["flows"]["rows"].as_array().map(Vec::len), Some(ROWS_MAX));
    assert_eq!(state["limits"][0]["name"], "idle");
    let end = world.state("from=590&rows=50").await;
    assert_eq!(end["flows"]["rows"].as_array().map(Vec::len), Some(10));
    let none = world.state("find=no-such-thing").await;
    assert_eq!((&none["flows"]["total"], &none["load"]["connections"]), (&0.into(), &600.into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_busy_connection_is_first_and_its_limit_is_named() -> io::Result<()> {
    let mut world = World::new(3).await?;
    world.state("").await;
    let near = &mut world.streams[1].0;
    let local = near.local_addr()?;
    // Until nothing is taken any more: the other end does not read.
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(200), near.write(&[0; 65_536])).await
    {
        written?;
    }

    let state = world.state(&format!("sort=limit&find=peer-window+{local}")).await;

    let row = &state["flows"]["rows"][0];
    assert_eq!((&row["local"], &row["limit"]), (&local.to_string().into(), &"peer-window".into()));
    assert!(row["recent"].as_array().is_some_and(|it| it.len() > 1), "{row}");
    let id = row["id"].as_str().unwrap_or_default();
    let opened = world.state(&format!("open={id}")).await;
    let why = opened["opened"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("its application does not read"), "{why}");
    assert_eq!(opened["opened"]["socket"]["id"], id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_is_reset_and_gone_at_once() -> io::Result<()> {
    let mut world = World::new(2).await?;
    let local = world.streams[0].0.local_addr()?;
    let state = world.state(&format!("find={local}")).await;
    let rows = state["flows"]["rows"].as_array().expect("rows");
    let of_client = rows.iter().find(|row| row["local"] == local.to_string()).expect("its row");
    let id = of_client["id"].as_str().expect("an id");

    let (status, text) = world.known("POST", &format!("/kill?{id}")).await;

    assert_eq!(status, StatusCode::OK, "{text}");
    let state = world.state(&format!("open={id}")).await;
    let rows = state["flows"]["rows"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["id"] != id), "{state}");
    assert!(state["opened"].is_null(), "{state}");
    let read = world.streams[0].0.read(&mut [0; 1]).await.map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::ConnectionAborted));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_has_ended_is_found_again() -> io::Result<()> {
    let mut world = World::new(1).await?;
    world.state("").await;
    world.streams.clear();
    drop(world.stack);
    drop(world.listener);

    // Its end is seen when it is read again.
    let headers = [("host", "localhost"), ("authorization", AUTHORIZATION)];
    let ending = async {
        let mut readings = tokio::time::interval(Duration::from_millis(10));
        loop {
            readings.tick().await;
            let answer = ask(&world.site, "GET", "/state", &headers).await;
            if answer.0 != StatusCode::OK {
                return answer;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ending).await?;
    assert_eq!(ended.0, StatusCode::BAD_GATEWAY, "{}", ended.1);

    let _stack = stack(&world.path)?;
    assert_eq!(ask(&world.site, "GET", "/state", &headers).await.0, StatusCode::OK);
    Ok(())
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let all =
        [include_str!("page.html"), include_str!("page.css"), include_str!("page.js")].concat();
    // The name of a namespace is no address.
    let elsewhere: Vec<_> = all.match_indices("://").map(|(at, _)| &all[at - 5..at + 20]).collect();
    let is_name = |text: &&str| text.contains("http://www.w3.org/2000");
    assert!(elsewhere.iter().all(is_name), "{elsewhere:?}");
    assert!(!all.contains("innerHTML") && !all.contains("eval("));
}
