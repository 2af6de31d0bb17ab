//! TLS from PEM files, with the one crypto provider of the project.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::StartError;

/// A certificate chain and its key, both in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, the tracker's own certificate first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|error| {
            StartError::new(format!("{} cannot be read: {error}.", path.display()))
        })
    };
    let wrong = |path: &PathBuf, what: &str| {
        StartError::new(format!("{} holds no {what} in PEM format.", path.display()))
    };
    let certs: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&tls.cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(&tls.cert, "certificate"))?;
    if certs.is_empty() {
        return Err(wrong(&tls.cert, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?)
        .map_err(|_| wrong(&tls.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certs, key))
        .map_err(|error| {
            StartError::new(format!(
                "The certificate {} and the key {} cannot be used together: {error}.",
                tls.cert.display(),
                tls.key.display()
            ))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
