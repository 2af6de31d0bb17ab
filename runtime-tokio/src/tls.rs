//! TLS to trackers, and what HTTP and WebSockets run over with it or without.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection to a tracker.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Runs TLS over `stream`, with the roots that this machine trusts (`SSL_CERT_FILE` is honoured).
pub(crate) async fn wrap(stream: TcpStream, host: &str) -> io::Result<Box<dyn Stream>> {
    wrap_with(config()?, stream, host).await
}

async fn wrap_with(
    config: Arc<ClientConfig>,
    stream: TcpStream,
    host: &str,
) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Made once: reading the roots of a machine takes milliseconds.
fn config() -> io::Result<Arc<ClientConfig>> {
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

fn trusting(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A server with a certificate of its own for `localhost`; it echoes one byte a connection.
    async fn server() -> (std::net::SocketAddr, RootCertStore) {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let byte = stream.read_u8().await.unwrap();
                stream.write_u8(byte).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        (address, roots)
    }

    #[tokio::test]
    async fn only_a_certificate_that_is_trusted_and_fits_the_name_is_taken() {
        let (address, roots) = server().await;
        let trusted = trusting(roots).unwrap();
        let dial = || TcpStream::connect(address);

        let stream = dial().await.unwrap();
        let mut stream = wrap_with(trusted.clone(), stream, "localhost").await.unwrap();
        stream.write_u8(7).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 7);

        let stream = dial().await.unwrap();
        let other_name = wrap_with(trusted, stream, "example.org").await.err().unwrap();
        assert_eq!(other_name.kind(), io::ErrorKind::InvalidData);

        let stream = dial().await.unwrap();
        let nobody = trusting(RootCertStore::empty()).unwrap();
        let untrusted = wrap_with(nobody, stream, "localhost").await.err().unwrap();
        assert_eq!(untrusted.kind(), io::ErrorKind::InvalidData);
    }
}
