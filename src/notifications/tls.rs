//! Whom we trust and as whom we appear over TLS: one source for the WebSocket
//! and the HTTP side, ring as provider for both.
//!
//! Files are read once, when the configuration is put to use. Invariant: no
//! error shows what is in a key file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use ureq::tls as http_tls;

/// The largest certificate or key file that is read.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Why certificates or keys cannot be used. All of them are the operator's.
#[derive(Debug)]
pub enum TlsError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file holds no PEM certificate, or one that is damaged.
    NoCertificate(PathBuf),
    /// The file holds no PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted).
    NoKey(PathBuf),
    /// Certificate and key do not belong together, or are of a kind not supported.
    Unusable(PathBuf, rustls::Error),
    /// The machine's own root certificates cannot be loaded.
    NoRoots(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable(path, error) => {
                write!(f, "cannot read {}: {error}", path.display())
            }
            TlsError::NoCertificate(path) => {
                write!(f, "{} holds no usable PEM certificate", path.display())
            }
            TlsError::NoKey(path) => write!(
                f,
                "{} holds no PEM private key, or one that needs a password",
                path.display()
            ),
            TlsError::Unusable(path, error) => {
                write!(f, "cannot use {}: {error}", path.display())
            }
            TlsError::NoRoots(error) => {
                write!(f, "cannot load the machine's root certificates: {error}")
            }
        }
    }
}

impl std::error::Error for TlsError {}

/// Whom to trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The machine's root certificates (`SSL_CERT_FILE` is honoured).
    Platform,
    /// Only these.
    Only(Vec<CertificateDer<'static>>),
}

impl Trust {
    /// The certificates of a PEM file, or the machine's own if there is none.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate.
    pub fn load(ca_file: Option<&Path>) -> Result<Trust, TlsError> {
        ca_file.map_or(Ok(Trust::Platform), |path| {
            Ok(Trust::Only(certificates(path)?))
        })
    }

    /// The configuration for WebSockets.
    ///
    /// # Errors
    /// The machine's root certificates cannot be loaded, or those given are not usable.
    pub fn rustls(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::NoRoots)?;
        let builder = match self {
            Trust::Platform => {
                let verifier = rustls_platform_verifier::Verifier::new(provider())
                    .map_err(TlsError::NoRoots)?;
                builder
                    .dangerous() // The name of the door; behind it is full verification.
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trust::Only(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    // The configuration has looked at each of them.
                    let added = roots.add(certificate.clone());
                    added.map_err(|e| TlsError::Unusable("ca-file".into(), e))?;
                }
                builder.with_root_certificates(roots)
            }
        };
        Ok(Arc::new(builder.with_no_client_auth()))
    }

    /// The configuration for HTTP, with our own certificate if there is one.
    #[must_use]
    pub fn ureq(&self, identity: Option<&Identity>) -> http_tls::TlsConfig {
        let roots = match self {
            Trust::Platform => http_tls::RootCerts::PlatformVerifier,
            Trust::Only(certificates) => {
                let list: Vec<_> = certificates
                    .iter()
                    .map(|c| http_tls::Certificate::from_der(c).to_owned())
                    .collect();
                http_tls::RootCerts::new_with_certs(&list)
            }
        };
        http_tls::TlsConfig::builder()
            .provider(http_tls::TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider())
            .root_certs(roots)
            .client_cert(identity.map(|identity| identity.0.clone()))
            .build()
    }
}

/// A client certificate and its key; its `Debug` shows neither.
#[derive(Clone)]
pub struct Identity(http_tls::ClientCert);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.0.certs().len())
    }
}

impl Identity {
    /// Reads both from PEM files and makes sure that they belong together.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing usable, or the two do not match.
    pub fn load(certificate_file: &Path, key_file: &Path) -> Result<Identity, TlsError> {
        Identity::of(&certificates(certificate_file)?, &read(key_file)?, key_file)
    }

    /// Of a chain and a key that were read already; `key_file` names the key in errors.
    ///
    /// # Errors
    /// The key is not usable, or the two do not match.
    pub fn of(
        chain: &[CertificateDer<'static>],
        pem: &[u8],
        key_file: &Path,
    ) -> Result<Identity, TlsError> {
        let no_key = || TlsError::NoKey(key_file.to_owned());
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| no_key())?;
        // The HTTP library would find out at the first connection only.
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_root_certificates(RootCertStore::empty())
                    .with_client_auth_cert(chain.to_vec(), key)
            })
            .map_err(|error| TlsError::Unusable(key_file.to_owned(), error))?;
        let chain: Vec<_> = chain
            .iter()
            .map(|c| http_tls::Certificate::from_der(c).to_owned())
            .collect();
        let key = http_tls::PrivateKey::from_pem(pem).map_err(|_| no_key())?;
        Ok(Identity(http_tls::ClientCert::new_with_certs(&chain, key)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable(path.to_owned(), error);
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_MAX {
        return Err(unreadable(io::Error::other("larger than 4 MiB")));
    }
    std::fs::read(path).map_err(unreadable)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(list) if !list.is_empty() => Ok(list),
        _ => Err(TlsError::NoCertificate(path.to_owned())),
    }
}
