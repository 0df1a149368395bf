//! HTTP clients that are given names.

use super::server::{Server, addresses, unknown};
use super::{SERVER, pair};
use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use netstack::Stack;
use netstack::netsocket::{hyper, ureq};
use tokio::task::JoinSet;

async fn servers(far: &Stack) -> (Server, JoinSet<()>) {
    let names = Server::start(far.net(), SERVER, |asked| match asked.name.as_str() {
        "web.test." => addresses(asked, &["fd00::99", "10.0.0.2"]),
        _ => unknown(),
    })
    .await;
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let app = Router::new().route("/", get("hello"));
        axum::serve(listener, app).await.expect("no end");
    });
    (names, tasks)
}

#[tokio::test(start_paused = true)]
async fn hypers() {
    let (near, far) = pair().await;
    let _servers = servers(&far).await;
    let connector = hyper::Connector::new(near.net().clone());
    let client: Client<_, Empty<axum::body::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);

    let hello = client.get("http://web.test/".parse().expect("a URI")).await.expect("a server");
    assert_eq!(hello.into_body().collect().await.expect("whole").to_bytes(), "hello");
    client.get("http://none.test/".parse().expect("a URI")).await.expect_err("no name");
}

#[tokio::test(flavor = "multi_thread")]
async fn ureqs() {
    let (near, far) = pair().await;
    let _servers = servers(&far).await;
    let net = near.net().blocking();
    let (connector, resolver) = (ureq::Connector::new(net.clone()), ureq::Resolver::new(net));
    let agent = ::ureq::Agent::with_parts(Default::default(), connector, resolver);

    let asking = tokio::task::spawn_blocking(move || {
        for host in ["web.test", "web.test:80", "10.0.0.2", "[fd00::2]"] {
            let mut hello = agent.get(format!("http://{host}/")).call().expect("a server");
            assert_eq!(hello.body_mut().read_to_string().expect("text"), "hello", "{host}");
        }
        let unknown = agent.get("http://none.test/").call();
        assert!(matches!(unknown, Err(::ureq::Error::HostNotFound)), "{unknown:?}");
    });
    asking.await.expect("no panic");
}
