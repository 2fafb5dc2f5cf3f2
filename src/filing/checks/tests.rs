use super::*;

fn id(n: u128) -> ConversationId {
    ConversationId(uuid::Uuid::from_u128(n))
}

fn at(s: u64) -> Mono {
    Mono(s * 1000)
}

/// Asks and answers until nothing is due.
fn drain(checks: &mut Checks, now: Mono) -> Vec<Fetch> {
    let mut all = Vec::new();
    while let Some(fetch) = checks.next(now) {
        checks.answered(&fetch);
        all.push(fetch);
    }
    all
}

#[test]
fn the_sooner_time_and_the_more_urgent_class_win() {
    let mut c = Checks::new();
    c.schedule(id(1), at(60), Class::Routine);
    c.schedule(id(1), at(5), Class::Gap(0));
    c.schedule(id(1), at(90), Class::Routine);
    assert_eq!(c.deadline(), Some(at(5)));
    assert_eq!(c.next(at(4)), None);
    assert_eq!(c.next(at(5)), Some(Fetch::One(id(1))));
    assert_eq!(c.next(at(99)), None);
}

#[test]
fn urgent_ones_go_first_and_then_the_older() {
    let mut c = Checks::new();
    c.schedule(id(1), at(1), Class::Routine);
    c.schedule(id(2), at(3), Class::Gap(0));
    c.schedule(id(3), at(2), Class::Gap(0));
    c.schedule(id(4), at(4), Class::Hinted);
    let order: Vec<_> = drain(&mut c, at(9));
    let alone = [4, 3, 2].map(|n| Fetch::One(id(n)));
    assert_eq!(
        (&order[..3], &order[3..]),
        (&alone[..], &[Fetch::Calm(id(1))][..])
    );
}

#[test]
fn after_a_gap_the_likeliest_go_first_and_every_thirty_second_turn_is_somebody_elses() {
    let mut c = Checks::new();
    for n in 0..40 {
        c.schedule(id(n), at(n as u64), Class::Gap(100 - n as u64));
    }
    c.schedule(id(50), at(9), Class::Prompt);
    c.schedule(id(51), at(8), Class::Prompt);
    c.schedule(id(60), at(0), Class::Routine);
    let order: Vec<_> = drain(&mut c, at(40));
    let mut alone: Vec<_> = (0..40).rev().collect();
    alone.insert(TURNS as usize - 1, 51);
    let alone: Vec<_> = alone.into_iter().map(|n| Fetch::One(id(n))).collect();
    let calm = [50, 60].map(|n| Fetch::Calm(id(n)));
    assert_eq!((&order[..41], &order[41..]), (&alone[..], &calm[..]));
}

#[test]
fn those_in_no_hurry_leave_room_for_those_that_are_and_nothing_spins() {
    let mut c = Checks::new();
    for n in 0..9 {
        c.schedule(id(n), at(0), Class::Prompt);
    }
    c.schedule(id(20), at(30), Class::Gap(0));
    assert_eq!(c.next(at(1)), Some(Fetch::Calm(id(0))));
    assert_eq!(c.next(at(1)), Some(Fetch::Calm(id(1))));
    assert_eq!(c.next(at(1)), None);
    assert_eq!(c.deadline(), Some(at(30)));
    assert_eq!(c.next(at(30)), Some(Fetch::One(id(20))));
}

#[test]
fn no_more_than_the_agreed_number_of_questions_is_out() {
    let mut c = Checks::new();
    for n in 0..10 {
        c.schedule(id(n), at(0), Class::Gap(0));
    }
    let out: Vec<_> = std::iter::from_fn(|| c.next(at(1))).collect();
    assert_eq!(out.len(), FETCHES_OUTSTANDING_MAX);
    assert_eq!(c.deadline(), None);
    assert!(c.answered(&out[0]) && !c.answered(&out[0]));
    assert!(c.next(at(1)).is_some());
}

#[test]
fn where_places_are_short_every_other_question_is_about_them() {
    let mut c = Checks::new();
    for n in 0..6 {
        c.schedule(id(n), at(0), Class::Waits(u64::MAX - n as u64));
        c.schedule(id(20 + n), at(n as u64), Class::Prompt);
    }
    c.schedule(id(40), at(9), Class::Gap(3));
    let order: Vec<_> = drain(&mut c, at(20));
    let one = |n| Fetch::One(id(n));
    assert_eq!(
        order[..6],
        [one(40), one(5), one(20), one(4), one(21), one(3)],
        "the newest first, and others in between"
    );
}

#[test]
fn those_that_wait_for_a_place_have_a_share_however_many_may_have_one_to_give() {
    let mut c = Checks::new();
    for n in 0..8 {
        c.schedule(id(n), at(0), Class::Short(false));
    }
    c.schedule(id(20), at(1), Class::Waits(u64::MAX - 1));
    let order = drain(&mut c, at(2));
    assert!(order[..4].contains(&Fetch::One(id(20))), "{order:?}");
}

#[test]
fn those_that_wait_for_a_place_are_asked_about_in_bulk_after_what_gaps_touched() {
    let mut c = Checks::new();
    for n in 0..100 {
        c.schedule(id(n), at(0), Class::Waits(u64::MAX - n as u64));
        c.no_bulk_before(id(n), at(90));
    }
    for n in 100..120 {
        c.schedule(id(n), at(50), Class::Gap(n as u64));
    }
    let is_bulk = |f: &&Fetch| matches!(f, Fetch::Many(_));
    let first = c.next(at(90));
    let first = first.iter().find(is_bulk).expect("a crowd");
    assert_eq!(ids_of(first).len(), 50);
    assert!((100..120).all(|n| ids_of(first).contains(&id(n))));
    assert!(ids_of(first).contains(&id(99)), "the newest of the others");
}

#[test]
fn a_bulk_question_about_few_is_not_asked_while_one_about_one_does_more() {
    let mut c = Checks::new();
    for n in 0..100 {
        c.schedule(id(n), at(0), Class::Prompt);
    }
    for n in 0..BULK_WORTH - 1 {
        c.no_bulk_before(id(n as u128), at(0));
    }
    let first = c.next(at(1)).unwrap();
    assert!(!matches!(first, Fetch::Many(_)), "{first:?}");
    c.answered(&first);
    for n in 20..30 {
        c.no_bulk_before(id(n), at(0));
    }
    let next = c.next(at(1)).unwrap();
    assert!(matches!(next, Fetch::Many(_)), "{next:?}");
}

#[test]
fn what_the_platform_does_not_know_makes_those_that_wait_for_a_place_wait_seldom() {
    let mut c = Checks::new();
    for n in 0..200 {
        c.schedule(id(n), at(0), Class::Unknown);
        c.no_bulk_before(id(n), Mono::NEVER);
    }
    for n in 200..264 {
        c.schedule(id(n), at(0), Class::Waits(u64::MAX - n as u64));
    }
    let order = drain(&mut c, at(1));
    let unknown = |f: &&Fetch| ids_of(f)[0] < id(200);
    assert_eq!(order[..64].iter().filter(unknown).count(), 2);
}

#[test]
fn what_is_wanted_while_it_is_asked_comes_back_after_the_answer() {
    let mut c = Checks::new();
    c.schedule(id(1), at(0), Class::Gap(0));
    let f = c.next(at(0)).unwrap();
    c.schedule(id(1), at(2), Class::Gap(0));
    assert_eq!(c.next(at(9)), None);
    c.answered(&f);
    assert_eq!(c.next(at(9)), Some(Fetch::One(id(1))));
}

#[test]
fn a_crowd_is_asked_about_in_bulk_and_one_by_one_in_turn() {
    let mut c = Checks::new();
    for n in 0..1000 {
        c.schedule(id(n), at(0), Class::Gap(0));
    }
    let all = drain(&mut c, at(1));
    let bulk = all.iter().filter(|f| matches!(f, Fetch::Many(_))).count();
    assert!((18..=20).contains(&bulk), "{bulk}");
    assert!(matches!(&all[0], Fetch::Many(ids) if ids.len() == 50));
    assert!(matches!(&all[1], Fetch::One(_)));
    assert!(matches!(&all[2], Fetch::Many(_)));
}

#[test]
fn hinted_ones_are_never_asked_about_in_bulk() {
    let mut c = Checks::new();
    for n in 0..100 {
        c.schedule(id(n), at(0), Class::Hinted);
    }
    assert!(
        drain(&mut c, at(1))
            .iter()
            .all(|f| matches!(f, Fetch::One(_)))
    );
}

#[test]
fn bulk_questions_shrink_by_half_and_pause_and_grow_slowly() {
    let mut c = Checks::new();
    for expected in [25, 12, 6, 3, 1] {
        c.bulk_too_many(c.bulk_size, at(0));
        assert_eq!(c.bulk_size, expected);
    }
    for n in 0..200 {
        c.schedule(id(n), at(0), Class::Gap(0));
    }
    assert!(matches!(c.next(at(1)), Some(Fetch::One(_))));
    assert!(matches!(c.next(at(1)), Some(Fetch::One(_))));
    let later = at(1) + BULK_PAUSE;
    assert!(matches!(c.next(later), Some(Fetch::Many(ids)) if ids.len() == 2));
    for _ in 0..GROW_AFTER {
        c.bulk_went_well();
    }
    assert_eq!(c.bulk_size, 3);
}

#[test]
fn a_bulk_question_waits_until_it_is_worth_its_while() {
    let mut c = Checks::new();
    for n in 0..100 {
        c.schedule(id(n), at(0), Class::Gap(0));
        c.no_bulk_before(id(n), at(900));
    }
    for _ in 0..3 {
        let f = c.next(at(1)).unwrap();
        assert!(matches!(f, Fetch::One(_)));
        c.answered(&f);
    }
    let f = c.next(at(900)).unwrap();
    assert!(matches!(&f, Fetch::Many(ids) if ids.len() == 50), "{f:?}");
}

#[test]
fn a_cancelled_check_leaves_no_trace_wherever_it_was() {
    let mut c = Checks::new();
    for n in 0..3 {
        c.schedule(id(n), at(n as u64), Class::Gap(0));
    }
    let f = c.next(at(1)).unwrap();
    for n in 0..3 {
        c.cancel(id(n));
    }
    c.answered(&f);
    assert!(c.slots.is_empty() && c.timers.is_empty() && c.ready.is_empty());
    assert!(c.bulk_ready.is_empty() && c.bulk_timers.is_empty());
}

#[test]
fn a_check_cancelled_and_wanted_anew_is_not_lost_with_the_late_answer() {
    let mut c = Checks::new();
    c.schedule(id(1), at(0), Class::Gap(0));
    let first = c.next(at(0)).unwrap();
    c.cancel(id(1));
    c.schedule(id(1), at(1), Class::Gap(0));
    let second = c.next(at(1)).unwrap();
    // Equal questions: the first answer settles one of them only.
    assert!(c.answered(&first));
    c.schedule(id(1), at(2), Class::Gap(0));
    assert!(c.answered(&second));
    assert_eq!(c.next(at(2)), Some(Fetch::One(id(1))));
}

#[test]
fn what_has_come_up_while_all_questions_are_out_counts_as_due() {
    let mut c = Checks::new();
    for n in 0..10 {
        c.schedule(id(n), at(0), Class::Gap(0));
    }
    while c.next(at(1)).is_some() {}
    let out = FETCHES_OUTSTANDING_MAX;
    assert_eq!(c.counts(at(1)), (10 - out, out));
    for n in 10..13 {
        c.schedule(id(n), at(2), Class::Gap(0));
    }
    c.schedule(id(20), at(9), Class::Gap(0));
    assert_eq!(c.counts(at(2)), (13 - out, out));
}

#[test]
fn what_is_hinted_at_goes_before_those_that_wait_for_places_whoever_had_the_last_turn() {
    let mut c = Checks::new();
    for turn in 0..8 {
        c.schedule(id(turn), at(0), Class::Hinted);
        assert_eq!(drain(&mut c, at(1)), [Fetch::One(id(turn))]);
        c.schedule(id(20 + turn), at(0), Class::Waits(9));
        c.schedule(id(40 + turn), at(0), Class::Hinted);
        let order = [40, 20].map(|n| Fetch::One(id(n + turn)));
        assert_eq!(drain(&mut c, at(1)), order, "{turn}");
    }
}
