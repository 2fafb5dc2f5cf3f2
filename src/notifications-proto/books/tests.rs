use super::*;
use base::rng::Rng;

fn topic(n: u64) -> Topic {
    Topic::new(&format!("t{n:03}"))
}

fn sent(books: &mut Books, ticket: u64) -> Option<(bool, Vec<Topic>)> {
    let batch = books.take_batch(ticket)?;
    Some((batch.subscribe, batch.topics.clone()))
}

/// With these topics live.
fn live(topics: impl IntoIterator<Item = u64>) -> Books {
    let mut books = Books::new();
    for n in topics {
        books.add(&topic(n));
    }
    while books.take_batch(0).is_some() {
        for topic in books.answered(0).unwrap().topics {
            assert!(books.confirm(&topic));
        }
    }
    books
}

#[test]
fn what_is_to_go_is_sent_before_what_is_to_come() {
    let mut books = live([1]);
    books.add(&topic(2));
    assert!(!books.shed(&topic(1)), "it has to be unsubscribed");
    assert_eq!(sent(&mut books, 1), Some((false, vec![topic(1)])));
    assert_eq!(sent(&mut books, 2), Some((true, vec![topic(2)])));
    assert_eq!((books.len(), books.kept(), books.kept_about()), (2, 1, 1));
    assert!(books.dropped(&topic(1)) && !books.has(&topic(1)));
}

#[test]
fn as_many_messages_are_under_way_as_may_be() {
    let mut books = Books::new();
    for n in 0..1000 {
        books.add(&topic(n));
    }
    let mut tickets = 0;
    while books.take_batch(tickets).is_some() {
        tickets += 1;
    }
    assert_eq!(tickets, MESSAGES_IN_FLIGHT_MAX as u64);
    assert_eq!(books.unconfirmed(), 1000);
    books.answered(0);
    assert!(books.take_batch(tickets).is_some());
}

#[test]
fn a_topic_that_was_never_sent_goes_without_a_message_and_one_that_was_does_not() {
    let mut books = Books::new();
    books.add(&topic(1));
    assert!(books.shed(&topic(1)) && books.is_empty());
    books.add(&topic(1));
    sent(&mut books, 1).unwrap();
    // The socket goes: whether it was obeyed nobody knows.
    books.unsettle();
    assert!(!books.shed(&topic(1)));
    assert!(books.may_hold());
    assert_eq!(sent(&mut books, 2), Some((false, vec![topic(1)])));
}

#[test]
fn a_topic_that_is_being_added_over_rest_is_not_taken_off_before_that_is_answered() {
    let mut books = live([1, 2]);
    books.adding_began(&[topic(1)]);
    books.adding_began(&[topic(1)]);
    books.shed(&topic(1));
    books.shed(&topic(2));
    assert_eq!(sent(&mut books, 1), Some((false, vec![topic(2)])));
    books.adding_ended(&[topic(1)]);
    assert_eq!(sent(&mut books, 2), None);
    books.adding_ended(&[topic(1)]);
    assert_eq!(sent(&mut books, 2), Some((false, vec![topic(1)])));
}

#[test]
fn another_socket_is_told_again_what_was_under_way_and_what_is_live_stays_live() {
    let mut books = live([1, 2]);
    books.add(&topic(3));
    books.shed(&topic(2));
    sent(&mut books, 1).unwrap();
    sent(&mut books, 2).unwrap();
    books.resend();
    assert_eq!(books.live().count(), 1);
    assert_eq!(sent(&mut books, 3), Some((false, vec![topic(2)])));
    let again = vec![topic(1), topic(3)];
    assert_eq!(sent(&mut books, 4), Some((true, again)));
}

#[test]
fn each_live_topic_is_probed_in_its_turn() {
    let mut books = live([1, 2]);
    let mut last = None;
    for n in [1, 2, 1] {
        last = books.probe(last);
        assert_eq!(last, Some(topic(n)));
        assert_eq!(sent(&mut books, 1), Some((true, vec![topic(n)])));
        books.answered(1);
    }
    assert_eq!(Books::new().probe(last), None);
}

#[test]
fn the_books_agree_with_themselves_whatever_happens_in_whatever_order() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let (mut books, mut ticket) = (Books::new(), 0);
        for step in 0..300 {
            let topics: Vec<Topic> = (0..=rng.below(2)).map(|_| topic(rng.below(8))).collect();
            let one = &topics[0];
            match rng.below(20) {
                0..=2 => books.add(one),
                3 => books.keep(one, rng.chance(50)),
                4 => drop(books.shed(one)),
                5 if !books.has(one) => books.take_off(one),
                6 => drop(books.displace()),
                7 => books.resubscribe(),
                8 => drop(books.probe(Some(one.clone()))),
                9 => books.blame(&topics),
                10 => books.want_again(one),
                11 => books.undo(one),
                12 => drop(books.unsettle()),
                13 => books.resend(),
                14 => books.forget(one),
                15 if rng.chance(10) => drop(books.close()),
                16 => {
                    ticket += 1;
                    books.drop_in_large_lots();
                    let _ = books.take_batch(ticket);
                }
                _ => {
                    let answered = books.answered(ticket.saturating_sub(rng.below(3)));
                    let Some(batch) = answered else { continue };
                    match (batch.subscribe, rng.below(3)) {
                        (true, 0) => {
                            assert!(batch.topics.iter().filter(|t| books.confirm(t)).count() <= 8)
                        }
                        (true, _) => books.send_again(&batch.topics),
                        (false, 0) => {
                            assert!(batch.topics.iter().filter(|t| books.dropped(t)).count() <= 8)
                        }
                        (false, n) => books.drop_again(&batch.topics, (n == 1).then_some(1)),
                    }
                }
            }
            assert_eq!(books.audit(), Ok(()), "seed {seed}, step {step}");
            assert!(books.kept() <= books.len());
        }
    }
}
