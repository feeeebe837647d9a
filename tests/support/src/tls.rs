//! TLS in front of an emulator.

#![expect(clippy::expect_used, reason = "a test that panics has failed")]

use tokio::{io::copy_bidirectional, net::TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// A certificate of `localhost`, signed by [`AUTHORITY`].
pub const VALID: &[u8] = include_bytes!("tls/valid.pem");

/// The same, but expired.
pub const EXPIRED: &[u8] = include_bytes!("tls/expired.pem");

/// The path of the certificate of the authority.
pub const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/authority.pem");

/// Serves TLS with this certificate on a free port, and forwards every connection to the HTTP URL
/// `to`. Returns the URL.
///
/// # Panics
/// If it cannot listen, and in the background if a connection cannot be forwarded.
pub async fn serve_tls(certificate: &'static [u8], to: &str) -> String {
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
