use super::*;

fn flaw(text: &str) -> (String, Flaw) {
    let fault = Document::parse(text.as_bytes()).expect_err(text);
    (fault.pointer, fault.what)
}

#[test]
fn clean_texts_are_accepted_as_the_usual_reader_accepts_them() {
    for text in [
        "{}",
        " [ ] ",
        "null",
        "true",
        "false",
        "0",
        "-0.0e-0",
        "1E+9",
        "\"\"",
        "\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "{\"a\":{\"a\":[1,{\"a\":2}]},\"b\":\"\u{e9}\u{1F600}\"}",
        "\r\n\t {\"a\" : 1 , \"\" : [ 1 , 2 ] }\n",
    ] {
        assert!(Document::parse(text.as_bytes()).is_ok(), "{text}");
        assert!(
            serde_json::from_str::<serde_json::Value>(text).is_ok(),
            "{text}"
        );
    }
    // Numbers that no type holds are kept as text.
    let long = format!("{{\"n\":1{},\"e\":1e999}}", "0".repeat(500));
    assert_eq!(Document::parse(long.as_bytes()).unwrap().text(), long);
}

#[test]
fn every_prefix_of_an_object_is_unfinished() {
    let text = r#"{"a":[1,-2.5e+3,true,false,null,"\u00e9\ud83d\ude00\n"],"b":{"c":"d"}}"#;
    for cut in 0..text.len() {
        let (_, what) = flaw(&text[..cut]);
        assert_eq!(what, Flaw::Unfinished, "{:?}", &text[..cut]);
    }
}

#[test]
fn what_the_grammar_forbids_is_refused_with_its_place() {
    for (text, pointer, what) in [
        ("{\"a\":[1,{\"b\":01}]}", "/a/1/b", Flaw::Syntax),
        ("{\"a\":1,}", "", Flaw::Syntax),
        ("[1,]", "/1", Flaw::Syntax),
        ("{'a':1}", "", Flaw::Syntax),
        ("{\"a\" 1}", "/a", Flaw::Syntax),
        ("[1 2]", "", Flaw::Syntax),
        ("+1", "", Flaw::Syntax),
        (".5", "", Flaw::Syntax),
        ("1.", "", Flaw::Unfinished),
        ("NaN", "", Flaw::Syntax),
        ("nul", "", Flaw::Unfinished),
        ("nulL", "", Flaw::Syntax),
        ("\"\t\"", "", Flaw::Syntax),
        ("\"\\x\"", "", Flaw::Syntax),
        ("\"\\u12g4\"", "", Flaw::Syntax),
        ("{} {}", "", Flaw::Trailing),
        ("{}\0", "", Flaw::Trailing),
        ("\u{feff}{}", "", Flaw::Syntax),
        ("", "", Flaw::Unfinished),
    ] {
        assert_eq!(flaw(text), (pointer.to_owned(), what), "{text:?}");
    }
}

#[test]
fn a_key_twice_at_any_depth_is_found_however_it_is_spelt() {
    for (text, pointer) in [
        (r#"{"a":1,"a":1}"#, "/a"),
        (r#"{"a":1,"b":2,"\u0061":1}"#, "/a"),
        (r#"{"x":[0,{"y":{"k":1,"k":2}}]}"#, "/x/1/y/k"),
        (r#"[[{"a/b~c":1,"a/b~c":2}]]"#, "/0/0/a~1b~0c"),
        (r#"{"":1,"":2}"#, "/"),
        (r#"{"\/":1,"/":2}"#, "/~1"),
    ] {
        assert_eq!(
            flaw(text),
            (pointer.to_owned(), Flaw::DuplicateKey),
            "{text}"
        );
    }
    assert!(Document::parse(br#"{"a":1,"A":2,"b":{"a":3}}"#).is_ok());
}

#[test]
fn nesting_has_a_limit_and_no_depth_exhausts_the_stack() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(Document::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    let (pointer, what) = flaw(&nested(DEPTH_MAX + 1));
    assert_eq!(what, Flaw::TooDeep);
    assert_eq!(pointer, "/0".repeat(DEPTH_MAX));
    assert_eq!(flaw(&"[".repeat(60_000)).1, Flaw::TooDeep);
    assert_eq!(flaw(&"{\"a\":".repeat(60_000)).1, Flaw::TooDeep);
}

#[test]
fn text_that_is_not_unicode_is_refused_with_its_place() {
    for (text, pointer) in [
        (&b"{\"a\":[\"\xff\"]}"[..], "/a/0"),
        (b"{\"a\":\"\xc0\xaf\"}", "/a"),
        (b"{\"a\":\"\xed\xa0\x80\"}", "/a"),
        (b"{}\xff", ""),
        (b"\xff", ""),
    ] {
        let fault = Document::parse(text).unwrap_err();
        assert_eq!(
            (fault.pointer.as_str(), fault.what),
            (pointer, Flaw::NotUtf8)
        );
    }
    for text in [
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\ud800\n"}"#,
        r#"{"a":"\ud800x"}"#,
    ] {
        assert_eq!(flaw(text), ("/a".to_owned(), Flaw::NotUnicode), "{text}");
    }
}

#[test]
fn members_keep_their_order_and_their_text() {
    let text = r#" { "z" : 1.50 , "\u0061" : { "k" : [ 1 ] } , "b":"\u00e9" } "#;
    let document = Document::parse(text.as_bytes()).unwrap();
    let members = document.members().unwrap();
    let names: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "b"]);
    assert_eq!(
        object(members.iter().filter(|m| m.name != "b")),
        r#"{"z":1.50,"\u0061":{ "k" : [ 1 ] }}"#
    );
    assert_eq!(object([].iter()), "{}");
    assert!(Document::parse(b"[1]").unwrap().members().is_none());
}

#[test]
fn a_pointer_finds_what_it_points_to() {
    let text = br#"{"a":{"b/c":[10,{"d~":"x"}]},"":{"":1}}"#;
    let document = Document::parse(text).unwrap();
    let at = |p: &str| document.at(&Pointer::parse(p).unwrap());
    assert_eq!(at("/a/b~1c/0"), Some("10"));
    assert_eq!(at("/a/b~1c/1/d~0"), Some("\"x\""));
    assert_eq!(at("//"), Some("1"));
    for none in ["/b", "/a/b~1c/2", "/a/b~1c/00", "/a/b~1c/-", "/a/b~1c/0/x"] {
        assert_eq!(at(none), None, "{none}");
    }
    for bad in ["", "a", "/~", "/~2"] {
        assert_eq!(Pointer::parse(bad), None, "{bad:?}");
    }
    assert_eq!(Pointer::parse("/a~1b~01").unwrap().to_string(), "/a~1b~01");
    assert_eq!(Pointer::parse("/a").unwrap().top_level(), Some("a"));
    assert_eq!(Pointer::parse("/a/b").unwrap().top_level(), None);
    assert_eq!(string(r#""\u0041b""#).as_deref(), Some("Ab"));
    assert_eq!(string("12"), None);
}

#[test]
fn it_accepts_nothing_that_the_usual_reader_refuses() {
    let mut rng = base::rng::Rng::new(11);
    let alphabet = b"{}[]\",:0123eE+-.\\u/ntrufals \xc3\xa9";
    let mut accepted = 0;
    for _ in 0..50_000 {
        let len = 1 + rng.below(12);
        let text: Vec<u8> = (0..len)
            .map(|_| alphabet[rng.below(alphabet.len() as u64) as usize])
            .collect();
        let ours = Document::parse(&text);
        let theirs = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&text);
        let ours_strict = matches!(
            &ours,
            Err(Fault {
                what: Flaw::DuplicateKey | Flaw::NotUnicode,
                ..
            })
        );
        if ours_strict {
            continue;
        }
        assert_eq!(
            ours.is_ok(),
            theirs.is_ok(),
            "{:?}",
            String::from_utf8_lossy(&text)
        );
        accepted += usize::from(ours.is_ok());
    }
    assert!(accepted > 100, "{accepted}");
}
