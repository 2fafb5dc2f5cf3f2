//! From when until when a certificate is good, read from its DER (RFC 5280, section 4.1).
//!
//! Only to be told to people: who verifies certificates is another matter. Any bytes are taken;
//! what does not read as it should gives nothing.

use base::time::Wall;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first and the last moment.
pub(super) fn of(certificate: &[u8]) -> Option<(Wall, Wall)> {
    let mut rest = certificate;
    let mut certificate = expect(&mut rest, SEQUENCE)?;
    let mut signed = expect(&mut certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        expect(&mut signed, VERSION)?;
    }
    expect(&mut signed, INTEGER)?; // Serial number.
    expect(&mut signed, SEQUENCE)?; // Algorithm of the signature.
    expect(&mut signed, SEQUENCE)?; // Issuer.
    let mut validity = expect(&mut signed, SEQUENCE)?;
    Some((time(&mut validity)?, time(&mut validity)?))
}

/// The content of the next element, which has to be of that kind.
fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content) = element(rest)?;
    (found == tag).then_some(content)
}

fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [tag, first, after @ ..] = *rest else {
        return None;
    };
    let (length, after) = if *first < 0x80 {
        (usize::from(*first), after)
    } else {
        // So many bytes of length; four are more than any certificate has.
        let count = usize::from(*first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, after) = after.split_at_checked(count)?;
        let length = bytes
            .iter()
            .fold(0_usize, |n, b| (n << 8) | usize::from(*b));
        (length, after)
    };
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((*tag, content))
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(rest: &mut &[u8]) -> Option<Wall> {
    let (tag, text) = element(rest)?;
    let text = std::str::from_utf8(text).ok()?;
    let whole = match tag {
        UTC_TIME => {
            let century = match text.get(..2)?.parse::<u8>().ok()? {
                0..50 => "20",
                _ => "19",
            };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    if whole.len() != 15 || !whole.is_ascii() {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to).unwrap_or_default();
    Wall::parse_rfc3339(&format!(
        "{}-{}-{}T{}:{}:{}{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14),
        part(14, 15)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn shipped() -> CertificateDer<'static> {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/tls/test-only-server.certificate.pem"
        );
        CertificateDer::from_pem_file(file).unwrap()
    }

    #[test]
    fn a_certificate_says_from_when_until_when() {
        let (from, to) = of(&shipped()).unwrap();
        assert!(from.rfc3339().starts_with("20"), "{}", from.rfc3339());
        // A hundred years, beyond what two digits can say.
        assert!(to.rfc3339().starts_with("21"), "{}", to.rfc3339());
        assert!(to.since(from).as_secs() > 36_000 * 86_400);
    }

    #[test]
    fn both_ways_of_writing_a_time_are_read_and_nothing_else() {
        let read = |tag: u8, text: &str| {
            let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
            bytes.extend_from_slice(text.as_bytes());
            time(&mut bytes.as_slice()).map(Wall::rfc3339)
        };
        let is = |got: Option<String>, text: &str| got.is_some_and(|got| got.starts_with(text));
        assert!(is(read(UTC_TIME, "491231235959Z"), "2049-12-31T23:59:59"));
        assert!(is(read(UTC_TIME, "500101000000Z"), "1950-01-01T00:00:00"));
        assert!(is(
            read(GENERALIZED_TIME, "20500101000000Z"),
            "2050-01-01T00:00:00"
        ));
        for (tag, text) in [
            (UTC_TIME, "4912312359Z"),
            (UTC_TIME, "491331235959Z"),
            (UTC_TIME, "20500101000000Z"),
            (GENERALIZED_TIME, "500101000000Z"),
            (GENERALIZED_TIME, "2050010100000\u{e9}"),
            (0x16, "20500101000000Z"),
        ] {
            assert_eq!(read(tag, text), None, "{text}");
        }
    }

    #[test]
    fn any_bytes_are_taken() {
        let whole = shipped();
        for cut in 0..whole.len() {
            let _ = of(&whole[..cut]);
            let mut other = whole.to_vec();
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                other[cut] = byte;
                let _ = of(&other);
            }
        }
    }
}
