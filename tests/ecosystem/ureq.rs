//! ureq: a blocking client, against axum on the other stack.

use super::FAR;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use netstack::Stack;
use netstack::netsocket::ureq::Connector;
use std::time::{Duration, Instant};
use tests::noise;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Timeout};

/// An agent on one stack, and on the other a server that also has a page that never comes.
async fn agent_and_server() -> (Agent, Stack, Stack) {
    let (near, far) = netstack::pair().expect("a runtime");
    let app = Router::new()
        .route("/", get("hello"))
        .route("/echo", post(async |body: Bytes| body))
        .layer(DefaultBodyLimit::disable())
        .route("/never", get(std::future::pending::<&str>));
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    tokio::spawn(async { axum::serve(listener, app).await });
    let connector = Connector::new(near.net().blocking());
    let agent = Agent::with_parts(Default::default(), connector, DefaultResolver::default());
    (agent, near, far)
}

/// Runs something that blocks beside the stacks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_fetches_posts_and_uses_its_connections_again() {
    let (agent, near, _far) = agent_and_server().await;

    let _agent = blocking(move || {
        let data = noise(3_000_000);
        for host in FAR {
            let mut hello = agent.get(format!("http://{host}/")).call().expect("a server");
            assert_eq!(hello.body_mut().read_to_string().expect("text"), "hello");

            let mut echo = agent.post(format!("http://{host}/echo")).send(&data).expect("a server");
            assert!(echo.body_mut().read_to_vec().expect("whole") == data);
        }
        agent
    })
    .await;

    let sockets = near.net().snapshot().await.expect("running").sockets.len();
    assert_eq!(sockets, FAR.len(), "each host's connection is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_timeouts_and_refusals_are_ureqs_own() {
    let (agent, _near, _far) = agent_and_server().await;

    blocking(move || {
        let (start, limit) = (Instant::now(), Duration::from_millis(100));
        let patient =
            |path: &str| agent.get(path).config().timeout_global(Some(limit)).build().call().err();

        let never = patient("http://10.0.0.2/never");
        assert!(matches!(never, Some(ureq::Error::Timeout(Timeout::Global))), "{never:?}");
        assert!(start.elapsed() >= limit);
        let unused = patient("http://10.0.0.99/");
        assert!(matches!(unused, Some(ureq::Error::Timeout(_))), "{unused:?}");
        let refused = agent.get("http://10.0.0.2:81/").call().err();
        assert!(matches!(refused, Some(ureq::Error::Io(_)) | Some(ureq::Error::ConnectionFailed)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_agent_ends_a_pending_request() {
    let (agent, _near, far) = agent_and_server().await;
    let listener = far.net().tcp_listen("10.0.0.2:81").await.expect("a free port");
    let asking = agent.clone();
    let asking = tokio::task::spawn_blocking(move || asking.get("http://10.0.0.2:81/").call());
    let (server, _) = listener.accept().await.expect("a client");
    server.readable().await.expect("a request");

    blocking(move || agent.shutdown()).await;

    let answer = asking.await.expect("no panic");
    assert!(matches!(answer, Err(ureq::Error::Io(_))), "{answer:?}");
}
