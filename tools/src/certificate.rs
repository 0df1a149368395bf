//! The certificate of a server: from files, or made at the start.

use anyhow::{Context, Result, ensure};
use netstack::Net;
use rcgen::{CertifiedKey, KeyPair};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Whether there is TLS, and with which certificate.
#[derive(Debug, clap::Args)]
#[command(mut_arg("save_cert", |arg| arg.requires("tls")))]
pub(crate) struct Flags {
    /// Serve over TLS, with a certificate that is made for the stack's addresses at each start
    #[arg(long, conflicts_with = "cert")]
    tls: bool,
    #[command(flatten)]
    files: Files,
}

/// The files of certificates, for a server that has TLS in any case.
#[derive(Debug, clap::Args)]
pub(crate) struct Files {
    /// Where to write the certificate that is made at the start, for clients to check it
    #[arg(long, value_name = "FILE", conflicts_with = "cert")]
    save_cert: Option<PathBuf>,
    /// Serve over TLS, with the certificates in this file (PEM, the server's first)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the first of them (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// The certificates of a server, its own first, and the key of that.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Flags {
    /// What accepts connections over TLS with this protocol of the application, if there is to be TLS.
    pub(crate) fn acceptor(
        &self,
        net: &Net,
        protocol: Option<&str>,
    ) -> Result<Option<TlsAcceptor>> {
        if !self.tls && self.files.cert.is_none() {
            return Ok(None);
        }
        Ok(Some(Arc::new(config(self.files.identity(net)?, protocol)?).into()))
    }
}

impl Files {
    /// The flag that was given, if one was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [("--save-cert", &self.save_cert), ("--cert", &self.cert)];
        flags.into_iter().find_map(|(flag, file)| file.as_ref().map(|_| flag))
    }

    /// The certificate in the files, or else one that is made.
    pub(crate) fn identity(&self, net: &Net) -> Result<Identity> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => read(cert, key),
            _ => self.make(net),
        }
    }

    /// Makes a key and a certificate that it signs itself.
    fn make(&self, net: &Net) -> Result<Identity> {
        let made = make(net)?;
        if let Some(file) = &self.save_cert {
            std::fs::write(file, made.cert.pem()).with_context(|| file.display().to_string())?;
        }
        Ok(identity(&made))
    }
}

/// A key and a certificate for the addresses of a stack that it signs itself.
pub(crate) fn made(net: &Net) -> Result<Identity> {
    Ok(identity(&make(net)?))
}

/// The configuration of a server with this certificate and protocol of the application.
pub(crate) fn config(
    (certificates, key): Identity,
    protocol: Option<&str>,
) -> Result<ServerConfig> {
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config
        .with_single_cert(certificates, key)
        .context("the key and the certificate do not belong together")?;
    config.alpn_protocols = protocol.map(|name| name.into()).into_iter().collect();
    Ok(config)
}

fn make(net: &Net) -> Result<CertifiedKey<KeyPair>> {
    let state = net.watch_network().current();
    let addresses = state.addresses.iter().map(|address| address.addr().to_string());
    let names: Vec<String> = addresses.chain(["netstack".into()]).collect();
    rcgen::generate_simple_self_signed(names).context("making the certificate")
}

fn identity(made: &CertifiedKey<KeyPair>) -> Identity {
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    (vec![made.cert.der().clone()], key.into())
}

fn read(cert: &Path, key: &Path) -> Result<Identity> {
    let certificates = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .with_context(|| cert.display().to_string())?;
    ensure!(!certificates.is_empty(), "{}: there is no certificate in it (PEM)", cert.display());
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
    Ok((certificates, key))
}
