//! The files that keys name, as a target for a fuzzer (`crate::fuzzing`).

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::files::{self, Certificates, SecretFile, Trouble};
use base::plain::unseen;
use base::secret::Secret;
use base::time::Wall;
use notifications::assertion::AssertionSource;
use notifications::saml::Signer;
use notifications::tls::{Identity, Trust};

/// Any bytes in the files that a start or a reload reads: what the check takes can be put to use,
/// what it refuses is refused in words. The first byte chooses the kind of file; a second file
/// follows behind a zero byte where two belong together.
pub(crate) fn fuzz_files(kind: usize, data: &[u8]) {
    let mut files = Files(0);
    match kind % 9 {
        0 => {
            if let Some((line, _)) = told(files.secret(data).read_line()) {
                one_line(&line);
            }
        }
        1 => {
            if let Some(((user, password), _)) = told(files.secret(data).read_credentials()) {
                assert!(!user.is_empty() && !user.contains(':'));
                // A password may be empty: RFC 7617 allows it.
                one_line(&Secret::new(user + ":" + password.expose()));
            }
        }
        2 => {
            if let Some((token, _)) = told(files.secret(data).read_bearer()) {
                one_line(&token);
                assert!(token.expose().is_ascii());
            }
        }
        3 => {
            if let Some((tokens, _)) = told(files.secret(data).read_tokens()) {
                assert!(!tokens.is_empty());
                for token in tokens {
                    one_line(&token);
                    assert!(token.expose().len() >= 16 && token.expose().is_ascii());
                }
            }
        }
        4 => {
            if let Some(certificates) = told(files::certificates(files.path(data))) {
                assert!(Trust::Only(certificates.der.clone()).rustls().is_ok());
                let again = files.path(certificates.pem().as_bytes());
                let again = files::certificates(again).expect("what was read can be written");
                assert_eq!(again.der, certificates.der);
            }
        }
        5 => identity(&mut files, data),
        6 => signer(&mut files, data),
        7 => {
            let _ = told(files::template(files.path(data)));
        }
        _ => {
            let file = files.secret(data);
            let _ = told(files::presence(&file));
            let source = AssertionSource::File(file.path().to_owned());
            match source.obtain(Wall(1_767_886_512_000)) {
                Ok(assertion) => {
                    assert!(assertion.expose().bytes().all(|b| b.is_ascii_graphic()));
                }
                Err(error) => printable(&error.to_string()),
            }
        }
    }
}

/// A client certificate and its key.
fn identity(files: &mut Files, data: &[u8]) {
    let (certificate, key) = two(data);
    let key = told(files::tls_key(&files.secret(key)));
    let certificates = told(files::certificates(files.path(certificate)));
    let (Some((key, _)), Some(certificates)) = (key, certificates) else {
        return;
    };
    let taken = match files::belong_together(&certificates, &key) {
        Ok(()) => true,
        Err(rule) => {
            printable(&rule.rule);
            false
        }
    };
    let used = Identity::of(
        &certificates.der,
        key.expose().as_bytes(),
        "key.pem".as_ref(),
    );
    assert_eq!(used.is_ok(), taken, "the check and the use are of one mind");
}

/// The key and the certificate that sign assertions.
fn signer(files: &mut Files, data: &[u8]) {
    let (certificate, key) = two(data);
    let key = told(files::signing_key(&files.secret(key)));
    let certificates = told(files::certificates(files.path(certificate)));
    let (Some((key, public, _)), Some(certificates)) = (key, certificates) else {
        return;
    };
    assert!(PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).is_ok());
    let used = Signer::from_pem(key.expose().as_bytes(), certificates.pem().as_bytes());
    let taken = belongs(&certificates, &public);
    assert!(
        used.is_ok() || !taken,
        "what the check takes can be used: {:?}",
        used.err()
    );
}

fn belongs(certificates: &Certificates, public: &[u8]) -> bool {
    super::check_genesys::belongs(certificates, public)
}

fn two(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|b| *b == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, data),
    }
}

/// What was read; a refusal is fit for a terminal.
fn told<T>(read: Result<T, Trouble>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(trouble) => {
            printable(&trouble.rule.rule);
            printable(&trouble.rule.hint);
            None
        }
    }
}

fn printable(said: &str) {
    let clean = said.chars().all(|c| !c.is_control() && unseen(c).is_none());
    assert!(clean && said.len() < 1000, "one bounded line: {said:?}");
}

fn one_line(secret: &Secret) {
    let text = secret.expose();
    assert!(!text.is_empty());
    assert!(text.chars().all(|c| !c.is_control() && unseen(c).is_none()));
    assert_eq!(text.trim_matches([' ', '\t']), text);
}

/// Files of this thread, gone with it.
struct Files(usize);

impl Files {
    fn path(&mut self, content: &[u8]) -> std::path::PathBuf {
        self.0 += 1;
        let path = path(self.0);
        std::fs::write(&path, content).expect("the temporary directory takes a file");
        path
    }

    fn secret(&mut self, content: &[u8]) -> SecretFile {
        let path = self.path(content);
        let written = path.to_str().expect("a path in UTF-8");
        SecretFile::resolve(written, "/".as_ref(), &super::Environment::default())
            .expect("a path is one")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for n in 1..=self.0 {
            let _ = std::fs::remove_file(path(n));
        }
    }
}

fn path(n: usize) -> std::path::PathBuf {
    std::env::temp_dir().join(format!(
        "genesys-gateway-fuzzing.{}.{:?}.{n}",
        std::process::id(),
        std::thread::current().id()
    ))
}
