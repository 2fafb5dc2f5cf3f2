//! Identity of after-call-work records: what an event says, which wrap-up it
//! is, and the id under which it is filed (design, section 5).
//!
//! One wrap-up, one record:
//! - two notifications of one leg with one `eventTime` are one; another `eventTime` is a re-wrap;
//! - a notification and a rebuilt record of one leg within 5 s are one, and the rebuilt one
//!   then remembers the `eventTime`, so that a re-wrap soon after is not taken for it;
//! - two rebuilt records of one leg within 5 s are one;
//! - where one side names only participant or only session, what both name is compared;
//!   with nothing in common they are different legs;
//! - after-call work that an organisation has done once for a participant is tagged on the
//!   callback and on the call it led to (protocol, section 14a): a callback and a call of one
//!   participant with equal code and notes within 5 s are one. Nothing else of two sessions is:
//!   somebody who was transferred away and back, or answers several mails, wraps up each leg,
//!   with the same code too, and each is filed;
//! - without either, `eventTime` and content tell records apart; without `eventTime`, the
//!   content does, and for the comparison with a rebuilt record the time of receipt stands in.
//!
//! Invariant: pure; the same wrap-up gets the same id on every machine and after every restart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde_json::value::RawValue;
use uuid::Uuid;

use base::foreign;
use base::ids::{ConversationId, RecordId};
use base::rows::{Leg, RecordKind, RecordRow, RecordState, Source};
use base::time::Wall;

/// A notification and a rebuilt record this close together are one wrap-up (design, section 5).
pub const SAME_WRAPUP: Duration = Duration::from_secs(5);

/// Longest leg identifier that is believed; the platform's are 36 characters.
const LEG_ID_MAX: usize = 128;

/// What matters of an `eventBody`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventView {
    /// `conversationId`, if there is one and it is a UUID.
    pub conversation: Option<ConversationId>,
    /// Whose wrap-up.
    pub leg: Leg,
    /// `eventTime`.
    pub event_time: Option<Wall>,
    /// Hex digest of the content, the same for any order of the members.
    pub digest: String,
    /// See [`twin_mark`].
    pub twin: Option<String>,
}

/// The body is not a JSON object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnObject;

/// Reads an `eventBody`; members of unexpected types count as missing (protocol, section 6:
/// everything is optional).
///
/// # Errors
/// The body is not a JSON object: the platform's fault.
pub fn read_event(body: &str) -> Result<EventView, NotAnObject> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(body).map_err(|_| NotAnObject)?;
    // Whoever hands events on may write the names in another case; exactly as the platform
    // writes them they go before that.
    let member = |name: &str| {
        let alike = || members.iter().rfind(|(n, _)| n.eq_ignore_ascii_case(name));
        members
            .get(name)
            .or_else(|| alike().map(|(_, value)| value))
    };
    let text = |name: &str| -> Option<String> { foreign::string(member(name)?.get()) };
    let leg_id = |name: &str| leg_id(text(name).as_deref());
    let mut hash = Context::new(&SHA256);
    for (name, value) in &members {
        feed(&mut hash, name.as_bytes());
        feed(&mut hash, value.get().as_bytes());
    }
    let leg = Leg {
        participant: leg_id("participantId"),
        session: leg_id("sessionId"),
    };
    Ok(EventView {
        twin: twin_mark(
            &leg,
            text("mediaType").as_deref(),
            text("wrapupCode").as_deref(),
            text("wrapupNotes").as_deref(),
        ),
        conversation: text("conversationId").and_then(|t| t.parse().ok()),
        leg,
        event_time: member("eventTime").and_then(|v| instant(v.get())),
        digest: hex(hash.finish().as_ref()),
    })
}

/// What a wrap-up that is tagged twice has in common, and on what it is tagged: `c` for the
/// callback, `v` for the call, `u` where that is not said. None for other media, and where
/// participant or session are unknown. Short, and no two participants' are alike, so that nobody
/// reads the notes out of it.
#[must_use]
pub fn twin_mark(
    leg: &Leg,
    media: Option<&str>,
    code: Option<&str>,
    notes: Option<&str>,
) -> Option<String> {
    if leg.participant.is_empty() || leg.session.is_empty() {
        return None;
    }
    let on = match media.unwrap_or_default().to_ascii_uppercase().as_str() {
        "CALLBACK" => 'c',
        "VOICE" => 'v',
        "" | "UNKNOWN" => 'u',
        _ => return None,
    };
    let mut hash = Context::new(&SHA256);
    feed(&mut hash, b"genesys-gateway twin 1");
    feed(&mut hash, leg.participant.as_bytes());
    feed(&mut hash, code.unwrap_or_default().as_bytes());
    feed(&mut hash, notes.unwrap_or_default().as_bytes());
    let digest = hash.finish();
    Some(format!("{on}:{}", hex(&digest.as_ref()[..8])))
}

/// The row's marks: what its wrap-up may be tagged twice by, and the digest of its content.
fn marks(row: &RecordRow) -> (Option<&str>, Option<&str>) {
    let all = row.content_digest.as_deref().unwrap_or_default();
    let mut parts = all.split(' ').filter(|part| !part.is_empty());
    let twin = parts.clone().find(|part| part.contains(':'));
    (twin, parts.find(|part| !part.contains(':')))
}

fn digest_of(row: &RecordRow) -> Option<&str> {
    marks(row).1
}

fn together(twin: Option<&str>, digest: Option<&str>) -> Option<String> {
    let parts: Vec<&str> = [twin, digest].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn same_content(known: &RecordRow, seen: &Sighting) -> bool {
    digest_of(known).is_some() && digest_of(known) == seen.digest.as_deref()
}

/// One wrap-up, tagged on a callback and on the call of the same participant.
fn twins(known: &RecordRow, seen: &Sighting) -> bool {
    known.leg.participant == seen.leg.participant
        && twin_marks(marks(known).0, seen.twin.as_deref())
}

/// Two marks of [`twin_mark`]: one wrap-up of one participant, on a callback and on its call.
#[must_use]
pub fn twin_marks(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some((a, what)), Some((b, same))) = (
        one.and_then(|mark| mark.split_once(':')),
        other.and_then(|mark| mark.split_once(':')),
    ) else {
        return false;
    };
    what == same && (a == "c") != (b == "c")
}

/// A leg identifier in lower case; empty for none.
#[must_use]
pub fn leg_id(text: Option<&str>) -> String {
    text.map(str::trim)
        .filter(|t| t.len() <= LEG_ID_MAX)
        .map(str::to_ascii_lowercase)
        .unwrap_or_default()
}

/// An `eventTime` as the platform, or who hands on its events, may write it: milliseconds since
/// 1970 as a number or a string, or RFC 3339.
#[must_use]
pub fn instant(json: &str) -> Option<Wall> {
    if let Ok(ms) = serde_json::from_str::<i64>(json) {
        return Some(Wall(ms));
    }
    // A number written another way (`1.7e12`), as far as a double tells milliseconds apart.
    let number = serde_json::from_str::<f64>(json).ok();
    if let Some(ms) = number.filter(|ms| ms.abs() < 9e15) {
        return Some(Wall(ms as i64));
    }
    let text = foreign::string(json)?;
    text.parse()
        .ok()
        .map(Wall)
        .or_else(|| Wall::parse_rfc3339(&text))
}

fn feed(hash: &mut Context, part: &[u8]) {
    hash.update(&(part.len() as u64).to_be_bytes());
    hash.update(part);
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        for nibble in [b >> 4, b & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    out
}

fn named(kind: RecordKind, parts: &[&[u8]]) -> RecordId {
    let mut hash = Context::new(&SHA256);
    feed(&mut hash, b"genesys-gateway record 1");
    feed(&mut hash, kind.label().as_bytes());
    for part in parts {
        feed(&mut hash, part);
    }
    let digest = hash.finish();
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    RecordId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// The id of the `ordinal`-th wrap-up of a leg.
#[must_use]
pub fn leg_record(conversation: ConversationId, leg: &Leg, ordinal: u32) -> RecordId {
    named(
        RecordKind::AfterCallWork,
        &[
            b"leg",
            conversation.0.as_bytes(),
            leg.participant.as_bytes(),
            leg.session.as_bytes(),
            &ordinal.to_be_bytes(),
        ],
    )
}

/// The id of an event that names no leg.
#[must_use]
pub fn legless_record(
    conversation: ConversationId,
    event_time: Option<Wall>,
    digest: &str,
) -> RecordId {
    let time = event_time.map_or([0; 9], |t| {
        let mut bytes = [1; 9];
        bytes[1..].copy_from_slice(&t.0.to_be_bytes());
        bytes
    });
    named(
        RecordKind::AfterCallWork,
        &[
            b"legless",
            conversation.0.as_bytes(),
            &time,
            digest.as_bytes(),
        ],
    )
}

/// The id of a support result under the caller's key. The SHA-256 of the body is part of it:
/// a key may be used again once its record is gone, and the history manager, which may
/// remember for longer, must not take another body for a repetition.
#[must_use]
pub fn keyed_result(key: &str, digest: &[u8; 32]) -> RecordId {
    named(
        RecordKind::SupportResult,
        &[b"key", key.as_bytes(), digest.as_slice()],
    )
}

/// The id of a support result without a key, from 16 random bytes.
#[must_use]
pub fn keyless_result(random: Uuid) -> RecordId {
    named(RecordKind::SupportResult, &[b"random", random.as_bytes()])
}

/// A wrap-up that has just come to our knowledge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// How.
    pub source: Source,
    /// Whose.
    pub leg: Leg,
    /// The platform's time of it.
    pub event_time: Option<Wall>,
    /// Of a notification: its content.
    pub digest: Option<String>,
    /// See [`twin_mark`].
    pub twin: Option<String>,
    /// When we saw it.
    pub received_at: Wall,
}

impl Sighting {
    /// The row of a new record of it.
    #[must_use]
    pub fn row(
        &self,
        conversation: ConversationId,
        record: RecordId,
        ordinal: u32,
        now: Wall,
    ) -> RecordRow {
        RecordRow {
            record,
            kind: RecordKind::AfterCallWork,
            conversation: Some(conversation),
            source: self.source,
            content_digest: together(
                self.twin.as_deref(),
                self.digest
                    .as_deref()
                    .filter(|_| needs_digest(&self.leg, self.event_time)),
            ),
            leg: self.leg.clone(),
            ordinal,
            event_time: self.event_time,
            matched_time: None,
            received_at: now,
            state: RecordState::Queued,
            attempts: 0,
            next_try: None,
            patience_used: Duration::ZERO,
            delivered_at: None,
            last_error: None,
        }
    }

    /// Has a rebuilt record of the same wrap-up remember this notification.
    pub fn mark(&self, row: &mut RecordRow) {
        row.matched_time = Some(self.event_time.unwrap_or(self.received_at));
        if self.event_time.is_none() {
            row.content_digest = together(marks(row).0, self.digest.as_deref());
        }
    }
}

/// How a sighting relates to what is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The same wrap-up; nothing to do.
    Same,
    /// The same wrap-up as a rebuilt record, which should remember this notification.
    Matches,
    /// Another wrap-up.
    Other,
}

fn legless(leg: &Leg) -> bool {
    leg.participant.is_empty() && leg.session.is_empty()
}

/// Whether two legs are one: what both name is equal, and they name something in common.
#[must_use]
pub fn same_leg(a: &Leg, b: &Leg) -> bool {
    let both = |x: &str, y: &str| !x.is_empty() && !y.is_empty();
    let participants = both(&a.participant, &b.participant);
    let sessions = both(&a.session, &b.session);
    if !participants && !sessions {
        return false;
    }
    (!participants || a.participant == b.participant) && (!sessions || a.session == b.session)
}

/// Whether two times are as close together as those of one wrap-up may be.
#[must_use]
pub fn close(a: Wall, b: Wall) -> bool {
    let apart = if a < b { b.since(a) } else { a.since(b) };
    apart <= SAME_WRAPUP
}

/// Compares a sighting with a known record of the same conversation.
#[must_use]
pub fn relation(known: &RecordRow, seen: &Sighting) -> Relation {
    if known.kind != RecordKind::AfterCallWork {
        return Relation::Other;
    }
    let one = |is: bool| if is { Relation::Same } else { Relation::Other };
    if legless(&known.leg) || legless(&seen.leg) {
        return one(legless(&known.leg)
            && legless(&seen.leg)
            && known.event_time == seen.event_time
            && same_content(known, seen));
    }
    let known_time = known.event_time.unwrap_or(known.received_at);
    let seen_time = seen.event_time.unwrap_or(seen.received_at);
    if !same_leg(&known.leg, &seen.leg) {
        return one(twins(known, seen) && close(known_time, seen_time));
    }
    match (known.source, seen.source) {
        (Source::Notification, Source::Notification) => {
            one(match (known.event_time, seen.event_time) {
                (Some(a), Some(b)) => a == b,
                (None, None) => same_content(known, seen),
                _ => false,
            })
        }
        (Source::Notification, _) => one(close(known_time, seen_time)),
        (_, Source::Notification) => match known.matched_time {
            // A notification without a time is known again by its content alone.
            Some(_) if seen.event_time.is_none() => one(same_content(known, seen)),
            Some(matched) => one(digest_of(known).is_none() && matched == seen_time),
            None if close(known_time, seen_time) => Relation::Matches,
            None => Relation::Other,
        },
        _ => {
            one(close(known_time, seen_time)
                || known.matched_time.is_some_and(|t| close(t, seen_time)))
        }
    }
}

/// What to do with a sighting, given all known records of the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Known already.
    Known(RecordId),
    /// This rebuilt record is the same wrap-up and should remember the notification.
    Match(RecordId),
    /// A new record with this id and ordinal.
    New {
        /// Its id.
        record: RecordId,
        /// The n-th wrap-up of its leg.
        ordinal: u32,
    },
}

/// Finds out whether a sighting is new. Of several rebuilt records that it may
/// be, it is the one nearest in time; an exact repetition goes before all.
pub fn find<'a>(
    conversation: ConversationId,
    known: impl Iterator<Item = &'a RecordRow>,
    seen: &Sighting,
) -> Finding {
    let seen_time = seen.event_time.unwrap_or(seen.received_at);
    let mut nearest: Option<(Duration, RecordId)> = None;
    let mut ordinal = 0;
    for row in known {
        match relation(row, seen) {
            Relation::Same => return Finding::Known(row.record),
            Relation::Matches => {
                let t = row.event_time.unwrap_or(row.received_at);
                let apart = t.since(seen_time).max(seen_time.since(t));
                if nearest.is_none_or(|(d, _)| apart < d) {
                    nearest = Some((apart, row.record));
                }
            }
            Relation::Other => {}
        }
        if row.kind == RecordKind::AfterCallWork && same_leg(&row.leg, &seen.leg) {
            ordinal = ordinal.max(row.ordinal.saturating_add(1));
        }
    }
    if let Some((_, record)) = nearest {
        return Finding::Match(record);
    }
    let record = if legless(&seen.leg) {
        legless_record(
            conversation,
            seen.event_time,
            seen.digest.as_deref().unwrap_or(""),
        )
    } else {
        leg_record(conversation, &seen.leg, ordinal)
    };
    Finding::New { record, ordinal }
}

/// Whether the digest has to be kept with the record to know it again.
fn needs_digest(leg: &Leg, event_time: Option<Wall>) -> bool {
    legless(leg) || event_time.is_none()
}

#[cfg(test)]
mod tests;
