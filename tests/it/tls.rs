//! TLS in front of an emulator. The tests of reapctl read this file as well.

use tokio::{io::copy_bidirectional, net::TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// Of `localhost`, by `tls/authority.pem`.
pub(super) const VALID: &[u8] = include_bytes!("tls/valid.pem");

/// The same, and over.
pub(super) const EXPIRED: &[u8] = include_bytes!("tls/expired.pem");

/// Speaks TLS with this certificate and passes on what it hears; its URL.
pub(super) async fn serve_tls(certificate: &'static [u8], to: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).expect("a pair");
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let to = to.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        loop {
            let (stream, _peer) = listener.accept().await.expect("a client");
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut behind = TcpStream::connect(to).await.expect("the emulator");
                drop(copy_bidirectional(&mut stream, &mut behind).await);
            });
        }
    });
    format!("https://localhost:{port}")
}
