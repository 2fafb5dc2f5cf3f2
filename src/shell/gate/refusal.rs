//! What the gate refuses by itself, and the words it does so with.
//!
//! Invariant: every refusal ends its connection, because after most of them
//! nobody can say where the next request would begin.

use std::time::{Duration, SystemTime};

use super::super::problem::{self, Problem};

/// Why the gate answered instead of passing a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The head is not clean HTTP/1; the words say where.
    Malformed(&'static str),
    /// The head or the body did not arrive in time.
    Late,
    /// A body is expected and nothing says where it ends.
    NoLength,
    /// The declared body is larger than the limit, given in bytes.
    BodyTooLarge(u64),
    /// An expectation other than `100-continue`.
    Expectation,
    /// More bytes or lines in the head than allowed.
    HeadTooLarge,
    /// A transfer coding that nobody here decodes.
    Coding,
    /// Plain HTTP where TLS is spoken.
    NotTls,
    /// TLS where plain HTTP is spoken.
    Tls,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// More connections or requests at once than there is room for.
    Busy,
    /// No memory is left for the body or the answer.
    NoMemory,
    /// The part behind the gate did not answer in time; whether it acted is unknown.
    Unanswered,
    /// The part behind the gate gave something that is not an answer: our bug.
    Broken,
}

/// What `Retry-After` says when there is no room.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Refusal {
    pub(super) fn problem(self) -> Problem {
        match self {
            Refusal::Malformed(what) => Problem::new(
                400,
                "malformed-request",
                "The request is not clean HTTP",
                format!("The request was refused because of {what}."),
            ),
            Refusal::Late => Problem::new(
                408,
                "request-late",
                "The request did not arrive in time",
                "The whole request has to arrive within the time limit.",
            ),
            Refusal::NoLength => Problem::new(
                411,
                "length-required",
                "The length of the body is required",
                "Send the body with a Content-Length, or with Transfer-Encoding: chunked in HTTP/1.1.",
            ),
            Refusal::BodyTooLarge(max) => Problem::new(
                413,
                "body-too-large",
                "The body is too large",
                format!("The body may have {max} bytes at most."),
            ),
            Refusal::Expectation => Problem::new(
                417,
                "expectation-failed",
                "The expectation is not supported",
                "The only expectation supported is 100-continue.",
            ),
            Refusal::HeadTooLarge => Problem::new(
                431,
                "head-too-large",
                "The head of the request is too large",
                "Send fewer or shorter header fields.",
            ),
            Refusal::Coding => Problem::new(
                501,
                "coding-unsupported",
                "The transfer coding is not supported",
                "Send the body as it is, with a Content-Length, or chunked and nothing else.",
            ),
            Refusal::NotTls => Problem::new(
                400,
                "https-required",
                "This port speaks TLS",
                "Plain HTTP was spoken to a port that speaks TLS alone: use https://.",
            ),
            Refusal::Tls => Problem::new(
                400,
                "https-not-spoken",
                "This port speaks plain HTTP",
                "TLS was spoken to a port that speaks plain HTTP: use http://, or have the gateway \
                 speak TLS with [http] certificate-file and private-key-file.",
            ),
            Refusal::Version => Problem::new(
                505,
                "version-unsupported",
                "The HTTP version is not supported",
                "Speak HTTP/1.1 or HTTP/1.0.",
            ),
            Refusal::Busy => Problem::new(
                503,
                "busy",
                "No room at the moment",
                "Too many requests at once; repeat this one after the time in Retry-After.",
            ),
            Refusal::NoMemory => Problem::new(
                503,
                "no-memory",
                "No room for so many bytes at the moment",
                "Bodies and answers under way take all the memory that they may; repeat this request \
                 after the time in Retry-After.",
            ),
            Refusal::Unanswered => Problem::new(
                504,
                "unanswered",
                "No answer in time",
                "The request was not answered in time; if it changes something, whether it takes \
                 effect is unknown. The same request, with the same Idempotency-Key where there is \
                 one, may be sent again.",
            ),
            Refusal::Broken => Problem::new(
                500,
                "internal",
                "Internal error",
                "The answer could not be formed. This is a fault of the gateway.",
            ),
        }
    }

    /// The whole answer, which announces the end of the connection; `fields` besides its own.
    pub(super) fn answer(self, without_body: bool, fields: &[(&'static str, String)]) -> Vec<u8> {
        let problem = self.problem();
        let body = problem.body();
        let retry = match self {
            Refusal::Busy | Refusal::NoMemory | Refusal::Unanswered => {
                format!("Retry-After: {}\r\n", RETRY_AFTER.as_secs())
            }
            _ => String::new(),
        };
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{retry}{fields}\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            problem.status,
            phrase(problem.status),
            http_date(),
            problem::CONTENT_TYPE,
            body.len(),
        )
        .into_bytes();
        if !without_body {
            out.extend_from_slice(&body);
        }
        out
    }
}

pub(super) fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

/// The present moment as a `Date` field wants it (RFC 9110, section 5.6.7).
pub(super) fn http_date() -> String {
    jiff::Timestamp::try_from(SystemTime::now())
        .ok()
        .and_then(|now| {
            jiff::fmt::rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&now)
                .ok()
        })
        .unwrap_or_else(|| String::from("Thu, 01 Jan 1970 00:00:00 GMT"))
}
