use std::io::Read;
use std::os::unix::net::UnixStream;

use super::*;

const LIMITS: SeatLimits = SeatLimits {
    seats: 4,
    per_peer: 3,
    reserved: 1,
    held: 8,
    memory: 1000,
};

struct Guest {
    seat: Seat,
    other_end: UnixStream,
}

impl Guest {
    fn is_over(&mut self) -> bool {
        if !self.seat.is_sent_away() {
            return false; // And nothing is said to it: that would be news from a peer.
        }
        self.other_end.set_nonblocking(true).unwrap();
        let wrote = std::io::Write::write(&mut self.other_end, b"x");
        let read = self.other_end.read(&mut [0]);
        wrote.is_err() || read.is_ok_and(|n| n == 0)
    }
}

fn sit(seats: &Arc<Seats>, peer: u32) -> Option<Guest> {
    let (ours, other_end) = UnixStream::pair().unwrap();
    let seat = seats.take(Stream::Unix(ours), PeerKey::V4(peer)).ok()?;
    Some(Guest { seat, other_end })
}

/// Until whoever waits has done so long enough to be sent away.
fn a_while() {
    std::thread::sleep(LATELY + Duration::from_millis(5));
}

#[test]
fn whoever_has_waited_longest_makes_room_and_whoever_works_does_not() {
    let seats = Seats::new(LIMITS);
    let mut guests: Vec<_> = (0..4).map(|n| sit(&seats, n).unwrap()).collect();
    assert!(guests[0].seat.works());
    a_while();
    let late = sit(&seats, 9).unwrap();
    assert!(!late.seat.is_reserved());
    assert!(!guests[0].is_over(), "it is being answered");
    assert!(guests[1].is_over() && guests[1].seat.is_sent_away());
    assert!(!guests[1].seat.works(), "it does not get to work any more");
    assert!(!guests[2].is_over() && !guests[3].is_over());
    assert_eq!(seats.taken(), 5, "it is on its way out");
    drop(guests.remove(1));
    assert_eq!((seats.taken(), seats.sent_away()), (4, 1));
    // News from a peer begin its waiting anew.
    a_while();
    guests[1].seat.waits();
    let _later = sit(&seats, 10).unwrap();
    assert!(!guests[1].is_over() && guests[2].is_over());
}

#[test]
fn whoever_has_said_something_that_was_not_read_yet_is_not_slow() {
    let seats = Seats::new(SeatLimits {
        reserved: 0,
        ..LIMITS
    });
    let mut guests: Vec<_> = (0..4).map(|n| sit(&seats, n).unwrap()).collect();
    a_while();
    for guest in &mut guests {
        std::io::Write::write_all(&mut guest.other_end, b"x").unwrap();
    }
    assert!(sit(&seats, 9).is_none());
    // Unless it is kept waiting on purpose: it could say anything meanwhile.
    guests[2].seat.pauses();
    a_while();
    assert!(sit(&seats, 9).is_some() && guests[2].is_over());
    // Who does not take an answer, with room for more of it, is not yet to blame either.
    let mut next = sit(&seats, 9).unwrap();
    next.seat.writes();
    a_while();
    assert!(sit(&seats, 10).is_none() && !next.is_over());
}

#[test]
fn a_peer_at_its_bound_makes_room_for_itself() {
    let seats = Seats::new(LIMITS);
    let mut other = sit(&seats, 1).unwrap();
    let mut same: Vec<_> = (0..3).map(|_| sit(&seats, 2).unwrap()).collect();
    a_while();
    let _fourth = sit(&seats, 2).unwrap();
    assert!(same[0].is_over() && !same[1].is_over() && !other.is_over());
}

#[test]
fn where_all_work_only_a_reserved_seat_is_left_and_then_none() {
    let seats = Seats::new(LIMITS);
    let guests: Vec<_> = (0..4).map(|n| sit(&seats, n).unwrap()).collect();
    assert!(guests.iter().all(|g| g.seat.works()));
    let probe = sit(&seats, 9).unwrap();
    assert!(probe.seat.is_reserved());
    assert!(probe.seat.works());
    assert!(sit(&seats, 10).is_none());
    probe.seat.waits();
    a_while();
    let next = sit(&seats, 11).unwrap();
    assert!(next.seat.is_reserved() && probe.seat.is_sent_away());
    drop((guests, probe, next));
    assert_eq!(seats.taken(), 0);
    assert!(seats.lock().of_peer.is_empty());
}

#[test]
fn newcomers_that_have_just_come_are_not_sent_away() {
    let seats = Seats::new(SeatLimits {
        reserved: 0,
        ..LIMITS
    });
    let _guests: Vec<_> = (0..4).map(|n| sit(&seats, n).unwrap()).collect();
    assert!(sit(&seats, 9).is_none());
}

#[test]
fn memory_has_a_bound_a_share_for_each_peer_and_the_slowest_holder_makes_room() {
    let seats = Seats::new(LIMITS);
    let mut first = sit(&seats, 1).unwrap();
    let second = sit(&seats, 1).unwrap();
    let mut other = sit(&seats, 2).unwrap();
    assert!(first.seat.hold(400) && other.seat.hold(400));
    assert!(!second.seat.hold(200), "half of it is for one peer");
    assert!(second.seat.hold(100));
    assert!(
        second.seat.hold(50) && second.seat.hold(100),
        "less, and more again"
    );
    a_while();
    assert!(second.seat.hold(300), "its own slowest holder makes room");
    assert!(first.is_over() && !other.is_over());
    let third = sit(&seats, 3).unwrap();
    assert!(
        third.seat.hold(500),
        "the whole is short now: 300 and 400 are held"
    );
    assert!(other.is_over() || second.seat.is_sent_away());
    assert!(third.seat.works());
    drop((first, second, other));
    let fourth = sit(&seats, 4).unwrap();
    assert!(fourth.seat.hold(500));
    let fifth = sit(&seats, 5).unwrap();
    assert!(!fifth.seat.hold(1) || fourth.seat.is_sent_away());
    assert!(!third.seat.is_sent_away(), "it works");
    drop((third, fourth, fifth));
    let table = seats.lock();
    assert_eq!((table.bytes, table.ordinary, table.leaving), (0, 0, 0));
    assert!(table.of_peer.is_empty());
}

#[test]
fn who_stands_in_line_or_has_just_moved_makes_room_only_for_who_has_less() {
    let seats = Seats::new(SeatLimits {
        reserved: 0,
        ..LIMITS
    });
    let mut many: Vec<_> = (0..3).map(|_| sit(&seats, 1).unwrap()).collect();
    let mut one = sit(&seats, 2).unwrap();
    for guest in many.iter().chain([&one]) {
        guest.seat.queues();
    }
    a_while();
    // Those of one peer keep their order among themselves.
    assert!(sit(&seats, 1).is_none());
    // Another has less than it: the first in line goes, although it stands in line.
    let third = sit(&seats, 3).unwrap();
    assert!(many[0].is_over() && !one.is_over());
    third.seat.queues();
    // All have just come, and the one with most makes room all the same, while it has.
    let fourth = sit(&seats, 4).unwrap();
    assert!(!one.is_over() && many[1].is_over() && !many[2].is_over());
    fourth.seat.queues();
    assert!(sit(&seats, 5).is_none());
    assert!(!many[2].is_over());
}

#[test]
fn memory_that_is_moved_all_the_time_makes_room_for_who_holds_less() {
    let seats = Seats::new(SeatLimits {
        seats: 9,
        per_peer: 9,
        ..LIMITS
    });
    let mut greedy: Vec<_> = (1..=2)
        .flat_map(|peer| [sit(&seats, peer).unwrap(), sit(&seats, peer).unwrap()])
        .collect();
    for guest in &greedy {
        assert!(guest.seat.hold(250));
        guest.seat.waits();
    }
    let other = sit(&seats, 3).unwrap();
    greedy[0].seat.queues();
    greedy[1].seat.waits();
    assert!(other.seat.hold(200), "two of them hold everything");
    assert_eq!(
        greedy
            .iter_mut()
            .map(|g| usize::from(g.is_over()))
            .sum::<usize>(),
        1
    );
    greedy.retain(|g| !g.seat.is_sent_away());
    // Who holds no less gets nothing from those who have just moved something.
    let equal = sit(&seats, 4).unwrap();
    let last = sit(&seats, 5).unwrap();
    assert!(equal.seat.hold(50) && !last.seat.hold(500));
    // Nor does anybody from who is being answered.
    assert!(greedy.iter().all(|g| g.seat.works()) && other.seat.works());
    assert!(!last.seat.hold(100));
}

#[test]
fn who_waits_aside_leaves_the_seat_to_others_and_is_never_sent_away() {
    let seats = Seats::new(LIMITS);
    let aside = (0..7).map(|_| {
        let guest = sit(&seats, 1).unwrap();
        assert!(guest.seat.works());
        assert!(guest.seat.goes_aside());
        guest
    });
    let aside: Vec<_> = aside.collect();
    // One peer has seven eighths of the places aside, and another the rest.
    let beyond = sit(&seats, 1).unwrap();
    assert!(beyond.seat.works() && !beyond.seat.goes_aside());
    let other = sit(&seats, 2).unwrap();
    assert!(other.seat.works() && other.seat.goes_aside());
    let third = sit(&seats, 3).unwrap();
    assert!(
        third.seat.works() && !third.seat.goes_aside(),
        "no place is left"
    );
    assert_eq!(seats.taken(), 10);
    // Two of four seats are taken; whoever is aside, and writes, gives nobody a third.
    for guest in &aside {
        guest.seat.writes();
    }
    a_while();
    let more: Vec<_> = (4..6).map(|peer| sit(&seats, peer).unwrap()).collect();
    for guest in &more {
        assert!(!guest.seat.is_reserved() && guest.seat.works());
    }
    assert!(sit(&seats, 6).unwrap().seat.is_reserved());
    assert!(aside.iter().all(|guest| !guest.seat.is_sent_away()));
    // No seat is free to come back to; then one is.
    assert!(!aside[0].seat.comes_back());
    drop(more);
    assert!(aside[0].seat.comes_back() && aside[0].seat.comes_back());
    assert!(aside[1].seat.comes_back());
    assert!(
        !aside[2].seat.comes_back(),
        "the peer has its share of seats"
    );
    assert!(aside[0].seat.goes_aside(), "and aside again");
    drop((aside, beyond, other, third));
    let table = seats.lock();
    assert!(table.of_peer.is_empty());
    assert_eq!((table.ordinary, table.aside, table.open()), (0, 0, 0));
}
