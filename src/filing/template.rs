//! The body that the history manager receives: the default of design, section
//! 5, or the operator's MiniJinja template.
//!
//! Members and after-call work pass through exactly as they were sent: they are
//! never parsed into numbers, so a number of any size keeps every digit. In a
//! template too: `{{ afterCallWork }}`, `{{ interaction.amount }}` and
//! `{{ result.lines[0] }}` print the very text that came in; strings are
//! escaped for JSON.
//!
//! Invariant: what [`Renderer::render`] returns is JSON.

mod raw;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, escape_formatter};
use serde_json::value::RawValue;

use base::foreign;
use base::ids::{ConversationId, RecordId};
use base::rows::{Leg, RecordKind, RecordRow, RecordState, Source};
use base::time::Wall;
use raw::Raw;

/// The template cannot be used: the operator's to mend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TemplateError {
    /// It is not a template.
    Syntax(String),
    /// It fails on a record of this kind.
    Fails {
        /// Which kind.
        kind: RecordKind,
        /// How.
        detail: String,
    },
    /// What it makes of a record of this kind is not JSON.
    NotJson {
        /// Which kind.
        kind: RecordKind,
        /// Where.
        detail: String,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::Syntax(detail) => write!(f, "the template is not valid: {detail}"),
            TemplateError::Fails { kind, detail } => {
                write!(
                    f,
                    "the template fails on a record of kind {}: {detail}",
                    kind.label()
                )
            }
            TemplateError::NotJson { kind, detail } => write!(
                f,
                "what the template makes of a record of kind {} is not JSON: {detail}",
                kind.label()
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

/// One record cannot be rendered; no personal data in the texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RenderError {
    /// The body has been erased.
    Erased,
    /// What the store holds is not a JSON object.
    Damaged(&'static str),
    /// The template fails on it: the name of the error and the line.
    Fails(String),
    /// What the template makes of it is not JSON.
    NotJson,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenderError::Erased => f.write_str("its body has been erased"),
            RenderError::Damaged(what) => write!(f, "its {what} is damaged in the store"),
            RenderError::Fails(detail) => write!(f, "the template fails on it: {detail}"),
            RenderError::NotJson => f.write_str("what the template makes of it is not JSON"),
        }
    }
}

impl std::error::Error for RenderError {}

/// Renders bodies; one per forwarder or shared, as the shell likes.
pub struct Renderer {
    environment: Option<Environment<'static>>,
}

const NAME: &str = "history";

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.environment {
            Some(_) => "Renderer(template)",
            None => "Renderer(default)",
        })
    }
}

impl Renderer {
    /// The default body, or a template, which is tried on a record of each kind.
    ///
    /// # Errors
    /// The template is no template, fails, or does not give JSON.
    pub fn new(template: Option<&str>) -> Result<Renderer, TemplateError> {
        let Some(source) = template else {
            return Ok(Renderer { environment: None });
        };
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_formatter(|out, state, value| {
            if let Some(raw) = value.downcast_object_ref::<Raw>() {
                return out.write_str(raw.text()).map_err(minijinja::Error::from);
            }
            if value.is_undefined() {
                return out.write_str("null").map_err(minijinja::Error::from);
            }
            escape_formatter(out, state, value)
        });
        environment.add_filter("tojson", raw::to_json);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|e| TemplateError::Syntax(describe(&e)))?;
        let renderer = Renderer {
            environment: Some(environment),
        };
        for kind in RecordKind::ALL {
            renderer.try_kind(*kind)?;
        }
        Ok(renderer)
    }

    fn try_kind(&self, kind: RecordKind) -> Result<(), TemplateError> {
        let row = example(kind);
        for (body, members) in [(EXAMPLE_BODY, EXAMPLE_MEMBERS), ("{}", "{}")] {
            match self.render(&row, Some(body), Some(members)) {
                Ok(_) => {}
                Err(RenderError::NotJson) => {
                    return Err(TemplateError::NotJson {
                        kind,
                        detail: String::from(if body == "{}" {
                            "with no members at all; give `| default` values"
                        } else {
                            "look for missing commas and quotes around values, which are put in by themselves"
                        }),
                    });
                }
                Err(e) => {
                    return Err(TemplateError::Fails {
                        kind,
                        detail: e.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The JSON to post. `body` is the record's `afterCallWork` or `result`, `members` those
    /// of its interaction, both as the store holds them.
    ///
    /// # Errors
    /// The body is gone or damaged, or the template fails on it; none of them heals by waiting.
    pub fn render(
        &self,
        row: &RecordRow,
        body: Option<&str>,
        members: Option<&str>,
    ) -> Result<String, RenderError> {
        let body = object(body.ok_or(RenderError::Erased)?, "body")?;
        let members = object(members.unwrap_or("{}"), "interaction")?;
        let (body, members) = (body.as_ref(), members.as_ref());
        match &self.environment {
            None => Ok(default_body(row, body, members)),
            Some(environment) => {
                let template = environment
                    .get_template(NAME)
                    .map_err(|e| RenderError::Fails(describe(&e)))?;
                let text = template
                    .render(context(row, body, members))
                    .map_err(|e| RenderError::Fails(describe(&e)))?;
                match serde_json::from_str::<&RawValue>(&text) {
                    Ok(json) => Ok(json.get().to_owned()),
                    Err(_) => Err(RenderError::NotJson),
                }
            }
        }
    }
}

/// Kind and line only: MiniJinja's detail may quote values, and values may be personal.
fn describe(e: &minijinja::Error) -> String {
    match e.line() {
        Some(line) => format!("{} in line {line}", e.kind()),
        None => e.kind().to_string(),
    }
}

/// What others wrote may be legal and yet nothing that a strict parser takes (half of a surrogate
/// pair): what the history manager gets is, and what a template reads is there.
fn object<'a>(text: &'a str, what: &'static str) -> Result<Cow<'a, str>, RenderError> {
    foreign::text(text.trim().as_bytes())
        .filter(|json| json.starts_with('{'))
        .ok_or(RenderError::Damaged(what))
}

/// Appends `"name":` and a value that is JSON already.
fn member(out: &mut String, name: &str, json: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
    out.push_str(json);
}

fn default_body(row: &RecordRow, body: &str, members: &str) -> String {
    let mut out = String::with_capacity(body.len() + members.len() + 400);
    // None of these texts holds a character that JSON escapes: UUIDs, instants and our own words.
    let text = |t: &str| format!("\"{t}\"");
    member(&mut out, "recordId", &text(&row.record.to_string()));
    member(&mut out, "kind", &text(row.kind.label()));
    if let Some(c) = row.conversation {
        member(&mut out, "conversationId", &text(&c.to_string()));
    }
    member(&mut out, "source", &text(row.source.label()));
    if let Some(t) = row.event_time {
        member(&mut out, "eventTime", &text(&t.rfc3339()));
    }
    member(&mut out, "receivedAt", &text(&row.received_at.rfc3339()));
    match row.kind {
        RecordKind::AfterCallWork => {
            member(&mut out, "afterCallWork", body);
            member(&mut out, "interaction", members);
        }
        RecordKind::SupportResult => member(&mut out, "result", body),
    }
    out.push('}');
    out
}

fn context(row: &RecordRow, body: &str, members: &str) -> Value {
    let mut pairs: Vec<(&'static str, Value)> = vec![
        ("recordId", Value::from(row.record.to_string())),
        ("kind", Value::from(row.kind.label())),
        ("source", Value::from(row.source.label())),
        ("receivedAt", Value::from(row.received_at.rfc3339())),
    ];
    if let Some(c) = row.conversation {
        pairs.push(("conversationId", Value::from(c.to_string())));
    }
    if let Some(t) = row.event_time {
        pairs.push(("eventTime", Value::from(t.rfc3339())));
    }
    match row.kind {
        RecordKind::AfterCallWork => {
            pairs.push(("afterCallWork", Raw::value(body)));
            pairs.push(("interaction", Raw::value(members)));
        }
        RecordKind::SupportResult => pairs.push(("result", Raw::value(body))),
    }
    Value::from(pairs.into_iter().collect::<BTreeMap<_, _>>())
}

const EXAMPLE_BODY: &str = r#"{
"eventTime":1767886512345,"conversationId":"7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47",
"participantId":"b9d2a3f0-61c4-4e0b-8d77-1f0c9a5e2b36",
"sessionId":"e40c7d15-2b8f-4f63-a1d9-7735c0f68e21","mediaType":"VOICE","provider":"Edge",
"direction":"INBOUND","ani":"tel:+15555550123","dnis":"tel:+15555550199",
"userId":"0f3b6a42-9c1d-4a57-b2e8-64d9f1c07a35",
"queueId":"d5a8e1c3-7f24-4b90-96ce-3b0a2d4f8e17","wrapupCode":"ININ-WRAP-UP-TIMEOUT",
"wrapupNotes":"A note with \"quotes\",\na second line and a \\.",
"wrapupDurationMs":18250
}"#;
const EXAMPLE_MEMBERS: &str = r#"{"note":"\"quoted\"\n","number":12345678901234567890123456789}"#;

/// A record that never was, to try a template on.
#[must_use]
pub fn example(kind: RecordKind) -> RecordRow {
    RecordRow {
        record: RecordId(uuid::Uuid::nil()),
        kind,
        conversation: (kind == RecordKind::AfterCallWork)
            .then(|| ConversationId(uuid::Uuid::nil())),
        source: match kind {
            RecordKind::AfterCallWork => Source::Notification,
            RecordKind::SupportResult => Source::SupportResult,
        },
        leg: Leg::default(),
        ordinal: 0,
        event_time: (kind == RecordKind::AfterCallWork).then_some(Wall(1_767_886_512_345)),
        matched_time: None,
        content_digest: None,
        received_at: Wall(1_767_886_512_400),
        state: RecordState::Queued,
        attempts: 0,
        next_try: None,
        patience_used: std::time::Duration::ZERO,
        delivered_at: None,
        last_error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: &str = r#"{"amount":123456789012345678901234567890.10,"n":7,"half":1.50,"tiny":1e-999,"s":"a\"b\n","list":[1e400,{"deep":[true,null]}],"empty":{}}"#;

    fn acw() -> RecordRow {
        example(RecordKind::AfterCallWork)
    }

    #[test]
    fn the_default_body_has_the_members_of_the_contract_and_leaves_values_untouched() {
        let r = Renderer::new(None).unwrap();
        let text = r.render(&acw(), Some(BIG), Some(BIG)).unwrap();
        let expected = format!(
            r#"{{"recordId":"{nil}","kind":"after-call-work","conversationId":"{nil}","source":"notification","eventTime":"2026-01-08T15:35:12.345Z","receivedAt":"2026-01-08T15:35:12.400Z","afterCallWork":{BIG},"interaction":{BIG}}}"#,
            nil = uuid::Uuid::nil()
        );
        assert_eq!(text, expected);
        let text = r
            .render(&example(RecordKind::SupportResult), Some(BIG), None)
            .unwrap();
        assert!(text.ends_with(&format!(r#""result":{BIG}}}"#)), "{text}");
        assert!(!text.contains("interaction") && !text.contains("conversationId"));
    }

    #[test]
    fn a_template_prints_raw_values_exactly_and_escapes_strings() {
        let r = Renderer::new(Some(
            r#"{"id": {{ recordId }}, "all": {{ afterCallWork }}, "amount": {{ interaction.amount }},
                "half": {{ interaction.half }}, "s": {{ interaction.s }}, "one": {{ interaction.list[0] }},
                "deep": {{ interaction.list[1].deep }}, "gone": {{ interaction.no.such.thing }},
                "json": {{ interaction.list | tojson }}, "kind": {{ kind }},
                "again": {{ {"a": interaction.n, "b": interaction.s} }},
                "loop": [{% for x in interaction.list %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}]}"#,
        ))
        .unwrap();
        let text = r.render(&acw(), Some(BIG), Some(BIG)).unwrap();
        for part in [
            &format!(r#""all": {BIG}"#),
            r#""amount": 123456789012345678901234567890.10,"#,
            r#""half": 1.50,"#,
            r#""s": "a\"b\n""#,
            r#""one": 1e400"#,
            r#""deep": [true,null]"#,
            r#""gone": null"#,
            r#""json": [1e400,{"deep":[true,null]}]"#,
            r#"{"a":7,"b":"a\"b\n"}"#,
            r#""loop": [1e400,{"deep":[true,null]}]"#,
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_template_can_go_through_members_and_ask_whether_there_are_any() {
        let r = Renderer::new(Some(
            r#"{"list": {% if interaction.list %}1{% else %}0{% endif %}, "empty": {% if interaction.empty %}1{% else %}0{% endif %},
                "keys": [{% for k in interaction %}{{ k }}{% if not loop.last %},{% endif %}{% endfor %}]}"#,
        ))
        .unwrap();
        let text = r.render(&acw(), Some(BIG), Some(BIG)).unwrap();
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            all,
            serde_json::json!({"list": 1, "empty": 0,
                "keys": ["amount", "empty", "half", "list", "n", "s", "tiny"]})
        );
    }

    #[test]
    fn a_template_that_is_refused_is_refused_with_a_reason() {
        let why = |template| match Renderer::new(Some(template)) {
            Ok(_) => panic!("{template}"),
            Err(why) => why.to_string(),
        };
        let said = why("{% if %}");
        assert!(said.starts_with("the template is not valid: "), "{said}");
        let said = why(r#"{"a": "{{ recordId }}"}"#);
        assert!(said.contains("after-call-work is not JSON: "), "{said}");
        let said = why("{{ 1 - kind }}");
        assert!(
            said.contains("fails on a record of kind after-call-work"),
            "{said}"
        );
    }

    #[test]
    fn a_record_that_cannot_be_rendered_says_why() {
        for (why, said) in [
            (RenderError::Erased, "erased"),
            (RenderError::Damaged("body"), "its body is damaged"),
            (RenderError::Fails("line 3".into()), "fails on it: line 3"),
            (RenderError::NotJson, "not JSON"),
        ] {
            assert!(why.to_string().contains(said), "{why}");
        }
    }

    #[test]
    fn forwarders_can_share_one_renderer() {
        fn shared<T: Send + Sync>() {}
        shared::<Renderer>();
    }

    #[test]
    fn templates_can_tell_kinds_apart_and_compare_values() {
        let r = Renderer::new(Some(
            r#"{% if kind == "support-result" %}{"r": {{ result }}}{% else %}{"late": {{ afterCallWork.n > 5 }}, "voice": {{ afterCallWork.mediaType == "VOICE" }}}{% endif %}"#,
        ))
        .unwrap();
        let text = r.render(&acw(), Some(BIG), None).unwrap();
        assert_eq!(text, r#"{"late": true, "voice": false}"#);
        let result = example(RecordKind::SupportResult);
        assert_eq!(
            r.render(&result, Some(BIG), None).unwrap(),
            format!(r#"{{"r": {BIG}}}"#)
        );
    }

    #[test]
    fn a_template_that_is_none_or_gives_no_json_is_refused_at_start() {
        assert!(matches!(
            Renderer::new(Some("{% if %}")),
            Err(TemplateError::Syntax(_))
        ));
        assert!(matches!(
            Renderer::new(Some(r#"{"a": "{{ recordId }}"}"#)),
            Err(TemplateError::NotJson {
                kind: RecordKind::AfterCallWork,
                ..
            })
        ));
        assert!(matches!(
            Renderer::new(Some(r#"{% if kind == "after-call-work" %}{}{% endif %}"#)),
            Err(TemplateError::NotJson {
                kind: RecordKind::SupportResult,
                ..
            })
        ));
        assert!(matches!(
            Renderer::new(Some("{{ recordId | no_such_filter }}")),
            Err(TemplateError::Fails { .. } | TemplateError::Syntax(_))
        ));
    }

    #[test]
    fn what_is_erased_or_damaged_is_said_so_without_quoting_it() {
        let r = Renderer::new(None).unwrap();
        assert_eq!(r.render(&acw(), None, Some("{}")), Err(RenderError::Erased));
        for bad in ["", "{", "[]", "7", "{} {}"] {
            assert_eq!(
                r.render(&acw(), Some(bad), Some("{}")),
                Err(RenderError::Damaged("body")),
                "{bad}"
            );
        }
        assert_eq!(
            r.render(&acw(), Some("{}"), Some("no")),
            Err(RenderError::Damaged("interaction"))
        );
    }

    #[test]
    fn odd_text_is_rendered_as_far_as_it_can_be_told_and_what_is_posted_is_strict() {
        let body = r#"{"wrapupNotes":"so far \ud83d","k\ud83d":1,"list":["\udc00"],"n":1e999}"#;
        let members = r#"{"name":"\ud83d","of":{"x\ude00":2}}"#;
        let template = r#"{"notes": {{ afterCallWork.wrapupNotes }}, "gone": {{ afterCallWork.no }}, "all": {{ afterCallWork }},
            "first": {{ afterCallWork.list[0] }}, "name": {{ interaction.name }}, "of": {{ interaction.of }}}"#;
        let r = Renderer::new(Some(template)).unwrap();
        let text = r.render(&acw(), Some(body), Some(members)).unwrap();
        for part in [
            "\"notes\": \"so far \u{fffd}\"",
            "\"gone\": null",
            "\"first\": \"\u{fffd}\"",
            "\"name\": \"\u{fffd}\"",
            r#""wrapupNotes":"so far \ufffd""#,
            r#""n":1e999"#,
            r#"{"x\ufffd":2}"#,
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let text = Renderer::new(None)
            .unwrap()
            .render(&acw(), Some(body), Some(members))
            .unwrap();
        assert!(
            !text.contains("\\ud") && text.contains("\"n\":1e999"),
            "{text}"
        );
    }
}
