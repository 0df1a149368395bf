//! The numbers of a stack for Prometheus, on a port of the stack itself.
//!
//! ```sh
//! cargo run --release -p examples --example metrics -- --port 9100 \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24
//! curl http://10.9.0.2:9100/metrics
//! ```

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use examples::{Network, flags, println};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use netstack::metrics::Collector;
use std::process::ExitCode;

/// Serves the numbers of a stack on a TUN to Prometheus, at /metrics
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on
    #[arg(long, value_name = "N", default_value_t = 9100, value_parser = flags::port)]
    port: u16,
}

#[derive(Clone)]
struct Exporter {
    collector: Collector,
    prometheus: PrometheusHandle,
}

/// Version 0.0.4 of the text format.
const TEXT: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; version=0.0.4");

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let prometheus = PrometheusBuilder::new().install_recorder().context("the recorder")?;
        let stack = args.network.start()?;
        let collector = Collector::new(&stack);
        collector.describe();
        let address = format!("[::]:{}", args.port);
        let listener = stack.net().tcp_listen(&address).await.context(address.clone())?;
        println!("serving metrics on {address}");
        let app = Router::new()
            .route("/metrics", get(metrics))
            .with_state(Exporter { collector, prometheus });
        let serving = async { axum::serve(listener, app).await.context("serving") };
        examples::serve([stack], serving).await
    })
}

/// The numbers at this moment.
async fn metrics(State(exporter): State<Exporter>) -> Response {
    if let Err(error) = exporter.collector.collect().await {
        return (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response();
    }
    ([TEXT], exporter.prometheus.render()).into_response()
}
