//! The description against the server, and back: what `openapi.json` documents is answered,
//! and nothing else.

use super::*;

/// What one case of the walk sends.
struct Case {
    template: &'static str,
    method: &'static str,
    status: u16,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    /// Sent instead of all that.
    bytes: Option<Vec<u8>>,
    busy: bool,
    slow: bool,
    /// Asked of a listener that has no page.
    no_page: bool,
    /// As many tokens of the page were given as there may be.
    spent: bool,
}

fn case(template: &'static str, method: &'static str, status: u16) -> Case {
    Case {
        template,
        method,
        status,
        path: template
            .replace("{conversationId}", ID)
            .replace("{file}", "page.js"),
        headers: vec![JSON, ("Authorization", "Bearer t")],
        body: String::new(),
        bytes: None,
        busy: false,
        slow: false,
        no_page: false,
        spent: false,
    }
}

/// To a listener without tokens, under a name that somebody made to point at it.
fn stranger(template: &'static str, method: &'static str) -> Case {
    Case {
        headers: vec![JSON, ("Host", "rebound.example")],
        body: match method {
            "POST" => with_id(""),
            _ => String::new(),
        },
        ..case(template, method, 403)
    }
}

/// One request for every answer that the listener can give; the order matters.
fn cases() -> Vec<Case> {
    const ONE: &str = "/customers/supportInteraction/{conversationId}";
    let mut all = Vec::new();
    for (path, ok) in [
        (INTERACTIONS, with_id("")),
        (RESULTS, String::from("{}")),
        (EVENTS, with_id(r#","wrapupCode":"c""#)),
    ] {
        let post = |status, body: &str| Case {
            body: body.to_owned(),
            ..case(path, "POST", status)
        };
        let framed = |status, field: &str| Case {
            bytes: Some(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n{field}\r\n{}",
                    "Content-Type: application/json\r\n\r\n{}"
                )
                .into_bytes(),
            ),
            ..case(path, "POST", status)
        };
        all.extend([
            post(400, "{\"conversationId\":\"x\"}"),
            post(400, "{\"a\":1,\"a\":1}"),
            post(400, ""),
            post(422, "[]"),
            framed(411, "X: y"),
            framed(413, "Content-Length: 65537"),
            Case {
                headers: vec![JSON],
                ..post(401, &ok)
            },
            Case {
                headers: vec![JSON, ("Authorization", "Bearer wrong")],
                ..post(401, &ok)
            },
            Case {
                headers: vec![("Authorization", "Bearer t")],
                ..post(415, &ok)
            },
            Case {
                headers: vec![
                    ("Content-Type", "text/plain"),
                    ("Authorization", "Bearer t"),
                ],
                ..post(415, &ok)
            },
            Case {
                busy: true,
                ..post(503, &ok)
            },
            Case {
                slow: true,
                ..post(504, &ok)
            },
            post(202, &ok),
        ]);
    }
    let keyed = |status, body: &str| Case {
        body: body.to_owned(),
        headers: vec![
            JSON,
            ("Authorization", "Bearer t"),
            ("Idempotency-Key", "k"),
        ],
        ..case(RESULTS, "POST", status)
    };
    all.extend([
        keyed(202, "{}"),
        keyed(422, "{\"a\":1}"),
        Case {
            body: with_id(""),
            ..case(INTERACTIONS, "POST", 200)
        },
    ]);
    all.extend([INTERACTIONS, RESULTS, EVENTS].map(|path| stranger(path, "POST")));
    for method in ["GET", "HEAD", "DELETE"] {
        let of = |status| case(ONE, method, status);
        all.push(stranger(ONE, method));
        all.extend([
            Case {
                headers: Vec::new(),
                ..of(401)
            },
            Case {
                path: format!("{INTERACTIONS}/{OTHER_ID}"),
                ..of(404)
            },
            Case {
                path: format!("{INTERACTIONS}/not-a-uuid"),
                ..of(404)
            },
            Case {
                busy: true,
                ..of(503)
            },
        ]);
        all.extend(match method {
            "DELETE" => vec![
                Case {
                    slow: true,
                    ..of(504)
                },
                of(202),
                of(200),
            ],
            _ => vec![of(200)],
        });
    }
    for method in ["GET", "HEAD"] {
        for path in ["/openapi.json", "/agent-desktop/", "/agent-desktop/{file}"] {
            all.push(case(path, method, 200));
            all.push(stranger(path, method));
        }
        all.push(Case {
            path: String::from("/agent-desktop/none.js"),
            ..case("/agent-desktop/{file}", method, 404)
        });
        all.push(Case {
            no_page: true,
            ..case("/agent-desktop/", method, 404)
        });
        for path in ["/agent-desktop/", "/agent-desktop/{file}"] {
            all.push(Case {
                headers: vec![("If-None-Match", "*")],
                ..case(path, method, 304)
            });
        }
    }
    let token = |status| Case {
        headers: vec![("Sec-Fetch-Site", "same-origin")],
        ..case(TOKEN, "POST", status)
    };
    all.push(stranger(TOKEN, "POST"));
    all.push(token(200));
    for method in ["GET", "HEAD"] {
        let of = |status| Case {
            path: format!("{NEWS}?ids={ID},{OTHER_ID}"),
            ..case(NEWS, method, status)
        };
        all.push(stranger(NEWS, method));
        all.extend([
            of(200),
            case(NEWS, method, 400),
            Case {
                headers: Vec::new(),
                ..of(401)
            },
            Case {
                busy: true,
                ..of(503)
            },
        ]);
    }
    // Last: from here on this machine has had its tokens.
    all.push(Case {
        spent: true,
        ..token(503)
    });
    all
}

/// As every listener that has the page is.
fn described(with: With) -> House {
    let minutes = Duration::from_secs(600);
    crate::house(With {
        desktop: desktop(Some(minutes), &Arc::default()),
        ..with
    })
}

fn description() -> serde_json::Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// Follows one reference within the description.
fn resolved<'a>(
    whole: &'a serde_json::Value,
    part: &'a serde_json::Value,
) -> &'a serde_json::Value {
    match part["$ref"].as_str() {
        None => part,
        Some(r) => whole.pointer(r.strip_prefix('#').unwrap()).unwrap(),
    }
}

fn documented() -> BTreeSet<(String, String, u16)> {
    let whole = description();
    let mut all = BTreeSet::new();
    for (path, item) in whole["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else {
                assert_eq!(method, "parameters");
                continue;
            };
            assert!(responses.contains_key("default"), "{path} {method}");
            for status in responses.keys().filter(|s| *s != "default") {
                all.insert((path.clone(), method.to_uppercase(), status.parse().unwrap()));
            }
        }
    }
    all
}

/// Holds an answer against what is documented for it.
fn check_answer(whole: &serde_json::Value, case: &Case, got: &Got) {
    let what = format!("{} {} {}", case.method, case.template, case.status);
    let operation = &whole["paths"][case.template][case.method.to_lowercase()];
    let response = resolved(whole, &operation["responses"][case.status.to_string()]);
    let headers = response["headers"].as_object();
    for (name, header) in headers.into_iter().flatten() {
        assert!(
            got.header(name).is_some() || header["required"] != true,
            "{what}: {name} is missing"
        );
    }
    if case.status == 304 {
        assert!(response.get("content").is_none() && got.body.is_empty());
        return;
    }
    let (documented_type, content) = response["content"]
        .as_object()
        .and_then(|c| c.iter().next())
        .unwrap();
    let sent_type = got
        .header("content-type")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert!(
        documented_type == sent_type || documented_type == "*/*",
        "{what}: {sent_type}"
    );
    if case.method == "HEAD" {
        assert!(got.body.is_empty());
        return;
    }
    if !documented_type.ends_with("json") {
        return;
    }
    let mut schema = content["schema"].clone();
    schema["components"] = whole["components"].clone();
    // In the test nothing undocumented passes; callers have to bear additions.
    for (_, part) in schema["components"]["schemas"].as_object_mut().unwrap() {
        if part["properties"].is_object() {
            part["additionalProperties"] = false.into();
        }
    }
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let body = got.json();
    let errors: Vec<_> = validator
        .iter_errors(&body)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?} in {body}");
    if case.status >= 400 {
        assert_eq!(body["status"], case.status, "{what}");
    }
}

#[test]
fn every_documented_answer_is_given_and_no_other() {
    let house = described(With {
        tokens: &["t"],
        ..With::default()
    });
    let open = described(With::default());
    let pageless = crate::house(With {
        tokens: &["t"],
        no_page: true,
        ..With::default()
    });
    let whole = description();
    let mut seen = BTreeSet::new();
    for case in cases() {
        let what = format!("{} {} {}", case.method, case.template, case.status);
        let before = house.port.snapshot();
        house.port.busy.store(case.busy, Ordering::Relaxed);
        house.port.slow.store(case.slow, Ordering::Relaxed);
        house.port.unreadable.store(case.busy, Ordering::Relaxed);
        let address = match case.status {
            403 => open.address,
            _ if case.no_page => pageless.address,
            _ => house.address,
        };
        for _ in 0..if case.spent { 60 } else { 0 } {
            call(address, case.method, &case.path, &case.headers, b"");
        }
        let got = match &case.bytes {
            Some(bytes) => raw(address, bytes),
            None => call(
                address,
                case.method,
                &case.path,
                &case.headers,
                case.body.as_bytes(),
            ),
        };
        assert_eq!(got.status, case.status, "{what}: {got:?}");
        check_answer(&whole, &case, &got);
        assert!(
            open.port.asked().is_empty(),
            "{what}: a stranger got through"
        );
        if case.status >= 400 {
            assert_eq!(house.port.snapshot(), before, "{what}: changed something");
        }
        seen.insert((
            case.template.to_owned(),
            case.method.to_owned(),
            case.status,
        ));
    }
    assert_eq!(seen, documented());
}

#[test]
fn methods_that_are_not_documented_are_refused_with_those_that_are() {
    let house = described(With::default());
    let whole = description();
    let before = house.port.snapshot();
    for (path, item) in whole["paths"].as_object().unwrap() {
        let real = path
            .replace("{conversationId}", ID)
            .replace("{file}", "page.js");
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
        ] {
            let documented = item.get(method.to_lowercase()).is_some();
            let got = call(house.address, method, &real, &[], b"");
            assert_eq!(got.status != 405, documented, "{method} {path}: {got:?}");
            if !documented {
                let allowed: BTreeSet<_> = got.header("allow").unwrap().split(", ").collect();
                let described = item.as_object().unwrap().keys();
                let described: BTreeSet<_> = described
                    .filter(|m| *m != "parameters")
                    .map(|m| m.to_uppercase())
                    .collect();
                assert!(allowed.iter().eq(described.iter()), "{path}: {allowed:?}");
                assert_eq!(got.header("content-type"), Some("application/problem+json"));
            }
        }
    }
    for nowhere in [
        "/",
        "/customers",
        "/customers/supportInteraction/",
        "/customers/supportResult/x",
        "/openapi.json/",
    ] {
        assert_eq!(house.get(nowhere).status, 404, "{nowhere}");
    }
    // A directory without its slash is shown the way.
    let moved = house.get("/agent-desktop");
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("location"), Some("/agent-desktop/"));
    assert_eq!(house.port.snapshot(), before);
}
