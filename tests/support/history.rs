//! A history manager that records every byte it is sent and answers by a script.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::wait::wait_for;

/// How one request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With this status and a short JSON body.
    Status(u16),
    /// With these headers too, and this body.
    Full(u16, Vec<(&'static str, String)>, String),
    /// Late.
    Late(Duration, u16),
    /// Exactly these bytes, and then the connection is closed.
    Raw(&'static str),
    /// The connection is closed without a word.
    Close,
    /// Nothing is ever answered, and the connection kept.
    Hang,
}

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) at: Instant,
    /// Milliseconds since 1970.
    pub(crate) wall: i64,
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Status that it was given, if any.
    pub(crate) answered: Option<u16>,
}

impl Receipt {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    #[track_caller]
    pub(crate) fn key(&self) -> &str {
        self.header("idempotency-key")
            .unwrap_or_else(|| panic!("no Idempotency-Key in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn filed(&self) -> bool {
        self.answered
            .is_some_and(|s| (200..300).contains(&s) || s == 409)
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    about: Vec<(String, VecDeque<Reply>)>,
    otherwise: Option<Reply>,
    receipts: Vec<Receipt>,
}

/// The receiver. Lives as long as the test process.
pub(crate) struct History {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl History {
    pub(crate) fn start() -> History {
        History::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// On a listener that is there already.
    pub(crate) fn on(listener: TcpListener) -> History {
        let url = format!("http://{}/communications", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        History { url, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next requests are answered so, one each; then with 201 again.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state().script.extend(replies);
    }

    /// The next requests with this text in their body are answered so; this goes before
    /// everything else.
    pub(crate) fn script_for(&self, text: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.state().about.push((text.to_owned(), replies));
    }

    /// Every request beyond the script is answered so; `None`: with 201.
    pub(crate) fn always(&self, reply: impl Into<Option<Reply>>) {
        self.state().otherwise = reply.into();
    }

    /// Everything that came, in order.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.state().receipts.clone()
    }

    /// What came and was answered 2xx or 409: by key, how often.
    pub(crate) fn filed(&self) -> BTreeMap<String, usize> {
        let mut filed = BTreeMap::new();
        for receipt in self.state().receipts.iter().filter(|r| r.filed()) {
            *filed.entry(receipt.key().to_owned()).or_default() += 1;
        }
        filed
    }

    /// What was filed for a conversation, in order.
    pub(crate) fn filed_of(&self, conversation: &str) -> Vec<Receipt> {
        self.receipts()
            .into_iter()
            .filter(|r| r.filed() && r.json()["conversationId"] == conversation)
            .collect()
    }

    /// Everything that came with this text in its body, in order.
    pub(crate) fn receipts_with(&self, text: &str) -> Vec<Receipt> {
        let all = self.receipts().into_iter();
        all.filter(|r| r.body.contains(text)).collect()
    }

    /// Waits until exactly `n` records of a conversation are filed.
    #[track_caller]
    pub(crate) fn wait_filed(&self, conversation: &str, n: usize) -> Vec<Receipt> {
        wait_for(
            &format!("{n} records of {conversation} to be filed"),
            || {
                let filed = self.filed_of(conversation);
                if filed.len() >= n {
                    assert_eq!(filed.len(), n, "too many: {filed:#?}");
                    return Ok(filed);
                }
                Err(format!("{} filed", filed.len()))
            },
        )
    }

    /// Waits until `n` requests have come at all.
    #[track_caller]
    pub(crate) fn wait_receipts(&self, n: usize) -> Vec<Receipt> {
        wait_for(&format!("{n} requests at the history manager"), || {
            let receipts = self.receipts();
            if receipts.len() >= n {
                Ok(receipts)
            } else {
                Err(format!("{} requests", receipts.len()))
            }
        })
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some((line, headers, body)) = read(&mut reader) {
        let mut locked = state.lock().unwrap();
        let about = locked
            .about
            .iter_mut()
            .find(|(text, replies)| body.contains(text.as_str()) && !replies.is_empty());
        let reply = match about {
            Some((_, replies)) => replies.pop_front(),
            None => locked.script.pop_front(),
        };
        let reply = reply
            .or_else(|| locked.otherwise.clone())
            .unwrap_or(Reply::Status(201));
        let answered = match &reply {
            Reply::Status(s) | Reply::Full(s, ..) | Reply::Late(_, s) => Some(*s),
            Reply::Raw(text) => last_status(text),
            Reply::Close | Reply::Hang => None,
        };
        locked.receipts.push(Receipt {
            at: Instant::now(),
            wall: now_ms(),
            line,
            headers,
            body,
            answered,
        });
        drop(locked);
        let alive = match reply {
            Reply::Status(status) => answer(stream, status, &[], "{\"by\":\"history\"}"),
            Reply::Full(status, headers, body) => answer(stream, status, &headers, &body),
            Reply::Late(after, status) => {
                std::thread::sleep(after);
                answer(stream, status, &[], "{}")
            }
            Reply::Raw(text) => {
                // And the connection goes.
                let mut stream = stream;
                let _ = stream.write_all(text.as_bytes());
                return;
            }
            Reply::Close => return,
            Reply::Hang => {
                // Until the client goes.
                let _ = reader.read(&mut [0]);
                return;
            }
        };
        if !alive {
            return;
        }
    }
}

/// Of the final answer, behind interim ones.
fn last_status(text: &str) -> Option<u16> {
    let last = text.rsplit("HTTP/1.").next()?;
    last.split_whitespace().nth(1)?.parse().ok()
}

type Incoming = (String, Vec<(String, String)>, String);

fn read(reader: &mut impl BufRead) -> Option<Incoming> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case("content-length"))?;
    let mut body = vec![0; length.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((
        lines.into_iter().next()?,
        headers,
        String::from_utf8(body).ok()?,
    ))
}

fn answer(mut stream: &TcpStream, status: u16, headers: &[(&str, String)], body: &str) -> bool {
    let mut text = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes()).is_ok()
}
