use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::super::stub::{Stub, Then, reply, tls_file};
use super::*;
use base::rows::{Leg, RecordKind, RecordState, Source};
use base::time::Wall;
use base::wire::NoAnswer;
use notifications::rest::{HttpSettings, agent};
use notifications::tls::Trust;

const PATIENCE: Duration = Duration::from_secs(20);

fn id(n: u8) -> RecordId {
    RecordId::from_str(&format!("7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c{n:02x}")).unwrap()
}

fn row(record: RecordId) -> RecordRow {
    RecordRow {
        record,
        kind: RecordKind::AfterCallWork,
        conversation: None,
        source: Source::Notification,
        leg: Leg::default(),
        ordinal: 0,
        event_time: None,
        matched_time: None,
        content_digest: None,
        received_at: Wall(0),
        state: RecordState::Queued,
        attempts: 0,
        next_try: None,
        patience_used: Duration::ZERO,
        delivered_at: None,
        last_error: None,
    }
}

fn forwarders(url: String) -> (Forwarders, Receiver<(RecordId, PostOutcome)>) {
    let (tell, outcomes) = unbounded();
    let settings = HttpSettings {
        trust: Trust::load(Some(&tls_file("test-only-ca.certificate.pem"))).unwrap(),
        identity: None,
        proxy: None,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        threads: 4,
    };
    let forwarders = Forwarders {
        workers: 4,
        url,
        headers: vec![("X-Source".into(), "genesys".into())],
        bearer_token_file: None,
        agent: agent(&settings).into(),
        elsewhere: Box::new(|_| Ok(false)),
        load: Box::new(|record| Ok(Some((row(record), Some("B".into()), Some("M".into()))))),
        render: Box::new(|row, body, members| Ok(format!("{} {body:?} {members:?}", row.record))),
        report: Box::new(move |record, outcome| {
            let _ = tell.send((record, outcome));
        }),
        clock: Arc::new(Clock::new()),
    };
    (forwarders, outcomes)
}

/// Posts one record with these forwarders; what came of it.
fn one(forwarders: Forwarders, outcomes: &Receiver<(RecordId, PostOutcome)>) -> PostOutcome {
    let pool = ForwardPool::start(forwarders).unwrap();
    pool.send(id(1)).unwrap();
    let (record, outcome) = outcomes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(record, id(1));
    assert!(pool.stop(Instant::now() + PATIENCE));
    assert!(outcomes.try_recv().is_err(), "one outcome each");
    outcome
}

fn answered(status: u16, retry_after: Option<u64>, excerpt: &str) -> PostOutcome {
    PostOutcome::Answered {
        status,
        retry_after: retry_after.map(Duration::from_secs),
        excerpt: excerpt.into(),
    }
}

#[test]
fn a_record_is_posted_with_its_key_its_body_and_the_configured_headers() {
    let stub = Stub::start(|_, out| reply(out, 201, "", b"thanks"));
    let (forwarders, outcomes) = forwarders(stub.url("/communications?x=1"));
    assert_eq!(one(forwarders, &outcomes), answered(201, None, ""));
    let got = stub.got().pop().unwrap();
    assert_eq!(got.line, "POST /communications?x=1 HTTP/1.1");
    assert_eq!(got.headers["idempotency-key"], id(1).to_string());
    assert_eq!(got.headers["content-type"], "application/json");
    assert_eq!(got.headers["x-source"], "genesys");
    assert!(got.headers["user-agent"].starts_with("genesys-gateway/"));
    assert!(!got.headers.contains_key("authorization"));
    assert_eq!(got.body, format!("{} Some(\"B\") Some(\"M\")", id(1)));
}

#[test]
fn answers_are_told_with_status_waiting_time_and_the_start_of_a_refusal() {
    for (status, header, body, expected) in [
        (409, "", "known", answered(409, None, "")),
        (503, "Retry-After: 30\r\n", "", answered(503, Some(30), "")),
        (
            429,
            "Retry-After: soon\r\n",
            "busy",
            answered(429, None, "busy"),
        ),
        (302, "Location: /elsewhere\r\n", "", answered(302, None, "")),
        (401, "", "who?", answered(401, None, "who?")),
        (
            422,
            "",
            "{\"bad\":\r\n \"\u{1b}[31mnotes\"}",
            answered(422, None, "{\"bad\": \" [31mnotes\"}"),
        ),
        (
            503,
            "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            "",
            answered(503, Some(0), ""),
        ),
    ] {
        let stub = Stub::start(move |_, out| reply(out, status, header, body.as_bytes()));
        let (forwarders, outcomes) = forwarders(stub.url("/"));
        assert_eq!(one(forwarders, &outcomes), expected, "{status} {header}");
        assert_eq!(stub.got().len(), 1);
    }
}

#[test]
fn an_excerpt_is_bounded_and_repeats_no_secret_of_ours() {
    let stub = Stub::start(|got, out| {
        let echo = format!("{:?} {}", got.headers, "x".repeat(1_000_000));
        reply(out, 400, "", echo.as_bytes())
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "t0ken-value\n").unwrap();
    let (mut forwarders, outcomes) = forwarders(stub.url("/"));
    forwarders.headers = vec![("A-Key".into(), "hush-hush-hush".into())];
    forwarders.bearer_token_file = Some(file);
    let PostOutcome::Answered { excerpt, .. } = one(forwarders, &outcomes) else {
        panic!("no answer");
    };
    assert_eq!(excerpt.chars().count(), EXCERPT_MAX);
    assert!(excerpt.contains("[hidden]"), "{excerpt}");
    assert!(
        !excerpt.contains("hush") && !excerpt.contains("t0ken"),
        "{excerpt}"
    );
}

#[test]
fn a_status_counts_although_its_body_breaks_off() {
    let stub = Stub::start(|_, out| {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        Then::Close
    });
    let (forwarders, outcomes) = forwarders(stub.url("/"));
    assert_eq!(one(forwarders, &outcomes), answered(200, None, ""));
}

#[test]
fn no_answer_and_an_unreadable_record_are_told_apart() {
    let stub = Stub::start(|_, _| Then::Close);
    let (posted, outcomes) = forwarders(stub.url("/"));
    assert_eq!(
        one(posted, &outcomes),
        PostOutcome::NoAnswer(NoAnswer::Unknown)
    );

    let (mut lost, outcomes) = forwarders(stub.url("/"));
    lost.load = Box::new(|_| Err("no such\nrow".into()));
    assert_eq!(
        one(lost, &outcomes),
        PostOutcome::NotRead("no such row".into())
    );

    let (mut gone, outcomes) = forwarders(stub.url("/"));
    gone.load = Box::new(|_| Ok(None));
    assert!(matches!(one(gone, &outcomes), PostOutcome::Unreadable(_)));

    let (mut odd, outcomes) = forwarders(stub.url("/"));
    odd.render = Box::new(|_, _, _| Err("the template fails".into()));
    assert_eq!(
        one(odd, &outcomes),
        PostOutcome::Unreadable("the template fails".into())
    );
    assert_eq!(stub.got().len(), 1);
}

#[test]
fn a_bearer_token_is_read_again_when_its_file_changes() {
    let stub = Stub::start(|_, out| reply(out, 200, "", b""));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let (mut forwarders, outcomes) = forwarders(stub.url("/"));
    forwarders.bearer_token_file = Some(file.clone());
    let pool = ForwardPool::start(forwarders).unwrap();
    let used = || {
        pool.send(id(1)).unwrap();
        outcomes.recv_timeout(PATIENCE).unwrap();
        stub.got().pop().unwrap().headers["authorization"].clone()
    };
    assert_eq!(used(), "Bearer first");
    std::fs::write(&file, "second-and-longer").unwrap();
    assert_eq!(used(), "Bearer second-and-longer");
    std::fs::write(&file, "two\nlines").unwrap();
    assert_eq!(
        used(),
        "Bearer second-and-longer",
        "rubbish changes nothing"
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(used(), "Bearer second-and-longer");
    std::fs::write(&file, "third\r\n").unwrap();
    assert_eq!(used(), "Bearer third");
}

#[test]
fn after_a_401_a_changed_token_is_tried_at_once_and_an_unchanged_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old-1").unwrap();
    let replaced = file.clone();
    let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
    let stub = Stub::start(move |got, out| {
        if got.headers["authorization"] == "Bearer new-1" {
            return reply(out, 200, "", b"");
        }
        // Replaced without a trace in length or time: only the 401 tells.
        std::fs::write(&replaced, "new-1").unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(&replaced)
            .unwrap();
        file.set_modified(modified).unwrap();
        reply(out, 401, "", b"expired")
    });
    let (mut changed, outcomes) = forwarders(stub.url("/"));
    changed.bearer_token_file = Some(file.clone());
    assert_eq!(one(changed, &outcomes), answered(200, None, ""));
    assert_eq!(stub.got().len(), 2);

    let stub = Stub::start(|_, out| reply(out, 401, "", b"no"));
    let (mut unchanged, outcomes) = forwarders(stub.url("/"));
    unchanged.bearer_token_file = Some(file);
    assert_eq!(one(unchanged, &outcomes), answered(401, None, "no"));
    assert_eq!(stub.got().len(), 1);
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let url = || String::from("http://127.0.0.1:1/");
    let shown = |change: &dyn Fn(&mut Forwarders)| {
        let (mut forwarders, _) = forwarders(url());
        change(&mut forwarders);
        ForwardPool::start(forwarders).unwrap_err().to_string()
    };
    for bad in ["", "ftp://h/", "/path", "h"] {
        let said = shown(&|f| f.url = bad.into());
        assert!(said.contains("url"), "{bad}: {said}");
    }
    for (name, value) in [
        ("a b", "x"),
        ("a", "x\r\ny: z"),
        ("Idempotency-Key", "mine"),
        ("AUTHORIZATION", "Basic x"),
        ("Content-Length", "0"),
    ] {
        let said = shown(&|f| f.headers = vec![(name.into(), value.into())]);
        assert!(said.contains(name), "{said}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    assert!(shown(&|f| f.bearer_token_file = Some(file.clone())).contains("no such file"));
    std::fs::write(&file, "\n").unwrap();
    let said = shown(&|f| f.bearer_token_file = Some(file.clone()));
    assert!(said.contains("the file is empty"), "{said}");
    std::fs::write(&file, "t0k\u{200b}en\n").unwrap();
    let said = shown(&|f| f.bearer_token_file = Some(file.clone()));
    assert!(said.contains("U+200B") && !said.contains("t0k"), "{said}");
}

#[test]
fn every_order_has_one_outcome_and_the_workers_share_their_connections() {
    let stub = Stub::start(|_, out| {
        std::thread::sleep(Duration::from_millis(2));
        reply(out, 200, "", b"ok")
    });
    let (forwarders, outcomes) = forwarders(stub.url("/"));
    let pool = ForwardPool::start(forwarders).unwrap();
    for batch in 0..20u8 {
        for n in 0..4 {
            pool.send(id(batch * 4 + n)).unwrap();
        }
        for _ in 0..4 {
            let (_, outcome) = outcomes.recv_timeout(PATIENCE).unwrap();
            assert_eq!(outcome, answered(200, None, ""));
        }
    }
    let got = stub.got();
    let mut keys: Vec<_> = got
        .iter()
        .map(|g| g.headers["idempotency-key"].clone())
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!((got.len(), keys.len()), (80, 80));
    assert!(got.iter().all(|g| g.connection < 4));
}

#[test]
fn stopping_waits_for_what_is_under_way_and_aborting_does_not() {
    let slow = Arc::new(AtomicU16::new(200));
    let ms = slow.clone();
    let stub = Stub::start(move |_, out| {
        std::thread::sleep(Duration::from_millis(ms.load(Ordering::SeqCst).into()));
        reply(out, 200, "", b"")
    });
    let arrived = |n: usize| {
        let until = Instant::now() + PATIENCE;
        while stub.got().len() < n && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(stub.got().len(), n);
    };
    let (patient, outcomes) = forwarders(stub.url("/"));
    let pool = ForwardPool::start(patient).unwrap();
    pool.send(id(1)).unwrap();
    arrived(1);
    assert!(pool.stop(Instant::now() + PATIENCE));
    assert_eq!(outcomes.try_recv().unwrap().1, answered(200, None, ""));

    slow.store(4_000, Ordering::SeqCst);
    let (hasty, outcomes) = forwarders(stub.url("/"));
    let pool = ForwardPool::start(hasty).unwrap();
    pool.send(id(2)).unwrap();
    arrived(2);
    let began = Instant::now();
    assert!(pool.abort(Instant::now() + PATIENCE));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(matches!(
        outcomes.try_recv().unwrap().1,
        PostOutcome::NoAnswer(_)
    ));
}
