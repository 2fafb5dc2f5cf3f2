//! The `[genesys]` tables: region, hosts, OAuth, and the sources of an assertion.
//!
//! Invariant: that of `check`; a `None` has left a problem behind.

use std::path::Path;

use super::check::{hours, secs};
use super::reader::Reader;
use super::values::{self, Rule};
use super::{
    AssertionSource, Certificates, GenesysConfig, Grant, OauthConfig, REGIONS, Sign,
    SignedAssertion, files,
};

pub(super) fn genesys(r: &mut Reader<'_>) -> Option<GenesysConfig> {
    let region = r.text("genesys.region", values::region);
    if let Some(region) = &region
        && !REGIONS.iter().any(|(_, domain)| domain == region)
    {
        let near = REGIONS
            .iter()
            .map(|(_, domain)| (super::keys::distance(region, domain), *domain))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map_or_else(String::new, |(_, domain)| {
                format!("; did you mean \"{domain}\"?")
            });
        r.warn(
            "genesys.region",
            format!("{region} is not among the known regions{near}"),
        );
    }
    let login_url = r.optional("genesys.login-url", values::base_url);
    let api_url = r.optional("genesys.api-url", values::base_url);
    if let (Some(Some(_)), Some(None)) | (Some(None), Some(Some(_))) = (&login_url, &api_url) {
        r.warn(
            "genesys",
            "only one of login-url and api-url is set; a token of one platform is of no use at another",
        );
    }
    let streaming_hosts = r.list("genesys.streaming-hosts", 64, values::streaming_host);
    let ca = r.file("genesys.ca-file", files::certificates);
    let proxy = r.optional("genesys.proxy", values::proxy);
    let proxy_credentials = r.secret("genesys.proxy-credentials-file", |file| {
        file.read_credentials()
    });
    if matches!((&proxy, &proxy_credentials), (Some(None), Some(Some(_)))) {
        r.warn(
            "genesys.proxy-credentials-file",
            "is not used, because there is no genesys.proxy",
        );
    }
    let oauth = oauth(r);
    let additional = super::check_clients::additional(r, oauth.as_ref());
    let region = region?;
    Some(GenesysConfig {
        login_url: login_url?.unwrap_or_else(|| format!("https://login.{region}")),
        api_url: api_url?.unwrap_or_else(|| format!("https://api.{region}")),
        region,
        streaming_hosts: streaming_hosts?,
        ca: ca?,
        proxy: proxy?,
        proxy_credentials: proxy_credentials?,
        oauth: oauth?,
        additional: additional?,
    })
}

pub(super) fn oauth(r: &mut Reader<'_>) -> Option<OauthConfig> {
    let client_id = r.text("genesys.oauth.client-id", values::client_id);
    let client_secret = if r.names("genesys.oauth.client-secret-file") {
        r.secret("genesys.oauth.client-secret-file", |file| file.read_line())
            .flatten()
    } else {
        r.required(
            "genesys.oauth.client-secret-file",
            "and missing",
            "a path or credential:NAME",
        );
        None
    };
    let saml = r.text("genesys.oauth.grant", |text| match text {
        "saml2-bearer" => Ok(true),
        "client-credentials" => Ok(false),
        _ => Err(Rule::new(
            "must be \"saml2-bearer\" or \"client-credentials\"",
            "",
        )),
    });
    let org_name = r.optional("genesys.oauth.org-name", values::line);
    let grant = match saml {
        None => None,
        Some(false) => {
            let unused: Vec<&str> = super::keys::KEYS
                .iter()
                .map(|k| k.name)
                .filter(|name| *name == "genesys.oauth.org-name" || name.contains(".assertion."))
                .filter(|name| r.names(name))
                .collect();
            if !unused.is_empty() {
                r.warn(
                    "genesys.oauth.grant",
                    format!("client-credentials does not use {}", unused.join(", ")),
                );
            }
            Some(Grant::ClientCredentials)
        }
        Some(true) => {
            let assertion = assertion(r, org_name.as_ref().and_then(Option::as_deref));
            if !r.names("genesys.oauth.org-name") {
                r.required(
                    "genesys.oauth.org-name",
                    "by the grant saml2-bearer",
                    "the organisation's short name, under Admin > Account Settings > Organization Settings",
                );
            }
            (|| {
                Some(Grant::Saml2Bearer {
                    org_name: org_name??,
                    assertion: assertion?,
                })
            })()
        }
    };
    Some(OauthConfig {
        client_id: client_id?,
        client_secret: client_secret?,
        grant: grant?,
    })
}

/// The keys of the third source, in the order of the manual page.
const SIGNED: [&str; 9] = [
    "genesys.oauth.assertion.issuer",
    "genesys.oauth.assertion.email",
    "genesys.oauth.assertion.audience",
    "genesys.oauth.assertion.recipient",
    "genesys.oauth.assertion.organization-name",
    "genesys.oauth.assertion.lifetime",
    "genesys.oauth.assertion.private-key-file",
    "genesys.oauth.assertion.certificate-file",
    "genesys.oauth.assertion.sign",
];

fn assertion(r: &mut Reader<'_>, org_name: Option<&str>) -> Option<AssertionSource> {
    const TABLE: &str = "genesys.oauth.assertion";
    const FILE: &str = "genesys.oauth.assertion.file";
    const COMMAND: &str = "genesys.oauth.assertion.command";
    let signed = SIGNED.iter().find(|key| r.names(key)).copied();
    let named: Vec<&str> = [
        r.names(FILE).then_some("file"),
        r.names(COMMAND).then_some("command"),
        signed.map(|key| key.trim_start_matches("genesys.oauth.assertion.")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if named.len() != 1 {
        let rule = if named.is_empty() {
            "is required by the grant saml2-bearer and names no source".to_owned()
        } else {
            format!("names more than one source: {}", named.join(", "))
        };
        r.problem(
            TABLE,
            Rule::new(
                rule,
                "exactly one of file, command, or the keys of a signed assertion (issuer, email, audience, recipient, private-key-file, certificate-file)",
            ),
        );
        // The values are looked at all the same, so that one report holds everything.
    }
    let mut source = None;
    if r.names(FILE) {
        source = r
            .secret(FILE, |file| files::presence(&file).map(|w| (file, w)))
            .flatten()
            .map(AssertionSource::File);
    }
    if r.names(COMMAND) {
        source = command(r, COMMAND).map(AssertionSource::Command);
    }
    if signed.is_some() {
        source = self_signed(r, org_name).map(|s| AssertionSource::Signed(Box::new(s)));
    }
    if named.len() == 1 { source } else { None }
}

fn command(r: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    let words = r.list(key, 64, |word| {
        if word.contains('\0') {
            Err(Rule::new("must not contain a zero byte", ""))
        } else {
            Ok(word.to_owned())
        }
    })?;
    let program = words.first().map_or("", String::as_str);
    if !program.starts_with('/') {
        r.problem(
            key,
            Rule::new(
                "must begin with the absolute path of a program",
                "no shell runs it, and no PATH is searched",
            ),
        );
        return None;
    }
    if let Err(trouble) = files::program(Path::new(program)) {
        r.trouble(key, trouble);
        return None;
    }
    Some(words)
}

fn self_signed(r: &mut Reader<'_>, org_name: Option<&str>) -> Option<SignedAssertion> {
    const KEY: &str = "genesys.oauth.assertion.private-key-file";
    const CERTIFICATE: &str = "genesys.oauth.assertion.certificate-file";
    const WHY: &str = "by a signed assertion";
    let mut line = |key: &'static str, hint: &str| {
        if !r.names(key) {
            r.required(key, WHY, hint);
            return None;
        }
        match key {
            "genesys.oauth.assertion.email" => r.text(key, values::email),
            _ => r.text(key, values::line),
        }
    };
    let issuer = line(
        "genesys.oauth.assertion.issuer",
        "the entity id that the organisation trusts",
    );
    let email = line(
        "genesys.oauth.assertion.email",
        "the platform user that the token acts as",
    );
    let audience = line(
        "genesys.oauth.assertion.audience",
        "the entity id of this application",
    );
    let recipient = line(
        "genesys.oauth.assertion.recipient",
        "the assertion consumer URL of this application",
    );
    let organization_name = r.optional("genesys.oauth.assertion.organization-name", values::line);
    // Clocks may differ by 10 s (protocol, section 2.3), so less than that three
    // times is refused by chance; beyond an hour a stolen one is worth keeping.
    let lifetime = r.duration(
        "genesys.oauth.assertion.lifetime",
        secs(30)..=hours(1),
        "an assertion is used at once",
    );
    let sign = r.text("genesys.oauth.assertion.sign", |text| match text {
        "assertion" => Ok(Sign::Assertion),
        "response" => Ok(Sign::Response),
        "both" => Ok(Sign::Both),
        _ => Err(Rule::new(
            "must be \"assertion\", \"response\" or \"both\"",
            "",
        )),
    });
    let key = r.secret(KEY, |file| {
        files::signing_key(&file).map(|(pem, public, warning)| ((pem, public), warning))
    });
    let certificate = r.file(CERTIFICATE, files::certificates);
    if let Some(None) = key {
        r.required(KEY, WHY, "openssl genrsa 2048");
    }
    if let Some(None) = certificate {
        r.required(CERTIFICATE, WHY, "openssl req -x509 -key KEYFILE");
    }
    let ((private_key_pem, public), certificate) = (key??, certificate??);
    if !belongs(&certificate, &public) {
        r.problem(
            CERTIFICATE,
            Rule::new(
                "must belong to the key in private-key-file, and come first in its file",
                "openssl req -x509 -key KEYFILE makes one",
            ),
        );
        return None;
    }
    // `OrganizationName` is the short name unless the organisation was told otherwise.
    let organization_name = organization_name?.or_else(|| org_name.map(str::to_owned))?;
    Some(SignedAssertion {
        issuer: issuer?,
        email: email?,
        audience: audience?,
        recipient: recipient?,
        organization_name,
        lifetime: lifetime?,
        private_key_pem,
        certificate,
        sign: sign?,
    })
}

/// A certificate holds its public key as the same DER that the key gives, so looking for the bytes is enough.
pub(super) fn belongs(certificates: &Certificates, public: &[u8]) -> bool {
    certificates
        .der
        .first()
        .is_some_and(|der| der.windows(public.len().max(1)).any(|w| w == public))
}
