//! A window for fuzzing: rows with any values in them.

use rusqlite::Connection;

use super::shards::MAIN;
use super::{columns, load, schema};
use base::rows::Recovered;

/// Rows with any values in them: what can be read is, beside what cannot, and the
/// core starts from what is given back. Fields are separated by a zero byte. For fuzzing.
///
/// # Panics
/// If an odd row spoils the reading of a sound one.
#[must_use]
pub fn odd_rows(data: &[u8]) -> Recovered {
    use rusqlite::types::Value;
    let mut fields = data.split(|b| *b == 0).map(String::from_utf8_lossy);
    let mut text = || match fields.next() {
        Some(text) if !text.is_empty() => Value::Text(text.into_owned()),
        _ => Value::Null,
    };
    let mut fill = |n: usize| -> Vec<Value> { (0..n).map(|_| text()).collect() };
    let Ok(mut conn) = Connection::open_in_memory() else {
        return Recovered::default();
    };
    schema::migrate(&mut conn).expect("a new file takes the schema");
    // A damaged file keeps to no rule of ours.
    schema::set(&conn, "ignore_check_constraints", "ON").expect("a pragma of SQLite");
    let id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
    conn.execute(
        "INSERT INTO interaction (id, conversation, state, accepted_at, rev) VALUES (1, ?1, 'watching', 1, 1)",
        [id],
    )
    .expect("a sound row");
    // Integers that are none are refused by the column; that is not what is tried here.
    let _ = conn.execute(
        "INSERT INTO interaction (id, conversation, state, accepted_at, watched_since, ended_at,
             reason_code, reason_detail, last_event_at, rev, members)
         VALUES (2, ?1, ?2, coalesce(?3, 0), ?4, ?5, ?6, ?7, ?8, 1, ?9)",
        rusqlite::params_from_iter(fill(9)),
    );
    let _ = conn.execute(
        "INSERT INTO record (id, record, kind, conversation, source, participant, session, ordinal,
             event_time, matched_time, content_digest, received_at, state, attempts, next_try,
             patience_from, delivered_at, last_error, rev, body, patience_used)
         VALUES (1, ?1, ?2, ?3, ?4, coalesce(?5, ''), coalesce(?6, ''), coalesce(?7, 0), ?8, ?9, ?10,
             coalesce(?11, 0), ?12, coalesce(?13, 0), ?14, 0, ?15, ?16, 1, ?17, coalesce(?18, 0))",
        rusqlite::params_from_iter(fill(18)),
    );
    let _ = conn.execute(
        "INSERT INTO channel (slot, channel, connect_uri, created_at, expires_at, token_ends_at)
         VALUES (coalesce(?1, 1), ?2, ?3, coalesce(?4, 0), coalesce(?5, 0), coalesce(?6, 0))",
        rusqlite::params_from_iter(fill(6)),
    );
    let _ = conn.execute(
        "INSERT INTO note (name, value) VALUES (?1, ?2)",
        rusqlite::params![columns::NOTE_DESTINATION, fill(1).pop()],
    );
    let mut all = load::recovered(&conn, &[MAIN]).expect("odd values spoil no reading");
    let recovered = all.pop().unwrap_or_default();
    let sound = recovered.interactions.iter();
    assert_eq!(
        sound
            .filter(|row| row.conversation.to_string() == id)
            .count(),
        1
    );
    recovered
}
