//! Checks `[agent-desktop]`: who may embed the page, and what the page is told.
//!
//! Invariant: as in `check`: `None` only after a problem was recorded.

use super::reader::Reader;
use super::values::{self, JsonPointer, Rule};
use super::{AgentDesktopConfig, DesktopAccess, HttpConfig, ReportOn, Toast};
use crate::agent_desktop;
use base::plain::unseen;

/// The optional table.
const TABLE: &str = "agent-desktop";
/// Desktops, keys of attached data and event types: far more than anybody lists.
const LIST_MAX: usize = 64;
/// Characters of a key of attached data, or of a path to one.
const KEY_MAX: usize = 256;

/// Event types of the namespace `interaction` of the Service Client API that name an interaction.
pub(super) const EVENT_TYPES: &[&str] = &[
    "UNKNOWN",
    "ADDED",
    "REMOVED",
    "ATTACHED_DATA_CHANGED",
    "CASE_OR_BUNDLE_ID_CHANGED",
    "NEW_MESSAGE",
    "ERROR",
    "CALL_RECORDING_STATE_CHANGED",
    "DIALING",
    "ESTABLISHED",
    "HELD",
    "PARTY_CHANGED",
    "RELEASED",
    "RINGING",
    "ACCEPTED",
    "COMPLETED",
    "COMPOSING",
    "CREATED",
    "INSERT_STANDARD_RESPONSE",
    "INVITED",
    "INVITED_CONFERENCE",
    "IN_QUEUE_FAILED",
    "IN_WORKBIN",
    "IN_WORKBIN_FAILED",
    "LEFT_CONFERENCE",
    "PULLED",
    "PULL_FAILED",
    "PULL_WORKBIN_FAILED",
    "REVOKED",
    "TRANSFER_COMPLETED",
    "ENDED",
    "JOIN_FAILED",
    "JOIN_PENDING",
    "CANCELLED",
    "SENT",
];
/// Event types of cases, which name no interaction.
const CASE_EVENTS: &[&str] = &["CASE_COLLAPSED", "CASE_EXPANDED", "CASE_SELECTED"];
const SEEN: &str = "seen";

/// The id of the conversation would be looked for where agents' pages report.
fn into_reports(pointer: &JsonPointer) -> bool {
    pointer
        .tokens()
        .first()
        .is_some_and(|t| t == agent_desktop::REPORTS)
}

/// The page, if the file has its table.
pub(super) fn agent_desktop(
    r: &mut Reader<'_>,
    http: Option<&HttpConfig>,
) -> Option<Option<AgentDesktopConfig>> {
    if !r.has_table(TABLE) {
        return Some(None);
    }
    let desktop_origins = some(r, "agent-desktop.desktop-origins", origin);
    let access = r.text("agent-desktop.access", |text| match text {
        "page" => Ok(DesktopAccess::Page),
        "token" => Ok(DesktopAccess::Token),
        _ => Err(Rule::new("must be \"page\" or \"token\"", "")),
    });
    let conversation_id_keys = some(r, "agent-desktop.conversation-id-keys", attached);
    let report_on = report_on(r);
    let forward_keys = r.list("agent-desktop.forward-keys", LIST_MAX, attached);
    let writes = r.text("agent-desktop.write-back", |text| match text {
        "attached-data" => Ok(true),
        "none" => Ok(false),
        _ => Err(Rule::new("must be \"attached-data\" or \"none\"", "")),
    });
    let write_back_key = r.text("agent-desktop.write-back-key", attached);
    if writes == Some(false) && r.names("agent-desktop.write-back-key") {
        r.warn(
            "agent-desktop.write-back-key",
            "is not used, because agent-desktop.write-back is \"none\"",
        );
    }
    let toast = r.text("agent-desktop.toast", |text| match text {
        "never" => Ok(Toast::Never),
        "failures" => Ok(Toast::Failures),
        "all" => Ok(Toast::All),
        _ => Err(Rule::new("must be \"never\", \"failures\" or \"all\"", "")),
    });
    let title_keys = r.list("agent-desktop.title-keys", LIST_MAX, attached);
    let recording = r.truth("agent-desktop.recording");
    let dial = r.truth("agent-desktop.dial");
    if http.is_some_and(|http| into_reports(&http.conversation_id_at)) {
        r.problem(
            "http.conversation-id-at",
            Rule::new(
                "must not point into \"agentDesktop\"",
                "there the page of [agent-desktop] reports, under the agent's name",
            ),
        );
    }
    if let Some(http) = http
        && http.api_tokens.is_empty()
        && access == Some(DesktopAccess::Token)
    {
        r.warn(
            "agent-desktop.access",
            "is \"token\", and there are none: without http.api-tokens-file nobody is asked for one",
        );
    }
    Some(Some(AgentDesktopConfig {
        desktop_origins: desktop_origins?,
        access: access?,
        conversation_id_keys: conversation_id_keys?,
        report_on: report_on?,
        forward_keys: forward_keys?,
        write_back_key: writes?.then_some(write_back_key?),
        toast: toast?,
        title_keys: title_keys?,
        recording: recording?,
        dial: dial?,
    }))
}

/// A list that has to name one thing at least.
fn some<T>(
    r: &mut Reader<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, Rule>,
) -> Option<Vec<T>> {
    let list = r.list(key, LIST_MAX, parse)?;
    if list.is_empty() {
        r.problem(key, Rule::new("must have at least one element", ""));
        return None;
    }
    Some(list)
}

/// A desktop, as its browser sends its origin.
fn origin(text: &str) -> Result<String, Rule> {
    const RULE: &str = "must be an origin such as \"https://workspace.example\"";
    if text == "*" {
        return Err(Rule::new(
            "must not be \"*\"",
            "any page on the internet could then embed the page and be believed as the desktop; list the origins",
        ));
    }
    if !text.is_ascii() {
        return Err(Rule::new(
            RULE,
            "write the host as browsers send it, in ASCII (xn--...)",
        ));
    }
    let origin = values::origin(text).map_err(|r| Rule::new(RULE, r.hint))?;
    // What the page's policy would leave out must not be taken for allowed.
    if !agent_desktop::is_origin(&origin) {
        return Err(Rule::new(
            RULE,
            "a host is made of letters, digits and - . _, or an address",
        ));
    }
    Ok(origin)
}

/// A key of attached data.
fn attached(text: &str) -> Result<String, Rule> {
    let strange = |c: char| c.is_control() || unseen(c).is_some();
    if text.trim() != text
        || text.is_empty()
        || text.chars().count() > KEY_MAX
        || text.chars().any(strange)
    {
        return Err(Rule::new(
            format!("must be a key of attached data, of 1 to {KEY_MAX} characters"),
            "as the desktop shows it; no blanks at its ends, nothing that cannot be seen",
        ));
    }
    Ok(text.to_owned())
}

fn report_on(r: &mut Reader<'_>) -> Option<ReportOn> {
    const KEY: &str = "agent-desktop.report-on";
    let mut types = some(r, KEY, event_type)?;
    if types.contains(&SEEN) {
        if types.iter().all(|t| *t == SEEN) {
            return Some(ReportOn::Seen);
        }
        r.problem(
            KEY,
            Rule::new(
                "\"seen\" stands alone",
                "what is reported at first sight has been reported when anything else happens",
            ),
        );
        return None;
    }
    let mut known = std::collections::BTreeSet::new();
    types.retain(|t| known.insert(*t));
    Some(ReportOn::Events(types))
}

fn event_type(text: &str) -> Result<&'static str, Rule> {
    if text == SEEN {
        return Ok(SEEN);
    }
    if let Some(known) = EVENT_TYPES.iter().find(|t| **t == text) {
        return Ok(known);
    }
    let upper = text.trim().to_ascii_uppercase().replace(['-', ' '], "_");
    let hint = if upper == "SEEN" {
        String::from("write \"seen\"")
    } else if CASE_EVENTS.contains(&upper.as_str()) {
        String::from("events of a case name no interaction")
    } else if let Some(known) = EVENT_TYPES.iter().find(|t| **t == upper) {
        format!("write \"{known}\"")
    } else {
        String::from("genesys-gateway.toml(5) lists them")
    };
    Err(Rule::new(
        "must be an event type of the Service Client API, such as \"ESTABLISHED\", or \"seen\"",
        hint,
    ))
}
