//! TLS to trackers.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::compat::TokioAsyncReadCompatExt;
use towpath_runtime::tls::config;
use towpath_runtime::tracker::Connection;

/// Runs TLS over `stream`.
pub(crate) async fn wrap(stream: TcpStream, host: &str) -> io::Result<Connection> {
    wrap_with(config()?, stream, host).await
}

async fn wrap_with(
    config: Arc<ClientConfig>,
    stream: TcpStream,
    host: &str,
) -> io::Result<Connection> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?.compat()))
}

#[cfg(test)]
mod tests {
    use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use towpath_runtime::tls::trusting;

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
        stream.write_all(&[7]).await.unwrap();
        stream.flush().await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [7]);

        let stream = dial().await.unwrap();
        let other_name = wrap_with(trusted, stream, "example.org").await.err().unwrap();
        assert_eq!(other_name.kind(), io::ErrorKind::InvalidData);

        let stream = dial().await.unwrap();
        let nobody = trusting(RootCertStore::empty()).unwrap();
        let untrusted = wrap_with(nobody, stream, "localhost").await.err().unwrap();
        assert_eq!(untrusted.kind(), io::ErrorKind::InvalidData);
    }
}
