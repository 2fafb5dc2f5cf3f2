use super::*;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

fn knowing(secrets: &[&str]) -> Registry {
    let mut registry = Registry::default();
    for secret in secrets {
        add(&mut registry.lasting, &Secret::new(*secret), LASTING_MAX);
    }
    registry
}

fn percent(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

fn some_percent(text: &str) -> String {
    let odd = |b: u8| match b.is_ascii_alphanumeric() {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    text.bytes().map(odd).collect()
}

fn json(text: &str) -> String {
    text.encode_utf16().map(|u| format!("\\u{u:04X}")).collect()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn html(text: &str) -> String {
    let named = |c: char| match c {
        'ä' => "&auml;".to_owned(),
        'ñ' => "&ntilde;".to_owned(),
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(named).collect()
}

fn with(between: &str, text: &str) -> String {
    let letters: Vec<String> = text.chars().map(String::from).collect();
    letters.join(between)
}

fn wrapped(text: &str, at: usize, end: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let lines: Vec<String> = letters.chunks(at).map(String::from_iter).collect();
    lines.join(end)
}

#[test]
fn a_known_secret_is_hidden_however_long_it_is_and_however_it_is_written() {
    let long = "lo+ng/ä".repeat(40);
    for secret in [
        "s3cr",
        "hush-hush",
        "p@ss/w\"o\\rd% +&<",
        "%41b\\u0063&amp;\\n",
        "Zäh:ñandú/€42\u{1f600}",
        "a-secret-of-the-client-0815",
        "correct horse battery staple",
        &long,
    ] {
        let mut known = knowing(&[secret]);
        let pair = format!("some-client:{secret}");
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        let (once, thrice) = (
            STANDARD.encode(secret),
            STANDARD.encode(format!("xy{pair}z")),
        );
        for echoed in [
            secret.to_owned(),
            secret.to_uppercase(),
            secret.to_lowercase(),
            percent(secret),
            percent(secret).to_uppercase(),
            percent(&percent(secret)),
            some_percent(secret),
            some_percent(&some_percent(secret)),
            some_percent(&some_percent(&some_percent(secret))),
            secret
                .replace('%', "%25")
                .replace('+', "%2B")
                .replace(' ', "+"),
            json(secret),
            json(secret).to_lowercase(),
            json(secret).replace('\\', "\\\\"),
            quoted(secret),
            quoted(&quoted(secret)),
            quoted(&quoted(&quoted(secret))),
            secret.escape_default().to_string(),
            secret.escape_unicode().to_string(),
            secret.bytes().map(|b| format!("\\x{b:02x}")).collect(),
            secret.bytes().map(|b| format!("\\{b:03o}")).collect(),
            secret.replace('/', "\\/"),
            secret
                .chars()
                .map(|c| format!("&#{};", u32::from(c)))
                .collect(),
            secret
                .chars()
                .map(|c| format!("&#x{:X};", u32::from(c)))
                .collect(),
            secret
                .chars()
                .map(|c| format!("&#{:06};", u32::from(c)))
                .collect(),
            html(secret),
            html(&html(secret)),
            quoted(&html(&some_percent(secret))),
            with("\u{200b}", secret),
            with("\u{ad}", secret),
            with("\u{202e}\u{feff}", secret),
            with("\0", secret),
            with("\n", secret),
            with("\r\n\t ", secret),
            with(" ", secret),
            quoted(&with("\u{200b}", secret)).replace('\u{200b}', "\\u200b"),
            quoted(&with("\n", secret)),
            once.clone(),
            URL_SAFE.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            STANDARD.encode(&pair),
            STANDARD.encode(format!("x{pair}y")),
            thrice.clone(),
            format!("Basic {}", STANDARD.encode(&pair)),
            format!("x/{once}"),
            wrapped(&thrice, 5, "\n"),
            wrapped(&thrice, 7, "\r\n  "),
            wrapped(&thrice, 7, "\\r\\n"),
            wrapped(&thrice, 6, "\u{200b}"),
            percent(&STANDARD.encode(&pair)),
            json(&STANDARD.encode(&pair)),
            STANDARD.encode(STANDARD.encode(&pair)),
            URL_SAFE.encode(STANDARD.encode(STANDARD.encode(secret))),
            STANDARD.encode(percent(secret)),
            STANDARD.encode(quoted(secret)),
            STANDARD.encode(if secret.is_ascii() {
                &wide
            } else {
                secret.as_bytes()
            }),
            hex.clone(),
            hex.to_uppercase(),
            STANDARD.encode(&hex),
        ] {
            let text = format!("you sent <{echoed}>, wrong");
            for of in [Text::Own, Text::Foreign] {
                let cleaned = known.clean(&text, of);
                assert!(cleaned.contains(HIDDEN), "{secret} as {echoed}: {cleaned}");
                assert!(!cleaned.contains(&echoed), "{cleaned}");
                assert!(
                    cleaned.starts_with("you sent <"),
                    "{secret} as {echoed}: {cleaned}"
                );
                assert!(
                    cleaned.ends_with(">, wrong"),
                    "{secret} as {echoed}: {cleaned}"
                );
            }
        }
    }
}

#[test]
fn all_of_a_long_secret_is_hidden_and_the_beginning_of_one_before_a_cut() {
    let long: String = (0..300).map(|n| format!("{}/%", n * 7919 % 9973)).collect();
    let mut known = knowing(&[&long, "a-secret-of-the-client"]);
    for echoed in [
        long.clone(),
        percent(&long),
        json(&long),
        STANDARD.encode(&long),
    ] {
        let cleaned = known.clean(&format!("got '{echoed}' here"), Text::Own);
        assert_eq!(cleaned, "got '[hidden]' here");
    }
    for (text, expected) in [
        ("it was a-secret-o…", "it was [hidden]…"),
        ("it was a-secret-o", "it was a-secret-o"),
        ("it was a-secret-o, not…", "it was a-secret-o, not…"),
        ("it was a-se…", "it was a-se…"),
        ("it was %61-secret-o…", "it was [hidden]…"),
        ("it was a-secret-o%…", "it was [hidden]…"),
        ("it was a-secret-o, 5%…", "it was a-secret-o, 5%…"),
        ("it was a-secret-o&&…", "it was [hidden]…"),
    ] {
        assert_eq!(known.clean(text, Text::Own), expected);
    }
}

#[test]
fn the_beginning_of_a_secret_is_hidden_wherever_a_cut_goes_through_what_encodes_it() {
    const SECRET: &str = "a-secret-of-the-client";
    let mut known = knowing(&[SECRET]);
    let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
    let encoded = [
        SECRET.to_owned(),
        percent(SECRET),
        percent(&percent(SECRET)),
        json(SECRET),
        SECRET
            .chars()
            .map(|c| format!("&#x{:06X};", u32::from(c)))
            .collect(),
        STANDARD.encode(SECRET),
        STANDARD.encode(format!("id:{SECRET}")),
        hex,
    ];
    for whole in &encoded {
        // What says no more than a few characters is nobody's secret.
        let least = whole.len() / 2;
        for cut in least..whole.len() {
            let cleaned = known.clean(&format!("got {}…", &whole[..cut]), Text::Foreign);
            assert_eq!(cleaned, "got [hidden]…", "{}", &whole[..cut]);
        }
    }
}

#[test]
fn a_panic_while_a_text_is_cleaned_is_told_without_waiting_for_itself() {
    struct Tells;
    impl Drop for Tells {
        fn drop(&mut self) {
            assert_eq!(own("stopped at src/redaction.rs"), HIDDEN);
        }
    }
    let stopped = std::thread::spawn(|| {
        let _held = registry();
        let _tells = Tells;
        panic!("in the middle of it");
    });
    assert!(stopped.join().is_err());
    assert!(own("stopped at src/redaction.rs").contains("stopped"));
}

#[test]
fn names_of_members_are_cleaned_like_their_values() {
    learn(&Secret::new("the-secret-name-of-a-member"));
    let body = br#"{"a":[1,{"the-secret-name-of-a-member":2,"b":"c"}],"d":null}"#;
    let cleaned = String::from_utf8(foreign_body(body.to_vec())).unwrap();
    assert_eq!(cleaned, r#"{"a":[1,{"[hidden]":2,"b":"c"}],"d":null}"#);
    let plain = br#"{"a": [1, {"name": 2}]}"#.to_vec();
    assert_eq!(
        foreign_body(plain.clone()),
        plain,
        "as it is where nothing is hidden"
    );
}

#[test]
fn a_text_that_is_made_to_be_read_again_and_again_costs_little() {
    let mut known = knowing(&["hush-hush"]);
    for text in [
        "A".repeat(20_000),
        "%25".repeat(7_000),
        "\\\\".repeat(10_000),
        "&amp;".repeat(4_000),
        "QUFB".repeat(5_000),
        "%2525252525252541".repeat(1_000),
        "hush-huz".repeat(2_500),
        "61".repeat(10_000),
    ] {
        let began = std::time::Instant::now();
        let cleaned = known.clean(&text, Text::Foreign);
        assert!(cleaned == text || cleaned == HIDDEN);
        let took = began.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    }
    // Base64 within base64 at every place: more than anybody writes by accident.
    let mut search = Search {
        registry: &known,
        of: Text::Own,
        cut: None,
        work: 100,
        found: Vec::new(),
    };
    let text = "QUFB".repeat(100);
    assert!(search.read(layers::signs(&text), DEPTH, false).is_none());
}

#[test]
fn a_short_secret_does_not_shred_the_words_around_it() {
    let mut known = knowing(&["test"]);
    for (text, expected) in [
        (
            "a late start, the state street",
            "a late start, the state street",
        ),
        ("a te st, te\nst", "a [hidden], [hidden]"),
        ("TEST", "[hidden]"),
    ] {
        assert_eq!(known.clean(text, Text::Own), expected);
    }
}

#[test]
fn the_strings_of_a_body_are_cleaned_as_they_read() {
    learn(&Secret::new("a-secret-in-a-body"));
    let body = br#"{"m":"it is \u0061-secret-in-a-body","n":[1.50,"ok"]}"#.to_vec();
    let cleaned = String::from_utf8(foreign_body(body)).unwrap();
    assert_eq!(cleaned, r#"{"m":"it is [hidden]","n":[1.5,"ok"]}"#);
    for body in [&b"{\"m\": 1.50}"[..], b"plain", b"\xff"] {
        assert_eq!(foreign_body(body.to_vec()), body);
    }
    let plain = foreign_body(b"it is a-secret-in-a-bod%79, no".to_vec());
    assert!(plain.starts_with(b"it is [hidden]"));
}

#[test]
fn a_very_short_secret_is_hidden_as_a_word_of_others_only() {
    let mut known = knowing(&["is"]);
    let text = "this 'is' wrong";
    assert_eq!(known.clean(text, Text::Foreign), "this '[hidden]' wrong");
    assert_eq!(known.clean(text, Text::Own), text);
    assert_eq!(knowing(&[""]).clean(text, Text::Foreign), text);
}

#[test]
fn what_holds_no_secret_stays_as_it_is() {
    let mut known = knowing(&["a-secret-of-the-client-0815", "hush"]);
    for text in [
        "",
        "100 % of it & more\\n + Grüße",
        "%",
        "\\u",
        "&#;",
        "hus",
    ] {
        assert_eq!(known.clean(text, Text::Foreign), text);
    }
}

#[test]
fn the_number_of_secrets_is_bounded_and_the_oldest_is_forgotten_first() {
    let mut list = VecDeque::new();
    for n in 0..20 {
        add(&mut list, &Secret::new(format!("secret-{n}")), 4);
        add(&mut list, &Secret::new("secret-0"), 4);
    }
    let kept: Vec<&str> = list.iter().map(|k| k.secret.expose()).collect();
    assert_eq!(kept, ["secret-17", "secret-18", "secret-19", "secret-0"]);
    let long = Secret::new("0123456789abcdef".repeat(1000));
    let mut known = Registry::default();
    add(&mut known.passing, &long, 4);
    let text = format!("got {} here", long.expose());
    assert_eq!(known.clean(&text, Text::Own), "got [hidden] here");
}
