//! Echoes over TLS, with rustls and a certificate made on the spot.
//!
//! ```sh
//! cargo run --release -p examples --example tls -- --certificate /tmp/tls.pem \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24
//! openssl s_client -connect 10.9.0.2:443 -CAfile /tmp/tls.pem -verify_ip 10.9.0.2
//! ```

use anyhow::{Context, Result};
use examples::{Network, flags, println};
use netstack::netsocket::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Echoes over TLS on all addresses of a stack on a TUN
///
/// The certificate is made at each start: for the stack's addresses and the name `netstack`.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on
    #[arg(long, value_name = "N", default_value_t = 443, value_parser = flags::port)]
    port: u16,
    /// Where to write the certificate, for clients to check it
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let acceptor = acceptor(&args.network, args.certificate.as_deref())?;
        let stack = args.network.start()?;
        let address = format!("[::]:{}", args.port);
        let listener = stack.net().tcp_listen(&address).await.context(address.clone())?;
        println!("tls echo on {address}");
        examples::serve([stack], serve(listener, acceptor)).await
    })
}

/// Makes a key and a certificate that it signs itself.
fn acceptor(network: &Network, file: Option<&Path>) -> Result<TlsAcceptor> {
    let addresses = network.addresses.iter().map(|address| address.addr().to_string());
    let names: Vec<String> = addresses.chain(["netstack".into()]).collect();
    let made = rcgen::generate_simple_self_signed(names).context("making the certificate")?;
    if let Some(file) = file {
        std::fs::write(file, made.cert.pem()).with_context(|| file.display().to_string())?;
    }
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(Arc::new(config).into())
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match echo(stream, acceptor).await {
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
}

async fn echo(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<u64> {
    let (mut from, mut to) = tokio::io::split(acceptor.accept(stream).await?);
    let bytes = tokio::io::copy(&mut from, &mut to).await?;
    // Sends the close_notify, without which the end could be forged.
    to.shutdown().await?;
    Ok(bytes)
}
