//! One bad value after the other: its key, its rule, its hint.

use super::*;

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
    desk.write(
        "short",
        "good-token-of-some-length\nfifteen-letters\n",
        0o600,
    );
    desk.write("filled-up", "a===============\n", 0o600);
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
        ("http.certificate-file", "\"./not-pem\"", "no certificate"),
        ("http.private-key-file", "\"./not-pem\"", "no private key"),
        ("http.api-tokens-file", "\"./missing\"", "no such file"),
        ("http.api-tokens-file", "\"./empty\"", "empty"),
        ("http.api-tokens-file", "\"./bad-tokens\"", "line 2"),
        ("http.api-tokens-file", "\"./no-tokens\"", "no token"),
        ("http.api-tokens-file", "\"./short\"", "line 2"),
        ("status.api-tokens-file", "\"./short\"", "at least 16"),
        (
            "http.api-tokens-file",
            "\"./filled-up\"",
            "a token of 1 characters and filling",
        ),
        ("http.api-tokens-file", "\"./directory\"", "regular file"),
        ("http.allowed-origins", "[\"*\"]", "must not be \"*\""),
        ("http.allowed-origins", "[\"https://a.example/\"]", "origin"),
        ("http.allowed-origins", "[\"https://*.example\"]", "origin"),
        ("http.allowed-origins", "[\"a.example\"]", "origin"),
        ("http.allowed-origins", "\"https://a.example\"", "array"),
        (
            "genesys.proxy-credentials-file",
            "\"./not-pem\"",
            "user:password",
        ),
        ("genesys.streaming-hosts", "[\"*\"]", "host name"),
        ("genesys.streaming-hosts", "[\"*.com\"]", "host name"),
        ("genesys.streaming-hosts", "[\"a.*.example\"]", "host name"),
        (
            "genesys.streaming-hosts",
            "[\"wss://a.example\"]",
            "host name",
        ),
        (
            "genesys.streaming-hosts",
            "[\"a.example:443\"]",
            "host name",
        ),
        ("genesys.streaming-hosts", "[\"10.0.0.1\"]", "host name"),
        ("genesys.streaming-hosts", "[\"a.localhost\"]", "host name"),
        ("genesys.streaming-hosts", "[\"a.example.\"]", "host name"),
        ("http.allowed-origins", "[3]", "element 1"),
        ("http.accepts-per-minute", "-1", "from 0"),
        ("http.max-body", "\"64KB\"", "KiB"),
        ("http.max-body", "\"0B\"", "from 1B"),
        ("http.max-body", "\"5MiB\"", "to 4MiB"),
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
        ("tracking.unreported", "\"keep\"", "ignore"),
        ("tracking.unreported", "true", "must be a string"),
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
        ("tracking.linger", "\"25h\"", "to 24h"),
        ("tracking.linger", "\"-1s\"", "ms, s, m, h or d"),
        ("tracking.linger", "300", "must be a string"),
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
        let elsewhere = key.name.contains(".assertion.")
            || key.name == "history.client-certificate-file"
            || keys::optional_table(key.name).is_some();
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
fn channels_of_every_region_may_lead_below_its_domain() {
    for (_, region) in crate::config::REGIONS {
        let api = format!("https://api.{region}");
        let streaming = proto::connect_uri::Streaming::new(&api, region, &[]);
        let judged = streaming.judge(&format!("wss://a.b.{region}/x"));
        assert!(judged.is_ok(), "{region}: {judged:?}");
    }
}
