//! Reads the head of a request and refuses what two readers might read
//! differently.
//!
//! The head that is passed on is written anew from the few fields that the
//! listeners use, so nothing unexpected can reach the server behind the gate.
//! Pure: bytes in, verdict out.
//!
//! Invariant: a [`Head`] has one method, one target in origin form, one way in
//! which its body ends, and no field twice.

use super::refusal::Refusal;

/// The fields that are passed on; each may occur once. All others end here,
/// hop-by-hop fields, `Upgrade` and forged private fields among them.
const PASSED_ON: [&str; 9] = [
    "Host",
    "Authorization",
    "Content-Type",
    "Content-Encoding",
    "Idempotency-Key",
    "Origin",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
    "Sec-Fetch-Site",
];

/// Passed on as well, and no reason to refuse a request: one that is odd, or there twice, is left
/// out. Chains of proxies repeat them.
const IF_CLEAN: [&str; 2] = ["If-None-Match", "X-Forwarded-Host"];

/// The most fields that are looked at; also the size of the parser's table.
pub(super) const HEADERS_MAX: usize = 64;

/// What a head is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadRules {
    pub(super) body_max: u64,
    pub(super) length_required: bool,
    /// Targets that may be asked for without a Host in HTTP/1.1, too.
    pub(super) hostless: &'static [&'static str],
}

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; zero means no body.
    Length(u64),
    /// Chunks, up to the one that is empty.
    Chunked,
}

/// A head that is clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Framing,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Head {
    /// The origin of the page that asks, if a page does.
    pub(super) fn origin(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|(name, _)| *name == "Origin")
            .map(|(_, value)| value.as_str())
    }
}

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// More has to come.
    Partial,
    /// A clean head, and how many bytes it took.
    Whole(Box<Head>, usize),
    /// Not to be read on.
    Refused(Refusal),
}

/// Reads a head from the start of `bytes`.
pub(super) fn read(bytes: &[u8], rules: HeadRules) -> Reading {
    let mut table = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut table);
    let used = match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return Reading::Partial,
        Ok(httparse::Status::Complete(used)) => used,
        Err(e) => return Reading::Refused(parse_refusal(e)),
    };
    match judge(&request, bytes.get(..used).unwrap_or_default(), rules) {
        Ok(head) => Reading::Whole(Box::new(head), used),
        Err(refusal) => Reading::Refused(refusal),
    }
}

/// The origin of the page that asks, of a whole head that was refused; for the answer alone.
pub(super) fn origin(bytes: &[u8]) -> Option<String> {
    let mut table = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut table);
    if !request.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let mut given = request
        .headers
        .iter()
        .filter(|h| h.name.eq_ignore_ascii_case("Origin"));
    match (given.next(), given.next()) {
        (Some(one), None) => plain(one.value).ok(),
        _ => None,
    }
}

fn parse_refusal(e: httparse::Error) -> Refusal {
    match e {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version => Refusal::Version,
        httparse::Error::HeaderName => Refusal::Malformed("the name of a header field"),
        httparse::Error::HeaderValue => Refusal::Malformed("the value of a header field"),
        httparse::Error::NewLine => Refusal::Malformed("a line end"),
        _ => Refusal::Malformed("the request line"),
    }
}

fn judge(
    request: &httparse::Request<'_, '_>,
    raw: &[u8],
    rules: HeadRules,
) -> Result<Head, Refusal> {
    // httparse takes a bare LF for a line end; another reader may not.
    let mut before = 0_u8;
    for &b in raw {
        if b == b'\n' && before != b'\r' {
            return Err(Refusal::Malformed("a line end"));
        }
        before = b;
    }
    let method = request.method.unwrap_or_default();
    if method.len() > 32 {
        return Err(Refusal::Malformed("the request line"));
    }
    let http11 = request.version == Some(1);
    let (target, authority) = origin_form(request.path.unwrap_or_default())?;

    let mut fields: Vec<(&'static str, String)> = Vec::new();
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut close = false;
    let mut expects_continue = false;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("Content-Length") {
            let declared = declared_length(header.value)?;
            if length.is_some_and(|earlier| earlier != declared) {
                return Err(Refusal::Malformed("two lengths that differ"));
            }
            length = Some(declared);
        } else if is("Transfer-Encoding") {
            if !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Coding);
            }
            if chunked {
                return Err(Refusal::Malformed("a header field that occurs twice"));
            }
            chunked = true;
        } else if is("Connection") {
            close |= header
                .value
                .split(|b| *b == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if is("Expect") {
            if !header
                .value
                .trim_ascii()
                .eq_ignore_ascii_case(b"100-continue")
            {
                return Err(Refusal::Expectation);
            }
            expects_continue = true;
        } else if let Some(name) = PASSED_ON.into_iter().find(|name| is(name)) {
            if fields.iter().any(|(n, _)| *n == name) {
                return Err(Refusal::Malformed("a header field that occurs twice"));
            }
            fields.push((name, plain(header.value)?));
        } else if let Some(name) = IF_CLEAN.into_iter().find(|name| is(name))
            && let Ok(value) = plain(header.value)
        {
            let mut same = request
                .headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case(name));
            if same.nth(1).is_none() {
                fields.push((name, value));
            }
        }
    }

    let required = http11 && !rules.hostless.contains(&target.as_str());
    settle_host(&mut fields, authority, required)?;
    if chunked && length.is_some() {
        return Err(Refusal::Malformed(
            "a length together with a transfer coding",
        ));
    }
    if chunked && !http11 {
        // RFC 9112, section 6.1: whoever sends this is confused about framing.
        return Err(Refusal::Malformed("a transfer coding in HTTP/1.0"));
    }
    if !chunked && length.is_none() && method == "POST" && rules.length_required {
        return Err(Refusal::NoLength);
    }
    let body_len = length.unwrap_or(0);
    if body_len > rules.body_max {
        return Err(Refusal::BodyTooLarge(rules.body_max));
    }
    Ok(Head {
        method: method.to_owned(),
        target,
        body: if chunked {
            Framing::Chunked
        } else {
            Framing::Length(body_len)
        },
        // Keep-alive of HTTP/1.0 was never standardised; one request each is safe.
        keep_alive: http11 && !close,
        expects_continue: expects_continue && http11 && (chunked || body_len > 0),
        fields,
    })
}

/// Digits only; a list, a sign, a space inside or nothing at all is malformed.
/// What does not fit 64 bits is merely too large, and no allocation ever sees it.
fn declared_length(value: &[u8]) -> Result<u64, Refusal> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed("the Content-Length"));
    }
    Ok(value.iter().fold(0_u64, |n, digit| {
        n.saturating_mul(10)
            .saturating_add(u64::from(digit.wrapping_sub(b'0')))
    }))
}

/// Printable ASCII, spaces and tabs, trimmed.
fn plain(value: &[u8]) -> Result<String, Refusal> {
    let value = value.trim_ascii();
    if !value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
        return Err(Refusal::Malformed("the value of a header field"));
    }
    Ok(String::from_utf8_lossy(value).into_owned())
}

/// The target as a path, and the authority where it was sent as a whole URL.
fn origin_form(target: &str) -> Result<(String, Option<&str>), Refusal> {
    const BAD: Refusal = Refusal::Malformed("the request target");
    if !target.bytes().all(|b| matches!(b, b'!'..=b'~')) || target.contains('#') {
        return Err(BAD);
    }
    if target.starts_with('/') || target == "*" {
        return Ok((target.to_owned(), None));
    }
    let rest = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            target.get(7..).unwrap_or_default()
        }
        _ => return Err(BAD),
    };
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(cut);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok((path, Some(authority)))
}

/// There is one host, it looks like one, and that of a whole URL goes first.
fn settle_host(
    fields: &mut Vec<(&'static str, String)>,
    authority: Option<&str>,
    required: bool,
) -> Result<(), Refusal> {
    let at = fields.iter().position(|(n, _)| *n == "Host");
    let host = at.map(|i| fields.remove(i).1);
    if required && host.is_none() {
        return Err(Refusal::Malformed("a missing Host"));
    }
    let Some(host) = authority.map(str::to_owned).or(host) else {
        return Ok(());
    };
    let clean = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&b);
    if !host.bytes().all(clean) || host.is_empty() && authority.is_some() {
        return Err(Refusal::Malformed("the Host"));
    }
    if host.is_empty() {
        // An empty one is what a target without an authority asks for (RFC 9110, section 7.2):
        // it names nobody, as none does.
        return Ok(());
    }
    fields.insert(0, ("Host", host));
    Ok(())
}

#[cfg(test)]
mod tests;
