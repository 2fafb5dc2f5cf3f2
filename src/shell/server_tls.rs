//! TLS of a listener: what it shows of itself, replaced while it runs.
//!
//! Invariant: TLS 1.2 or 1.3 and HTTP/1.1 within it, and nothing else is agreed on.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::config::ServerIdentity;
use notifications::shared::Shared;
use notifications::tls::TlsError;

/// The certificate and key of one listener. Clones share them, so that a reload reaches every
/// connection that comes after it.
#[derive(Clone)]
pub struct ServerTls(Shared<Arc<ServerConfig>>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS")
    }
}

impl ServerTls {
    /// Shows this.
    ///
    /// # Errors
    /// Certificate and key cannot be used together.
    pub fn new(shown: &ServerIdentity) -> Result<ServerTls, TlsError> {
        Ok(ServerTls(Shared::new(config(shown)?)))
    }

    /// Shows what another one shows, from now on.
    pub(super) fn take_over(&self, other: &ServerTls) {
        self.0.set(other.config());
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.get()
    }
}

fn config(shown: &ServerIdentity) -> Result<Arc<ServerConfig>, TlsError> {
    let file = || Path::new("[http] private-key-file").to_owned();
    let key = PrivateKeyDer::from_pem_slice(shown.key_pem.expose().as_bytes())
        .map_err(|_| TlsError::NoKey(file()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| TlsError::Unusable(file(), e))?
        .with_no_client_auth()
        .with_single_cert(shown.certificates.der.clone(), key)
        .map_err(|e| TlsError::Unusable(file(), e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
