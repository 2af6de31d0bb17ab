//! TLS to trackers.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use futures_rustls::TlsConnector;
use futures_rustls::rustls::ClientConfig;
use futures_rustls::rustls::pki_types::ServerName;
use smol::Async;
use towpath_runtime::tls::config;
use towpath_runtime::tracker::Connection;

/// Runs TLS over `stream`.
pub(crate) async fn wrap(stream: Async<TcpStream>, host: &str) -> io::Result<Connection> {
    wrap_with(config()?, stream, host).await
}

async fn wrap_with(
    config: Arc<ClientConfig>,
    stream: Async<TcpStream>,
    host: &str,
) -> io::Result<Connection> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use futures_rustls::TlsAcceptor;
    use futures_util::{AsyncReadExt, AsyncWriteExt};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{RootCertStore, ServerConfig};
    use towpath_runtime::tls::trusting;

    use super::*;

    /// A server with a certificate of its own for `localhost`; it echoes one byte a connection.
    fn server() -> (SocketAddr, RootCertStore) {
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
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let echo = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                stream.write_all(&byte).await.unwrap();
                stream.flush().await.unwrap();
            }
        };
        smol::spawn(echo).detach();
        (address, roots)
    }

    async fn check() {
        let (address, roots) = server();
        let trusted = trusting(roots).unwrap();
        let dial = || Async::<TcpStream>::connect(address);

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

    #[test]
    fn only_a_certificate_that_is_trusted_and_fits_the_name_is_taken() {
        smol::block_on(check());
    }
}
