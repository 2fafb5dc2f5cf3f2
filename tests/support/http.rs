//! One HTTP call with a deadline, and its answer taken apart.

use std::fmt;
use std::io::BufRead;
use std::time::Duration;

use serde_json::Value;

/// Longer than the gateway may take: it waits a minute for a disk.
const DEADLINE: Duration = Duration::from_secs(100);

/// A request that came to a stand-in: its first line. The rest, body included, is read and gone.
pub(crate) fn take_request(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    Ok(first)
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    /// The answer, if the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.text)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text)
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(DEADLINE))
        .proxy(None)
        .build()
        .into()
}

/// A call on a connection of its own.
///
/// # Errors
/// No answer came; the reason as text.
pub(crate) fn try_call(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Result<Answer, String> {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let agent = agent();
    let answer = match body {
        Some(body) => agent.run(request.body(body.to_owned()).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    };
    let mut answer = answer.map_err(|e| e.to_string())?;
    Ok(Answer {
        status: answer.status().as_u16(),
        headers: answer
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()))
            .collect(),
        text: answer
            .body_mut()
            .read_to_string()
            .map_err(|e| e.to_string())?,
    })
}

/// As [`try_call`]; no answer is a failure of the test.
#[track_caller]
pub(crate) fn call(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    try_call(method, url, headers, body).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
}

#[track_caller]
pub(crate) fn get(url: &str) -> Answer {
    call("GET", url, &[], None)
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[track_caller]
pub(crate) fn post_json(url: &str, body: &str) -> Answer {
    call("POST", url, &[JSON], Some(body))
}

#[track_caller]
pub(crate) fn post_keyed(url: &str, key: &str, body: &str) -> Answer {
    call("POST", url, &[JSON, ("Idempotency-Key", key)], Some(body))
}
