//! `[agent-desktop]`: the page is there with its table, and what it is told is checked.

use super::*;

/// `RIGHT` with the page, and one more line in its table.
fn page(line: &str) -> String {
    let origins = match line.starts_with("desktop-origins") {
        true => "",
        false => "desktop-origins = [\"https://workspace.example\"]\n",
    };
    format!("[agent-desktop]\n{origins}{line}\n{RIGHT}")
}

#[test]
fn the_page_is_there_only_with_its_table_and_gets_every_default_as_written() {
    let desk = Desk::new();
    let (c, _) = desk.load(RIGHT).unwrap();
    assert!(c.agent_desktop.is_none());
    let said = |c: &Config| {
        c.effective()
            .iter()
            .any(|e| e.key.starts_with("agent-desktop"))
    };
    assert!(
        !said(&c),
        "defaults of a page that is not there mean nothing"
    );
    let (c, warnings) = desk.load(&page("")).unwrap();
    assert_eq!(warnings, []);
    assert!(said(&c));
    let d = c.agent_desktop.unwrap();
    assert_eq!(d.desktop_origins, ["https://workspace.example"]);
    assert_eq!(d.access, DesktopAccess::Page);
    assert_eq!(
        d.conversation_id_keys,
        ["GenesysConversationId", "conversationId"]
    );
    assert_eq!(
        d.report_on,
        ReportOn::Events(vec!["ESTABLISHED", "ACCEPTED", "CREATED"])
    );
    assert_eq!(d.write_back_key.as_deref(), Some("CommunicationRecord"));
    assert_eq!(d.toast, Toast::Failures);
    assert!(d.forward_keys.is_empty() && d.title_keys.is_empty());
    assert!(!d.recording && !d.dial);
    // A table without a key turns it on as well, and then the origins are missing.
    let problems = desk.problems(&format!("[agent-desktop]\n{RIGHT}"));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "agent-desktop.desktop-origins");
    // What a reload cannot take over is found to differ.
    let (without, _) = desk.load(RIGHT).unwrap();
    let (with, _) = desk.load(&page("dial = true")).unwrap();
    assert!(without.changed(&with).contains(&"agent-desktop.dial"));
}

#[test]
fn what_the_page_is_told_is_read_as_it_is_meant() {
    let desk = Desk::new();
    let load = |line: &str| desk.load(&page(line)).unwrap().0.agent_desktop.unwrap();
    let d = load(
        "desktop-origins = [\"HTTPS://W.example:443\", \"http://127.0.0.1:81\", \"http://[::1]:9\"]",
    );
    assert_eq!(
        d.desktop_origins,
        ["https://w.example", "http://127.0.0.1:81", "http://[::1]:9"]
    );
    assert_eq!(load("access = \"token\"").access, DesktopAccess::Token);
    assert_eq!(load("report-on = [\"seen\"]").report_on, ReportOn::Seen);
    assert_eq!(
        load("report-on = [\"SENT\", \"RINGING\", \"SENT\"]").report_on,
        ReportOn::Events(vec!["SENT", "RINGING"])
    );
    assert_eq!(load("write-back = \"none\"").write_back_key, None);
    assert_eq!(
        load("write-back-key = \"Result of it\"")
            .write_back_key
            .as_deref(),
        Some("Result of it")
    );
    assert_eq!(load("toast = \"never\"").toast, Toast::Never);
    assert_eq!(load("toast = \"all\"").toast, Toast::All);
    assert_eq!(
        load("title-keys = [\"Kunde.Name\"]").title_keys,
        ["Kunde.Name"]
    );
    let d = load("recording = true\ndial = true");
    assert!(d.recording && d.dial);
}

#[test]
fn each_bad_value_of_the_page_is_reported_with_its_key_and_its_rule() {
    let desk = Desk::new();
    let mut tried = std::collections::BTreeSet::new();
    let many = format!("forward-keys = [{}]", "\"a\",".repeat(65));
    let long = format!("title-keys = [\"{}\"]", "a".repeat(257));
    for (line, rule) in [
        ("desktop-origins = []", "at least one"),
        ("desktop-origins = [\"*\"]", "must not be \"*\""),
        ("desktop-origins = [\"https://*.example\"]", "origin"),
        ("desktop-origins = [\"https://a.example/\"]", "origin"),
        ("desktop-origins = [\"https://a.example/x\"]", "origin"),
        ("desktop-origins = [\"a.example\"]", "origin"),
        ("desktop-origins = [\"null\"]", "origin"),
        ("desktop-origins = [\"https://a;b\"]", "origin"),
        ("desktop-origins = [\"https://a'b\"]", "origin"),
        ("desktop-origins = [\"https://bücher.example\"]", "origin"),
        ("desktop-origins = [\"https://u@a.example\"]", "origin"),
        ("desktop-origins = \"https://a.example\"", "array"),
        ("desktop-origins = [\"https://a.example\", 3]", "element 2"),
        ("access = \"Page\"", "\"page\" or \"token\""),
        ("access = true", "must be a string"),
        ("conversation-id-keys = []", "at least one"),
        ("conversation-id-keys = [\"\"]", "key of attached data"),
        ("conversation-id-keys = [\" a\"]", "key of attached data"),
        ("report-on = []", "at least one"),
        ("report-on = [\"established\"]", "event type"),
        ("report-on = [\"CASE_SELECTED\"]", "event type"),
        ("report-on = [\"STATE_CHANGED\"]", "event type"),
        ("report-on = [\"seen\", \"ADDED\"]", "stands alone"),
        ("report-on = \"seen\"", "array"),
        (&many, "at most 64"),
        (&long, "key of attached data"),
        ("forward-keys = [\"a\\u200b\"]", "key of attached data"),
        ("forward-keys = [\"a\\nb\"]", "key of attached data"),
        ("write-back = \"toast\"", "\"attached-data\" or \"none\""),
        ("write-back = false", "must be a string"),
        ("write-back-key = \"\"", "key of attached data"),
        ("toast = \"always\"", "\"failures\""),
        ("recording = \"true\"", "true or false"),
        ("dial = 1", "true or false"),
        ("dail = true", "no such key"),
        ("desktop_origins = []", "no such key"),
    ] {
        let problems = desk.problems(&page(line));
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        tried.insert(problems[0].key.clone());
        assert!(problems[0].key.starts_with("agent-desktop."), "{line}");
        assert!(problems[0].rule.contains(rule), "{line}: {problems:?}");
    }
    for key in keys::KEYS {
        let here = keys::optional_table(key.name).is_some();
        assert!(
            !here || tried.contains(key.name),
            "{} has no bad value",
            key.name
        );
    }
    // All of them at once.
    let all = "access = 1\ntoast = 2\ndial = 3\nwrite-back = 4\nreport-on = [\"x\"]";
    assert_eq!(desk.problems(&page(all)).len(), 5);
    let hint = |line: &str| desk.problems(&page(line))[0].hint.clone();
    assert!(hint("report-on = [\"established\"]").contains("\"ESTABLISHED\""));
    assert!(hint("report-on = [\"Seen\"]").contains("\"seen\""));
    assert!(hint("report-on = [\"CASE_SELECTED\"]").contains("case"));
    assert!(hint("dail = true").contains("agent-desktop.dial"));
}

#[test]
fn the_id_is_not_looked_for_where_the_page_reports() {
    let desk = Desk::new();
    let text = |at: &str| {
        page("").replace(
            "[agent-desktop]",
            &format!("[http]\nconversation-id-at = \"{at}\"\n[agent-desktop]"),
        )
    };
    for at in ["/agentDesktop", "/agentDesktop/alice/id"] {
        let problems = desk.problems(&text(at));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, "http.conversation-id-at");
    }
    assert!(desk.load(&text("/call/id")).is_ok());
}

#[test]
fn what_the_page_makes_no_use_of_is_warned_about() {
    let desk = Desk::new();
    let warned = |line: &str| desk.load(&page(line)).unwrap().1;
    let found = warned("access = \"token\"");
    assert_eq!(found[0].key, "agent-desktop.access", "{found:?}");
    let found = warned("write-back = \"none\"\nwrite-back-key = \"x\"");
    assert_eq!(found[0].key, "agent-desktop.write-back-key", "{found:?}");
}
