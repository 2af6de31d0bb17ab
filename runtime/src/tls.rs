//! Whom to trust: the TLS settings of all connections to trackers.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// Settings with the roots that this machine trusts (`SSL_CERT_FILE` is honoured). Made once:
/// reading the roots of a machine takes milliseconds.
///
/// # Errors
/// This machine trusts nobody.
pub fn config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let why = "this machine has no root certificates: install ca-certificates";
        return Err(io::Error::other(why));
    }
    let config = trusting(roots)?;
    Ok(CONFIG.get_or_init(|| config).clone())
}

/// Settings with these roots.
///
/// # Errors
/// The provider has no protocol version, which none of ours lacks.
pub fn trusting(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
