//! Fetches a page over HTTP or HTTPS, like curl: the address is from DHCP, the name from DNS, and
//! the link is a switch in this process with a TAP behind it.
//!
//! ```sh
//! cargo run --release -p examples --example fetch -- -v --tap tap0 --pcap fetch.pcapng \
//!     http://web.test/
//! ```

use anyhow::{Context, Result, anyhow, ensure};
use examples::{Network, Stop, flags};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use netstack::netsocket::{Net, TcpStream};
use netstack::switch::{PortConfig, Switch, SwitchConfig, Uplink};
use netstack::{Builder, Stack, dhcp};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Fetches a page from a stack on a switch, whose other port is a TAP
///
/// The stack gets its address by DHCP, unless one is given. With --tun the stack is on a TUN,
/// without a switch.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The URL: http://HOST[:PORT]/PATH, or https
    #[arg(value_parser = Target::parse)]
    url: Target,
    /// Where to write the page, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Log each step to standard error, and connections; twice: packets, too
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Treat a status of 400 or more as an error, and write nothing
    #[arg(long)]
    fail: bool,
    /// The trusted root certificates, as PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How many seconds each of these may take: having an address, a connection, an answer, and the
    /// next piece of the page
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = flags::seconds)]
    timeout: Duration,
}

/// Where the page is.
#[derive(Clone)]
struct Target {
    uri: Uri,
    host: String,
    port: u16,
    is_https: bool,
}

/// The link of the stack, while it runs.
#[derive(Default)]
struct Lan {
    switch: Option<Switch>,
    uplink: Option<Uplink>,
    recording: Option<JoinHandle<()>>,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let tls = if args.url.is_https { Some(tls(args.ca.as_deref())?) } else { None };
        let (stack, lan) = start(&args)?;
        let net = stack.net().clone();
        let fetched = examples::finish([stack], fetch(&args, tls, &net)).await;
        lan.end().await;
        fetched
    })
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what}, for example \"http://web.test/\"");
        let is_https = match text.split_once("://") {
            Some(("http", _)) => false,
            Some(("https", _)) => true,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("not a URL ({error})")))?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("the host is missing"))?;
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Ok(Self { uri, host, port, is_https })
    }
}

/// The trusted root certificates.
fn tls(ca: Option<&Path>) -> Result<TlsConnector> {
    let path = ca.context("https needs --ca FILE: no certificate is trusted by default")?;
    let failed = || path.display().to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(failed)? {
        roots.add(certificate.with_context(failed)?).with_context(failed)?;
    }
    ensure!(!roots.is_empty(), "{}: no certificate", path.display());
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// Starts the stack on a switch, or with --tun or --link on that link.
fn start(args: &Args) -> Result<(Stack, Lan)> {
    if args.network.tun.is_some() || args.network.link.is_some() {
        return Ok((args.network.start()?, Lan::default()));
    }
    let mut network = args.network.clone();
    let wants_address = network.addresses.is_empty() && !network.slaac;
    let asks = network.dhcp || wants_address;
    network.dhcp = false;
    let mut builder: Builder = network.builder();
    if asks {
        let config = dhcp::Config::default();
        builder = builder.dhcp(match args.verbose {
            0 => config,
            _ => config.on_event(examples::log_dhcp),
        });
    }

    let name = network.tap.get_or_insert_with(|| "tap0".into()).clone();
    let tap = network.open()?;
    let switch = Switch::new(SwitchConfig { mtu: network.mtu(), ..SwitchConfig::default() });
    let recording = match &network.pcap {
        Some(path) => {
            let (recorder, monitor) = (examples::recorder(path)?, switch.monitor());
            Some(tokio::spawn(async move { monitor.record(&recorder).await }))
        }
        None => None,
    };
    let uplink = switch.uplink(tap, PortConfig { name, ..PortConfig::default() })?;
    let port = switch.port(PortConfig { name: "stack".into(), ..PortConfig::default() })?;
    let stack = builder.spawn(port).context("starting the stack")?;
    Ok((stack, Lan { switch: Some(switch), uplink: Some(uplink), recording }))
}

impl Lan {
    /// Waits until all that was recorded is written.
    async fn end(self) {
        drop((self.uplink, self.switch));
        if let Some(recording) = self.recording {
            // Returns when the switch is dropped.
            let _ = recording.await;
        }
    }
}

async fn fetch(args: &Args, tls: Option<TlsConnector>, net: &Net) -> Result<()> {
    let (target, patience) = (&args.url, args.timeout);
    let say = |text: String| {
        if args.verbose > 0 {
            note(&text);
        }
    };

    let from = if args.network.slaac { "DHCP server or router" } else { "DHCP server" };
    let state = examples::addressed(net, from, patience).await?;
    say(format!("addresses: {}", list(&state.addresses)));
    let Target { host, port, .. } = target;
    if host.parse::<IpAddr>().is_err() {
        say(format!("name servers: {}", list(&state.name_servers)));
        let found = net.resolver().lookup_ip(host).await.map_err(|error| about(host, error))?;
        say(format!("{host} is {}", list(&found)));
    }

    let connecting = async { Ok(net.tcp_connect((&host[..], *port)).await?) };
    let stream = within(patience, &format!("connecting to {host}:{port}"), connecting).await?;
    stream.set_nodelay(true)?;
    say(format!("connected from {} to {}", stream.local_addr()?, stream.peer_addr()?));
    match tls {
        Some(tls) => {
            let step = format!("TLS with {host}");
            let stream = within(patience, &step, handshake(tls, host, stream)).await?;
            let session = stream.get_ref().1;
            let (version, suite) = (session.protocol_version(), session.negotiated_cipher_suite());
            if let (Some(version), Some(suite)) = (version, suite) {
                say(format!("{version:?} with {:?}", suite.suite()));
            }
            transfer(args, TokioIo::new(stream), say).await
        }
        // hyper takes the stack's connections as they are.
        None => transfer(args, stream, say).await,
    }
}

async fn handshake(
    tls: TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())?;
    Ok(tls.connect(name, stream).await?)
}

/// Requests the page on a connection, and writes it.
async fn transfer<S>(args: &Args, io: S, say: impl Fn(String)) -> Result<()>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let patience = args.timeout;
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    let uri = &args.url.uri;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority.rsplit('@').next().unwrap_or(authority))
        .header(USER_AGENT, concat!("netstack-fetch/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    say(format!("GET {path}"));
    let asking = async { Ok(sender.send_request(request).await?) };
    let response = within(patience, &format!("asking for {uri}"), asking).await?;
    say(format!("{:?} {}", response.version(), response.status()));
    for (name, value) in response.headers() {
        say(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    let status = response.status();
    ensure!(!args.fail || status.as_u16() < 400, "{uri}: {status}");
    let bytes = match &args.output {
        Some(path) => {
            let file = tokio::fs::File::create(path).await;
            let file = file.with_context(|| path.display().to_string())?;
            let failed = |error| anyhow!("{}: {error}", path.display());
            write(uri, response, file, patience, failed).await
        }
        None => {
            let failed = |error| Stop::Output(error).into();
            write(uri, response, tokio::io::stdout(), patience, failed).await
        }
    };
    say(format!("{} bytes", bytes?));
    Ok(())
}

/// Writes the page piece by piece; returns its length.
async fn write(
    uri: &Uri,
    mut response: Response<Incoming>,
    mut to: impl AsyncWrite + Unpin,
    patience: Duration,
    failed: impl Fn(std::io::Error) -> anyhow::Error,
) -> Result<u64> {
    let mut bytes = 0;
    loop {
        let next = async { response.frame().await.transpose().map_err(anyhow::Error::from) };
        let Some(frame) = within(patience, "the next piece", next)
            .await
            .with_context(|| format!("receiving {uri}"))?
        else {
            break;
        };
        if let Ok(piece) = frame.into_data() {
            to.write_all(&piece).await.map_err(&failed)?;
            bytes += piece.len() as u64;
        }
    }
    to.flush().await.map_err(&failed)?;
    Ok(bytes)
}

/// Waits for a step, and names it if it fails.
async fn within<T>(
    patience: Duration,
    step: &str,
    doing: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(patience, doing).await {
        Ok(done) => done.with_context(|| step.to_owned()),
        Err(_) => Err(anyhow!("{step}: timed out after {patience:?}")),
    }
}

/// Avoids naming the address twice, if the error names it already.
fn about(host: &str, error: std::io::Error) -> anyhow::Error {
    if error.to_string().contains(host) { error.into() } else { anyhow!("{host}: {error}") }
}

fn list(all: &[impl ToString]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

fn note(text: &str) {
    examples::eprintln!("* {text}");
}
