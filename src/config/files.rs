//! Files that a key names: secrets, tokens, certificates, keys, templates.
//!
//! Reads regular files only (a pipe would block the start), up to a limit.
//!
//! Invariant: what was read from a secret's file leaves as a [`Secret`] or not
//! at all; no error here carries content.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::environment::Environment;
use super::values::Rule;
use super::written;
use base::secret::Secret;
use filing::template::Renderer;

/// Largest secret, key or token list: far above any real one.
const SECRET_LIMIT: u64 = 64 * 1024;
/// Largest bundle of certificates; the public root stores are about 250 KiB.
const BUNDLE_LIMIT: u64 = 4 * 1024 * 1024;
/// Largest template.
const TEMPLATE_LIMIT: u64 = 256 * 1024;
/// Tokens in one file: beyond this a comparison with all of them is slow, and it is a slip.
const TOKENS_LIMIT: usize = 256;
/// Characters of the shortest token that callers may have: a shorter one can be guessed.
const TOKEN_LEAST: usize = 16;

/// Why a file is of no use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub(super) rule: Rule,
    /// Permissions are what is missing (exit code 77).
    pub(super) forbidden: bool,
}

impl Trouble {
    pub(super) fn new(rule: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble {
            rule: Rule::new(rule, hint),
            forbidden: false,
        }
    }

    /// With where a relative path counts from, if there is no better hint.
    pub(super) fn in_directory(mut self, base: &Path) -> Trouble {
        if self.rule.hint.is_empty() {
            self.rule.hint = format!("a relative path counts from {}", base.display());
        }
        self
    }

    pub(super) fn of(error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::NotFound => Trouble::new("there is no such file", ""),
            io::ErrorKind::PermissionDenied => Trouble {
                rule: Rule::new(
                    "this user may not read the file",
                    "LoadCredential= in the unit hands it to the service alone",
                ),
                forbidden: true,
            },
            _ => Trouble::new(format!("the file cannot be read: {error}"), ""),
        }
    }
}

/// The content of a regular file of at most `limit` bytes, and what is known of the file.
pub(super) fn read(path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), Trouble> {
    // Looked at before it is opened: opening a pipe waits for its writer.
    let seen = std::fs::metadata(path).map_err(|e| Trouble::of(&e))?;
    if !seen.is_file() {
        return Err(Trouble::new("must be a regular file", ""));
    }
    let mut file = File::open(path).map_err(|e| Trouble::of(&e))?;
    let mut content = Vec::new();
    file.by_ref()
        .take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|e| Trouble::of(&e))?;
    if content.len() as u64 > limit {
        return Err(Trouble::new(
            format!("the file is larger than {} KiB", limit / 1024),
            "is it the right one?",
        ));
    }
    // A byte order mark alone is what an editor makes of nothing.
    let written = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&content);
    if written.iter().all(u8::is_ascii_whitespace) {
        return Err(Trouble::new(
            "the file is empty",
            "a credential is empty too where the file that LoadCredential= names is missing",
        ));
    }
    Ok((content, seen))
}

/// What other users of the machine may do with a secret's file.
pub(super) fn exposure(seen: &Metadata) -> Option<String> {
    let mode = seen.permissions().mode();
    if mode & 0o004 != 0 {
        Some(format!(
            "everybody on this machine may read the secret (mode {:04o}); chmod 0600 or LoadCredential=",
            mode & 0o7777
        ))
    } else {
        writable_by_others(seen)
    }
}

/// Whether somebody besides the owner and root may change a file.
pub(super) fn writable_by_others(seen: &Metadata) -> Option<String> {
    let mode = seen.permissions().mode();
    // A group of the same number as the user is that user's own.
    let by_group = mode & 0o020 != 0 && seen.gid() != seen.uid();
    (mode & 0o002 != 0 || by_group).then(|| {
        format!(
            "others on this machine may change the file (mode {:04o}); chmod go-w",
            mode & 0o7777
        )
    })
}

/// Where a secret lies: a path, or a systemd credential resolved to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretFile {
    path: PathBuf,
}

/// User name and password; and a warning about the permissions of their file.
type Credentials = ((String, Secret), Option<String>);

impl SecretFile {
    /// Resolves `credential:NAME` in `$CREDENTIALS_DIRECTORY`, anything else below `base`.
    pub(super) fn resolve(
        written: &str,
        base: &Path,
        environment: &Environment,
    ) -> Result<SecretFile, Rule> {
        let Some(name) = written.strip_prefix("credential:") else {
            if written.is_empty() || written.contains('\0') {
                return Err(Rule::new(
                    "must be a path or credential:NAME",
                    "never the secret itself",
                ));
            }
            return Ok(SecretFile {
                path: base.join(written),
            });
        };
        // The rule of systemd for credential names: what a file may be called, without dots alone.
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@');
        if name.is_empty()
            || name.len() > 255
            || !name.bytes().all(fits)
            || name.bytes().all(|b| b == b'.')
        {
            return Err(Rule::new(
                "a credential's name is made of letters, digits and - _ . @",
                "the name before the colon in LoadCredential=NAME:PATH",
            ));
        }
        match &environment.credentials_directory {
            Some(directory) => Ok(SecretFile {
                path: directory.join(name),
            }),
            None => Err(Rule::new(
                "$CREDENTIALS_DIRECTORY is not set, so there are no credentials here",
                format!(
                    "the service gets it from LoadCredential=; by hand: systemd-run --pty -p LoadCredential={name}:PATH genesys-gateway check"
                ),
            )),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret on the one line of the file, without its line end; and a
    /// warning about its permissions.
    pub(super) fn read_line(&self) -> Result<(Secret, Option<String>), Trouble> {
        let (content, seen) = read(&self.path, SECRET_LIMIT)?;
        let content = written::text(content)?;
        let line = written::one_line(&content)?;
        Ok((Secret::new(line), exposure(&seen)))
    }

    /// The whole file as PEM.
    pub(super) fn read_pem(&self) -> Result<(Secret, Option<String>), Trouble> {
        let (content, seen) = read(&self.path, SECRET_LIMIT)?;
        Ok((Secret::new(written::pem(&content)?), exposure(&seen)))
    }

    /// User name and password on the one line of the file, with a colon between them (a user
    /// name cannot hold one: RFC 7617, section 2).
    pub(super) fn read_credentials(&self) -> Result<Credentials, Trouble> {
        let (line, warning) = self.read_line()?;
        match line.expose().split_once(':') {
            Some((user, password)) if !user.is_empty() => {
                Ok(((user.to_owned(), Secret::new(password)), warning))
            }
            _ => Err(Trouble::new(
                "the file must hold user:password on one line",
                "the user name, a colon, the password as it is: nothing is percent-encoded",
            )),
        }
    }

    /// The token of somebody else's service, on the one line of the file.
    pub(super) fn read_bearer(&self) -> Result<(Secret, Option<String>), Trouble> {
        let (token, warning) = self.read_line()?;
        if is_bearer(token.expose()) {
            Ok((token, warning))
        } else {
            Err(Trouble::new(
                "the file must hold a bearer token",
                "letters, digits and - . _ ~ + /, then perhaps =",
            ))
        }
    }

    /// Bearer tokens, one per line; empty lines and lines that begin with `#` do not count.
    pub(super) fn read_tokens(&self) -> Result<(Vec<Secret>, Option<String>), Trouble> {
        let (content, seen) = read(&self.path, SECRET_LIMIT)?;
        let content = written::text(content)?;
        let mut tokens = Vec::new();
        for (number, token) in written::lines(&content)? {
            if !is_bearer(token) {
                return Err(Trouble::new(
                    format!("line {number} of the file is not a bearer token"),
                    "letters, digits and - . _ ~ + /, then perhaps =; for example the output of: openssl rand -hex 32",
                ));
            }
            // What fills up at the end is no harder to guess.
            let counted = token.trim_end_matches('=').len();
            if counted < TOKEN_LEAST {
                return Err(Trouble::new(
                    format!(
                        "line {number} of the file is a token of {counted} characters{}, which can be guessed; at least {TOKEN_LEAST} are needed",
                        if counted < token.len() {
                            " and filling"
                        } else {
                            ""
                        }
                    ),
                    "for example the output of: openssl rand -hex 32",
                ));
            }
            tokens.push(Secret::new(token));
        }
        if tokens.is_empty() {
            return Err(Trouble::new(
                "the file holds no token",
                "one per line; for example the output of: openssl rand -hex 32",
            ));
        }
        if tokens.len() > TOKENS_LIMIT {
            return Err(Trouble::new(
                format!("the file holds more than {TOKENS_LIMIT} tokens"),
                "",
            ));
        }
        Ok((tokens, exposure(&seen)))
    }
}

/// `b64token` of RFC 6750, section 2.1.
fn is_bearer(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let fits =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(fits)
}

/// Certificates of a PEM file, in its order; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    /// Where they were read from.
    pub file: PathBuf,
    /// Each certificate as DER.
    pub der: Vec<CertificateDer<'static>>,
}

impl Certificates {
    /// The certificates as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        use base64::Engine;
        let mut text = String::new();
        for der in &self.der {
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in body.as_bytes().chunks(64) {
                text.extend(line.iter().map(|b| char::from(*b)));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }
}

/// Reads a PEM bundle.
pub(super) fn certificates(path: PathBuf) -> Result<Certificates, Trouble> {
    let (content, _) = read(&path, BUNDLE_LIMIT)?;
    let content = written::pem(&content)?;
    let der: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(content.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| Trouble::new("the file is not well-formed PEM", ""))?;
    if der.is_empty() {
        return Err(Trouble::new(
            "the file holds no certificate",
            "PEM: -----BEGIN CERTIFICATE-----; for DER: openssl x509 -inform der -in FILE",
        ));
    }
    for (at, certificate) in der.iter().enumerate() {
        // Whether it is one is found out by trusting it.
        if let Err(why) = RootCertStore::empty().add(certificate.clone()) {
            return Err(Trouble::new(
                format!("certificate {} of the file is damaged ({why})", at + 1),
                "openssl x509 -noout -text -in FILE shows a sound one",
            ));
        }
    }
    Ok(Certificates { file: path, der })
}

/// A private key of any kind that TLS may use.
pub(super) fn tls_key(file: &SecretFile) -> Result<(Secret, Option<String>), Trouble> {
    let (pem, warning) = file.read_pem()?;
    match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()) {
        Ok(der) if rustls::crypto::ring::sign::any_supported_type(&der).is_ok() => {
            Ok((pem, warning))
        }
        Ok(_) => Err(Trouble::new(
            "the file holds a key that is not supported",
            "RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519, without a passphrase",
        )),
        Err(_) => Err(not_a_key(&pem)),
    }
}

/// Whether a client certificate and its key belong together.
pub(super) fn belong_together(certificates: &Certificates, key_pem: &Secret) -> Result<(), Rule> {
    let Ok(key) = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes()) else {
        return Err(not_a_key(key_pem).rule);
    };
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(certificates.der.clone(), key, &provider).map_err(|why| {
        Rule::new(
            format!(
                "the key does not belong to the first certificate of {} ({why})",
                certificates.file.display()
            ),
            "compare: openssl x509 -pubkey -noout -in CERTIFICATE; openssl pkey -pubout -in KEY",
        )
    })?;
    Ok(())
}

/// An RSA key of 2048 bits or more in PKCS#8 or PKCS#1, and its public half as
/// the DER of an `RSAPublicKey`.
pub(super) fn signing_key(file: &SecretFile) -> Result<(Secret, Vec<u8>, Option<String>), Trouble> {
    use ring::signature::{KeyPair, RsaKeyPair};
    let (pem, warning) = file.read_pem()?;
    let pair = match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        Ok(_) => return Err(Trouble::new("must be an RSA key", "openssl genrsa 2048")),
        Err(_) => return Err(not_a_key(&pem)),
    };
    match pair {
        Ok(pair) => {
            let public = pair.public_key().as_ref().to_vec();
            Ok((pem, public, warning))
        }
        Err(why) => Err(Trouble::new(
            format!("must be an RSA key of 2048 to 4096 bits ({why})"),
            "openssl genrsa 2048",
        )),
    }
}

fn not_a_key(pem: &Secret) -> Trouble {
    if pem.expose().contains("ENCRYPTED") {
        Trouble::new(
            "the key is encrypted, and there is nobody here to type a passphrase",
            "openssl pkey -in FILE removes it; then keep the file by LoadCredentialEncrypted=",
        )
    } else {
        Trouble::new(
            "the file holds no private key",
            "PEM: -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----",
        )
    }
}

/// The text of a template that makes JSON of a record of each kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    /// Where it was read from.
    pub file: PathBuf,
    /// Not empty, at most 256 KiB.
    pub text: String,
}

/// Reads a template, and tries it on a record of each kind.
pub(super) fn template(path: PathBuf) -> Result<Template, Trouble> {
    let (content, _) = read(&path, TEMPLATE_LIMIT)?;
    let text = written::text(content)?;
    written::template(&text)?;
    Renderer::new(Some(&text)).map_err(|why| {
        Trouble::new(
            why.to_string(),
            "see the example in genesys-gateway.toml(5)",
        )
    })?;
    Ok(Template { file: path, text })
}

/// An assertion's file, which is read later, again and again: here now, readable, base64 as far
/// as eyes can tell.
pub(super) fn presence(file: &SecretFile) -> Result<Option<String>, Trouble> {
    let (content, seen) = read(file.path(), BUNDLE_LIMIT)?;
    written::base64(&written::text(content)?)?;
    Ok(exposure(&seen))
}

/// The token of a file that somebody else may replace at any time.
///
/// # Errors
/// A sentence about the file, without its content.
pub fn bearer_token(path: &Path) -> Result<Secret, String> {
    let file = SecretFile {
        path: path.to_owned(),
    };
    file.read_bearer()
        .map(|(token, _)| token)
        .map_err(|trouble| trouble.rule.rule)
}

/// A program that can be run.
pub(super) fn program(path: &Path) -> Result<(), Trouble> {
    let seen = std::fs::metadata(path).map_err(|e| Trouble::of(&e))?;
    if !seen.is_file() || seen.permissions().mode() & 0o111 == 0 {
        return Err(Trouble::new(
            "must be a program that may be run",
            "chmod +x",
        ));
    }
    Ok(())
}
