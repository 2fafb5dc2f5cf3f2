//! Sockets that cannot be had: one failure, one channel, a pause that grows.

use std::time::Duration;

use super::bench::{Bench, settings, topic};
use crate::channel::Channel;
use crate::rest::Op;
use crate::session::{self, End};
use crate::*;
use base::cause::Cause;

/// Refuses every socket from now on for so long; how many were tried.
pub(super) fn refuse(b: &mut Bench, end: &End, length: Duration) -> usize {
    refuse_some(b, |_| Some(end.clone()), length)
}

/// Refuses those sockets, by where they lead, and lets the others serve.
fn refuse_some(b: &mut Bench, refused: impl Fn(&str) -> Option<End>, length: Duration) -> usize {
    let until = b.now.plus(length);
    let mut tried = 0;
    loop {
        while let Some(output) = b.client.poll_output() {
            b.client.audit().unwrap();
            match output {
                Output::OpenSocket {
                    socket,
                    connect_uri,
                } => {
                    tried += 1;
                    let uri = connect_uri.expose().to_string();
                    let fact = refused(&uri).map_or(session::Fact::Opened, session::Fact::Ended);
                    b.sockets.push((socket, uri));
                    b.client.handle(Input::Session { socket, fact }, b.now);
                }
                Output::Call { call, op, .. } => b.call(call, op),
                Output::Session { socket, order } => b.obey(socket, order),
                Output::Keep(rows) => b.client.handle(Input::Kept(rows), b.now),
                Output::Fact(fact) => b.facts.push(fact),
                Output::Notice(notice) => {
                    b.labels.push(notice.label);
                    b.texts.push(notice.text);
                }
            }
        }
        if b.now.mono >= until.mono {
            return tried;
        }
        // Whoever comes back when told finds something to do: no deadline lies in the past.
        let due = b.client.next_deadline(b.now).map_or(until.mono, |d| d.at);
        let step = due.min(until.mono).since(b.now.mono);
        b.now = b.now.plus(step.max(Duration::from_millis(1)));
        b.client.handle(Input::Tick, b.now);
    }
}

pub(super) fn made(b: &Bench) -> usize {
    b.calls
        .iter()
        .filter(|(_, op)| *op == Op::CreateChannel)
        .count()
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn while_every_upgrade_is_refused_one_channel_serves_for_an_hour_of_tries() {
    for (status, most) in [
        (403, 2),
        (429, 2),
        (503, 2),
        (302, 2),
        (407, 2),
        (404, 5),
        (401, 5),
    ] {
        let mut b = Bench::new(settings());
        // The first channel is made for demand to come; its socket is lost.
        let socket = b.sockets[0].0;
        b.calls.clear();
        b.client.handle(
            Input::Session {
                socket,
                fact: session::Fact::Ended(End::Broken("x".into())),
            },
            b.now,
        );
        b.client.handle(Input::Watch(topic(1)), b.now);
        let tried = refuse(&mut b, &End::refused(status), HOUR);
        assert!(
            (10..=30).contains(&tried),
            "{status}: {tried} upgrades in an hour"
        );
        assert!(
            made(&b) <= most,
            "{status}: {} channels in an hour",
            made(&b)
        );
        assert!(
            b.labels.contains(&"socket-refused"),
            "{status}: {:?}",
            b.labels
        );
        assert!(
            !b.labels.contains(&"channel-evicted"),
            "{status}: {:?}",
            b.labels
        );
        let said = b.texts.iter().find(|t| t.contains(&status.to_string()));
        assert!(said.is_some_and(|t| t.contains("proxy")), "{:?}", b.texts);
        let (trouble, since) = b.client.snapshot(b.now).socket_trouble.unwrap();
        assert_eq!(trouble.status(), Some(status));
        assert!(since > HOUR / 2);
        assert!(b.client.snapshot(b.now).dark_for > HOUR / 2);
        // Then they are accepted again.
        b.pass(Duration::from_secs(400));
        assert_eq!(b.live(), 1, "{status}");
        assert_eq!(b.client.snapshot(b.now).socket_trouble, None);
        assert!(b.labels.contains(&"socket-again"), "{:?}", b.labels);
    }
}

#[test]
fn a_streaming_host_that_cannot_be_reached_costs_few_channels() {
    let mut b = Bench::new(settings());
    let socket = b.sockets[0].0;
    b.calls.clear();
    b.client.handle(
        Input::Session {
            socket,
            fact: session::Fact::Ended(End::Broken("x".into())),
        },
        b.now,
    );
    b.client.handle(Input::Watch(topic(1)), b.now);
    let unreached = End::unreached(Cause::CertificateExpired);
    let tried = refuse(&mut b, &unreached, HOUR);
    assert!(tried <= 180, "{tried}");
    assert!(made(&b) <= 6, "{} channels", made(&b));
    let said = b.texts.iter().find(|t| t.contains("expired"));
    assert!(said.is_some(), "{:?}", b.texts);
    b.pass(Duration::from_secs(60));
    assert_eq!(b.live(), 1);
}

#[test]
fn a_pause_that_is_asked_for_is_kept_by_all_channels() {
    let mut b = Bench::new(settings());
    for n in 0..30 {
        b.watch(n);
    }
    let sockets: Vec<_> = b.sockets.iter().map(|(s, _)| *s).collect();
    assert!(sockets.len() >= 3);
    for socket in sockets {
        let fact = session::Fact::Ended(End::Broken("x".into()));
        b.client.handle(Input::Session { socket, fact }, b.now);
    }
    b.calls.clear();
    let end = End::UpgradeRefused {
        status: 503,
        retry_after: Some(Duration::from_secs(600)),
    };
    let tried = refuse(&mut b, &end, Duration::from_secs(590));
    assert!(tried <= 4, "{tried} sockets within the pause");
    assert_eq!(made(&b), 0, "no channel is given up for that");
    b.pass(Duration::from_secs(30));
    assert_eq!(b.live(), 30);
}

#[test]
fn twenty_channels_that_are_gone_are_replaced_as_soon_as_one_new_one_serves() {
    let mut b = Bench::new(Settings {
        max_channels: 20,
        ..settings()
    });
    for n in 0..100 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(300));
    let sockets: Vec<_> = b.sockets.iter().map(|(s, _)| *s).collect();
    let count = sockets.len();
    assert!(count >= 10);
    for socket in sockets {
        b.end(socket, End::refused(404));
    }
    b.pass(Duration::from_secs(40));
    assert_eq!(b.live(), 100);
}

#[test]
fn while_the_channels_of_each_token_are_refused_few_are_made() {
    // A token for five minutes, and topics for all four channels.
    let mut b = Bench::with(settings(), &[], 300);
    b.drain();
    for n in 0..40 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    let length = Duration::from_secs(3600);
    refuse(&mut b, &End::refused(404), length);
    let tokens = b.calls.iter().filter(|(_, op)| *op == Op::Token).count();
    assert!(tokens >= 12, "{tokens}");
    assert!(
        made(&b) <= 4 + 2 * tokens,
        "{} of {tokens} tokens",
        made(&b)
    );
    b.pass(Duration::from_secs(400));
    assert_eq!(b.live(), 40);
}

#[test]
fn channels_that_cannot_be_had_are_no_places_to_come() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let end = End::UpgradeRefused {
        status: 403,
        retry_after: None,
    };
    for n in 8..30 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    refuse(&mut b, &end, Duration::from_secs(600));
    let told = b.client.snapshot(b.now);
    let short = b.facts.iter().rev().find_map(|f| match f {
        Fact::Short { others, .. } => Some(*others),
        _ => None,
    });
    assert_eq!(
        (told.topics_live, told.topics_waiting, short),
        (10, 20, Some(20))
    );
}

#[test]
fn channels_of_a_token_that_ended_while_sockets_were_refused_are_replaced_soon_after() {
    let mut b = Bench::with(settings(), &[], 7200);
    b.drain();
    for n in 0..30 {
        b.watch(n);
    }
    assert_eq!(b.live(), 30);
    for (socket, _) in b.sockets.clone() {
        b.end(socket, End::Broken("x".into()));
    }
    refuse(&mut b, &End::refused(429), 3 * HOUR);
    let tokens = b.calls.iter().filter(|(_, op)| *op == Op::Token).count();
    assert!(tokens >= 2, "{tokens}");
    // What the earlier token made is gone.
    let gone: Vec<String> = (1..=b.made).map(|n| format!("{}/{n}", b.leads)).collect();
    let refused = |uri: &str| gone.iter().any(|g| g == uri).then(|| End::refused(401));
    refuse_some(&mut b, refused, Duration::from_secs(900));
    assert_eq!(b.live(), 30);
}

#[test]
fn channels_that_wait_do_not_keep_a_new_token_from_being_tried() {
    // A token for five minutes, one channel that serves, and sockets refused beside it.
    let mut b = Bench::with(settings(), &[], 300);
    b.drain();
    for n in 0..10 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    refuse(&mut b, &End::refused(404), Duration::from_secs(280));
    // What was made so far is gone, and so are the next two.
    let gone: Vec<String> = (1..=b.made + 2)
        .map(|n| format!("{}/{n}", b.leads))
        .collect();
    let refused = |uri: &str| gone.iter().any(|g| g == uri).then(|| End::refused(404));
    let tokens = |b: &Bench| b.calls.iter().filter(|(_, op)| *op == Op::Token).count();
    let before = tokens(&b);
    while tokens(&b) == before {
        refuse_some(&mut b, refused, Duration::from_millis(100));
    }
    refuse_some(&mut b, refused, Duration::from_secs(60));
    assert_eq!(b.live(), 10);
}

#[test]
fn a_successor_that_was_kept_waiting_has_its_time_once_it_is_dialled() {
    // Channels for two hours, handed over an hour before; one socket is refused from shortly
    // before on, and the successor of another channel waits for what becomes of it.
    let mut b = Bench::with(settings(), &[], 86_400);
    b.life_said = 7_200_000;
    b.drain();
    for n in 0..20 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(23 * 60));
    let socket = b.sockets[0].0;
    let fact = session::Fact::Ended(End::Broken("x".into()));
    b.client.handle(Input::Session { socket, fact }, b.now);
    refuse(&mut b, &End::refused(429), Duration::from_secs(39 * 60));
    let waits = |c: &Channel| c.successor_of.is_some() && c.waits_for_socket();
    assert!(b.client.channels.values().any(waits));
    refuse_some(&mut b, |_| None, Duration::from_secs(400));
    let told = b.client.snapshot(b.now);
    assert_eq!(told.handovers_failed_total, 0);
    assert!(told.handovers_total >= 1);
    assert_eq!(b.live(), 20);
}

#[test]
fn channels_of_an_earlier_run_that_are_gone_are_replaced_as_soon_as_one_new_one_serves() {
    let settings = || Settings {
        max_channels: 20,
        ..settings()
    };
    let mut first = Bench::new(settings());
    for n in 0..180 {
        first.watch(n);
    }
    for (status, kept) in [(401, first.kept.len()), (404, first.kept.len()), (401, 8)] {
        let mut b = Bench::with(settings(), &first.kept[..kept], 86_400);
        b.made = first.made;
        for n in 0..180 {
            b.client.handle(Input::Watch(topic(n)), b.now);
        }
        let gone = first.kept.iter().map(|row| row.connect_uri.expose());
        let gone: Vec<String> = gone.map(String::from).collect();
        let refused = |uri: &str| {
            let gone = gone.iter().any(|g| g == uri);
            gone.then(|| End::refused(status))
        };
        refuse_some(&mut b, refused, Duration::from_secs(3));
        assert_eq!(b.live(), 180, "{status}, {kept} kept");
        assert!(!b.labels.contains(&"socket-refused"), "{:?}", b.texts);
    }
}

#[test]
fn new_channels_that_are_refused_together_do_not_wait_for_each_other() {
    let mut b = Bench::new(settings());
    b.opening = false;
    for n in 0..20 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    b.drain();
    let sockets: Vec<_> = b.sockets.iter().map(|(s, _)| *s).collect();
    assert!(sockets.len() >= 2, "{sockets:?}");
    for socket in sockets {
        b.end(socket, End::refused(404));
    }
    refuse_some(&mut b, |_| None, Duration::from_secs(10));
    assert_eq!(b.live(), 20);
}
