//! The gate's readers as targets for a fuzzer (`crate::fuzzing`).

use super::connection::BodyIntake;
use super::head::{self, HeadRules, Reading};
use super::relay;
use super::stream::Peer;

const RULES: HeadRules = HeadRules {
    body_max: 1000,
    length_required: true,
    hostless: &["/healthz"],
};

/// Any bytes as the start of a connection: what is clean is so however it comes in,
/// and what is passed on reads the same.
pub(crate) fn fuzz_head(data: &[u8]) {
    let Reading::Whole(head, used) = head::read(data, RULES) else {
        return;
    };
    assert!(used <= data.len());
    for cut in [used / 2, used.saturating_sub(1)] {
        let part = head::read(data.get(..cut).unwrap_or_default(), RULES);
        assert!(
            !matches!(part, Reading::Whole(..)),
            "a part is not the whole"
        );
    }
    let names: Vec<_> = head.fields.iter().map(|(name, _)| *name).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len(), "no field twice");
    assert!(head.target.starts_with('/') || head.target == "*");
    let canonical = relay::canonical(&head, 3, Peer::Local(None), super::start_of_time());
    let lengths = canonical
        .lines()
        .filter(|line| line.starts_with("Content-Length: "));
    assert_eq!(lengths.count(), 1);
    let fields = canonical.trim_end().lines().skip(1);
    assert_eq!(
        fields.count(),
        names.len() + 4,
        "no field hides in another's value"
    );
}

/// Any bytes as a body in both framings: however it is cut, the same comes out, what follows
/// is left alone, and no other reader of chunks would have found another body.
pub(crate) fn fuzz_body(data: &[u8]) {
    // As it stands, behind a head that says so.
    let coded = taken("Transfer-Encoding: chunked", data, data.len());
    for piece in [1, 3, 64] {
        let cut = taken("Transfer-Encoding: chunked", data, piece);
        assert_eq!(cut, coded, "however it is cut");
    }
    if let Taken::Whole(body, used) = &coded {
        assert!(body.len() as u64 <= RULES.body_max);
        let other = lenient(data).expect("whoever is less strict takes it as well");
        assert_eq!(other, (body.clone(), *used), "nobody reads another body");
    }
    // The first two bytes choose a length and the size of the chunks; the rest is the body, and
    // the next request.
    let [length, piece, rest @ ..] = data else {
        return;
    };
    let length = usize::from(*length).min(rest.len());
    let piece = usize::from(*piece).max(1);
    let (body, next) = rest.split_at(length);
    let whole = Taken::Whole(body.to_vec(), length);
    let declared = format!("Content-Length: {length}");
    assert_eq!(taken(&declared, rest, rest.len()), whole);
    assert_eq!(taken(&declared, rest, piece), whole);
    let mut chunks = Vec::new();
    for chunk in body.chunks(piece) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let coded = chunks.len();
    chunks.extend_from_slice(next);
    let whole = Taken::Whole(body.to_vec(), coded);
    assert_eq!(taken("Transfer-Encoding: chunked", &chunks, piece), whole);
}

/// What became of a body.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Part,
    /// The body, and how many bytes it took.
    Whole(Vec<u8>, usize),
    Refused,
}

/// Takes in a body as a connection does, in pieces of that many bytes.
fn taken(framing: &str, bytes: &[u8], piece: usize) -> Taken {
    let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
    let Reading::Whole(head, used) = head::read(text.as_bytes(), RULES) else {
        panic!("a clean head: {text}");
    };
    assert_eq!(used, text.len());
    let mut intake = BodyIntake::new(head.body, RULES.body_max);
    let mut used = 0;
    for come in std::iter::once(&[][..]).chain(bytes.chunks(piece.max(1))) {
        if intake.is_whole() {
            break;
        }
        match intake.feed(come) {
            Ok(n) => used += n,
            Err(_) => return Taken::Refused,
        }
    }
    if intake.is_whole() {
        Taken::Whole(intake.into_body(), used)
    } else {
        Taken::Part
    }
}

/// Another reader of chunks, who takes whatever he can make sense of: blanks around a size, any
/// extension, bare line feeds, any trailer.
fn lenient(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let all = bytes.len();
    let line = |bytes: &mut &[u8]| -> Option<Vec<u8>> {
        let end = bytes.iter().position(|b| *b == b'\n')?;
        let (line, rest) = bytes.split_at(end);
        *bytes = rest.get(1..)?;
        Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
    };
    let mut body = Vec::new();
    loop {
        let size = line(&mut bytes)?;
        let size = size.split(|b| *b == b';').next()?.trim_ascii();
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?;
        line(&mut bytes).filter(Vec::is_empty)?;
    }
    while !line(&mut bytes)?.is_empty() {}
    Some((body, all - bytes.len()))
}
