//! What was committed a moment ago, from memory.

use super::*;

fn from_file(place: &Place, record: RecordId) -> Option<StoredRecord> {
    Reader::new(&place.path()).record(record).unwrap()
}

#[test]
fn what_is_handed_on_from_memory_is_what_the_file_holds() {
    let place = Place::new();
    let mut store = place.store();
    let recent = store.recent();
    let result = RecordRow {
        kind: RecordKind::SupportResult,
        source: Source::SupportResult,
        leg: Leg::default(),
        event_time: None,
        ..record(2)
    };
    let unreported = RecordRow {
        conversation: Some(conversation(9)),
        ..record(3)
    };
    keep(
        &mut store,
        vec![
            accept(interaction(1), r#"{"note":"\ud83d\ude00","a":1.50}"#),
            take(record(1), r#"{"wrapUpCode": "x",  "notes":"ü\u0000"}"#),
            take(result, r#"{"n":1e400}"#),
            take(unreported, "{}"),
        ],
    );
    for n in 1..=3 {
        let kept = recent.take(record_id(n)).expect("it was taken just now");
        assert!(
            from_file(&place, record_id(n)).as_ref() == Some(&kept),
            "{n}"
        );
        assert!(recent.take(record_id(n)).is_none(), "{n} is given once");
    }
}

#[test]
fn what_was_changed_since_is_read_from_the_file() {
    let place = Place::new();
    let mut store = place.store();
    let recent = store.recent();
    keep(
        &mut store,
        vec![take(record(1), "{}"), take(record(2), "{}")],
    );
    let deferred = RecordRow {
        state: RecordState::Deferred,
        attempts: 1,
        next_try: Some(NOW),
        ..record(1)
    };
    keep(&mut store, vec![Change::Record(deferred)]);
    assert!(recent.take(record_id(1)).is_none());
    assert!(recent.take(record_id(2)).is_some());
}

#[test]
fn what_was_not_committed_is_not_handed_on() {
    let place = Place::new();
    let mut store = place.store();
    let recent = store.recent();
    keep(&mut store, vec![take(record(1), r#"{"first":true}"#)]);
    recent.take(record_id(1)).unwrap();
    // The same once more, and another one under the same id: nothing is written.
    let other = RecordRow {
        ordinal: 77,
        ..record(1)
    };
    let again = vec![take(record(1), r#"{"second":true}"#), take(other, "{}")];
    commit(&mut store, again);
    assert!(recent.take(record_id(1)).is_none());
    // The files are gone: the commit fails.
    for name in place.files() {
        std::fs::remove_file(place.dir.path().join(name)).unwrap();
    }
    let fact = commit(&mut store, vec![take(record(2), "{}")]);
    assert!(matches!(fact, StoreFact::CommitFailed { .. }), "{fact:?}");
    assert!(recent.take(record_id(2)).is_none());
}

#[test]
fn bodies_are_kept_up_to_a_bound_and_the_rest_is_read() {
    let place = Place::new();
    let mut store = place.store();
    let recent = store.recent();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(1 << 20));
    for n in 1..=8 {
        keep(&mut store, vec![take(record(n), &body)]);
    }
    let kept: Vec<u128> = (1..=8)
        .filter(|n| recent.take(record_id(*n)).is_some())
        .collect();
    assert_eq!(kept, [1, 2, 3]);
    // There is room again.
    keep(&mut store, vec![take(record(9), &body)]);
    assert!(recent.take(record_id(9)).is_some());
}
