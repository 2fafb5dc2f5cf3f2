//! One channel takes over from another, or one socket from another: nothing is dark meanwhile.

use std::time::Duration;

use super::super::session::{self, End};
use super::super::*;
use super::bench::{Bench, gaps, settings};

#[test]
fn a_closing_notice_opens_a_second_socket_on_the_same_channel_without_a_gap() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    b.facts.clear();
    b.give(Input::Session {
        socket: first,
        fact: session::Fact::Closing,
    });
    b.give(Input::Session {
        socket: first,
        fact: session::Fact::Closing,
    });
    b.pass(Duration::from_secs(3));
    assert_eq!(b.sockets.len(), 1, "the first was told to close");
    assert_ne!(b.sockets[0].0, first);
    assert_eq!(b.sockets[0].1, uri);
    assert_eq!((gaps(&b.facts), b.live(), b.made), (0, 8, 1));
}

#[test]
fn a_refused_second_socket_leads_to_a_new_channel_made_before_the_old_one_is_dropped() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let (first, _) = b.sockets[0].clone();
    b.facts.clear();
    b.client.handle(
        Input::Session {
            socket: first,
            fact: session::Fact::Closing,
        },
        b.now,
    );
    // The second socket is refused as soon as it is ordered.
    let mut refused = false;
    for _ in 0..200 {
        b.now = b.now.plus(Duration::from_millis(10));
        b.client.handle(Input::Tick, b.now);
        while let Some(output) = b.client.poll_output() {
            if let Output::OpenSocket { socket, .. } = output
                && !refused
            {
                refused = true;
                let fact = session::Fact::Ended(End::UpgradeRefused(404));
                b.client.handle(Input::Session { socket, fact }, b.now);
            } else if let Output::Call { call, op, .. } = output {
                b.call(call, op);
            } else if let Output::OpenSocket {
                socket,
                connect_uri,
            } = output
            {
                b.sockets.push((socket, connect_uri.expose().into()));
                b.client.handle(
                    Input::Session {
                        socket,
                        fact: session::Fact::Opened,
                    },
                    b.now,
                );
            } else if let Output::Session { socket, order } = output {
                b.obey(socket, order);
            } else if let Output::Fact(fact) = output {
                b.facts.push(fact);
            } else if let Output::Keep(rows) = output {
                b.client.handle(Input::Kept(rows), b.now);
            }
        }
    }
    assert!(refused);
    // Who knows since when the channel was gone: its first socket may have been mute.
    assert_eq!((gaps(&b.facts), b.live(), b.made), (8, 8, 2));
    assert!(
        !b.sockets.iter().any(|(s, _)| *s == first),
        "the old socket is closed"
    );
}

#[test]
fn channels_are_handed_over_before_their_token_ends_and_no_topic_is_ever_dark() {
    let mut b = Bench::with(settings(), &[], 3600);
    b.drain();
    for n in 0..25 {
        b.watch(n);
    }
    b.facts.clear();
    for _ in 0..48 * 6 {
        b.pass(Duration::from_secs(600));
        assert_eq!(b.live(), 25);
        assert!(b.client.held().0 <= 4);
    }
    assert_eq!(gaps(&b.facts), 0);
    let s = b.client.snapshot(b.now);
    assert!(s.handovers_total >= 3 * 47, "{}", s.handovers_total);
}

#[test]
fn a_predecessor_that_turns_out_to_be_gone_leaves_its_topics_in_doubt() {
    // It may have been mute for hours while its socket was beating: the topics were live
    // on the successor, and nobody asked what had been missed before.
    let mut b = Bench::with(settings(), &[], 3600);
    b.drain();
    for n in 0..5 {
        b.watch(n);
    }
    let (first, _) = b.sockets[0].clone();
    b.facts.clear();
    b.confirming = false;
    for _ in 0..4000 {
        b.pass(Duration::from_secs(1));
        let orders = std::mem::take(&mut b.orders);
        for (socket, order) in orders {
            match order {
                session::Order::Subscribe { ticket, .. } => b.give(Input::Session {
                    socket,
                    fact: session::Fact::Subscribed { ticket },
                }),
                session::Order::Unsubscribe { .. } if socket == first => {
                    assert_eq!(gaps(&b.facts), 0);
                    b.give(Input::Session {
                        socket,
                        fact: session::Fact::ChannelGone,
                    });
                    assert_eq!((gaps(&b.facts), b.live()), (5, 5));
                    return;
                }
                _ => {}
            }
        }
    }
    panic!("no hand-over");
}
