//! A certificate authority for one test: certificates of any name, time and kind, made by
//! the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;

const CONFIG: &str = "[ca]\ndefault_ca = a\n[a]\ndatabase = index\nnew_certs_dir = .\nserial = serial\n\
    default_md = sha256\npolicy = p\ncopy_extensions = copy\nunique_subject = no\n\
    [p]\ncommonName = supplied\n";

/// When a certificate is good.
#[derive(Clone, Copy)]
pub(crate) enum Time {
    Now,
    Over,
    NotYet,
}

/// A certificate and its key, as files.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The authority; its files go with it.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    /// With a name that no other has.
    pub(crate) fn new() -> Authority {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Authority::named(&format!(
            "authority-{}",
            NEXT.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// With that name: another key each time, as after a renewal.
    pub(crate) fn named(name: &str) -> Authority {
        let authority = Authority {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(authority.path("index"), "").unwrap();
        std::fs::write(authority.path("ca.cnf"), CONFIG).unwrap();
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key \
             -subj /CN={name} -days 3650 -out ca.pem"
        ));
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, words: &str) {
        let done = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(self.directory.path())
            .output()
            .expect("the openssl command (tests/run installs it)");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "openssl {words}: {said}");
    }

    /// The authority's own certificate, for `ca-file`.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these names, written as `DNS:a,IP:127.0.0.1`.
    pub(crate) fn issue(&self, name: &str, names: &str, time: Time) -> Issued {
        let (from, to) = match time {
            Time::Now => ("20200101000000Z", "20990101000000Z"),
            Time::Over => ("20200101000000Z", "20210101000000Z"),
            Time::NotYet => ("20980101000000Z", "20990101000000Z"),
        };
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key \
             -subj /CN={name} -addext subjectAltName={names} -out {name}.csr"
        ));
        self.openssl(&format!(
            "ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -rand_serial -notext \
             -in {name}.csr -startdate {from} -enddate {to} -out {name}.pem"
        ));
        Issued {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        }
    }
}

/// A TLS server that shows this; with `clients` it demands a certificate of that authority.
pub(crate) fn server(
    shown: &Issued,
    clients: Option<&Path>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(file).unwrap())
                .unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&shown.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&shown.key).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}
