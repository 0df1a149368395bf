//! Fetches a page with hyper's client, whose connections are the stack's.
//!
//! ```sh
//! cargo run --release -p examples --example fetch -- --tap tap0 --dhcp http://web.test/
//! ```
//!
//! `netstack fetch` is curl(1) on a stack, with TLS, redirections, ranges and its exit status.

use anyhow::Result;
use bytes::Bytes;
use examples::Network;
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use netstack::netsocket::hyper::Connector;
use std::process::ExitCode;

/// Fetches a page over HTTP from a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The URL, of http
    url: Uri,
}

fn main() -> ExitCode {
    examples::run(async |Args { network, url }| -> Result<()> {
        let stack = network.start_ready().await?;
        let connector = Connector::new(stack.net().clone());
        let fetching = async {
            let client: Client<_, Empty<Bytes>> =
                Client::builder(TokioExecutor::new()).build(connector);
            let mut page = client.get(url).await?.into_body();
            while let Some(frame) = page.frame().await.transpose()? {
                if let Ok(piece) = frame.into_data() {
                    examples::output::write(&piece).await?;
                }
            }
            Ok(())
        };
        examples::finish([stack], fetching).await
    })
}
