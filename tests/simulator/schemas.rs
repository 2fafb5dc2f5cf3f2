//! Every answer and every event against the platform's schemas: the subset
//! schemas of `tests/schemas`, and the official definition (reduced to what the
//! answers reach). The definition is closed here: a member that it does not
//! know is a misspelled one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

use crate::support::{Answer, Bench, Client, topic};

const BASE: &str = "https://schemas.simulated.test/";

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/schemas")
        .join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn close(definition: &mut Value) {
    if let Some(members) = definition.as_object_mut() {
        for member in members.values_mut() {
            close(member);
        }
        // The definition says `uri`; the platform's own examples hold relative ones.
        if members.get("format") == Some(&json!("uri")) {
            members.insert("format".into(), json!("uri-reference"));
        }
        if members.contains_key("properties") && !members.contains_key("additionalProperties") {
            members.insert("additionalProperties".into(), json!(false));
        }
    } else if let Some(items) = definition.as_array_mut() {
        items.iter_mut().for_each(close);
    }
}

struct Schemas {
    registry: Registry<'static>,
    built: RefCell<BTreeMap<String, Validator>>,
}

impl Schemas {
    fn new() -> Schemas {
        let mut registry = Registry::new();
        for name in [
            "acw-event",
            "channel",
            "channel-entity-listing",
            "channel-topic-entity-listing",
            "conversation",
            "error-body",
        ] {
            let name = format!("{name}.schema.json");
            let mut schema = file(&name);
            schema["$id"] = json!(format!("{BASE}{name}"));
            registry = registry.add(format!("{BASE}{name}"), schema).unwrap();
        }
        let mut api = file("genesys-api.json");
        for definition in api["definitions"].as_object_mut().unwrap().values_mut() {
            close(definition);
        }
        let registry = registry.add(format!("{BASE}api"), api).unwrap();
        Schemas {
            registry: registry.prepare().unwrap(),
            built: RefCell::default(),
        }
    }

    fn hold(&self, reference: &str, draft: Draft, value: &Value) {
        let mut built = self.built.borrow_mut();
        let validator = built.entry(reference.to_owned()).or_insert_with(|| {
            jsonschema::options()
                .with_draft(draft)
                .should_validate_formats(true)
                .with_registry(&self.registry)
                .build(&json!({"$ref": format!("{BASE}{reference}")}))
                .unwrap()
        });
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|e| format!("{} at {}", e, e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{reference}: {errors:#?}\n{value:#}");
    }

    fn official(&self, name: &str, value: &Value) {
        self.hold(&format!("api#/definitions/{name}"), Draft::Draft4, value);
    }

    fn subset(&self, name: &str, value: &Value) {
        self.hold(name, Draft::Draft202012, value);
    }

    fn error(&self, answer: &Answer) {
        let body = answer.json();
        self.subset("error-body.schema.json", &body);
        self.official("ErrorBody", &body);
        assert_eq!(body["status"], answer.status);
        let correlation = answer.headers["inin-correlation-id"].to_str().unwrap();
        assert_eq!(body["contextId"], correlation);
    }
}

#[test]
fn the_schemas_accept_the_examples_and_notice_mistakes() {
    let s = Schemas::new();
    let mut seen = 0;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/examples");
    for entry in fs::read_dir(examples).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let kind = name.split('.').next().unwrap();
        s.subset(
            &format!("{kind}.schema.json"),
            &file(&format!("examples/{name}")),
        );
        seen += 1;
    }
    assert!(seen > 10);
    let wrong = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    let channel = json!({"id": "x", "expires": "tomorrow"});
    assert!(wrong(&|| s.subset("channel.schema.json", &channel)));
    assert!(wrong(&|| s.official("Channel", &channel)));
    assert!(wrong(&|| s.official("Channel", &json!({"identity": "x"}))));
    assert!(wrong(&|| s.official(
        "Conversation",
        &json!({"startTime": "2026-01-08T15:29:31.004Z",
        "participants": [{"calls": [{"afterCallWork": {"state": "finished"}}]}]})
    )));
}

#[test]
fn answers_about_channels_and_tokens_fit_their_schemas() {
    let s = Schemas::new();
    let bench = Bench::new(&[
        ("idle-token-timeout-seconds", "600"),
        ("malformed-topic", "rejected"),
    ]);
    let channel = bench.rest("POST", "/notifications/channels", Value::Null);
    s.subset("channel.schema.json", &channel.json());
    s.official("Channel", &channel.json());
    for which in ["token", "oauthclient"] {
        let path = format!("/notifications/channels?includechannels={which}");
        let list = bench.rest("GET", &path, Value::Null).json();
        s.subset("channel-entity-listing.schema.json", &list);
        s.official("ChannelEntityListing", &list);
    }
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "refuse-topics", "pattern": "*0002.acw"}),
    );
    let id = channel.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/notifications/channels/{id}/subscriptions");
    let items = json!([
        {"id": topic("00000000-0000-4000-8000-000000000001")},
        {"id": topic("00000000-0000-4000-8000-000000000002")},
        {"id": "nonsense"},
    ]);
    let all = format!("{path}?ignoreErrors=true");
    for (method, path, body) in [
        ("POST", &all, items.clone()),
        ("PUT", &all, items.clone()),
        ("GET", &path, Value::Null),
    ] {
        let answer = bench.rest(method, path, body);
        assert_eq!(answer.status, 200);
        s.subset("channel-topic-entity-listing.schema.json", &answer.json());
        s.official("ChannelTopicEntityListing", &answer.json());
    }
    let expand = "description&expand=enforced&expand=visibility&expand=transports&expand=requiresPermissions&expand=permissionDetails&expand=topicParameters";
    for path in [
        "/notifications/availabletopics".to_owned(),
        format!("/notifications/availabletopics?expand={expand}"),
    ] {
        let answer = bench.rest("GET", &path, Value::Null).json();
        s.official("AvailableTopicEntityListing", &answer);
    }
    s.official(
        "TokenInfo",
        &bench.rest("GET", "/tokens/me", Value::Null).json(),
    );
    s.official(
        "IdleTokenTimeout",
        &bench.rest("GET", "/tokens/timeout", Value::Null).json(),
    );
}

#[test]
fn every_refusal_fits_the_error_schema_and_names_its_correlation_id() {
    let s = Schemas::new();
    let bench = Bench::new(&[]);
    let (id, _) = bench.channel();
    let path = format!("/notifications/channels/{id}/subscriptions");
    let many: Value = (0..1001)
        .map(|n| json!({"id": topic(&format!("00000000-0000-4000-8000-{n:012x}"))}))
        .collect();
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "refuse-topics", "pattern": "*fff.acw"}),
    );
    let refused = json!([{"id": topic("00000000-0000-4000-8000-000000000fff")}]);
    for (method, path, body, status) in [
        ("GET", "/nowhere", Value::Null, 404),
        (
            "GET",
            "/conversations/00000000-0000-4000-8000-000000000000",
            Value::Null,
            404,
        ),
        ("GET", "/analytics/conversations/details", Value::Null, 400),
        (
            "POST",
            "/analytics/conversations/details/query",
            json!({}),
            400,
        ),
        (
            "PUT",
            "/notifications/channels/nobody/subscriptions",
            json!([]),
            404,
        ),
        ("POST", &path, json!([{"id": "nonsense"}]), 400),
        ("POST", &path, many, 400),
        ("POST", &path, refused, 403),
    ] {
        let answer = bench.rest(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        s.error(&answer);
    }
    for status in [400, 401, 403, 404, 408, 409, 413, 415, 429, 500, 503, 504] {
        let failure = json!({"with": "status", "status": status, "retryAfter": "1"});
        bench.control(
            "POST",
            "/faults",
            json!({"fault": "fail-rest", "failure": failure}),
        );
        let answer = bench.rest("GET", "/tokens/me", Value::Null);
        assert_eq!(answer.status, status);
        s.error(&answer);
    }
    let mut bench = bench;
    bench.token = "nobody".into();
    s.error(&bench.rest("GET", "/tokens/me", Value::Null));
    let oauth = bench
        .agent
        .post(format!("{}/oauth/token", bench.running.login_url))
        .content_type("application/x-www-form-urlencoded")
        .send("grant_type=client_credentials")
        .unwrap();
    assert_eq!(oauth.status(), 401);
    let body: Value = serde_json::from_str(&oauth.into_body().read_to_string().unwrap()).unwrap();
    s.subset("error-body.schema.json#/$defs/oauthError", &body);
}

#[test]
fn conversations_of_every_medium_and_level_fit_their_schemas_at_every_stage() {
    let s = Schemas::new();
    for level in ["both", "participant", "communication"] {
        let bench = Bench::new(&[
            ("wrapup-level", level),
            ("analytics-latency-seconds", "0"),
            ("rest-per-minute", "100000"),
        ]);
        let (_, uri) = bench.channel();
        let mut client = Client::open(&uri);
        for media in ["voice", "message", "email", "callback", "chat"] {
            let c = bench.control("POST", "/conversations", json!({"media": media}));
            let c = c["conversation"].as_str().unwrap().to_owned();
            client.subscribe(&[topic(&c)]);
            let shown = || {
                let answer = bench
                    .rest("GET", &format!("/conversations/{c}"), Value::Null)
                    .json();
                s.subset("conversation.schema.json", &answer);
                s.official("Conversation", &answer);
                let path = format!("/analytics/conversations/details?id={c}");
                let answer = bench.rest("GET", &path, Value::Null).json();
                assert_eq!(answer["conversations"].as_array().unwrap().len(), 1);
                s.official(
                    "AnalyticsConversationWithoutAttributesMultiGetResponse",
                    &answer,
                );
                let path = format!("/analytics/conversations/{c}/details");
                let answer = bench.rest("GET", &path, Value::Null).json();
                s.official("AnalyticsConversationWithoutAttributes", &answer);
            };
            shown();
            for (act, body) in [
                ("transfer", json!({})),
                ("draft", json!({"leg": 0, "notes": "d"})),
                ("wrap-up", json!({"leg": 0})),
                ("end", json!({})),
                ("skip", json!({"leg": 1})),
                ("rewrap", json!({"leg": 0, "notes": "n"})),
                ("reopen", json!({"sameParticipant": true})),
                ("finish", json!({})),
            ] {
                bench.control("POST", &format!("/conversations/{c}/{act}"), body);
                shown();
            }
            for _ in 0..4 {
                let event = client.next_but_heartbeats();
                s.subset("acw-event.schema.json", &event);
                s.subset(
                    "acw-event.schema.json#/$defs/gatewayMinimum",
                    &event["eventBody"],
                );
            }
            let truth = bench.control("GET", &format!("/conversations/{c}"), Value::Null);
            let participant = truth["wrapUps"][0]["participant"].as_str().unwrap();
            let path = format!("/conversations/{c}/participants/{participant}/wrapup");
            let wrapup = bench.rest("GET", &path, Value::Null);
            assert_eq!(wrapup.status, 200);
            s.official("AssignedWrapupCode", &wrapup.json());
        }
        let list = bench.rest("GET", "/conversations", Value::Null).json();
        s.official("ConversationEntityListing", &list);
        let query = json!({"interval": "2020-01-01T00:00:00Z/2100-01-01T00:00:00Z"});
        let found = bench
            .rest("POST", "/analytics/conversations/details/query", query)
            .json();
        assert_eq!(found["totalHits"], 5);
        s.official("AnalyticsConversationQueryResponse", &found);
    }
}
