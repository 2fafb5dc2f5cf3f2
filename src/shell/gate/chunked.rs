//! Decodes a chunked body (RFC 9112, section 7.1), strictly.
//!
//! The server behind the gate never sees the coding: what comes out here goes on
//! with an exact length. So a chunk extension or a trailer that is ignored here
//! cannot be read differently there; what two readers in front of us might read
//! differently (signs, blanks, bare line feeds, a size beyond 64 bits) is refused.
//! Pure: bytes in, body out.
//!
//! Invariant: the decoded body never exceeds its limit, and what is kept of the
//! framing fits one line.

use super::refusal::Refusal;

/// Bytes of one size line, its extensions included.
const LINE_MAX: usize = 256;
/// Bytes of all extensions together, and of all trailer lines together.
const EXTRAS_MAX: usize = 4096;

const SIZE: Refusal = Refusal::Malformed("the size of a chunk");
const END: Refusal = Refusal::Malformed("the end of a chunk");
const TRAILER: Refusal = Refusal::Malformed("a trailer of the body");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Within a size line.
    Size,
    /// Within a chunk; so many bytes are to come.
    Data(usize),
    /// After a chunk: CR, then LF.
    AfterData,
    /// After the last chunk: lines up to an empty one.
    Trailer,
    Done,
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Chunked {
    part: Part,
    line: Vec<u8>,
    extras: usize,
    max: u64,
    decoded: u64,
}

impl Chunked {
    /// At most `max` bytes once decoded.
    pub(super) fn new(max: u64) -> Chunked {
        Chunked {
            part: Part::Size,
            line: Vec::new(),
            extras: 0,
            max,
            decoded: 0,
        }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Takes what has come and adds to the body; gives how many bytes it took.
    /// What follows the end of the body is left alone.
    ///
    /// # Errors
    /// The peer: framing that is not clean, or a body over the limit.
    pub(super) fn feed(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, Refusal> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            match self.part {
                Part::Done => break,
                Part::Data(left) => {
                    let n = left.min(rest.len());
                    body.extend_from_slice(rest.get(..n).unwrap_or_default());
                    at += n;
                    self.part = match left - n {
                        0 => Part::AfterData,
                        left => Part::Data(left),
                    };
                }
                Part::Size | Part::AfterData | Part::Trailer => {
                    let byte = rest.first().copied().unwrap_or_default();
                    at += 1;
                    self.take_framing(byte)?;
                }
            }
        }
        Ok(at)
    }

    fn take_framing(&mut self, byte: u8) -> Result<(), Refusal> {
        self.line.push(byte);
        if byte != b'\n' {
            // A CR is only ever the last byte before the LF.
            let after_cr =
                self.line.len() >= 2 && self.line.get(self.line.len() - 2) == Some(&b'\r');
            let too_long = self.line.len() > LINE_MAX;
            let wrong = self.part == Part::AfterData && self.line != b"\r";
            return match self.part {
                Part::AfterData if wrong => Err(END),
                Part::Size if after_cr || too_long => Err(SIZE),
                Part::Trailer if after_cr || too_long => Err(TRAILER),
                _ => Ok(()),
            };
        }
        let line = std::mem::take(&mut self.line);
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(Refusal::Malformed("a line end"));
        };
        match self.part {
            Part::Size => self.take_size(line),
            Part::AfterData if line.is_empty() => {
                self.part = Part::Size;
                Ok(())
            }
            Part::Trailer => self.take_trailer(line),
            _ => Err(END),
        }
    }

    fn take_size(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let clean = extension.is_empty() || extension.starts_with(b";");
        if digits == 0 || !clean || !extension.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
            return Err(SIZE);
        }
        self.spend(extension.len())?;
        let size = size.iter().fold(0_u64, |n, digit| {
            let value = char::from(*digit).to_digit(16).unwrap_or_default();
            n.saturating_mul(16).saturating_add(u64::from(value))
        });
        if size > self.max.saturating_sub(self.decoded) {
            return Err(Refusal::BodyTooLarge(self.max));
        }
        self.decoded += size;
        self.part = match usize::try_from(size) {
            Ok(0) => Part::Trailer,
            Ok(n) => Part::Data(n),
            Err(_) => return Err(Refusal::BodyTooLarge(self.max)),
        };
        Ok(())
    }

    /// A trailer is checked and dropped: nothing in it is believed.
    fn take_trailer(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.is_empty() {
            self.part = Part::Done;
            return Ok(());
        }
        self.spend(line.len())?;
        let colon = line.iter().position(|b| *b == b':').ok_or(TRAILER)?;
        let (name, value) = line.split_at(colon);
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        let clean = !name.is_empty()
            && name.iter().all(token)
            && value
                .iter()
                .all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
        if clean { Ok(()) } else { Err(TRAILER) }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.extras += bytes;
        if self.extras > EXTRAS_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and what is left over, fed in pieces of `piece` bytes.
    fn decode(text: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let mut chunked = Chunked::new(100);
        let mut body = Vec::new();
        let mut at = 0;
        while at < text.len() && !chunked.is_done() {
            let end = text.len().min(at + piece);
            let used = chunked.feed(&text[at..end], &mut body)?;
            assert!(used > 0);
            at += used;
        }
        assert!(chunked.is_done(), "it has ended");
        Ok((body, text[at..].to_vec()))
    }

    #[test]
    fn a_clean_body_comes_out_the_same_however_it_is_cut() {
        for (text, body, rest) in [
            ("0\r\n\r\n", "", ""),
            ("5\r\nhello\r\n0\r\n\r\nGET /", "hello", "GET /"),
            (
                "5\r\nhello\r\n00006\r\n world\r\n000\r\n\r\n",
                "hello world",
                "",
            ),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
            ("a\r\n0\r\n\r\n34567\r\n0\r\n\r\n", "0\r\n\r\n34567", ""),
            ("1;x=\"y;z\"\r\n!\r\n0;last\r\n\r\n", "!", ""),
            ("1\r\n!\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nrest", "!", "rest"),
        ] {
            for piece in [1, 2, 3, 7, 1000] {
                let got = decode(text.as_bytes(), piece).unwrap();
                assert_eq!(got, (body.into(), rest.into()), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn framing_that_two_readers_may_read_differently_is_refused() {
        for bad in [
            "\r\nhello",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "+5\r\nhello\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5 ;x\r\nhello\r\n",
            "5\t\r\nhello\r\n",
            "g\r\n",
            "5\r\r\nhello\r\n",
            "5;\0\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5,5\r\nhello\r\n",
            "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
            "5\r\nhello\r\n0\r\n: x\r\n\r\n",
            "5\r\nhello\r\n0\r\nX y: z\r\n\r\n",
            "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
            "5\r\nhello\r\n0\r\n folded: x\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello\r\n0\r\n\n",
        ] {
            let piece = bad.len();
            let got = decode(bad.as_bytes(), piece);
            assert!(
                matches!(got, Err(Refusal::Malformed(_))),
                "{bad:?}: {got:?}"
            );
        }
    }

    #[test]
    fn a_body_over_the_limit_is_refused_at_the_size_that_says_so() {
        for bad in [
            "65\r\n",
            "64\r\n",
            "ffffffffffffffff\r\n",
            "10000000000000000\r\n",
            "fffffffffffffffffffffffffffffffffffff\r\n",
        ] {
            let mut chunked = Chunked::new(99);
            let got = chunked.feed(bad.as_bytes(), &mut Vec::new());
            assert_eq!(got, Err(Refusal::BodyTooLarge(99)), "{bad:?}");
        }
        let mut chunked = Chunked::new(7);
        let mut body = Vec::new();
        assert!(chunked.feed(b"5\r\nhello\r\n", &mut body).is_ok());
        assert_eq!(
            chunked.feed(b"3\r\n", &mut body),
            Err(Refusal::BodyTooLarge(7))
        );
    }

    #[test]
    fn endless_extensions_trailers_and_lines_are_refused() {
        let long = format!("1;{}\r\n", "x".repeat(LINE_MAX));
        assert_eq!(
            Chunked::new(9).feed(long.as_bytes(), &mut Vec::new()),
            Err(SIZE)
        );
        let mut chunked = Chunked::new(100_000);
        let piece = format!("1;{}\r\n!\r\n", "x".repeat(200));
        let ended = (0..30).any(|_| chunked.feed(piece.as_bytes(), &mut Vec::new()).is_err());
        assert!(ended, "extensions have a bound over the whole body");
        let mut chunked = Chunked::new(9);
        assert!(chunked.feed(b"0\r\n", &mut Vec::new()).is_ok());
        let ended = (0..100).any(|_| {
            let line = format!("X: {}\r\n", "y".repeat(100));
            chunked.feed(line.as_bytes(), &mut Vec::new()).is_err()
        });
        assert!(ended, "trailers have a bound");
    }
}
