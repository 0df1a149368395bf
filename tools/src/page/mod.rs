//! `netstack page`: a running stack in a browser, as it works.

mod answer;
mod query;
mod state;
mod switch;
#[cfg(test)]
mod tests;
mod watch;

use crate::client::Target;
use answer::Site;
use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::TryRng;
use rand::rngs::SysRng;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use switch::Switch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use watch::Watch;

/// Show a running stack in a browser: connections, rates, limits, drops, the network
///
/// It serves a page on a loopback port of this machine, until SIGINT or SIGTERM, and prints the address.
/// Only who has that address sees anything: it ends in a secret.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Show the ports of a switch, too, and who talks to whom: its management socket, as of netstack
    /// switch --management, or of vde_switch -M. Where no stack is given or found, the switch alone
    #[arg(long, value_name = "PATH")]
    switch: Option<PathBuf>,
    /// The port on 127.0.0.1; 0 for a free one
    #[arg(short, long, value_name = "PORT", default_value = "0")]
    port: u16,
    /// The time between two readings
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = cli::flags::seconds)]
    interval: Duration,
}

const EXAMPLES: &str = "\
The page asks for nothing from elsewhere. The stack is read while a page is open and visible, and
not otherwise. From another machine: ssh -L 8080:127.0.0.1:PORT HOST, and the address with port
8080.

Examples:
  netstack page
  netstack page --control /tmp/httpd --port 8080
  netstack page --control /tmp/httpd --switch /run/lan.mgmt
  netstack page --switch /run/lan.mgmt";

/// The shortest time between two readings.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Connections of browsers at a time; further ones wait.
const CONNECTIONS_MAX: usize = 32;
/// The headers of a request, in bytes; hyper has no lower bound.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long a browser may take for the headers of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection of a browser lives, so that it cannot be held: until it is asked to end, and
/// until it is made to.
const LIFE: Duration = Duration::from_secs(60);
const LIFE_MAX: Duration = Duration::from_secs(70);

pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(run(args))
}

async fn run(args: &Args) -> Result<()> {
    let switch = args.switch.as_deref().map(Switch::new);
    let interval = args.interval.max(INTERVAL_MIN);
    // A stack that is not there is reported here, and not only on the page.
    let watch = match (args.target.connect(), switch) {
        (Ok(client), switch) => Watch::new(args.target.clone(), client, switch, interval),
        (Err(_), Some(switch)) if !args.target.is_given() => Watch::of_switch(switch, interval),
        (Err(error), _) => return Err(error),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
    let listener = listener.with_context(|| format!("127.0.0.1:{}", args.port))?;
    let token = token()?;
    cli::println!("http://{}/#{token}", listener.local_addr()?);
    let site = Arc::new(Site::new(watch, token));
    match cli::until_stopped(serve(&listener, &site)).await {
        // Its normal end.
        Err(error) if matches!(error.downcast_ref(), Some(&&cli::Stop::Signal(_))) => Ok(()),
        stopped => stopped,
    }
}

/// What a browser has to know: 128 bits by chance.
fn token() -> Result<String> {
    let mut bytes = [0_u8; 16];
    SysRng.try_fill_bytes(&mut bytes).context("the system's randomness")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

async fn serve(listener: &TcpListener, site: &Arc<Site>) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = site.clone();
                tokio::spawn(async move {
                    converse(stream, site).await;
                    drop(place);
                });
            }
            // For want of descriptors, such as others may give back.
            Err(_) => tokio::time::sleep(INTERVAL_MIN).await,
        }
    }
}

/// Answers a browser, until it or the time of its connection ends.
async fn converse(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(|request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A failure is the browser's: there is nobody to tell.
    if tokio::time::timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LIFE_MAX - LIFE, connection).await;
    }
}
