//! The configuration as operators meet it: files in, reports out.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::service::ExitCode;

/// A directory with a secret, and a configuration that is right.
struct Desk {
    directory: tempfile::TempDir,
}

const RIGHT: &str = r#"
[genesys.oauth]
grant = "client-credentials"
client-id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47"
client-secret-file = "./secret"
"#;

const SAML: &str = r#"
[genesys.oauth]
client-id = "id"
client-secret-file = "./secret"
org-name = "acme"
[genesys.oauth.assertion]
"#;

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            directory: tempfile::tempdir().unwrap(),
        };
        desk.write("secret", "s3cr3t\n", 0o600);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) {
        std::fs::write(self.path(name), content).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    fn environment(&self) -> Environment {
        Environment {
            credentials_directory: None,
            state_directory: None,
            working_directory: self.directory.path().to_owned(),
        }
    }

    fn load(&self, text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
        self.write("gateway.toml", text, 0o644);
        Config::load_in(&self.path("gateway.toml"), &self.environment())
    }

    fn problems(&self, text: &str) -> Vec<Problem> {
        match self.load(text) {
            Err(ConfigError::Problems { problems, .. }) => problems,
            other => panic!("no problems: {other:?}\n{text}"),
        }
    }
}

/// `RIGHT` with one key set to a TOML literal.
fn with(key: &str, literal: &str) -> String {
    let (table, leaf) = key.rsplit_once('.').unwrap();
    if table == "genesys.oauth" {
        let kept: Vec<&str> = RIGHT
            .lines()
            .filter(|l| !l.starts_with(&format!("{leaf} ")))
            .collect();
        return format!("{}\n{leaf} = {literal}\n", kept.join("\n"));
    }
    format!("[{table}]\n{leaf} = {literal}\n{RIGHT}")
}

#[test]
fn the_least_file_gets_every_default_as_written() {
    let desk = Desk::new();
    let (c, warnings) = desk.load(RIGHT).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(c.http.listen.to_string(), "127.0.0.1:8480");
    assert!(c.http.api_tokens.is_empty() && c.http.allowed_origins.is_empty());
    assert_eq!(c.http.max_body, 65_536);
    assert_eq!(c.http.conversation_id_at.tokens(), ["conversationId"]);
    assert_eq!(c.status.listen.to_string(), "127.0.0.1:8481");
    assert_eq!(c.genesys.login_url, "https://login.mypurecloud.de");
    assert_eq!(c.genesys.api_url, "https://api.mypurecloud.de");
    assert_eq!(c.genesys.oauth.client_secret.expose(), "s3cr3t");
    assert!(matches!(c.genesys.oauth.grant, Grant::ClientCredentials));
    assert_eq!(
        (c.channels.max_channels, c.channels.topics_per_channel),
        (20, 1000)
    );
    assert_eq!(c.channels.heartbeat_timeout, Duration::from_secs(40));
    assert_eq!(c.channels.renew_before, Duration::from_secs(3600));
    assert_eq!(c.tracking.until, Until::ConversationFinished);
    assert_eq!(c.tracking.max_age, Duration::from_secs(72 * 3600));
    assert_eq!(c.tracking.settle_for, Duration::from_secs(900));
    assert_eq!(c.history.url, "http://127.0.0.1:8490/communications");
    assert_eq!(c.history.workers, 4);
    assert_eq!(c.history.timeout, Duration::from_secs(10));
    assert_eq!(c.history.give_up_after, Duration::from_secs(72 * 3600));
    assert_eq!(c.store.path, desk.path("gateway.db"));
    assert_eq!(c.store.retain, Duration::from_secs(30 * 86_400));
    assert_eq!(c.store.keep_bodies, Duration::from_secs(86_400));
}

#[test]
fn every_default_of_the_table_passes_its_own_check_when_written_out() {
    let desk = Desk::new();
    for key in keys::KEYS {
        let keys::Absent::Default(literal) = key.absent else {
            continue;
        };
        let (table, leaf) = key.name.rsplit_once('.').unwrap();
        if key.name == "genesys.oauth.grant" || key.name.contains(".assertion.") {
            continue; // Held against a whole configuration below.
        }
        let text = format!("[{table}]\n{leaf} = {literal}\n{RIGHT}");
        desk.load(&text)
            .unwrap_or_else(|e| panic!("{}: {e}", key.name));
    }
}

#[test]
fn each_bad_value_is_reported_with_its_key_and_its_rule() {
    let desk = Desk::new();
    desk.write("empty", "\n", 0o600);
    desk.write("two-lines", "a\nb\n", 0o600);
    desk.write(
        "bad-tokens",
        "good-token-of-some-length\nbad token\n",
        0o600,
    );
    desk.write("no-tokens", "# none\n\n", 0o600);
    desk.write("latin1", b"\xe4\xf6\xfc", 0o600);
    desk.write("not-pem", "hello", 0o600);
    std::fs::create_dir(desk.path("directory")).unwrap();
    let table: &[(&str, &str, &str)] = &[
        ("http.listen", "\"localhost:8480\"", "IP:port"),
        ("http.listen", "\"127.0.0.1\"", "IP:port"),
        ("http.listen", "\"127.0.0.1:99999\"", "IP:port"),
        ("http.listen", "\"unix:relative.sock\"", "unix:/absolute"),
        ("http.listen", "8480", "must be a string"),
        ("http.listen", "\"127.0.0.1:8481\"", "must differ"),
        ("http.api-tokens-file", "\"./missing\"", "no such file"),
        ("http.api-tokens-file", "\"./empty\"", "empty"),
        ("http.api-tokens-file", "\"./bad-tokens\"", "line 2"),
        ("http.api-tokens-file", "\"./no-tokens\"", "no token"),
        ("http.api-tokens-file", "\"./directory\"", "regular file"),
        ("http.allowed-origins", "[\"*\"]", "must not be \"*\""),
        ("http.allowed-origins", "[\"https://a.example/\"]", "origin"),
        ("http.allowed-origins", "[\"https://*.example\"]", "origin"),
        ("http.allowed-origins", "[\"a.example\"]", "origin"),
        ("http.allowed-origins", "\"https://a.example\"", "array"),
        ("http.allowed-origins", "[3]", "element 1"),
        ("http.max-body", "\"64KB\"", "KiB"),
        ("http.max-body", "\"0B\"", "from 1B"),
        ("http.max-body", "\"17MiB\"", "to 16MiB"),
        ("http.max-body", "65536", "must be a string"),
        (
            "http.max-body",
            "\"99999999999999999999GiB\"",
            "whole number",
        ),
        (
            "http.conversation-id-at",
            "\"conversationId\"",
            "JSON Pointer",
        ),
        ("http.conversation-id-at", "\"\"", "JSON Pointer"),
        ("http.conversation-id-at", "\"/a~2b\"", "JSON Pointer"),
        ("status.listen", "\"0.0.0.0\"", "IP:port"),
        ("genesys.region", "\"eu-central-1\"", "domain of a region"),
        (
            "genesys.region",
            "\"login.mypurecloud.de\"",
            "domain of a region",
        ),
        ("genesys.region", "\"mypurecloud\"", "domain of a region"),
        (
            "genesys.region",
            "\"-x.mypurecloud.de\"",
            "domain of a region",
        ),
        ("genesys.region", "\"10.0.0.1\"", "domain of a region"),
        (
            "genesys.login-url",
            "\"http://login.example\"",
            "loopback addresses only",
        ),
        ("genesys.login-url", "\"ftp://login.example\"", "https://"),
        (
            "genesys.api-url",
            "\"https://u:p@api.example\"",
            "user name or a password",
        ),
        ("genesys.api-url", "\"https://api.example/?x=1\"", "query"),
        ("genesys.api-url", "\"https://api.example:0\"", "https://"),
        ("genesys.api-url", "\"https://api.example#x\"", "https://"),
        ("genesys.ca-file", "\"./missing\"", "no such file"),
        ("genesys.ca-file", "\"./not-pem\"", "no certificate"),
        (
            "genesys.proxy",
            "\"https://proxy:3128\"",
            "http://host:port",
        ),
        ("genesys.proxy", "\"proxy:3128\"", "http://host:port"),
        ("genesys.oauth.grant", "\"password\"", "saml2-bearer"),
        ("genesys.oauth.client-id", "\"a:b\"", "OAuth client"),
        ("genesys.oauth.client-id", "\"\"", "OAuth client"),
        (
            "genesys.oauth.client-secret-file",
            "\"./missing\"",
            "no such file",
        ),
        ("genesys.oauth.client-secret-file", "\"./empty\"", "empty"),
        (
            "genesys.oauth.client-secret-file",
            "\"./two-lines\"",
            "one line",
        ),
        ("genesys.oauth.client-secret-file", "\"./latin1\"", "UTF-8"),
        (
            "genesys.oauth.client-secret-file",
            "\"credential:\"",
            "credential's name",
        ),
        (
            "genesys.oauth.client-secret-file",
            "\"credential:../x\"",
            "credential's name",
        ),
        (
            "genesys.oauth.client-secret-file",
            "\"credential:x\"",
            "CREDENTIALS_DIRECTORY",
        ),
        ("genesys.oauth.org-name", "\" \"", "line of text"),
        ("channels.max-channels", "0", "1 to 20"),
        ("channels.max-channels", "21", "1 to 20"),
        ("channels.max-channels", "\"20\"", "1 to 20"),
        ("channels.max-channels", "2.5", "1 to 20"),
        ("channels.topics-per-channel", "0", "1 to 1000"),
        ("channels.topics-per-channel", "1001", "1 to 1000"),
        ("channels.heartbeat-timeout", "\"30s\"", "from 31s"),
        ("channels.heartbeat-timeout", "\"11m\"", "to 10m"),
        ("channels.renew-before", "\"25h\"", "to 24h"),
        ("channels.renew-before", "\"0s\"", "from 1s"),
        ("tracking.until", "\"forever\"", "first-event"),
        ("tracking.max-age", "\"72\"", "ms, s, m, h or d"),
        ("tracking.max-age", "\"1h30m\"", "ms, s, m, h or d"),
        ("tracking.max-age", "\"-1s\"", "ms, s, m, h or d"),
        ("tracking.max-age", "72", "must be a string"),
        ("tracking.max-age", "\"366d\"", "to 365d"),
        (
            "tracking.settle-for",
            "\"99999999999999999999d\"",
            "whole number",
        ),
        ("tracking.settle-for", "\"99999999999999999d\"", "36500d"),
        ("history.url", "\"history/communications\"", "https://"),
        ("history.url", "\"http://\"", "https://"),
        (
            "history.url",
            "\"http://u:p@h/\"",
            "user name or a password",
        ),
        ("history.workers", "0", "1 to 64"),
        ("history.workers", "65", "1 to 64"),
        ("history.timeout", "\"1ms\"", "from 10ms"),
        ("history.give-up-after", "\"0s\"", "from 1s"),
        ("history.bearer-token-file", "\"./latin1\"", "UTF-8"),
        ("history.headers", "{ Authorization = \"x\" }", "itself"),
        ("history.headers", "{ idempotency-key = \"x\" }", "itself"),
        ("history.headers", "{ Content-Type = \"x\" }", "itself"),
        ("history.headers", "{ Content-Length = \"1\" }", "itself"),
        ("history.headers", "{ Host = \"x\" }", "itself"),
        ("history.headers", "{ \"X Y\" = \"x\" }", "header name"),
        ("history.headers", "{ X-A = \"a\\nb\" }", "visible ASCII"),
        ("history.headers", "{ X-A = 3 }", "must be a string"),
        ("history.headers", "{ X-A = \"1\", x-a = \"2\" }", "twice"),
        ("history.headers", "[]", "table of strings"),
        ("history.ca-file", "\"./not-pem\"", "no certificate"),
        ("history.client-key-file", "\"./not-pem\"", "no private key"),
        ("history.template-file", "\"./empty\"", "empty"),
        ("history.template-file", "\"./latin1\"", "UTF-8"),
        ("store.path", "\"\"", "path of a file"),
        ("store.path", "\":memory:\"", "path of a file"),
        ("store.path", "\"directory\"", "directory of that name"),
        ("store.retain", "\"30\"", "ms, s, m, h or d"),
        ("store.keep-bodies", "true", "must be a string"),
    ];
    for (key, literal, rule) in table {
        let problems = desk.problems(&with(key, literal));
        let reported_at = if *rule == "must differ" {
            "status.listen"
        } else {
            key
        };
        assert!(
            problems
                .iter()
                .any(|p| p.key == reported_at && p.rule.contains(rule)),
            "{key} = {literal}: {problems:?}"
        );
    }
    // Each kind of key is in the table, so that a new key cannot be forgotten.
    for key in keys::KEYS {
        let elsewhere =
            key.name.contains(".assertion.") || key.name == "history.client-certificate-file";
        assert!(
            elsewhere
                || key.name == "status.api-tokens-file"
                || table.iter().any(|(k, _, _)| *k == key.name),
            "{} has no bad value",
            key.name
        );
    }
}

#[test]
fn all_problems_are_reported_at_once_and_in_order() {
    let desk = Desk::new();
    let problems = desk.problems(
        "[http]\nlisten = \"0.0.0.0:1\"\nmax_body = 3\n[channels]\nmax-channels = 99\n[genesys.oauth]\n[store]\nretain = \"x\"\n",
    );
    let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "http.max_body",
            "http.api-tokens-file",
            "genesys.oauth.client-id",
            "genesys.oauth.client-secret-file",
            "genesys.oauth.assertion",
            "genesys.oauth.org-name",
            "channels.max-channels",
            "store.retain",
        ]
    );
    let error = desk.load("[http]\nmax_body = 3\n").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Configuration);
    let line = &error.lines()[0];
    assert!(
        line.ends_with(
            "gateway.toml: http.max_body (line 2): there is no such key; did you mean http.max-body?"
        ),
        "{line}"
    );
}

#[test]
fn a_listener_that_others_reach_needs_tokens_and_a_local_one_does_not() {
    let desk = Desk::new();
    desk.write(
        "tokens",
        "# ours\nfirst-token-of-some-length\n\nsecond-token-of-some-length\n",
        0o600,
    );
    for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
        for table in ["http", "status"] {
            let problems = desk.problems(&format!("[{table}]\nlisten = \"{listen}\"\n{RIGHT}"));
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].key, format!("{table}.api-tokens-file"));
            let text = format!(
                "[{table}]\nlisten = \"{listen}\"\napi-tokens-file = \"./tokens\"\n{RIGHT}"
            );
            let (c, _) = desk.load(&text).unwrap();
            assert_eq!(c.http.api_tokens.len() + c.status.api_tokens.len(), 2);
        }
    }
    for listen in [
        "127.9.9.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "unix:/run/x.sock",
    ] {
        desk.load(&format!("[http]\nlisten = \"{listen}\"\n{RIGHT}"))
            .unwrap();
    }
}

#[test]
fn the_assertion_has_exactly_one_source() {
    let desk = Desk::new();
    desk.write("assertion", "PHNhbWw+\n", 0o600);
    for (table, rule) in [
        ("", "names no source"),
        (
            "file = \"./assertion\"\ncommand = [\"/bin/true\"]",
            "more than one source: file, command",
        ),
        (
            "file = \"./assertion\"\nlifetime = \"5m\"",
            "more than one source: file, lifetime",
        ),
        ("command = []", "absolute path"),
        ("command = [\"fetch\"]", "absolute path"),
        ("command = [\"/nonexistent/fetch\"]", "no such file"),
        ("command = [\"/etc/passwd\"]", "may be run"),
        ("command = \"/bin/true\"", "array"),
        ("file = \"./missing\"", "no such file"),
        ("email = \"nobody\"", "e-mail"),
        ("issuer = \"x\"\nsign = \"none\"", "\"both\""),
        ("issuer = \"x\"\nlifetime = \"5s\"", "from 30s"),
        ("issuer = \"x\"", "required by a signed assertion"),
    ] {
        let problems = desk.problems(&format!("{SAML}{table}\n"));
        assert!(
            problems
                .iter()
                .any(|p| p.key.starts_with("genesys.oauth.assertion") && p.rule.contains(rule)),
            "{table}: {problems:?}"
        );
    }
    let (c, _) = desk
        .load(&format!("{SAML}file = \"./assertion\"\n"))
        .unwrap();
    let Grant::Saml2Bearer {
        org_name,
        assertion: AssertionSource::File(file),
    } = c.genesys.oauth.grant
    else {
        panic!("{:?}", c.genesys.oauth.grant)
    };
    assert_eq!(org_name, "acme");
    assert_eq!(file.path(), desk.path("./assertion"));
    let (c, _) = desk
        .load(&format!("{SAML}command = [\"/bin/sh\", \"-c\", \"x\"]\n"))
        .unwrap();
    assert!(matches!(
        c.genesys.oauth.grant,
        Grant::Saml2Bearer { assertion: AssertionSource::Command(words), .. } if words.len() == 3
    ));
}

fn openssl(arguments: &[&str]) {
    let output = std::process::Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is needed to make keys for this test");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_signed_assertion_takes_an_rsa_key_in_either_form_and_the_certificate_that_belongs_to_it() {
    let desk = Desk::new();
    let at = |name: &str| desk.path(name).display().to_string();
    let make = |key: &str, certificate: &str, bits: &str| {
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            bits,
            "-nodes",
            "-subj",
            "/CN=test",
            "-days",
            "1",
            "-keyout",
            &at(key),
            "-out",
            &at(certificate),
        ]);
    };
    make("key", "cert", "rsa:2048");
    make("other-key", "other-cert", "rsa:2048");
    make("short-key", "short-cert", "rsa:1024");
    openssl(&[
        "rsa",
        "-in",
        &at("key"),
        "-traditional",
        "-out",
        &at("pkcs1"),
    ]);
    openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        &at("key"),
        "-passout",
        "pass:x",
        "-out",
        &at("locked"),
    ]);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", &at("ed25519")]);
    let text = |key: &str, certificate: &str| {
        format!(
            "{SAML}issuer = \"i\"\nemail = \"a@b.example\"\naudience = \"u\"\nrecipient = \"https://r.example/\"\nprivate-key-file = \"./{key}\"\ncertificate-file = \"./{certificate}\"\n"
        )
    };
    for key in ["key", "pkcs1"] {
        let (c, _) = desk.load(&text(key, "cert")).unwrap();
        let Grant::Saml2Bearer {
            assertion: AssertionSource::Signed(signed),
            ..
        } = c.genesys.oauth.grant
        else {
            panic!()
        };
        assert_eq!(signed.organization_name, "acme");
        assert_eq!(signed.lifetime, Duration::from_secs(300));
        assert_eq!(signed.sign, Sign::Both);
        assert!(!format!("{signed:?}").contains("PRIVATE KEY"));
    }
    for (key, certificate, rule) in [
        ("key", "other-cert", "must belong"),
        ("short-key", "short-cert", "2048 to 4096 bits"),
        ("locked", "cert", "encrypted"),
        ("ed25519", "cert", "RSA"),
        ("cert", "cert", "no private key"),
        ("key", "key", "no certificate"),
    ] {
        let problems = desk.problems(&text(key, certificate));
        assert!(
            problems.iter().any(|p| p.rule.contains(rule)),
            "{key}, {certificate}: {problems:?}"
        );
    }
    // The same files serve as the client's identity towards the history manager.
    let identity =
        |lines: &str| format!("[history]\nurl = \"https://h.example/\"\n{lines}\n{RIGHT}");
    let (c, _) = desk
        .load(&identity(
            "client-certificate-file = \"./cert\"\nclient-key-file = \"./key\"\nca-file = \"./cert\"",
        ))
        .unwrap();
    assert!(c.history.client_identity.is_some() && c.history.ca.is_some());
    let problems = desk.problems(&identity("client-certificate-file = \"./cert\""));
    assert_eq!(problems[0].key, "history.client-key-file");
    let problems = desk.problems(&identity("client-key-file = \"./key\""));
    assert_eq!(problems[0].key, "history.client-certificate-file");
}

#[test]
fn a_credential_is_looked_up_in_its_directory_and_loses_one_line_end() {
    let desk = Desk::new();
    desk.write("client-secret", "  s3cr3t \n", 0o400);
    let text = with(
        "genesys.oauth.client-secret-file",
        "\"credential:client-secret\"",
    );
    desk.write("gateway.toml", text, 0o644);
    let mut environment = desk.environment();
    environment.credentials_directory = Some(desk.directory.path().to_owned());
    let (c, _) = Config::load_in(&desk.path("gateway.toml"), &environment).unwrap();
    assert_eq!(c.genesys.oauth.client_secret.expose(), "  s3cr3t ");
}

#[test]
fn paths_are_relative_to_the_file_and_the_database_to_the_state_directory() {
    let desk = Desk::new();
    let mut environment = desk.environment();
    desk.write("gateway.toml", RIGHT, 0o644);
    environment.working_directory = PathBuf::from("/");
    environment.state_directory = Some(desk.path("state"));
    let relative = desk.path("gateway.toml");
    let (c, warnings) = Config::load_in(
        relative.strip_prefix("/").unwrap_or(&relative),
        &environment,
    )
    .or_else(|_| Config::load_in(&relative, &environment))
    .unwrap();
    assert_eq!(c.store.path, desk.path("state/gateway.db"));
    assert!(warnings.iter().any(|w| w.key == "store.path"));
}

#[test]
fn what_works_and_is_probably_not_meant_is_warned_about() {
    let desk = Desk::new();
    desk.write("open", "long-enough-for-a-token\n", 0o644);
    desk.write("short", "tiny\n", 0o600);
    desk.write("shared", "long-enough-for-a-token\n", 0o602);
    for (key, literal, warned, text) in [
        (
            "genesys.oauth.client-secret-file",
            "\"./open\"",
            "genesys.oauth.client-secret-file",
            "everybody",
        ),
        (
            "http.api-tokens-file",
            "\"./short\"",
            "http.api-tokens-file",
            "guessed",
        ),
        (
            "http.api-tokens-file",
            "\"./shared\"",
            "http.api-tokens-file",
            "may change",
        ),
        (
            "genesys.region",
            "\"mypurecloud.dee\"",
            "genesys.region",
            "did you mean \"mypurecloud.de\"?",
        ),
        (
            "genesys.api-url",
            "\"http://127.0.0.1:1\"",
            "genesys",
            "only one of",
        ),
        (
            "genesys.oauth.org-name",
            "\"acme\"",
            "genesys.oauth.grant",
            "does not use genesys.oauth.org-name",
        ),
        (
            "channels.renew-before",
            "\"13h\"",
            "channels.renew-before",
            "counts as 12h",
        ),
        (
            "tracking.until",
            "\"first-event\"",
            "tracking.until",
            "loses",
        ),
        (
            "tracking.max-age",
            "\"5s\"",
            "tracking.settle-for",
            "longer",
        ),
        (
            "history.url",
            "\"http://history.example/\"",
            "history.url",
            "clear text",
        ),
        (
            "history.headers",
            "{ X-Api-Key = \"abc\" }",
            "history.headers",
            "looks like a secret",
        ),
        (
            "store.keep-bodies",
            "\"31d\"",
            "store.keep-bodies",
            "longer",
        ),
    ] {
        let (_, warnings) = desk.load(&with(key, literal)).unwrap();
        assert!(
            warnings
                .iter()
                .any(|w| w.key == warned && w.text.contains(text)),
            "{key} = {literal}: {warnings:?}"
        );
    }
    desk.write("gateway.toml", RIGHT, 0o666);
    let (_, warnings) = Config::load_in(&desk.path("gateway.toml"), &desk.environment()).unwrap();
    assert!(warnings[0].text.contains("may change the file"));
}

#[test]
fn neither_reports_nor_the_effective_configuration_show_a_secret() {
    let desk = Desk::new();
    // The secret itself where its file belongs, passwords in URLs, and header values.
    for text in [
        with("genesys.oauth.client-secret-file", "\"hush-hush\""),
        with("genesys.oauth.client-secret", "\"hush-hush\""),
        with("genesys.api-url", "\"https://u:hush-hush@api.example\""),
        with("genesys.proxy", "\"http://u:hush-hush@proxy\""),
        with("history.url", "\"ftp://h.example/?code=hush-hush\""),
        with("history.headers", "{ X-A = \"hush-hush\\n\" }"),
        with("history.headers", "\"hush-hush\""),
        with("history.bearer-token-file", "[\"hush-hush\"]"),
    ] {
        let error = desk.load(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
    let (c, _) = desk
        .load(&format!(
            "[history]\nurl = \"http://127.0.0.1/x?code=hush-hush\"\nheaders = {{ X-A = \"hush-hush\" }}\n{RIGHT}"
        ))
        .unwrap();
    let shown = format!("{:?}", c.effective());
    assert!(
        !shown.contains("hush") && !shown.contains("s3cr3t"),
        "{shown}"
    );
    let find = |key| c.effective().iter().find(|e| e.key == key).cloned();
    assert_eq!(find("history.headers").unwrap().value, "{ X-A = [hidden] }");
    assert_eq!(find("history.url").unwrap().origin, Origin::File);
    let workers = find("history.workers").unwrap();
    assert_eq!(
        (workers.value.as_str(), workers.origin),
        ("4", Origin::Default)
    );
    assert_eq!(find("genesys.proxy"), None);
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let desk = Desk::new();
    let environment = desk.environment();
    let load = |name: &str| Config::load_in(&desk.path(name), &environment).unwrap_err();
    assert!(matches!(load("missing.toml"), ConfigError::Missing { .. }));
    assert!(matches!(load("."), ConfigError::Unreadable { .. }));
    desk.write("latin1.toml", b"[http]\n# \xe4\n", 0o644);
    let ConfigError::NotToml { errors, .. } = load("latin1.toml") else {
        panic!()
    };
    assert_eq!((errors[0].line, errors[0].column), (2, 3));
    desk.write("broken.toml", "[http\n", 0o644);
    let error = load("broken.toml");
    assert!(matches!(error, ConfigError::NotToml { .. }));
    assert_eq!(error.exit_code(), ExitCode::Configuration);
}

#[test]
fn a_platform_on_this_machine_may_beat_faster() {
    let desk = Desk::new();
    let text = format!(
        "[channels]\nheartbeat-timeout = \"500ms\"\n[genesys]\nlogin-url = \"http://localhost:1/\"\napi-url = \"http://[::1]:2\"\n{RIGHT}"
    );
    let (c, warnings) = desk.load(&text).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(c.genesys.login_url, "http://localhost:1");
    assert_eq!(c.channels.heartbeat_timeout, Duration::from_millis(500));
}

#[test]
fn operators_need_only_their_own_tables() {
    let desk = Desk::new();
    let environment = desk.environment();
    desk.write(
        "gateway.toml",
        "[http]\nlisten = 3\n[nonsense]\nx = 1\n[status]\nlisten = \"127.0.0.1:7\"\n",
        0o644,
    );
    let path = desk.path("gateway.toml");
    let operator = OperatorConfig::load_in(&path, &environment).unwrap();
    assert_eq!(operator.listen.to_string(), "127.0.0.1:7");
    assert_eq!(operator.token, None);
    assert_eq!(operator.store_path, desk.path("gateway.db"));
    desk.write("gateway.toml", "[status]\nlissen = 3\n", 0o644);
    assert!(OperatorConfig::load_in(&path, &environment).is_err());
}

#[test]
fn a_proxy_and_an_origin_are_taken_apart() {
    let desk = Desk::new();
    let (c, _) = desk
        .load(&with("genesys.proxy", "\"http://Proxy.example:3128\""))
        .unwrap();
    let proxy = c.genesys.proxy.unwrap();
    assert_eq!(proxy.url(), "http://proxy.example:3128");
    let (c, _) = desk
        .load(&with(
            "http.allowed-origins",
            "[\"HTTPS://Apps.Example:443\", \"http://a.example:8080\"]",
        ))
        .unwrap();
    assert_eq!(
        c.http.allowed_origins,
        ["https://apps.example", "http://a.example:8080"]
    );
}
