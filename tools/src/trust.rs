//! Which certificates of servers are trusted.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The flag of clients of TLS.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The trusted root certificates, as PEM, in place of those of this machine
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl Flags {
    /// What begins TLS on a connection.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let roots = match &self.cacert {
            Some(path) => read(path)?,
            None => of_machine()?,
        };
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Arc::new(config).into())
    }
}

fn read(path: &Path) -> Result<RootCertStore> {
    let failed = || path.display().to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(failed)? {
        roots.add(certificate.with_context(failed)?).with_context(failed)?;
    }
    ensure!(!roots.is_empty(), "{}: no certificate", path.display());
    Ok(roots)
}

fn of_machine() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(!roots.is_empty(), "this machine has no root certificates: name some by --cacert FILE");
    Ok(roots)
}
