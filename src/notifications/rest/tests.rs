use std::net::TcpListener;

use crossbeam_channel::unbounded;

use super::super::stub::{Stub, Then, reply, tls_file};
use super::*;
use base::cause::Cause;
use proto::rest::Answer;

const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> HttpSettings {
    HttpSettings {
        trust: Trust::load(Some(&tls_file("test-only-ca.certificate.pem"))).unwrap(),
        identity: None,
        proxy: None,
        timeout: PATIENCE,
        connect_timeout: Duration::from_secs(5),
        threads: 4,
    }
}

fn impatient() -> Agent {
    agent(&HttpSettings {
        timeout: Duration::from_millis(300),
        ..settings()
    })
}

fn unreached(cause: Cause) -> Result<Response, NoAnswer> {
    Err(NoAnswer::Unreached(cause))
}

fn request(method: &'static str, url: String, body: &str) -> Request {
    Request {
        method,
        url,
        headers: vec![("X-Test".into(), "yes".into())],
        body: body.into(),
    }
}

fn get(agent: &Agent, url: String) -> Result<Response, NoAnswer> {
    perform(agent, &request("GET", url, ""), Body::Whole(1000))
}

#[test]
fn every_method_goes_out_with_its_headers_body_and_length() {
    let stub = Stub::start(|got, out| {
        let body: &[u8] = if got.line.starts_with("HEAD") {
            b""
        } else {
            b"{}"
        };
        reply(out, 200, "", body)
    });
    let agent = agent(&settings());
    for (method, body) in [
        ("GET", ""),
        ("HEAD", ""),
        ("POST", ""),
        ("POST", "[1]"),
        ("PUT", "[1]"),
        ("DELETE", ""),
    ] {
        let answer = perform(
            &agent,
            &request(method, stub.url("/p?q=1"), body),
            Body::Whole(10),
        );
        assert_eq!(answer.unwrap().status, 200, "{method}");
        let got = stub.got().pop().unwrap();
        assert_eq!(got.line, format!("{method} /p?q=1 HTTP/1.1"));
        assert_eq!(
            (got.body.as_str(), got.headers["x-test"].as_str()),
            (body, "yes")
        );
        if method == "POST" || method == "PUT" {
            assert_eq!(got.headers["content-length"], body.len().to_string());
        }
    }
}

#[test]
fn no_status_is_an_error_and_no_redirect_is_followed() {
    let stub = Stub::start(|got, out| {
        let status = got.line.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        reply(
            out,
            status,
            "Location: /200\r\nRetry-After: 7\r\n",
            b"words",
        )
    });
    let agent = agent(&settings());
    for status in [200, 201, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503] {
        for method in ["GET", "POST"] {
            let url = stub.url(&format!("/{status}"));
            let body = if method == "POST" { "x" } else { "" };
            let answer = perform(&agent, &request(method, url, body), Body::Whole(10)).unwrap();
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (status, &b"words"[..])
            );
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
    }
    assert_eq!(stub.got().len(), 24);
}

#[test]
fn bodies_are_read_up_to_their_limit_and_no_further() {
    let stub = Stub::start(|got, out| {
        let status = if got.line.contains("/bad") { 503 } else { 200 };
        reply(out, status, "", &[b'x'; 100])
    });
    let agent = agent(&settings());
    let of = |path, body| perform(&agent, &request("GET", stub.url(path), ""), body);
    assert_eq!(of("/", Body::Whole(100)).unwrap().body.len(), 100);
    assert_eq!(of("/", Body::Whole(99)), Err(NoAnswer::Garbled));
    assert_eq!(of("/", Body::Start(99)).unwrap().body.len(), 99);
    assert_eq!(of("/bad", Body::Whole(99)).unwrap().body.len(), 99);
}

#[test]
fn a_body_that_breaks_off_spoils_only_an_answer_whose_body_matters() {
    let stub = Stub::start(|_, out| {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        Then::Close
    });
    let agent = agent(&settings());
    assert_eq!(get(&agent, stub.url("/")), Err(NoAnswer::Unknown));
    let answer = perform(&agent, &request("GET", stub.url("/"), ""), Body::Start(10)).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"half"[..]));
}

#[test]
fn the_lack_of_an_answer_says_what_is_known_of_the_request() {
    let closed = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().port()
    };
    let agent = agent(&settings());
    assert_eq!(
        get(&agent, format!("http://127.0.0.1:{closed}/")),
        unreached(Cause::Refused)
    );
    for nowhere in ["http://127.0.0.1:1:2/", "no address", "http://h:99999/"] {
        let answer = get(&agent, nowhere.into());
        assert_eq!(answer, unreached(Cause::NotAnAddress), "{nowhere}");
    }
    let stub = Stub::start(|got, out| {
        if got.line.contains("/garbage") {
            let _ = out.write_all(b"SSH-2.0-OpenSSH_9\r\n\r\n");
        }
        if got.line.contains("/headers") {
            let line = format!("X: {}\r\n", "x".repeat(1000));
            let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(60));
            let _ = out.write_all(head.as_bytes());
        }
        Then::Close
    });
    assert_eq!(get(&agent, stub.url("/close")), Err(NoAnswer::Unknown));
    assert_eq!(get(&agent, stub.url("/garbage")), Err(NoAnswer::Garbled));
    // More fields than anybody reads: the status line decides.
    let answer = get(&agent, stub.url("/headers")).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let mut with_bad_header = request("GET", stub.url("/"), "");
    with_bad_header
        .headers
        .push(("A".into(), "b\r\nC: d".into()));
    let answer = perform(&agent, &with_bad_header, Body::Whole(1));
    assert_eq!(answer, Err(NoAnswer::NotSent));
}

#[test]
fn an_exchange_ends_within_its_time_however_the_answer_trickles() {
    let stub = Stub::start(|got, out| {
        if got.line.contains("/silent") {
            std::thread::sleep(Duration::from_secs(2));
            return Then::Close;
        }
        if got.line.contains("/body") {
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        }
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" {
            std::thread::sleep(Duration::from_millis(25));
            if out.write_all(&[*byte]).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        Then::Close
    });
    let agent = impatient();
    for path in ["/silent", "/head", "/body"] {
        let began = Instant::now();
        assert_eq!(
            get(&agent, stub.url(path)),
            Err(NoAnswer::TimedOut),
            "{path}"
        );
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn connections_are_used_again_one_per_thread() {
    let stub = Stub::start(|_, out| reply(out, 200, "", &[b'x'; 500]));
    let agent = agent(&settings());
    for _ in 0..20 {
        get(&agent, stub.url("/")).unwrap();
    }
    assert!(stub.got().iter().all(|got| got.connection == 0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    get(&agent, stub.url("/")).unwrap();
                }
            });
        }
    });
    let connections = stub.got().iter().map(|got| got.connection).max().unwrap();
    assert!(connections < 4, "{connections}");
}

#[test]
fn tls_trusts_the_configured_authority_alone_and_shows_our_certificate_when_asked() {
    let url = |stub: &Stub| format!("https://localhost:{}/", stub.port);
    let plain = Stub::start_tls(false, |_, out| reply(out, 200, "", b""));
    let mutual = Stub::start_tls(true, |_, out| reply(out, 200, "", b""));
    let ours = agent(&settings());
    assert_eq!(get(&ours, url(&plain)).unwrap().status, 200);
    assert!(get(&ours, url(&mutual)).is_err());
    let stranger = agent(&HttpSettings {
        trust: Trust::load(Some(&tls_file("test-only-other-ca.certificate.pem"))).unwrap(),
        ..settings()
    });
    assert_eq!(
        get(&stranger, url(&plain)),
        unreached(Cause::CertificateIssuer)
    );
    let identity = Identity::load(
        &tls_file("test-only-client.certificate.pem"),
        &tls_file("test-only-client.key.pem"),
    );
    let known = agent(&HttpSettings {
        identity: Some(identity.unwrap()),
        ..settings()
    });
    assert_eq!(get(&known, url(&mutual)).unwrap().status, 200);
}

#[test]
fn certificates_and_keys_that_cannot_work_are_refused_when_they_are_loaded() {
    let file = tls_file;
    let client = || file("test-only-client.certificate.pem");
    let shown =
        |result: Result<Identity, super::super::tls::TlsError>| result.unwrap_err().to_string();
    let mismatch = shown(Identity::load(&client(), &file("test-only-server.key.pem")));
    assert!(mismatch.contains("cannot use"), "{mismatch}");
    assert!(shown(Identity::load(&client(), &client())).contains("no PEM private key"));
    let no_certificate = shown(Identity::load(&file("README.md"), &client()));
    assert!(
        no_certificate.contains("no usable PEM certificate"),
        "{no_certificate}"
    );
    let missing = Trust::load(Some(&file("missing.pem")))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("cannot read"), "{missing}");
}

#[test]
fn other_hosts_are_reached_over_the_proxy_and_this_machine_is_not() {
    // The stub does not know CONNECT as such: the request line is what counts.
    let stub = Stub::start(|_, out| {
        let _ = out.write_all(b"HTTP/1.1 502 No\r\n\r\n");
        Then::Close
    });
    let address = format!("http://me:secret@127.0.0.1:{}", stub.port);
    let agent = agent(&HttpSettings {
        proxy: Some(Proxy::parse(&address).unwrap()),
        ..settings()
    });
    assert_eq!(
        get(&agent, "https://api.invalid/x".into()),
        unreached(Cause::ProxyRefuses(502))
    );
    let got = stub.got().pop().unwrap();
    assert_eq!(got.line, "CONNECT api.invalid:443 HTTP/1.1");
    assert_eq!(got.headers["proxy-authorization"], "Basic bWU6c2VjcmV0");
    assert_eq!(get(&agent, stub.url("/direct")).unwrap().status, 502);
    assert_eq!(stub.got().pop().unwrap().line, "GET /direct HTTP/1.1");
}

struct Rig {
    pool: RestPool,
    outcomes: Receiver<(u64, Outcome)>,
}

fn rig(url: String, agent: Agent, token_request: TokenRequest) -> Rig {
    let (tell, outcomes) = unbounded();
    let pool = RestPool::start(RestWorkers {
        workers: 2,
        queue: 4,
        endpoints: Endpoints {
            api_url: url.clone(),
            login_url: url,
        },
        agent: agent.into(),
        token_request,
        outcomes: Box::new(move |ticket, outcome| {
            let _ = tell.send((ticket, outcome));
        }),
        clock: Arc::new(Clock::new()),
        name: "rest".into(),
        given_up: Arc::default(),
    });
    Rig {
        pool: pool.unwrap(),
        outcomes,
    }
}

fn no_token() -> TokenRequest {
    Box::new(|_| Err(Failure::Garbled))
}

fn job(ticket: u64, op: Op) -> Job {
    Job {
        ticket,
        op,
        token: Some(Secret::new("t0ken")),
    }
}

#[test]
fn a_worker_asks_decodes_and_reports_under_the_ticket() {
    let stub = Stub::start(|got, out| match got.line.split(' ').nth(1).unwrap() {
        "/api/v2/tokens/timeout" => reply(
            out,
            200,
            "inin-ratelimit-count: 1\r\ninin-ratelimit-allowed: 300\r\ninin-ratelimit-reset: 60\r\n",
            br#"{"enableIdleTokenTimeout":true,"idleTokenTimeoutSeconds":900}"#,
        ),
        "/oauth/token" => reply(out, 200, "", br#"{"access_token":"new","expires_in":300}"#),
        _ => reply(out, 404, "", b""),
    });
    let login = stub.url("/oauth/token");
    let rig = rig(
        stub.url(""),
        agent(&settings()),
        Box::new(move |_| Ok(request("POST", login.clone(), "grant"))),
    );
    rig.pool.send(job(1, Op::IdleTimeout)).unwrap();
    let (ticket, outcome) = rig.outcomes.recv_timeout(PATIENCE).unwrap();
    let idle = Answer::IdleTimeout(Some(Duration::from_secs(900)));
    assert_eq!((ticket, outcome.result), (1, Ok(idle)));
    assert_eq!(outcome.limits.unwrap().allowed, 300);
    assert_eq!(stub.got()[0].headers["authorization"], "Bearer t0ken");

    let token = Job {
        ticket: 2,
        op: Op::Token,
        token: None,
    };
    rig.pool.send(token).unwrap();
    let (_, outcome) = rig.outcomes.recv_timeout(PATIENCE).unwrap();
    assert!(
        matches!(outcome.result, Ok(Answer::Token { .. })),
        "{outcome:?}"
    );
    assert_eq!(stub.got()[1].body, "grant");

    rig.pool.send(job(3, Op::KeepWarm)).unwrap();
    let (_, outcome) = rig.outcomes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(outcome.result, Err(Failure::NotFound));
    assert!(rig.pool.stop(Instant::now() + PATIENCE));
}

#[test]
fn a_token_request_that_cannot_be_composed_is_an_outcome_like_any_other() {
    let refusal = || Failure::Login {
        label: "assertion",
        sentence: "the command failed".into(),
        soon: true,
        retry_after: None,
    };
    let rig = rig(
        "http://127.0.0.1:1".into(),
        agent(&settings()),
        Box::new(move |_| Err(refusal())),
    );
    rig.pool.send(job(9, Op::Token)).unwrap();
    let (ticket, outcome) = rig.outcomes.recv_timeout(PATIENCE).unwrap();
    assert_eq!((ticket, outcome.result), (9, Err(refusal())));
    rig.pool.send(job(10, Op::KeepWarm)).unwrap();
    let (_, outcome) = rig.outcomes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        outcome.result,
        Err(Failure::NoAnswer(NoAnswer::Unreached(Cause::Refused)))
    );
}

#[test]
fn an_answer_that_is_too_large_asks_for_fewer() {
    let stub = Stub::start(|_, out| reply(out, 200, "", &vec![b' '; ANSWER_MAX + 1]));
    let rig = rig(stub.url(""), agent(&settings()), no_token());
    rig.pool.send(job(1, Op::ListChannels)).unwrap();
    let (_, outcome) = rig.outcomes.recv_timeout(PATIENCE).unwrap();
    let Err(Failure::BadRequest {
        status: 413,
        detail,
    }) = outcome.result
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(detail, "the answer is larger than 1 MiB");
}

#[test]
fn the_queue_is_bounded_and_stopping_breaks_off_what_is_under_way() {
    let (go, wait) = unbounded::<()>();
    let stub = Stub::start(move |_, _| {
        let _ = wait.recv_timeout(PATIENCE);
        Then::Close
    });
    let rig = rig(stub.url(""), agent(&settings()), no_token());
    let mut taken = 0;
    // Two under way and four waiting, once the workers have taken theirs.
    let until = Instant::now() + PATIENCE;
    while taken < 6 && Instant::now() < until {
        match rig.pool.send(job(taken, Op::KeepWarm)) {
            Ok(()) => taken += 1,
            Err(Full) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    while stub.got().len() < 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rig.pool.send(job(99, Op::KeepWarm)), Err(Full));
    let began = Instant::now();
    assert!(rig.pool.stop(Instant::now() + PATIENCE));
    assert!(began.elapsed() < PATIENCE / 2);
    let reported: Vec<_> = rig.outcomes.try_iter().map(|(_, o)| o.result).collect();
    assert_eq!(reported.len(), 2, "{reported:?}");
    drop(go);
}

#[test]
fn what_good_and_bad_answers_echo_of_a_secret_is_hidden_in_what_is_made_of_them() {
    let secret = Secret::new("a-secret-in-answers");
    redaction::learn(&secret);
    let stub = Stub::start(|got, out| {
        let status = if got.line.contains("good") { 200 } else { 403 };
        let body = br#"{"message":"a-secr\u0065t-in-answers","code":"not.allowed","entities":[
            {"id":"t","state":"Rejected","rejectionReason":"of a%2Dsecret-in-\u0061nswers, no"}]}"#;
        reply(out, status, "", body)
    });
    let of = |path: &str| {
        let answer = get(&agent(&settings()), stub.url(path)).unwrap();
        let op = Op::Subscriptions(Secret::new("channel"));
        format!("{:?}", understood(&op, &answer, Wall(0)).result)
    };
    for path in ["/good", "/bad"] {
        let made = of(path);
        assert!(made.contains("[hidden]"), "{made}");
        assert!(
            !made.contains("secret-in") && !made.contains("answers"),
            "{made}"
        );
    }
}
