//! The configuration as operators meet it: files in, reports out.

mod assertion;
mod clients;
mod page;
mod values;
mod warnings;

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
            runs: false,
        }
    }

    fn load(&self, text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
        self.write("gateway.toml", with_history(text), 0o644);
        Config::load_in(&self.path("gateway.toml"), &self.environment())
    }

    fn problems(&self, text: &str) -> Vec<Problem> {
        match self.load(text) {
            Err(ConfigError::Problems { problems, .. }) => problems,
            other => panic!("no problems: {other:?}\n{text}"),
        }
    }
}

/// The one key that every file has to name, where a test is about others.
fn with_history(text: &str) -> String {
    const URL: &str = "url = \"http://127.0.0.1:8490/communications\"";
    match text.split_once("[history]\n") {
        Some((_, after)) if after.starts_with("url ") => text.to_owned(),
        Some((before, after)) => format!("{before}[history]\n{URL}\n{after}"),
        None => format!("{text}\n[history]\n{URL}\n"),
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
    assert_eq!(c.tracking.linger, Duration::from_secs(300));
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
        let required = match table {
            "agent-desktop" => "desktop-origins = [\"https://workspace.example\"]\n",
            _ => "",
        };
        let text = format!("[{table}]\n{required}{leaf} = {literal}\n{RIGHT}");
        desk.load(&text)
            .unwrap_or_else(|e| panic!("{}: {e}", key.name));
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
fn files_that_are_of_no_use_are_among_all_problems_each_with_a_hint() {
    let desk = Desk::new();
    let tls = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    desk.write(
        "ca.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        0o644,
    );
    desk.write("body.j2", "{\"a\": }", 0o644);
    let text = format!(
        "{RIGHT}[http]\nlisten = 8480\nmax-body = 64\n[status]\nnope = 1\n[tracking]\nmax-age = \"500ms\"\n\
         [genesys]\nca-file = \"ca.pem\"\n[history]\nurl = \"https://history.example/\"\n\
         ca-file = \"gone.pem\"\nclient-certificate-file = \"{}\"\nclient-key-file = \"{}\"\n\
         template-file = \"body.j2\"\n",
        tls("test-only-client.certificate.pem"),
        tls("test-only-server.key.pem"),
    );
    let problems = desk.problems(&text);
    let of = |key: &str| {
        let found = problems.iter().find(|p| p.key == key);
        let found = found.unwrap_or_else(|| panic!("{key} is not among {problems:#?}"));
        found.to_string()
    };
    assert!(of("genesys.ca-file").contains("certificate 1 of the file is damaged"));
    assert!(of("history.client-key-file").contains("does not belong"));
    assert!(of("history.template-file").contains("is not JSON"));
    let here = format!(
        "a relative path counts from {}",
        desk.directory.path().display()
    );
    assert!(of("history.ca-file").contains(&here));
    assert!(of("http.listen").ends_with("must be a string; put it in quotes"));
    assert!(of("http.max-body").ends_with("as in \"64KiB\""));
    assert_eq!(problems.len(), 8);
    for p in &problems {
        assert!(!p.hint.is_empty(), "{p}");
    }
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
fn a_credential_is_looked_up_in_its_directory_and_loses_one_line_end() {
    let desk = Desk::new();
    desk.write("client-secret", "s3 cr3t\r\n", 0o400);
    let text = with(
        "genesys.oauth.client-secret-file",
        "\"credential:client-secret\"",
    );
    desk.write("gateway.toml", with_history(&text), 0o644);
    let mut environment = desk.environment();
    environment.credentials_directory = Some(desk.directory.path().to_owned());
    let (c, _) = Config::load_in(&desk.path("gateway.toml"), &environment).unwrap();
    assert_eq!(c.genesys.oauth.client_secret.expose(), "s3 cr3t");
}

#[test]
fn paths_are_relative_to_the_file_and_the_database_to_the_state_directory() {
    let desk = Desk::new();
    let mut environment = desk.environment();
    desk.write("gateway.toml", with_history(RIGHT), 0o644);
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
fn what_nobody_sees_in_the_file_is_reported_with_its_place_and_name() {
    let desk = Desk::new();
    let marked = format!("\u{feff}# \u{a0}für\r\n{}", RIGHT.replace('\n', "\r\n"));
    desk.load(&marked).unwrap();
    let problems = desk.problems(&with("genesys.oauth.client-id", "\"i\u{200b}d\""));
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|p| p == "line 5, column 15: holds U+200B ZERO WIDTH SPACE, which cannot be seen; take it out"),
        "{said:#?}"
    );
    let error = desk.load(&format!("[http]\u{a0}\n{RIGHT}")).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(":1:7: ") && said.contains("U+00A0 NO-BREAK SPACE"),
        "{said}"
    );
    let wide: Vec<u8> = "\u{feff}[http]\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    desk.write("gateway.toml", wide, 0o644);
    let error = Config::load_in(&desk.path("gateway.toml"), &desk.environment()).unwrap_err();
    assert!(error.to_string().contains("UTF-16"), "{error}");
}

#[test]
fn where_records_go_has_to_be_said() {
    let desk = Desk::new();
    desk.write("gateway.toml", RIGHT, 0o644);
    let error = Config::load_in(&desk.path("gateway.toml"), &desk.environment()).unwrap_err();
    let ConfigError::Problems { problems, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(problems.len(), 1, "{error}");
    assert!(
        error
            .to_string()
            .contains("history.url: is required and missing")
    );
}

#[test]
fn a_problem_with_the_login_is_the_only_one_that_is_reported() {
    let desk = Desk::new();
    for oauth in [
        "client-secret-file = \"./missing\"",
        "client-secret-file = \"./secret\"\ngrant = \"magic\"",
    ] {
        let text = format!(
            "[channels]\nheartbeat-timeout = \"500ms\"\n[genesys]\nlogin-url = \"http://127.0.0.1:1\"\n\
             api-url = \"http://127.0.0.1:2\"\n[genesys.oauth]\nclient-id = \"id\"\n\
             {oauth}\n{}",
            if oauth.contains("grant") {
                ""
            } else {
                "grant = \"client-credentials\"\n"
            }
        );
        let problems = desk.problems(&text);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].key.starts_with("genesys.oauth."),
            "{problems:#?}"
        );
    }
    // A real platform is told apart from one on this machine all the same.
    let problems = desk.problems("[channels]\nheartbeat-timeout = \"500ms\"\n[genesys.oauth]\n");
    assert!(
        problems
            .iter()
            .any(|p| p.key == "channels.heartbeat-timeout")
    );
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
fn a_secret_of_nothing_but_a_byte_order_mark_is_an_empty_file() {
    let desk = Desk::new();
    for nothing in ["", "\r\n", "\u{feff}", "\u{feff}\r\n\n"] {
        desk.write("proxy", nothing, 0o600);
        let both = "\"http://proxy.example\"\nproxy-credentials-file = \"./proxy\"";
        let error = desk.load(&with("genesys.proxy", both)).unwrap_err();
        assert!(error.to_string().contains("the file is empty"), "{error}");
    }
}

#[test]
fn a_proxy_and_an_origin_are_taken_apart() {
    let desk = Desk::new();
    let (c, _) = desk
        .load(&with("genesys.proxy", "\"http://Proxy.example:3128\""))
        .unwrap();
    let proxy = c.genesys.proxy.unwrap();
    assert_eq!(proxy.url(), "http://proxy.example:3128");
    assert_eq!(c.genesys.proxy_credentials, None);
    desk.write("proxy", "\u{feff}me:p:s%40\r\n", 0o600);
    let both = "\"http://proxy.example\"\nproxy-credentials-file = \"./proxy\"";
    let (c, _) = desk.load(&with("genesys.proxy", both)).unwrap();
    let (user, password) = c.genesys.proxy_credentials.unwrap();
    assert_eq!((user.as_str(), password.expose()), ("me", "p:s%40"));
    for bad in ["me", ":secret", "", "a:b\nc:d\n"] {
        desk.write("proxy", bad, 0o600);
        let error = desk.load(&with("genesys.proxy", both)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("genesys.proxy-credentials-file"), "{said}");
    }
    let error = desk
        .load(&with("genesys.proxy", "\"http://me:secret@proxy\""))
        .unwrap_err();
    assert!(error.to_string().contains("proxy-credentials-file"));
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
