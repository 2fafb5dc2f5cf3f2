//! What is shown to people, cleared of the secrets that are known.
//!
//! A login host, a proxy or the history manager may echo what it was sent, as it is or encoded;
//! how long a secret is says nothing about whether it may be read. The exact secrets are known,
//! so they are looked for underneath whatever the text is wrapped in (`layers`): the text is
//! read again and again with one layer of escapes less, and what could be base64 or hex in it is
//! read as what it holds. In each of these readings blanks, line ends and characters that cannot
//! be seen are left out, letters are taken for lower case, and the same is done to the secret.
//!
//! # What is promised
//!
//! * Found is a secret of four characters and more as it is, with its letters in any case,
//!   broken up by blanks, line ends or invisible characters, with the escapes of percent
//!   encoding, JSON, C, Rust and HTML (each of its characters or some, up to
//!   `LAYERS` times one in the other), in base64 of both alphabets and in hex, alone or with
//!   anything before and behind it (`id:secret`), up to `DEPTH` times one in the other, and any
//!   of these within another. Of a longer secret the first `NEEDLE_MAX` characters do, and
//!   the beginning of one where the text was cut (`…`).
//! * A secret of fewer characters is hidden where it stands as a word of its own, in words of
//!   others only: anything more would shred every text. One of fewer than `LOOSE_FROM` that
//!   blanks break up is taken for a secret only as a whole word, too.
//! * Not found is what was changed beyond that: ciphers, hashes, compression, letters replaced by
//!   lookalikes, words put in between, one half of a secret.
//!
//! Invariants: the number of secrets is bounded, and a secret that was replaced stays known
//! until that many newer ones are; time is linear in the text, and a text that would cost more
//! than `WORK` readings of it is hidden as a whole; nothing here prints a secret.

mod entities;
mod layers;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;
use zeroize::Zeroize as _;

use base::secret::Secret;
use layers::{BREAK, Folded, Sign};

/// Secrets shorter than this are hidden as whole words of others only.
pub const WHOLE_WORD_BELOW: usize = 4;

/// Shorter secrets with blanks in between are ordinary words too often.
const LOOSE_FROM: usize = 8;

/// Secrets that files hold: tokens of callers and operators, client secret, passwords.
const LASTING_MAX: usize = 1024;

/// Secrets that come and go: tokens, assertions, channels. The youngest are kept.
const PASSING_MAX: usize = 256;

/// The first characters of a longer secret give it away as well as all of them.
const NEEDLE_MAX: usize = 96;

/// Layers of escapes that are taken off.
const LAYERS: usize = 4;

/// How often base64 or hex is looked for in what base64 or hex held.
const DEPTH: usize = 3;

/// The most characters that are looked at for each one of a text.
const WORK: usize = 64;

/// The beginning of a secret is hidden at a cut if it is this long.
const CUT_MIN: usize = 6;

/// Characters of base64 that hold three bytes.
const GROUP: usize = 4;

/// No escape is longer, nor one of an escape.
const TORN_MAX: usize = 16;

/// Words of others beyond this are not shown anywhere; so much of each is cleaned and kept.
const WORDS_MAX: usize = 8 * 1024;

/// So often whoever tells of a panic looks whether another thread is done with the registry.
const LOOKS_IN_PANIC: u32 = 50;

const HIDDEN: &str = "[hidden]";

/// Which secrets a text is cleared of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    /// Words of others: all.
    Foreign,
    /// A line of our own: those of four characters and more.
    Own,
}

/// One way to read a secret, in lower case and without blanks.
struct Needle {
    form: Vec<char>,
    /// Only between characters that cannot belong to it.
    word: bool,
    /// The secret is longer: what follows belongs to it.
    longer: bool,
    /// Layers of escapes that were taken off the secret.
    layer: usize,
}

impl Drop for Needle {
    fn drop(&mut self) {
        self.form.zeroize();
    }
}

/// The forms of one secret that are looked for.
struct Known {
    secret: Secret,
    needles: Vec<Needle>,
}

/// Where a needle is: in which list, whose, which.
#[derive(Clone, Copy)]
struct Place {
    lasting: bool,
    at: usize,
    needle: usize,
}

/// Needles by their first four characters; shorter ones by themselves.
#[derive(Default)]
struct Index {
    starts: HashMap<[char; 4], Vec<Place>>,
    words: Vec<Place>,
}

/// The secrets that are known, the youngest last.
#[derive(Default)]
struct Registry {
    lasting: VecDeque<Known>,
    passing: VecDeque<Known>,
    /// None since the lists changed.
    index: Option<Index>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    lasting: VecDeque::new(),
    passing: VecDeque::new(),
    index: None,
});

fn registry() -> MutexGuard<'static, Registry> {
    // Plain values are whole whatever happened to the other holder.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this secret of a file or of the configuration is hidden.
pub fn learn(secret: &Secret) {
    let mut registry = registry();
    add(&mut registry.lasting, secret, LASTING_MAX);
    registry.index = None;
}

/// The same for one that comes and goes.
pub fn learn_passing(secret: &Secret) {
    let mut registry = registry();
    add(&mut registry.passing, secret, PASSING_MAX);
    registry.index = None;
}

/// Words of others, without any secret that is known. They are to be decoded already as far as
/// they will be; of more than `WORDS_MAX` characters the rest is cut off.
#[must_use]
pub fn foreign(text: &str) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((cut, _)) => cleaned(&format!("{}…", &text[..cut]), Text::Foreign),
        None => cleaned(text, Text::Foreign),
    }
}

/// The same for a body that need not be text: where it is JSON, for each string in it, as it
/// reads once it is decoded.
#[must_use]
pub fn foreign_body(body: Vec<u8>) -> Vec<u8> {
    let Some(mut value) = base::foreign::value(&body) else {
        let text = String::from_utf8_lossy(&body);
        let cleaned = foreign(&text);
        return match cleaned == text {
            true => body,
            false => cleaned.into_bytes(),
        };
    };
    match clean_strings(&mut value) {
        true => value.to_string().into_bytes(),
        false => body,
    }
}

/// Cleans strings and the names of members; whether anything had to be hidden.
fn clean_strings(value: &mut Value) -> bool {
    // All of them, hence no `any`.
    match value {
        Value::String(text) => {
            let cleaned = foreign(text);
            let changed = cleaned != *text;
            *text = cleaned;
            changed
        }
        Value::Array(list) => list.iter_mut().fold(false, |any, v| clean_strings(v) | any),
        Value::Object(members) => {
            let mut changed = false;
            for (mut name, mut member) in std::mem::take(members) {
                changed |= clean_strings(&mut member);
                let cleaned = foreign(&name);
                if cleaned != name {
                    (name, changed) = (cleaned, true);
                }
                members.insert(name, member);
            }
            changed
        }
        _ => false,
    }
}

/// A line of our own, without any secret that is known and longer than a word.
#[must_use]
pub fn own(text: &str) -> String {
    cleaned(text, Text::Own)
}

/// Who tells of a panic may be the thread that holds the registry: it does not wait for itself.
fn cleaned(text: &str, of: Text) -> String {
    if !std::thread::panicking() {
        return registry().clean(text, of);
    }
    for _ in 0..LOOKS_IN_PANIC {
        match REGISTRY.try_lock() {
            Ok(mut registry) => return registry.clean(text, of),
            Err(TryLockError::Poisoned(held)) => return held.into_inner().clean(text, of),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    HIDDEN.to_owned()
}

fn add(list: &mut VecDeque<Known>, secret: &Secret, most: usize) {
    if secret.expose().is_empty() {
        return;
    }
    if let Some(at) = list.iter().position(|known| known.secret == *secret) {
        // The youngest again.
        let known = list.remove(at);
        list.extend(known);
        return;
    }
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(Known {
        secret: secret.clone(),
        needles: needles(secret.expose()),
    });
}

/// The secret as it is, and as it reads with its own escapes taken off: of a text they are
/// taken off as well.
fn needles(secret: &str) -> Vec<Needle> {
    let short = secret.chars().count() < WHOLE_WORD_BELOW;
    let mut readings = Vec::new();
    if short {
        // Too little to be told from what any base64 holds: looked for as it is written.
        readings.push((0, layers::signs(&STANDARD_NO_PAD.encode(secret))));
    }
    // A blank in a form of the web is a plus.
    for written in [secret.to_owned(), secret.replace(' ', "+")] {
        let mut reading = layers::signs(&written);
        for layer in 0..=LAYERS {
            let next = layers::unescaped(&reading);
            readings.push((layer, reading));
            match next {
                Some(next) => reading = next,
                None => break,
            }
        }
    }
    let mut all: Vec<Needle> = Vec::new();
    for (layer, reading) in readings {
        let form: Vec<char> = layers::folded(&reading).iter().map(|f| f.sign.c).collect();
        let longer = form.len() > NEEDLE_MAX;
        let form: Vec<char> = form.into_iter().take(NEEDLE_MAX).collect();
        let known = all.iter().any(|n| n.form == form);
        if !form.is_empty() && !known {
            all.push(Needle {
                word: short || form.len() < WHOLE_WORD_BELOW,
                form,
                longer,
                layer,
            });
        }
    }
    all
}

impl Registry {
    fn list(&self, lasting: bool) -> &VecDeque<Known> {
        match lasting {
            true => &self.lasting,
            false => &self.passing,
        }
    }

    fn indexed(&self) -> Index {
        let mut index = Index::default();
        for lasting in [true, false] {
            for (at, known) in self.list(lasting).iter().enumerate() {
                for (needle, of) in known.needles.iter().enumerate() {
                    let place = Place {
                        lasting,
                        at,
                        needle,
                    };
                    match of.form.first_chunk::<4>() {
                        Some(start) => index.starts.entry(*start).or_default().push(place),
                        None => index.words.push(place),
                    }
                }
            }
        }
        index
    }

    fn clean(&mut self, text: &str, of: Text) -> String {
        if self.lasting.is_empty() && self.passing.is_empty() {
            return text.to_owned();
        }
        if self.index.is_none() {
            self.index = Some(self.indexed());
        }
        let signs = layers::signs(text);
        let mut search = Search {
            registry: self,
            of,
            cut: text.trim_end().strip_suffix('…').map(str::len),
            work: signs.len().saturating_mul(WORK).saturating_add(4096),
            found: Vec::new(),
        };
        if search.read(signs, DEPTH, false).is_none() {
            return HIDDEN.to_owned();
        }
        hide(text, search.found)
    }
}

/// A place in the text that is hidden.
struct Found {
    from: usize,
    to: usize,
    /// What surrounds it belongs to it: a longer secret, or base64 of more than the secret.
    run: bool,
}

struct Search<'a> {
    registry: &'a Registry,
    of: Text,
    /// Where the text was cut off, if it was.
    cut: Option<usize>,
    /// Characters that may still be looked at.
    work: usize,
    found: Vec<Found>,
}

impl Search<'_> {
    /// Looks through a reading and all that is underneath; `None` if that is too much.
    fn read(&mut self, signs: Vec<Sign>, depth: usize, packed: bool) -> Option<()> {
        let mut signs = signs;
        for layer in 0..=LAYERS {
            self.work = self.work.checked_sub(signs.len())?;
            self.compare(&layers::folded(&signs), packed);
            if depth > 0 {
                for reading in layers::unpacked(&signs) {
                    self.read(reading, depth - 1, true)?;
                }
            }
            match layers::unescaped(&signs) {
                Some(next) if layer < LAYERS => signs = next,
                _ => break,
            }
        }
        Some(())
    }

    fn compare(&mut self, text: &[Folded], packed: bool) {
        let Some(index) = &self.registry.index else {
            return;
        };
        let mut found = Vec::new();
        for at in 0..text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let start = rest.first_chunk::<4>();
            let start = start.map(|[a, b, c, d]| [a.sign.c, b.sign.c, c.sign.c, d.sign.c]);
            let begun = start.and_then(|start| index.starts.get(&start));
            let places = begun.into_iter().flatten().chain(&index.words);
            found.extend(places.filter_map(|p| self.fits(*p, text, at, packed)));
        }
        self.found.extend(found);
    }

    fn fits(&self, place: Place, text: &[Folded], at: usize, packed: bool) -> Option<Found> {
        let known = self.registry.list(place.lasting).get(place.at)?;
        let needle = known.needles.get(place.needle)?;
        if self.of == Text::Own && needle.word {
            return None;
        }
        let rest = text.get(at..)?;
        let same = rest
            .iter()
            .zip(&needle.form)
            .take_while(|(f, c)| f.sign.c == **c)
            .count();
        let whole = same == needle.form.len();
        let ended = self.cut.filter(|cut| {
            let (begun, left) = rest.split_at_checked(same).unwrap_or((rest, &[]));
            same >= CUT_MIN && begun.last().is_some_and(|f| is_torn(f.sign.to, left, *cut))
        });
        if !whole && ended.is_none() {
            return None;
        }
        let same = match whole && needle.longer {
            true => same.max(same_as_all(known, needle, rest)),
            false => same,
        };
        let matched = rest.get(..same)?;
        let broken = matched.iter().skip(1).any(|f| f.gap);
        if whole && needle.word || broken && same < LOOSE_FROM {
            let before = at.checked_sub(1).and_then(|at| text.get(at));
            let ours = matched.first()?;
            let after = rest.get(same);
            // Of a few letters any base64 holds some: they have to be all of it, or behind an id.
            let apart = |c: char| match packed {
                true => matches!(c, BREAK | ':'),
                false => !c.is_alphanumeric(),
            };
            let blank = |f: &Folded| f.gap && !packed;
            let left = blank(ours) || before.is_none_or(|f| apart(f.sign.c));
            let right = after.is_none_or(|f| blank(f) || apart(f.sign.c));
            if !left || !right {
                return None;
            }
        }
        Some(Found {
            from: matched.iter().map(|f| f.sign.from).min()?,
            to: matched
                .iter()
                .map(|f| f.sign.to)
                .chain(ended.filter(|_| !whole))
                .max()?,
            run: packed || whole && needle.longer,
        })
    }
}

/// Whether what is `left` behind `to` is nothing but what a cut made of the next character.
fn is_torn(to: usize, left: &[Folded], cut: usize) -> bool {
    let piece = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '\\' | '&' | '#' | '{');
    match left.first().map(|f| f.sign.c) {
        None | Some('…') => true,
        // A group of base64, or two digits of hex.
        Some(BREAK) => to + GROUP >= cut,
        Some('%' | '\\' | '&') => {
            let mut piece_left = left.iter().take_while(|f| f.sign.c != '…');
            to + TORN_MAX >= cut && piece_left.all(|f| piece(f.sign.c))
        }
        Some(_) => false,
    }
}

/// How much of a secret of which only the beginning is kept for comparison stands here.
fn same_as_all(known: &Known, needle: &Needle, text: &[Folded]) -> usize {
    let mut reading = layers::signs(known.secret.expose());
    for _ in 0..needle.layer {
        reading = layers::unescaped(&reading).unwrap_or(reading);
    }
    let all = layers::folded(&reading);
    let pairs = text.iter().zip(&all);
    pairs.take_while(|(a, b)| a.sign.c == b.sign.c).count()
}

/// The text with all that was found hidden.
fn hide(text: &str, mut found: Vec<Found>) -> String {
    for place in &mut found {
        if place.run {
            let (before, after) = (text.get(..place.from), text.get(place.to..));
            let before = before.unwrap_or_default().trim_end_matches(in_run);
            let rest = after.unwrap_or_default();
            place.to += rest.len() - rest.trim_start_matches(in_run).len();
            place.from = before.len();
        }
    }
    found.sort_by_key(|f| (f.from, f.to));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut found = found.into_iter().peekable();
    while let Some(mut place) = found.next() {
        while let Some(next) = found.next_if(|next| next.from < place.to) {
            place.to = place.to.max(next.to);
        }
        out.push_str(text.get(at..place.from).unwrap_or_default());
        out.push_str(HIDDEN);
        at = place.to;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn in_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')
}

#[cfg(test)]
mod tests;
