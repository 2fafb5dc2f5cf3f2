//! `[[genesys.additional-oauth]]`: more OAuth clients.

use super::*;

/// `RIGHT` and tables after it.
fn and(tables: &[&str]) -> String {
    let head = "[[genesys.additional-oauth]]\n";
    let tables: Vec<String> = tables.iter().map(|t| format!("{head}{t}\n")).collect();
    format!("{RIGHT}\n{}", tables.join("\n"))
}

const SECOND: &str = "name = \"second\"\ngrant = \"client-credentials\"\nclient-id = \"two\"\n\
                      client-secret-file = \"./secret\"";

fn seen(desk: &Desk, text: &str) -> Vec<(String, Option<usize>, String)> {
    let problems = desk.problems(text).into_iter();
    problems.map(|p| (p.key, p.line, p.rule)).collect()
}

#[test]
fn each_table_is_a_client_with_a_name_and_the_first_is_main() {
    let desk = Desk::new();
    let third = "name = \"the-3rd\"\nclient-id = \"three\"\nclient-secret-file = \"./secret\"\n\
                 org-name = \"acme\"\n[genesys.additional-oauth.assertion]\nfile = \"./secret\"";
    let (config, warnings) = desk.load(&and(&[SECOND, third])).unwrap();
    assert_eq!(warnings, []);
    let names: Vec<&str> = config.clients().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["main", "second", "the-3rd"]);
    let clients = config.clients();
    assert_eq!(clients[1].1.client_id, "two");
    assert!(matches!(clients[2].1.grant, Grant::Saml2Bearer { .. }));
    let shown = config.effective().last().unwrap();
    assert_eq!(shown.key, "genesys.additional-oauth");
    assert_eq!(shown.value, "[\"second\", \"the-3rd\"]");
}

#[test]
fn every_problem_of_every_table_is_reported_at_once_with_its_place() {
    let desk = Desk::new();
    let text = and(&[
        "name = \"second\"\ngrant = \"client-credentials\"\nclient-secret-file = \"./none\"\n\
         client-idd = \"x\"",
        "name = \"Zwei!\"\ngrant = \"password\"\nclient-id = \"a b\"\nclient-secret-file = \"./secret\"",
    ]);
    let seen = seen(&desk, &text);
    let keys: std::collections::BTreeSet<&str> =
        seen.iter().map(|(key, ..)| key.as_str()).collect();
    let expected = [
        "genesys.additional-oauth[second].client-idd",
        "genesys.additional-oauth[second].client-id",
        "genesys.additional-oauth[second].client-secret-file",
        "genesys.additional-oauth[2]",
        "genesys.additional-oauth[2].client-id",
        "genesys.additional-oauth[2].grant",
    ];
    assert_eq!(keys, expected.into(), "{seen:#?}");
    assert!(seen.iter().all(|(_, line, _)| line.is_some()), "{seen:#?}");
}

#[test]
fn names_are_short_plain_different_and_not_main() {
    let desk = Desk::new();
    let named = |name: &str| SECOND.replace("\"second\"", name);
    for name in ["\"a\"", "\"0-\"", "\"abcdefghijklmnop\""] {
        desk.load(&and(&[&named(name)])).unwrap();
    }
    for name in [
        "\"main\"",
        "\"\"",
        "\"abcdefghijklmnopq\"",
        "\"Second\"",
        "\"a_b\"",
        "\"a b\"",
        "\"ä\"",
        "7",
        "[\"a\"]",
    ] {
        let seen = seen(&desk, &and(&[&named(name)]));
        assert!(
            seen.iter().any(|(_, _, rule)| rule.contains("name")),
            "{name}: {seen:?}"
        );
    }
    let other = SECOND.replace("two", "three");
    let twice = seen(&desk, &and(&[SECOND, &other]));
    assert!(twice[0].2.contains("name is taken"), "{twice:?}");
    let nameless = SECOND.replace("name = \"second\"\n", "");
    assert!(
        seen(&desk, &and(&[&nameless]))[0]
            .2
            .contains("name is required")
    );
}

#[test]
fn one_client_and_user_in_two_tables_is_refused_and_with_other_users_it_is_not() {
    let desk = Desk::new();
    let main = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
    let same = seen(&desk, &and(&[&SECOND.replace("two", main)]));
    assert!(
        same[0].2.contains("same client and user as main"),
        "{same:?}"
    );
    let again = SECOND.replace("second", "third");
    let same = seen(&desk, &and(&[SECOND, &again]));
    assert!(
        same[0].2.contains("same client and user as second"),
        "{same:?}"
    );
    let bearer = |name: &str, file: &str| {
        desk.write(file, "PHNhbWw+\n", 0o600);
        format!(
            "name = \"{name}\"\nclient-id = \"{main}\"\nclient-secret-file = \"./secret\"\n\
             org-name = \"acme\"\nassertion = {{ file = \"./{file}\" }}"
        )
    };
    let (one, two) = (bearer("one", "user-1"), bearer("two", "user-2"));
    desk.load(&and(&[&one, &two])).unwrap();
}

#[test]
fn anything_but_tables_is_refused_with_a_hint() {
    let desk = Desk::new();
    for wrong in [
        "[genesys.additional-oauth]\nname = \"second\"",
        "[genesys]\nadditional-oauth = [\"second\"]",
        "[genesys]\nadditional-oauth = []",
        "[genesys]\nadditional-oauth = \"second\"",
    ] {
        let problems = desk.problems(&format!("{wrong}\n{RIGHT}"));
        assert_eq!(problems[0].key, "genesys.additional-oauth", "{wrong}");
        assert!(
            problems[0].hint.contains("[[genesys.additional-oauth]]"),
            "{wrong}"
        );
    }
    let many: Vec<String> = (0..16)
        .map(|n| {
            SECOND
                .replace("second", &format!("s{n}"))
                .replace("two", &format!("c{n}"))
        })
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    desk.load(&and(&many[..15])).unwrap();
    assert!(seen(&desk, &and(&many))[0].2.contains("at most 15"));
}

#[test]
fn what_changed_in_a_table_is_one_key_that_needs_a_restart() {
    let desk = Desk::new();
    let (before, _) = desk.load(&and(&[SECOND])).unwrap();
    let (same, _) = desk.load(&and(&[SECOND])).unwrap();
    assert_eq!(before.changed(&same), [""; 0]);
    let (other, _) = desk.load(&and(&[&SECOND.replace("two", "three")])).unwrap();
    assert_eq!(before.changed(&other), ["genesys.additional-oauth"]);
    let (none, _) = desk.load(RIGHT).unwrap();
    assert_eq!(before.changed(&none), ["genesys.additional-oauth"]);
}
