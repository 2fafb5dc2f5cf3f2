//! What works and is probably not meant.

use super::*;

#[test]
fn what_works_and_is_probably_not_meant_is_warned_about() {
    let desk = Desk::new();
    desk.write("open", "long-enough-for-a-token\n", 0o644);
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
        ("tracking.max-age", "\"1m\"", "tracking.linger", "longer"),
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
    desk.write("gateway.toml", with_history(RIGHT), 0o666);
    let (_, warnings) = Config::load_in(&desk.path("gateway.toml"), &desk.environment()).unwrap();
    assert!(warnings[0].text.contains("may change the file"));
}
