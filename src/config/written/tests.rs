use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Trouble>) -> String {
    result.unwrap_err().rule.rule
}

#[test]
fn a_byte_order_mark_is_taken_off_once() {
    assert_eq!(text(b"\xef\xbb\xbfs3cr3t\n".to_vec()).unwrap(), "s3cr3t\n");
    let twice = text("\u{feff}\u{feff}s3cr3t".into()).unwrap();
    assert!(refused(one_line(&twice)).contains("line 1, column 1 of the file holds U+FEFF ZERO"));
    let pem = pem("\u{feff}-----BEGIN X-----\r\nAAAA\r\n-----END X-----\r\n".as_bytes()).unwrap();
    assert!(pem.starts_with("-----BEGIN X-----\nAAAA\n"));
}

#[test]
fn other_encodings_are_called_by_their_name() {
    let wide = |little: bool, mark: bool| -> Vec<u8> {
        let text = if mark { "\u{feff}s3cr3t" } else { "s3cr3t" };
        let units = text.encode_utf16();
        units
            .flat_map(|u| {
                if little {
                    u.to_le_bytes()
                } else {
                    u.to_be_bytes()
                }
            })
            .collect()
    };
    for little in [true, false] {
        for mark in [true, false] {
            let content = wide(little, mark);
            assert!(refused(text(content.clone())).contains("UTF-16"));
            assert!(refused(pem(&content)).contains("UTF-16"));
        }
    }
    assert!(refused(text(b"\xff\xfe\0\0s\0\0\0".to_vec())).contains("UTF-32"));
    let latin = refused(text(b"one\ntw\xf6".to_vec()));
    assert!(
        latin.contains("line 2, column 3 holds the byte 0xF6"),
        "{latin}"
    );
}

#[test]
fn a_file_that_turns_into_utf_16_is_called_by_that_name() {
    for mark in [b"\xff\xfe", b"\xfe\xff"] {
        let joined = [&b"one\n"[..], mark, b"t\0w\0"].concat();
        let trouble = text(joined).unwrap_err().rule;
        let place = "from line 2, column 1 on it is UTF-16";
        assert!(trouble.rule.contains(place), "{}", trouble.rule);
        assert!(!trouble.hint.contains("ISO-8859-1"), "{}", trouble.hint);
    }
    assert!(refused(text(b"one\n\xff".to_vec())).contains("line 2, column 1 holds the byte 0xFF"));
}

#[test]
fn empty_lines_behind_a_secret_are_no_part_of_it_and_others_are_reported_with_their_place() {
    for content in [
        "s3cr3t",
        "s3cr3t\n\n",
        "s3cr3t\r\n\r\n\r\n",
        "s3cr3t\n  \n\t\n\n",
    ] {
        assert_eq!(one_line(content).unwrap(), "s3cr3t", "{content:?}");
    }
    for (content, place) in [
        ("s3cr3t\nmore\n", "line 2 of it holds more"),
        ("s3cr3t\n\n\nmore", "line 4 of it holds more"),
        ("\ns3cr3t\n", "line 1 of it is empty"),
        ("\r\n\r\ns3cr3t", "line 1 of it is empty"),
        (
            "s3\rcr3t\n\n",
            "line 1, column 3 of the file holds U+000D CARRIAGE RETURN",
        ),
        (
            "s3cr3t \n\n",
            "line 1, column 7 of the file holds U+0020 SPACE",
        ),
    ] {
        let said = refused(one_line(content));
        assert!(said.contains(place), "{content:?}: {said}");
        assert!(!said.contains("cr3t") && !said.contains("more\n"), "{said}");
    }
}

#[test]
fn what_cannot_be_seen_in_a_secret_is_reported_with_place_and_name() {
    for (content, place) in [
        ("s3cr3t ", "column 7 of the file holds U+0020 SPACE"),
        (" s3cr3t", "column 1 of the file holds U+0020 SPACE"),
        (
            "s3cr3t\t\n",
            "column 7 of the file holds U+0009 CHARACTER TABULATION",
        ),
        (
            "s3c\u{200b}r3t\n",
            "column 4 of the file holds U+200B ZERO WIDTH SPACE",
        ),
        (
            "s3cr3t\u{a0}\n",
            "column 7 of the file holds U+00A0 NO-BREAK SPACE",
        ),
        (
            "\u{202e}s3cr3t",
            "column 1 of the file holds U+202E RIGHT-TO-LEFT OVERRIDE",
        ),
        ("s3\0cr3t", "column 3 of the file holds U+0000 NULL"),
        (
            "s3cr3t\r\r\n",
            "column 7 of the file holds U+000D CARRIAGE RETURN",
        ),
        (
            "s3cr3t\u{1b}[0m",
            "column 7 of the file holds U+001B CONTROL CHARACTER",
        ),
    ] {
        let said = refused(one_line(content));
        assert!(said.contains(place), "{content:?}: {said}");
        assert!(!said.contains("cr3t"));
    }
    for (content, line) in [
        ("s3cr3t\r\n", "s3cr3t"),
        ("two words", "two words"),
        ("gehört-dazu\n", "gehört-dazu"),
    ] {
        assert_eq!(one_line(content).unwrap(), line);
    }
    assert!(refused(one_line("one\ntwo\n")).contains("one line"));
}

#[test]
fn tokens_are_lines_and_comments_are_free() {
    let found = lines("\r\n# f\u{fc}r\u{a0}BOFE\r\nfirst\r\n \t\nsecond").unwrap();
    assert_eq!(found, [(3, "first"), (5, "second")]);
    let said = refused(lines("first\nsecond \n"));
    assert!(
        said.contains("line 2, column 7") && said.contains("U+0020 SPACE"),
        "{said}"
    );
    let said = refused(lines("first\u{2066}\n"));
    assert!(said.contains("U+2066 LEFT-TO-RIGHT ISOLATE"), "{said}");
    // It looks like a comment and is none.
    assert!(lines("\u{200b}# first\n").is_err());
}

#[test]
fn pem_is_strict_inside_of_its_blocks_alone() {
    let block =
        |inside: &str| format!("K\u{f6}nig\u{a0}\n-----BEGIN X-----\n{inside}\n-----END X-----\n");
    assert!(
        pem(block("  AAAA \t").as_bytes())
            .unwrap()
            .contains("\nAAAA\n")
    );
    assert!(pem(b"K\xf6nig\n-----BEGIN X-----\nAAAA\n-----END X-----\n").is_ok());
    let said = refused(pem(block(" AA\u{a0}AA").as_bytes()));
    assert!(
        said.contains("line 3, column 4") && said.contains("U+00A0"),
        "{said}"
    );
    let said = refused(pem("\u{200b}-----BEGIN X-----\n".as_bytes()));
    assert!(
        said.contains("line 1, column 1") && said.contains("U+200B"),
        "{said}"
    );
}

#[test]
fn toml_is_looked_at_outside_of_comments_and_where_text_is_turned_everywhere() {
    let places = |text: &str| -> Vec<(usize, usize, String)> {
        odd_in_toml(text)
            .iter()
            .map(|o| (o.line, o.column, o.name()))
            .collect()
    };
    for free in [
        "a = \"b\"\t# c\u{a0}d\r\nb = 1\r\n",
        "a = \"\\\"\" # \u{a0}",
        "a = '\\' # \u{a0}",
        "a = \"\"\"\n\\\"\"\" # x\n\"\"\" # \u{200b}",
        "\u{e4} = 1",
    ] {
        assert_eq!(places(free), [], "{free}");
    }
    assert_eq!(
        places("a = \"b#\u{200b}\"\nb\u{a0}= 1 # \u{a0}\u{202e}\n"),
        [
            (1, 8, "U+200B ZERO WIDTH SPACE".to_owned()),
            (2, 2, "U+00A0 NO-BREAK SPACE".to_owned()),
            (2, 10, "U+202E RIGHT-TO-LEFT OVERRIDE".to_owned()),
        ]
    );
    assert_eq!(places("a = '''\n#\u{200b}'''")[0].0, 2);
    assert_eq!(places("a = \"\"\"x\\\"\"\"#\u{200b}\"\"\"").len(), 1);
}

#[test]
fn templates_and_assertions_are_free_of_what_cannot_be_seen() {
    assert!(template("{\"a\": \"b\"} \t\r\n").is_ok());
    let trouble = template("{\"a\":\u{a0}1}").unwrap_err();
    assert!(
        trouble.rule.rule.contains("line 1, column 6"),
        "{:?}",
        trouble.rule
    );
    assert!(trouble.rule.hint.contains("\\u00a0"));
    assert!(base64("PHNh\r\n bWw+\n").is_ok());
    assert!(refused(base64("PHNh\u{200b}bWw+")).contains("column 5"));
}
