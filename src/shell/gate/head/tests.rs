use super::*;

const RULES: HeadRules = HeadRules {
    body_max: 1000,
    length_required: true,
    hostless: &["/healthz"],
};

fn whole(text: &str) -> Head {
    match read(text.as_bytes(), RULES) {
        Reading::Whole(head, used) => {
            assert_eq!(used, text.len());
            *head
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &[u8]) -> Refusal {
    match read(text, RULES) {
        Reading::Refused(refusal) => refusal,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn every_prefix_of_a_clean_head_is_partial_and_the_whole_is_clean() {
    let text = "POST /a?b=c HTTP/1.1\r\nHost: x:80\r\ncontent-type: a/b\r\nX-Other: 1\r\nContent-Length: 7\r\n\r\n";
    for cut in 0..text.len() {
        assert_eq!(read(&text.as_bytes()[..cut], RULES), Reading::Partial);
    }
    let head = whole(text);
    assert_eq!(
        (head.method.as_str(), head.target.as_str()),
        ("POST", "/a?b=c")
    );
    assert_eq!(head.body, Framing::Length(7));
    assert!(head.keep_alive);
    assert_eq!(
        head.fields,
        [("Host", "x:80".into()), ("Content-Type", "a/b".into())]
    );
}

#[test]
fn whatever_two_readers_may_read_differently_is_refused() {
    let with = |line: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n").into_bytes();
    for bad in [
        "Content-Length: 7, 7",
        "Content-Length: -7",
        "Content-Length: +7",
        "Content-Length: 3x",
        "Content-Length: 0x7",
        "Content-Length: 7 7",
        "Content-Length:",
        "Content-Length: 7\r\nContent-Length: 8",
        "Content-Length: 7\r\nTransfer-Encoding: chunked",
        "Content-Length: 7\r\n folded: 1",
        "Content-Length : 7",
        "Content-Length: 7\r\nHost: y",
        "Content-Length: 7\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b",
        "Content-Length: 7\r\nX: a\0b",
        "Content-Length: 7\r\nOrigin: \u{e9}",
        "Content-Length: 7\nX: y",
        "Content-Length: 7\r\nX: a\rb",
        "Content-Length: 7\r\nno colon",
        "Content-Length: 7\r\n: no name",
    ] {
        assert!(
            matches!(refused(&with(bad)), Refusal::Malformed(_)),
            "{bad:?}"
        );
    }
    assert_eq!(
        whole("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nContent-Length: 007\r\n\r\n")
            .body,
        Framing::Length(7)
    );
}

#[test]
fn lengths_beyond_the_limit_and_beyond_64_bits_are_too_large_and_nothing_else() {
    for n in [
        "1001",
        "1000000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n");
        assert_eq!(refused(text.as_bytes()), Refusal::BodyTooLarge(1000), "{n}");
    }
    assert_eq!(
        whole("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").body,
        Framing::Length(1000)
    );
}

#[test]
fn a_post_without_a_length_is_asked_for_one_unless_the_listener_does_not_care() {
    let none = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(refused(none), Refusal::NoLength);
    let lax = HeadRules {
        length_required: false,
        ..RULES
    };
    assert!(matches!(read(none, lax), Reading::Whole(head, _) if head.body == Framing::Length(0)));
    for chunked in ["chunked", "Chunked", "\tCHUNKED "] {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:{chunked}\r\n\r\n");
        assert_eq!(whole(&text).body, Framing::Chunked);
    }
    for confused in [
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert!(
            matches!(refused(confused.as_bytes()), Refusal::Malformed(_)),
            "{confused}"
        );
    }
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n");
        assert_eq!(refused(text.as_bytes()), Refusal::Coding, "{coding:?}");
    }
}

#[test]
fn only_versions_1_0_and_1_1_are_spoken() {
    for line in [
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "PRI * HTTP/2.0",
        "GET / HTTP/0.9",
    ] {
        assert_eq!(
            refused(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()),
            Refusal::Version,
            "{line}"
        );
    }
    assert!(matches!(
        refused(b"\x16\x03\x01\x02\0"),
        Refusal::Malformed(_)
    ));
    assert!(!whole("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

#[test]
fn a_host_is_required_and_must_look_like_one() {
    for bad in ["", "Host: a b\r\n", "Host: a/b\r\n", "Host: a@b\r\n"] {
        let text = format!("GET / HTTP/1.1\r\n{bad}\r\n");
        assert!(
            matches!(refused(text.as_bytes()), Refusal::Malformed(_)),
            "{bad:?}"
        );
    }
    assert_eq!(whole("GET /healthz HTTP/1.1\r\n\r\n").fields, []);
    for empty in ["/", "/healthz"] {
        let head = whole(&format!("GET {empty} HTTP/1.1\r\nHost: \r\n\r\n"));
        assert_eq!(head.fields, [], "an empty one is none, and may be sent");
    }
    assert_eq!(whole("GET / HTTP/1.0\r\n\r\n").fields, []);
    let head = whole("GET http://real:1/p?q HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(head.target, "/p?q");
    assert_eq!(head.fields, [("Host", String::from("real:1"))]);
    for bad in [
        "http",
        "https://x/",
        "x:443",
        "//\u{e9}",
        "/a#b",
        "http:///",
    ] {
        let text = format!("GET {bad} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            matches!(refused(text.as_bytes()), Refusal::Malformed(_)),
            "{bad:?}"
        );
    }
}

#[test]
fn fields_that_nobody_behind_the_gate_needs_do_not_pass() {
    let head = whole(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
         X-Gate-Peer: forged\r\nTE: chunked\r\nCookie: \u{e9}\r\n\r\n",
    );
    assert_eq!(head.fields, [("Host", String::from("x"))]);
    assert!(!head.keep_alive);
}

#[test]
fn more_than_64_fields_are_too_many() {
    let lines = "X: y\r\n".repeat(64);
    let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    assert_eq!(refused(text.as_bytes()), Refusal::HeadTooLarge);
}

#[test]
fn only_100_continue_may_be_expected() {
    let with =
        |v: &str| format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: {v}\r\n\r\n");
    assert!(whole(&with("100-Continue")).expects_continue);
    assert_eq!(refused(with("200-ok").as_bytes()), Refusal::Expectation);
}

#[test]
fn fields_that_are_good_to_know_are_passed_on_if_they_are_clean_and_never_refused() {
    let fields = |lines: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let Reading::Whole(head, _) = read(text.as_bytes(), RULES) else {
            panic!("refused: {lines}");
        };
        head.fields
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fields("if-none-match: \"a\"\r\nX-Forwarded-Host: g.example\r\n"),
        [
            "Host=x",
            "If-None-Match=\"a\"",
            "X-Forwarded-Host=g.example"
        ]
    );
    for odd in [
        "If-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n",
        "X-Forwarded-Host: a\r\nx-forwarded-host: a\r\nx-forwarded-host: a\r\n",
        "If-None-Match: \"\u{fc}\"\r\n",
    ] {
        assert_eq!(fields(odd), ["Host=x"], "{odd}");
    }
}
