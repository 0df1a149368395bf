//! A capture of encrypted connections, which tshark reads with the secrets in it.

use crate::namespace::{Outcome, program};
use crate::programs::output;
use netstack::capture::{Captures, Filter, Recorder};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, KeyLog, RootCertStore, ServerConfig, SupportedProtocolVersion, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const REQUEST: &[u8] = b"GET /only-for-two HTTP/1.1\r\nHost: server\r\nContent-Length: 0\r\n\r\n";

/// What a program logs of its secrets goes into a file, or into all captures of its stack.
#[derive(Debug)]
enum Secrets {
    File(Recorder),
    Captures(Captures),
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        match self {
            Self::File(file) => file.log_secret(label, client_random, secret),
            Self::Captures(all) => all.log_secret(label, client_random, secret),
        }
    }
}

/// Where the secrets of a connection go.
#[derive(Debug, Clone, Copy)]
enum Destination {
    File,
    Captures,
    Nowhere,
}

/// With the secrets the request is read, of both versions of TLS; without them it is not.
pub(crate) fn of_tls() -> Outcome {
    program("tshark")?;
    for protocol in [&version::TLS12, &version::TLS13] {
        for (secrets, expected) in [
            (Destination::File, "/only-for-two"),
            (Destination::Captures, "/only-for-two"),
            (Destination::Nowhere, ""),
        ] {
            let file = tempfile::NamedTempFile::new()?;
            exchange(file.path(), protocol, secrets)?;
            let mut tshark = program("tshark")?;
            tshark.arg("-r").arg(file.path()).args(["-d", "tcp.port==443,tls", "-Y", "http"]);
            let read = output(tshark.args(["-T", "fields", "-e", "http.request.uri"]))?;
            assert_eq!(read.trim(), expected, "{protocol:?}, {secrets:?}");
        }
    }
    Ok(())
}

/// A request over TLS between two stacks, of which the first is captured.
#[tokio::main(flavor = "current_thread")]
async fn exchange(
    path: &Path,
    protocol: &'static SupportedProtocolVersion,
    secrets: Destination,
) -> io::Result<()> {
    let recorder = Recorder::new(std::fs::File::create(path)?);
    let (acceptor, mut client) = configurations(protocol)?;
    let (near, far) = netstack::Pair::new().jumbo(false).spawn()?;
    match secrets {
        Destination::File => client.key_log = Arc::new(Secrets::File(recorder.clone())),
        Destination::Captures => client.key_log = Arc::new(Secrets::Captures(near.captures())),
        Destination::Nowhere => {}
    }
    let capture = near.capture(&recorder, Filter::all());
    let listener = far.net().tcp_listen("10.0.0.2:443").await?;
    let serve = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request).await?;
        stream.shutdown().await
    };
    let ask = async {
        let stream = near.net().tcp_connect("10.0.0.2:443").await?;
        let name = ServerName::try_from("server").map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        stream.write_all(REQUEST).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    tokio::try_join!(serve, ask)?;
    capture.stop();
    Ok(())
}

fn configurations(
    protocol: &'static SupportedProtocolVersion,
) -> io::Result<(TlsAcceptor, ClientConfig)> {
    let certified = rcgen::generate_simple_self_signed(["server".to_owned()]);
    let certified = certified.map_err(io::Error::other)?;
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_protocol_versions(&[protocol]).with_no_client_auth();
    let server = server.with_single_cert(vec![certificate.clone()], key);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let client = ClientConfig::builder_with_protocol_versions(&[protocol]);
    let client = client.with_root_certificates(roots).with_no_client_auth();
    Ok((TlsAcceptor::from(Arc::new(server.map_err(io::Error::other)?)), client))
}
