//! The certificate of a server: from files, or made at the start.

use anyhow::{Context, Result, ensure};
use netstack::Net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Whether there is TLS, and with which certificate.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Serve over TLS, with a certificate that is made for the stack's addresses at each start
    #[arg(long, conflicts_with = "cert")]
    tls: bool,
    /// Where to write that certificate, for clients to check it
    #[arg(long, value_name = "FILE", requires = "tls")]
    save_cert: Option<PathBuf>,
    /// Serve over TLS, with the certificates in this file (PEM, the server's first)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the first of them (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// The certificates of a server, its own first, and the key of that.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Flags {
    /// What accepts connections over TLS with this protocol of the application, if there is to be TLS.
    pub(crate) fn acceptor(
        &self,
        net: &Net,
        protocol: Option<&str>,
    ) -> Result<Option<TlsAcceptor>> {
        let (certificates, key) = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => read(cert, key)?,
            _ if self.tls => self.make(net)?,
            _ => return Ok(None),
        };
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config
            .with_single_cert(certificates, key)
            .context("the key and the certificate do not belong together")?;
        config.alpn_protocols = protocol.map(|name| name.into()).into_iter().collect();
        Ok(Some(Arc::new(config).into()))
    }

    /// Makes a key and a certificate that it signs itself.
    fn make(&self, net: &Net) -> Result<Identity> {
        let state = net.watch_network().current();
        let addresses = state.addresses.iter().map(|address| address.addr().to_string());
        let names: Vec<String> = addresses.chain(["netstack".into()]).collect();
        let made = rcgen::generate_simple_self_signed(names).context("making the certificate")?;
        if let Some(file) = &self.save_cert {
            std::fs::write(file, made.cert.pem()).with_context(|| file.display().to_string())?;
        }
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok((vec![made.cert.der().clone()], key.into()))
    }
}

fn read(cert: &Path, key: &Path) -> Result<Identity> {
    let certificates = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .with_context(|| cert.display().to_string())?;
    ensure!(!certificates.is_empty(), "{}: there is no certificate in it (PEM)", cert.display());
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
    Ok((certificates, key))
}
