use super::super::verdict::PostFailure;
use super::*;

fn id(n: u128) -> RecordId {
    RecordId(uuid::Uuid::from_u128(n))
}

fn new(workers: usize) -> Destination {
    Destination::new(workers, &DestinationRow::default(), Now::default())
}

fn at(s: u64) -> Now {
    Now::default().plus(Duration::from_secs(s))
}

fn unreachable() -> Verdict {
    Verdict::Later {
        retry_after: None,
        how: Later::Unreachable(NoAnswer::Unreached(base::cause::Cause::Refused)),
        cause: PostFailure::NotReached,
        error: String::new(),
    }
}

fn busy(retry_after: Option<u64>) -> Verdict {
    Verdict::Later {
        retry_after: retry_after.map(Duration::from_secs),
        how: Later::Answered(503),
        cause: PostFailure::ServerError,
        error: String::new(),
    }
}

#[test]
fn five_failures_in_a_row_mean_down_and_then_one_probe_at_a_time() {
    let (mut d, mut rng) = (new(8), Rng::new(1));
    for _ in 0..4 {
        assert_eq!(d.learn(id(1), &unreachable(), at(1), &mut rng), None);
        assert_eq!(d.limit(at(1).mono), 8);
    }
    assert_eq!(
        d.learn(id(1), &unreachable(), at(1), &mut rng),
        Some(Turn::Down(NoAnswer::Unreached(base::cause::Cause::Refused)))
    );
    assert_eq!(d.limit(at(1).mono), 0);
    let mut t = at(1).mono;
    for _ in 0..20 {
        t = d.opens_at(t).unwrap();
        assert_eq!(d.limit(t), 1);
        let now = Now {
            mono: t,
            wall: Wall(0),
        };
        d.learn(id(1), &unreachable(), now, &mut rng);
        let pause = d.opens_at(t).unwrap().since(t);
        assert!(pause <= DOWN_PROBE_MAX, "{pause:?}");
    }
}

#[test]
fn a_success_between_failures_begins_the_run_again() {
    let (mut d, mut rng) = (new(8), Rng::new(1));
    for _ in 0..10 {
        for _ in 0..4 {
            d.learn(id(1), &unreachable(), at(1), &mut rng);
        }
        d.learn(id(1), &Verdict::Filed, at(1), &mut rng);
    }
    assert_eq!(d.limit(at(1).mono), 8);
}

#[test]
fn after_down_it_opens_slowly() {
    let (mut d, mut rng) = (new(8), Rng::new(1));
    for _ in 0..5 {
        d.learn(id(1), &unreachable(), at(1), &mut rng);
    }
    assert_eq!(
        d.learn(id(1), &Verdict::Filed, at(9), &mut rng),
        Some(Turn::Open)
    );
    let mut seen = vec![d.limit(at(9).mono)];
    for _ in 0..3 {
        d.learn(id(1), &Verdict::Filed, at(9), &mut rng);
        seen.push(d.limit(at(9).mono));
    }
    assert_eq!(seen, [1, 2, 4, 8]);
}

#[test]
fn closed_is_probed_once_a_minute_and_its_time_is_counted() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    let closed = Verdict::Closed { status: 401 };
    assert_eq!(
        d.learn(id(1), &closed, at(10), &mut rng),
        Some(Turn::Closed(401))
    );
    assert_eq!(d.opens_at(at(10).mono), Some(at(70).mono));
    assert_eq!(
        d.learn(id(1), &closed, at(70), &mut rng),
        Some(Turn::Closed(401))
    );
    assert_eq!(d.limit(at(129).mono), 0);
    assert_eq!(d.limit(at(130).mono), 1);
    assert_eq!(d.learn(id(1), &unreachable(), at(130), &mut rng), None);
    assert!(d.closed());
    assert!(
        d.snapshot(at(130))
            .sentence
            .contains("could not be reached")
    );
    let turn = d.learn(id(1), &busy(None), at(190), &mut rng);
    assert_eq!(turn, Some(Turn::Answers(503)));
    // The ten seconds before, and what came after.
    assert_eq!(d.tried(at(500).mono), Duration::from_secs(10 + 310));
    let filed = d.learn(id(1), &Verdict::Filed, at(191), &mut rng);
    assert_eq!(filed, Some(Turn::Open));
}

#[test]
fn retry_after_holds_the_whole_destination() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    d.learn(id(1), &busy(Some(120)), at(0), &mut rng);
    assert_eq!(d.limit(at(119).mono), 0);
    assert_eq!(d.opens_at(at(5).mono), Some(at(120).mono));
    assert_eq!(d.limit(at(120).mono), 4);
    assert_eq!(d.snapshot(at(0)).state, HistoryState::Held);
}

fn refused(status: u16) -> Verdict {
    Verdict::Refused {
        status,
        error: String::new(),
    }
}

fn broken_off() -> Verdict {
    Verdict::Later {
        retry_after: None,
        how: Later::BrokenOff(NoAnswer::Unknown),
        cause: PostFailure::BrokenOff,
        error: String::new(),
    }
}

#[test]
fn what_is_broken_off_closes_and_opens_nothing() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    for n in 0..100 {
        assert_eq!(d.learn(id(n), &broken_off(), at(1), &mut rng), None);
    }
    assert_eq!(d.limit(at(1).mono), 4);
    assert_eq!(d.snapshot(at(1)).state, HistoryState::Failing);
    for _ in 0..5 {
        d.learn(id(1), &unreachable(), at(2), &mut rng);
    }
    assert_eq!(d.learn(id(1), &broken_off(), at(9), &mut rng), None);
    assert!(d.down());
    let at_last = d.snapshot(at(9)).sentence;
    assert!(at_last.contains("broke the connection"), "{at_last}");
}

#[test]
fn what_was_never_sent_says_nothing() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    let not_sent = Verdict::NotSent {
        error: String::new(),
    };
    d.learn(id(1), &Verdict::Closed { status: 401 }, at(0), &mut rng);
    let before = d.snapshot(at(60));
    assert_eq!(d.learn(id(1), &not_sent, at(60), &mut rng), None);
    assert_eq!((d.snapshot(at(60)), d.closed()), (before, true));
    // Not at once again: the database may fail for every record.
    assert_eq!(d.opens_at(at(60).mono), Some(at(61).mono));
}

#[test]
fn ten_records_refused_alike_are_an_outage_that_only_a_filing_ends() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    for n in 0..9 {
        assert_eq!(d.learn(id(n), &refused(404), at(n as u64), &mut rng), None);
        d.learn(id(n), &busy(None), at(n as u64), &mut rng);
    }
    let turn = d.learn(id(9), &refused(404), at(9), &mut rng);
    assert!(matches!(turn, Some(Turn::Outage(404, ten)) if ten.len() == 10));
    for (n, verdict) in [refused(404), refused(422), busy(None), unreachable()]
        .iter()
        .enumerate()
    {
        let now = at(69 + 60 * n as u64);
        let turn = d.learn(id(50), verdict, now, &mut rng);
        assert!(
            !matches!(turn, Some(Turn::Open | Turn::Answers(_))),
            "{turn:?}"
        );
        assert_eq!(d.limit(now.mono), 0);
        assert!(d.closed());
    }
    // A restart in the middle of it.
    let kept = d.take_kept().unwrap();
    assert_eq!(d.take_kept(), None);
    let mut d = Destination::new(4, &kept, at(300));
    assert_eq!((d.closed(), d.limit(at(300).mono)), (true, 1));
    let turn = d.learn(id(50), &Verdict::Filed, at(300), &mut rng);
    assert_eq!((turn, d.closed()), (Some(Turn::Open), false));
    assert_eq!(d.take_kept(), Some(DestinationRow::default()));
}

#[test]
fn a_pause_asked_for_outlives_the_process_but_not_its_hour() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    d.learn(id(1), &busy(Some(120)), at(0), &mut rng);
    let kept = d.take_kept().unwrap();
    // The monotonic clock begins anew.
    let later = Now {
        mono: Mono(7),
        wall: Now::default().wall + Duration::from_secs(30),
    };
    let d = Destination::new(4, &kept, later);
    assert_eq!(
        d.opens_at(later.mono),
        Some(later.mono + Duration::from_secs(90))
    );
    // A clock that was set back by a year does not make a year of it.
    let back = Now {
        mono: Mono(7),
        wall: Wall(-31_536_000_000),
    };
    let d = Destination::new(4, &kept, back);
    assert_eq!(d.opens_at(back.mono), Some(back.mono + RETRY_AFTER_MAX));
    let long_after = Now {
        mono: Mono(0),
        wall: at(3600).wall,
    };
    assert_eq!(
        Destination::new(4, &kept, long_after).opens_at(Mono(0)),
        None
    );
}

#[test]
fn no_patience_is_used_up_while_closed_or_held_or_asleep() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    d.learn(id(1), &busy(Some(120)), at(10), &mut rng);
    assert_eq!(d.tried(at(130).mono), Duration::from_secs(10));
    assert_eq!(d.tried(at(140).mono), Duration::from_secs(20));
    // A virtual machine that slept for a week.
    assert_eq!(
        d.tried(at(604_800).mono),
        Duration::from_secs(10) + TRIED_AT_ONCE
    );
}

#[test]
fn what_is_said_is_what_it_did_last() {
    let (mut d, mut rng) = (new(4), Rng::new(1));
    let mut said = |d: &mut Destination, v: Verdict| {
        d.learn(id(1), &v, at(1), &mut rng);
        let s = d.snapshot(at(1));
        (s.state, s.sentence)
    };
    assert!(d.snapshot(at(0)).sentence.contains("no record was tried"));
    for (verdict, state, words) in [
        (Verdict::Filed, HistoryState::Open, "takes records"),
        (busy(None), HistoryState::Failing, "answered 503"),
        (broken_off(), HistoryState::Failing, "broke the connection"),
        (unreachable(), HistoryState::Failing, "could not be reached"),
        (
            refused(422),
            HistoryState::Failing,
            "refused the last record with 422",
        ),
        (Verdict::Conflict, HistoryState::Failing, "409"),
        (Verdict::Filed, HistoryState::Open, "takes records"),
    ] {
        let (s, sentence) = said(&mut d, verdict);
        assert_eq!(s, state, "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
        assert_eq!(sentence.contains("takes records"), words == "takes records");
    }
}
