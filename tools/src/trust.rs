//! Which certificates of servers are trusted.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// The flags of clients of TLS.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The trusted root certificates, as PEM, in place of those of this machine
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Trust any certificate: whoever is on the way may be the server
    #[arg(long, conflicts_with = "cacert")]
    insecure: bool,
}

impl Flags {
    /// What begins TLS on a connection.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        Ok(Arc::new(self.config(None)?).into())
    }

    /// The flag that was given, if one was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        match &self.cacert {
            Some(_) => Some("--cacert"),
            None => self.insecure.then_some("--insecure"),
        }
    }

    /// The configuration of a client. A `known` certificate is trusted in place of those of this machine.
    pub(crate) fn config(&self, known: Option<&CertificateDer<'static>>) -> Result<ClientConfig> {
        let builder = ClientConfig::builder();
        if self.insecure {
            let any = Arc::new(AnyCertificate(builder.crypto_provider().clone()));
            let builder = builder.dangerous().with_custom_certificate_verifier(any);
            return Ok(builder.with_no_client_auth());
        }
        let roots = match (&self.cacert, known) {
            (Some(path), _) => read(path)?,
            (None, Some(certificate)) => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.clone())?;
                roots
            }
            (None, None) => of_machine()?,
        };
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
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

/// Trusts whatever certificate the server has the key of.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
