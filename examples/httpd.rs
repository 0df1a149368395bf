//! A web server on a TUN: axum, on this stack.
//!
//! ```sh
//! cargo run --release -p examples --example httpd -- --port 80 \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24
//! curl http://10.9.0.2/
//! ```

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use examples::{Network, flags, println};
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::process::ExitCode;

/// Serves HTTP on all addresses of a stack on a TUN
///
/// `/` answers hello; `/bytes/N` streams N bytes; `PUT /sink` counts the bytes it receives and
/// answers with the count and their SHA-256.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = flags::port)]
    port: u16,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let stack = args.network.start()?;
        let address = format!("[::]:{}", args.port);
        let listener = stack.net().tcp_listen(&address).await.context(address.clone())?;
        println!("serving http on {address}");
        let app = Router::new()
            .route("/", get("hello\n"))
            .route("/bytes/{n}", get(bytes))
            .route("/sink", put(sink));
        let serving = async { axum::serve(listener, app).await.context("serving") };
        examples::serve([stack], serving).await
    })
}

/// Streams `n` bytes: the numbers from 0 to 255, again and again.
async fn bytes(Path(n): Path<u64>) -> Response {
    const BLOCK: usize = 64 * 1024;
    let block: Bytes = (0..BLOCK).map(|index| index as u8).collect();
    let blocks = stream::unfold(n, move |left| {
        let len = left.min(BLOCK as u64);
        let piece = block.slice(..len as usize);
        async move { (len > 0).then_some((Ok::<_, Infallible>(piece), left - len)) }
    });
    ([(header::CONTENT_LENGTH, n)], Body::from_stream(blocks)).into_response()
}

/// Counts and hashes the body.
async fn sink(body: Body) -> Result<String, String> {
    let (mut count, mut hash) = (0, Sha256::new());
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| error.to_string())?;
        count += piece.len();
        hash.update(&piece);
    }
    Ok(format!("{count} {:x}\n", hash.finalize()))
}
