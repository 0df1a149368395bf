//! A proxy with two stacks: it accepts connections on the front stack and opens them on the back
//! stack.
//!
//! ```sh
//! cargo run --release -p examples --example proxy -- --port 8080 \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24 \
//!     --back-host-address 10.10.0.1/24 --back-address 10.10.0.2/24
//! curl --proxytunnel -x http://10.9.0.2:8080 http://10.10.0.1/
//! ```
//!
//! With `--forward 10.10.0.1:80` it is a plain forwarder: `curl http://10.9.0.2:8080/`.

use anyhow::{Context, Result};
use examples::{Network, flags, println};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use netstack::netsocket::{TcpListener, TcpStream};
use netstack::{IpNet, Net};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// Carries TCP connections from a stack on one TUN to a stack on another
///
/// The destination is that of the client's HTTP CONNECT, or that of --forward.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    front: Network,
    #[command(flatten)]
    back: Back,
    /// The port to listen on, at the front
    #[arg(long, value_name = "N", default_value_t = 8080, value_parser = flags::port)]
    port: u16,
    /// The destination of every connection, instead of HTTP CONNECT
    #[arg(long, value_name = "IP:PORT", value_parser = flags::endpoint)]
    forward: Option<SocketAddr>,
}

/// The back stack's addresses, routes and link.
///
/// Without any address the kernel's side is 10.10.0.1/24 and the stack's 10.10.0.2/24.
#[derive(clap::Args)]
struct Back {
    /// The kernel's TUN interface of the back stack
    #[arg(long, value_name = "NAME", default_value = "tun1")]
    back_tun: String,
    /// An address of the back stack, with its prefix (repeatable)
    #[arg(long = "back-address", value_name = "CIDR", value_parser = flags::prefixed)]
    back_addresses: Vec<IpNet>,
    /// The back stack's default gateway (repeatable: one for each family)
    #[arg(long = "back-gateway", value_name = "IP", value_parser = flags::address)]
    back_gateways: Vec<IpAddr>,
    /// An address of the kernel's end of it (repeatable)
    #[arg(long = "back-host-address", value_name = "CIDR", value_parser = flags::prefixed)]
    back_host_addresses: Vec<IpNet>,
    /// A name server for the names that clients give (repeatable)
    #[arg(long = "back-dns", value_name = "IP", value_parser = flags::address)]
    back_name_servers: Vec<IpAddr>,
    /// Listen on a control socket of the back stack
    #[arg(long = "back-control", value_name = "PATH")]
    back_control: Option<PathBuf>,
}

impl Back {
    fn network(self, front: &Network) -> Result<Network> {
        let mut network = Network {
            tun: Some(self.back_tun),
            tap: None,
            link: None,
            dhcp: false,
            slaac: false,
            addresses: self.back_addresses,
            gateways: self.back_gateways,
            host_addresses: self.back_host_addresses,
            mtu: front.mtu,
            name_servers: self.back_name_servers,
            no_offload: front.no_offload,
            pcap: None,
            control: self.back_control,
        };
        if network.addresses.is_empty() && network.host_addresses.is_empty() {
            network.addresses.push("10.10.0.2/24".parse()?);
            network.host_addresses.push("10.10.0.1/24".parse()?);
        }
        Ok(network)
    }
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let front = args.front.start()?;
        let back = args.back.network(&args.front)?.start()?;
        let address = format!("[::]:{}", args.port);
        let listener = front.net().tcp_listen(&address).await.context(address.clone())?;
        match args.forward {
            Some(target) => println!("forwarding {address} to {target}"),
            None => println!("http proxy on {address}"),
        }
        let serving = serve(listener, back.net().clone(), args.forward);
        examples::serve([front, back], serving).await
    })
}

async fn serve(listener: TcpListener, back: Net, forward: Option<SocketAddr>) -> Result<()> {
    loop {
        let (client, peer) = listener.accept().await?;
        let back = back.clone();
        tokio::spawn(async move {
            let result = match forward {
                Some(target) => pass_on(client, &back, target).await,
                None => serve_http(client, back).await,
            };
            if let Err(error) = result {
                println!("{peer}: {error:#}");
            }
        });
    }
}

async fn pass_on(client: TcpStream, back: &Net, target: SocketAddr) -> Result<()> {
    let server = back.tcp_connect(target).await.context(target)?;
    carry(client, server, &target.to_string()).await
}

async fn serve_http(client: TcpStream, back: Net) -> Result<()> {
    let answer = service_fn(|request| connect(request, &back));
    http1::Builder::new().serve_connection(client, answer).with_upgrades().await?;
    Ok(())
}

/// Answers a CONNECT once the other end is there; the connection is the client's from then on.
async fn connect(request: Request<Incoming>, back: &Net) -> Result<Response<String>, Infallible> {
    let refuse = |status, reason: String| {
        let mut response = Response::new(reason + "\n");
        *response.status_mut() = status;
        Ok(response)
    };
    let target = match request.uri().authority() {
        Some(target) if request.method() == Method::CONNECT => target.to_string(),
        _ => return refuse(StatusCode::METHOD_NOT_ALLOWED, "only CONNECT is served here".into()),
    };
    let server = match back.tcp_connect(&target).await {
        Ok(server) => server,
        Err(error) => return refuse(StatusCode::BAD_GATEWAY, format!("{target}: {error}")),
    };
    tokio::spawn(async move {
        let carried = match hyper::upgrade::on(request).await {
            Ok(client) => carry(TokioIo::new(client), server, &target).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = carried {
            println!("{error:#}");
        }
    });
    Ok(Response::new(String::new()))
}

/// Carries both directions, each to its own end.
async fn carry<C>(mut client: C, mut server: TcpStream, target: &str) -> Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (up, down) =
        copy_bidirectional(&mut client, &mut server).await.context(target.to_owned())?;
    println!("{target}: {up} bytes up, {down} bytes down");
    Ok(())
}
