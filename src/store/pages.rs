//! Rows out of the raw bytes of a database file, without its trees.
//!
//! Follows SQLite's file format (leaf table pages, overflow chains, records,
//! and the frames of the write-ahead log that a commit seals). Reading leaves
//! wherever they lie finds every row whose own page is whole, even when the
//! header, the schema, or all pages above are gone. Deleted rows do not come
//! back: `secure_delete` has overwritten them.
//!
//! Invariant: any bytes may come; nothing here trusts a length, an offset or a
//! page number before checking it, nothing panics, nothing writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::wal_of;
use super::schema::PAGE_BYTES;

/// Bytes of one row at most; above is no row of ours.
const ROW_BYTES_MAX: usize = 64 * 1024 * 1024;

const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// First byte of a leaf of a table's tree.
const LEAF_TABLE: u8 = 0x0d;
/// First bytes of pages of trees: inner and leaf, of an index and of a table.
const TREE_PAGES: [u8; 4] = [0x02, 0x05, 0x0a, LEAF_TABLE];
/// The first of the pages that say what the others are for, and for how many each does: there
/// are such pages in a file with `auto_vacuum` (file format, section 1.8), as ours.
const FIRST_MAP: u32 = 2;
const MAP_ENTRY_BYTES: usize = 5;
const MAP_ENTRIES: u32 = (PAGE_BYTES / MAP_ENTRY_BYTES) as u32;
/// Where the first page tells how many there are.
const COUNT_AT: usize = 28;
/// More than this the header is not believed to be short by.
const CUT_OFF_MAX: u32 = 1 << 20;

type Page = [u8; PAGE_BYTES];

/// A value of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// NULL; the id of a row looks like this too.
    Null,
    /// Any integer.
    Integer(i64),
    /// Any text.
    Text(String),
    /// Any bytes.
    Blob(Vec<u8>),
    /// It was there, and cannot be read.
    Lost,
}

/// What could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lost {
    /// Rows whose place was found.
    pub(super) rows: u64,
    /// Whole pages, with whatever was on them.
    pub(super) pages: u64,
}

/// The pages of a database as of its last commit.
pub(super) struct Pages {
    file: Option<File>,
    log: Option<File>,
    /// Where in the log the newest committed copy of a page is.
    in_log: BTreeMap<u32, u64>,
    count: u32,
}

impl Pages {
    /// Opens the database at `path` and its log; either may be missing.
    pub(super) fn open(path: &Path) -> io::Result<Pages> {
        let file = open_if_there(path)?;
        let log = open_if_there(&wal_of(path))?;
        let mut pages = Pages {
            count: 0,
            file,
            log,
            in_log: BTreeMap::new(),
        };
        if let Some(file) = &pages.file {
            let whole = file.metadata()?.len().div_ceil(PAGE_BYTES as u64);
            pages.count = u32::try_from(whole).unwrap_or(u32::MAX);
        }
        pages.read_log();
        Ok(pages)
    }

    /// One page; what lies beyond the end of a truncated file reads as zeros. `None` if the
    /// disk does not give it.
    fn page(&self, number: u32) -> Option<Box<Page>> {
        let mut page = Box::new([0; PAGE_BYTES]);
        if let (Some(log), Some(at)) = (&self.log, self.in_log.get(&number)) {
            log.read_exact_at(&mut page[..], *at).ok()?;
            return Some(page);
        }
        let at = u64::from(number.checked_sub(1)?) * PAGE_BYTES as u64;
        read_up_to(self.file.as_ref()?, &mut page[..], at).ok()?;
        Some(page)
    }

    /// Notes the frames of the log up to its last commit, as recovery does: salts must be
    /// the header's, and the running checksum right.
    fn read_log(&mut self) {
        let Some(log) = &self.log else { return };
        let mut header = [0; LOG_HEADER_BYTES];
        if log.read_exact_at(&mut header, 0).is_err() {
            return;
        }
        let big_endian = match be32(&header, 0) {
            Some(0x377f_0682) => false,
            Some(0x377f_0683) => true,
            _ => return,
        };
        if be32(&header, 8) != Some(PAGE_BYTES as u32) {
            return;
        }
        let mut sum = checksum((0, 0), header.get(..24).unwrap_or(&[]), big_endian);
        if (Some(sum.0), Some(sum.1)) != (be32(&header, 24), be32(&header, 28)) {
            return;
        }
        let salts = (be32(&header, 16), be32(&header, 20));
        let mut since_commit = Vec::new();
        let mut frame = vec![0; FRAME_HEADER_BYTES + PAGE_BYTES];
        let mut at = LOG_HEADER_BYTES as u64;
        while log.read_exact_at(&mut frame, at).is_ok() {
            let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
            if (be32(head, 8), be32(head, 12)) != salts {
                break;
            }
            sum = checksum(sum, head.get(..8).unwrap_or(&[]), big_endian);
            sum = checksum(sum, page, big_endian);
            if (Some(sum.0), Some(sum.1)) != (be32(head, 16), be32(head, 20)) {
                break;
            }
            let (Some(number), Some(pages_after_commit)) = (be32(head, 0), be32(head, 4)) else {
                break;
            };
            since_commit.push((number, at + FRAME_HEADER_BYTES as u64));
            if pages_after_commit > 0 {
                self.in_log.extend(since_commit.drain(..));
                self.count = pages_after_commit;
            }
            at += frame.len() as u64;
        }
    }

    /// Every row of every leaf, with its id: `take(id, values)`. Answers what could not be
    /// read at all.
    pub(super) fn rows<E>(
        &self,
        mut take: impl FnMut(i64, Vec<Value>) -> Result<(), E>,
    ) -> Result<Lost, E> {
        let mut lost = Lost {
            rows: 0,
            pages: u64::from(self.cut_off()),
        };
        let mut map = None;
        for number in 1..=self.count {
            let Some(page) = self.page(number) else {
                lost.pages += 1;
                continue;
            };
            if is_map(number) {
                if !plausible_map(&page) {
                    lost.pages += 1;
                }
                map = Some(page);
                continue;
            }
            let start = if number == 1 { 100 } else { 0 };
            let kind = page.get(start).copied().unwrap_or_default();
            if kind != LEAF_TABLE {
                let of_a_tree = number == 1
                    || map
                        .as_ref()
                        .is_some_and(|map| belongs_to_a_tree(map, number));
                lost.pages += u64::from(of_a_tree && !TREE_PAGES.contains(&kind));
                continue;
            }
            let cells = be16(&page[..], start + 3).unwrap_or(0);
            for cell in 0..usize::from(cells) {
                let Some(at) = be16(&page[..], start + 8 + 2 * cell) else {
                    break;
                };
                match self.cell(&page, usize::from(at)) {
                    Some((id, values)) => take(id, values)?,
                    None => lost.rows += 1,
                }
            }
        }
        Ok(lost)
    }

    /// How many pages the file has lost at its end, if its header is to be believed.
    fn cut_off(&self) -> u32 {
        let Some(first) = self.page(1) else { return 0 };
        let should = be32(&first[..], COUNT_AT).unwrap_or(0);
        let missing = should.saturating_sub(self.count);
        if first.starts_with(b"SQLite format 3\0") && missing <= CUT_OFF_MAX {
            missing
        } else {
            0
        }
    }

    fn cell(&self, page: &Page, at: usize) -> Option<(i64, Vec<Value>)> {
        let mut rest = page.get(at..)?;
        let size = usize::try_from(varint(&mut rest)?).ok()?;
        let id = varint(&mut rest)?;
        if size > ROW_BYTES_MAX {
            return None;
        }
        let here = local_bytes(size);
        let mut payload = rest.get(..here)?.to_vec();
        if here < size {
            let next = be32(rest, here)?;
            self.follow(next, size, &mut payload);
        }
        Some((id, values(&payload)?))
    }

    /// Appends an overflow chain. A page whose link is wrong is not believed, and ends it.
    fn follow(&self, mut next: u32, size: usize, payload: &mut Vec<u8>) {
        while payload.len() < size {
            if next < 2 || next > self.count {
                return;
            }
            let Some(page) = self.page(next) else { return };
            let wanted = (size - payload.len()).min(PAGE_BYTES - 4);
            let after = be32(&page[..], 0).unwrap_or(0);
            let last = payload.len() + wanted == size;
            if last != (after == 0) || after > self.count {
                return;
            }
            payload.extend(page.get(4..4 + wanted).unwrap_or(&[]));
            next = after;
        }
    }
}

/// Whether this page is one that says what the others are for.
fn is_map(number: u32) -> bool {
    number >= FIRST_MAP && (number - FIRST_MAP).is_multiple_of(MAP_ENTRIES + 1)
}

/// What a map says of a page: root of a tree 1, free 2, overflow 3 and 4, other page of a tree
/// 5; 0 beyond the last page.
fn mapped(map: &Page, number: u32) -> Option<u8> {
    let entry = (number.checked_sub(FIRST_MAP)? % (MAP_ENTRIES + 1)).checked_sub(1)?;
    map.get(entry as usize * MAP_ENTRY_BYTES).copied()
}

fn plausible_map(map: &Page) -> bool {
    map.chunks_exact(MAP_ENTRY_BYTES)
        .all(|entry| entry.first().is_some_and(|kind| *kind <= 5))
        && map.first().is_some_and(|kind| *kind > 0)
}

fn belongs_to_a_tree(map: &Page, number: u32) -> bool {
    plausible_map(map) && matches!(mapped(map, number), Some(1 | 5))
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn read_up_to(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<()> {
    while !into.is_empty() {
        match file.read_at(into, at) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                at += n as u64;
                into = into.get_mut(n..).unwrap_or_default();
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// How much of a row of `size` bytes lies in its leaf (file format, section 1.6).
fn local_bytes(size: usize) -> usize {
    const MOST: usize = PAGE_BYTES - 35;
    const LEAST: usize = (PAGE_BYTES - 12) * 32 / 255 - 23;
    if size <= MOST {
        return size;
    }
    let filled = LEAST + (size - LEAST) % (PAGE_BYTES - 4);
    if filled <= MOST { filled } else { LEAST }
}

/// The values of a row (file format, section 2.1); those beyond the end of `payload` are lost.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let mut rest = payload;
    let header_bytes = usize::try_from(varint(&mut rest)?).ok()?;
    let mut header = payload.get(payload.len() - rest.len()..header_bytes)?;
    let mut body = payload.get(header_bytes..)?;
    let mut found = Vec::new();
    while !header.is_empty() {
        let kind = varint(&mut header)?;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let Some((bytes, after)) = body.split_at_checked(size) else {
            body = &[];
            found.push(Value::Lost);
            continue;
        };
        body = after;
        found.push(match kind {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => Value::Integer(integer(bytes)),
            12.. if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            13.. => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Lost,
            },
            _ => Value::Lost,
        });
    }
    Some(found)
}

fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    bytes.iter().fold(start, |n, b| (n << 8) | i64::from(*b))
}

/// SQLite's variable-length integer: up to nine bytes, high bits first.
fn varint(from: &mut &[u8]) -> Option<i64> {
    let mut n: u64 = 0;
    for i in 0..9 {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        if i == 8 {
            n = (n << 8) | u64::from(*byte);
        } else {
            n = (n << 7) | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    Some(n.cast_signed())
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let b = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(b.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(b.try_into().ok()?))
}

/// The log's running checksum (file format, section 4.2).
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |w: &[u8]| {
        let w: [u8; 4] = w.try_into().unwrap_or_default();
        if big_endian {
            u32::from_be_bytes(w)
        } else {
            u32::from_le_bytes(w)
        }
    };
    for pair in bytes.chunks_exact(8) {
        let (x, y) = pair.split_at(4);
        a = a.wrapping_add(word(x)).wrapping_add(b);
        b = b.wrapping_add(word(y)).wrapping_add(a);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_are_read_with_their_sign() {
        assert_eq!(integer(&[0xff]), -1);
        assert_eq!(integer(&[0x01, 0x00]), 256);
        assert_eq!(integer(&[0x80, 0, 0, 0, 0, 0, 0, 0]), i64::MIN);
        let mut nine: &[u8] = &[0xff; 9];
        assert_eq!(varint(&mut nine), Some(-1));
        assert!(nine.is_empty());
        let mut cut: &[u8] = &[0x81];
        assert_eq!(varint(&mut cut), None);
    }

    #[test]
    fn a_row_that_is_cut_off_keeps_the_values_before_the_cut() {
        // Header of 4: itself, an integer of 1 byte, a text of 2, a text of 3.
        let row = [4, 1, 17, 19, 42, b'h', b'i', b'y', b'o', b'u'];
        let all = values(&row).unwrap();
        assert_eq!(
            all,
            [
                Value::Integer(42),
                Value::Text("hi".into()),
                Value::Text("you".into())
            ]
        );
        assert_eq!(values(&row[..9]).unwrap()[..2], all[..2]);
        assert_eq!(values(&row[..9]).unwrap()[2], Value::Lost);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut rng = base::rng::Rng::new(7);
        for _ in 0..20_000 {
            let n = (rng.next_u64() % 64) as usize;
            let bytes: Vec<u8> = (0..n).map(|_| rng.next_u64() as u8).collect();
            let _ = values(&bytes);
        }
    }
}
