//! HTTP: axum as the server, hyper as the client.

use super::{FAR, pair};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use netstack::Stack;
use netstack::netsocket::hyper::Connector;
use std::convert::Infallible;
use std::future::Ready;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tests::{all_is_gone, noise};
use tokio::task::JoinHandle;
use tower_service::Service;

type Body = Full<Bytes>;

async fn serve(far: &Stack) -> JoinHandle<std::io::Result<()>> {
    let app = Router::new()
        .route("/hello/{name}", get(async |Path(name): Path<String>| format!("hello {name}")))
        .route("/echo", post(async |body: Bytes| body));
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    tokio::spawn(async { axum::serve(listener, app).await })
}

fn client(near: &Stack) -> Client<Connector, Body> {
    Client::builder(TokioExecutor::new()).build(Connector::new(near.net().clone()))
}

async fn whole(response: Response<Incoming>) -> Bytes {
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.expect("a whole body").to_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_hyper_client_is_served_by_axum() {
    let (near, far) = pair();
    let server = serve(&far).await;
    let client = client(&near);

    for host in FAR {
        let page: Uri = format!("http://{host}/hello/you").parse().expect("a uri");
        let hello = client.get(page).await.expect("a server");
        assert_eq!(whole(hello).await, "hello you");

        let data = Bytes::from(noise(1_000_000));
        let post = Request::post(format!("http://{host}/echo")).body(Full::new(data.clone()));
        let echo = client.request(post.expect("a request")).await.expect("a server");
        assert!(whole(echo).await == data);
    }

    let sockets = near.net().snapshot().await.expect("running").sockets.len();
    assert_eq!(sockets, FAR.len(), "each host's connection is used again");
    drop(client);
    server.abort();
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn fifty_requests_at_once_all_get_their_own_answer() {
    let (near, far) = pair();
    let server = serve(&far).await;
    let client = client(&near);

    let asking = (0..50).map(async |index| {
        let page = format!("http://10.0.0.2/hello/{index}").parse().expect("a uri");
        let hello = client.get(page).await.expect("a server");
        assert_eq!(whole(hello).await, format!("hello {index}"));
    });
    futures::future::join_all(asking).await;

    drop(client);
    server.abort();
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn axum_handlers_get_the_peer_address() {
    let (near, far) = pair();
    let whoami = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string());
    let app = Router::new().route("/", whoami).into_make_service_with_connect_info::<SocketAddr>();
    let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("a free port");
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("open"));
    let server = tokio::spawn(async { axum::serve(listener, app).await });

    let peer = client(&near).get(Uri::from_static("http://10.0.0.2/")).await.expect("a server");

    assert_eq!(whole(peer).await, "10.0.0.1");
    server.abort();
    all_is_gone([&near, &far]).await;
}

/// Resolves one name.
#[derive(Clone)]
struct Hosts;

impl Service<Name> for Hosts {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = String;
    type Future = Ready<Result<Self::Response, String>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        // The first address is unused.
        let found = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().expect("an address"));
        std::future::ready(match name.as_str() {
            "far" => Ok(found.map(|ip| SocketAddr::new(ip, 0)).to_vec().into_iter()),
            other => Err(format!("{other} is unknown")),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_finds_the_host_and_without_one_the_stack_is_to() {
    let (near, far) = pair();
    let server = serve(&far).await;
    let connector = Connector::with_resolver(near.net().clone(), Hosts);
    let knows: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);

    let hello = knows.get(Uri::from_static("http://far/hello/you")).await.expect("a server");
    assert_eq!(whole(hello).await, "hello you");
    for (client, host, expected) in [
        (knows.get(Uri::from_static("http://elsewhere/")), "elsewhere", "elsewhere is unknown"),
        (client(&near).get(Uri::from_static("http://far/")), "far", "no name server"),
    ] {
        let error = client.await.expect_err(host);
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains(expected), "{cause}");
    }

    drop(knows);
    server.abort();
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_hyper_server_takes_a_stream_as_it_is() {
    let (near, far) = pair();
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let hello = service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Body::from("hello")))
        });
        http1::Builder::new().keep_alive(false).serve_connection(stream, hello).await
    });

    let hello = client(&near).get(Uri::from_static("http://10.0.0.2/")).await.expect("a server");

    assert_eq!(whole(hello).await, "hello");
    server.await.expect("no panic").expect("in good order");
    all_is_gone([&near, &far]).await;
}
