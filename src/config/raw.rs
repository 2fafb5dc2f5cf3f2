//! The file as it is written: keys, values and lines, with unknown keys set apart.
//!
//! Knows which names exist and nothing of what values mean; that is the work
//! of `check`. No I/O.
//!
//! Invariant: every key of the file is either in `values` or among the unknown ones.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use super::problem::{Problem, SyntaxError};

/// A value as written, without its position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum RawValue {
    /// A string, escapes undone.
    Text(String),
    /// A whole number of 64 bits.
    Whole(i64),
    /// An array.
    List(Vec<RawValue>),
    /// A table or inline table, in the order of its names.
    Table(Vec<(String, RawValue)>),
    /// `true` or `false`.
    Truth(bool),
    /// A date, a fraction, a number beyond 64 bits: no key takes these.
    Other(String),
}

impl RawValue {
    fn from_toml(value: &DeValue<'_>) -> RawValue {
        match value {
            DeValue::String(s) => RawValue::Text(s.to_string()),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .map_or_else(|_| RawValue::Other(n.to_string()), RawValue::Whole),
            DeValue::Float(f) => RawValue::Other(f.to_string()),
            DeValue::Boolean(b) => RawValue::Truth(*b),
            DeValue::Datetime(d) => RawValue::Other(d.to_string()),
            DeValue::Array(list) => {
                RawValue::List(list.iter().map(|v| Self::from_toml(v.get_ref())).collect())
            }
            DeValue::Table(table) => RawValue::Table(
                table
                    .iter()
                    .map(|(k, v)| (k.get_ref().to_string(), Self::from_toml(v.get_ref())))
                    .collect(),
            ),
        }
    }

    /// The value of a TOML literal from the table of keys.
    pub(super) fn literal(text: &str) -> Option<RawValue> {
        DeValue::parse(text)
            .ok()
            .map(|v| Self::from_toml(v.get_ref()))
    }

    /// As TOML would write it, cut to a line's length; for people.
    pub(super) fn show(&self) -> String {
        match self {
            RawValue::Text(s) => quoted(s),
            RawValue::Whole(n) => n.to_string(),
            RawValue::Truth(b) => b.to_string(),
            RawValue::Other(s) => shorten(s),
            RawValue::List(list) => {
                let items: Vec<String> = list.iter().map(RawValue::show).collect();
                format!("[{}]", shorten(&items.join(", ")))
            }
            RawValue::Table(table) => format!("{{ {} names }}", table.len()),
        }
    }
}

/// `text` in quotes, control characters escaped, cut to a line's length.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shorten(&text.escape_debug().to_string()))
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    pub(super) value: RawValue,
    pub(super) line: usize,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct RawFile {
    /// Known keys by full name.
    pub(super) values: BTreeMap<&'static str, Written>,
    /// Optional tables that are there, be they empty.
    pub(super) tables: BTreeSet<&'static str>,
    /// Keys that do not exist, as problems.
    pub(super) unknown: Vec<Problem>,
    /// The tables `[[genesys.additional-oauth]]`.
    pub(super) additional: Vec<RawClient>,
}

/// One `[[genesys.additional-oauth]]`: its keys are those of `[genesys.oauth]`, and stand under
/// the names of those.
#[derive(Debug)]
pub(super) struct RawClient {
    /// Where the table stands.
    pub(super) line: usize,
    /// The one key that `[genesys.oauth]` has not.
    pub(super) name: Option<Written>,
    /// All others.
    pub(super) file: RawFile,
}

/// The array of tables that hold more OAuth clients.
pub(super) const ADDITIONAL: &str = "genesys.additional-oauth";

/// The table that each of them is like.
pub(super) const OAUTH: &str = "genesys.oauth";

/// Reads TOML; or every place where it is not TOML.
pub(super) fn parse(text: &str) -> Result<RawFile, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut errors: Vec<SyntaxError> = errors
            .iter()
            .map(|e| {
                let at = e.span().map_or(0, |s| s.start);
                let (line, column) = position(text, at);
                SyntaxError {
                    line,
                    column,
                    message: e.message().replace('\n', ", "),
                }
            })
            .collect();
        errors.sort_by_key(|e| (e.line, e.column));
        return Err(errors);
    }
    let mut file = RawFile::default();
    collect(text, "", table.get_ref(), &mut file);
    file.unknown.sort_by_key(|p| p.line);
    Ok(file)
}

/// Line and column, both from 1, of a byte offset.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

fn collect(text: &str, prefix: &str, table: &DeTable<'_>, file: &mut RawFile) {
    for (name, value) in table.iter() {
        let full = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        let (line, _) = position(text, name.span().start);
        if full == ADDITIONAL {
            additional(text, value, line, file);
            continue;
        }
        one(text, full, value.get_ref(), line, file);
    }
}

fn one(text: &str, full: String, value: &DeValue<'_>, line: usize, file: &mut RawFile) {
    if let Some(key) = keys::find(&full) {
        let value = RawValue::from_toml(value);
        file.values.insert(key.name, Written { value, line });
        return;
    }
    match value {
        DeValue::Table(inner) if keys::is_table(&full) => {
            let optional = keys::OPTIONAL_TABLES.iter();
            file.tables.extend(optional.filter(|table| **table == full));
            collect(text, &full, inner, file);
        }
        _ => file.unknown.push(unknown(&full, line)),
    }
}

fn additional(text: &str, value: &Spanned<DeValue<'_>>, line: usize, file: &mut RawFile) {
    let tables = match value.get_ref() {
        DeValue::Array(tables) => tables.iter().collect(),
        _ => Vec::new(),
    };
    for table in &tables {
        if let DeValue::Table(inner) = table.get_ref() {
            file.additional
                .push(client(text, inner, table.span().start));
        }
    }
    if tables.is_empty() || tables.len() != file.additional.len() {
        file.unknown.push(Problem {
            key: ADDITIONAL.to_owned(),
            line: Some(line),
            value: None,
            rule: "must be tables, one for each client".to_owned(),
            hint: format!("write [[{ADDITIONAL}]], in two brackets, and its keys below it"),
            forbidden: false,
        });
    }
}

fn client(text: &str, table: &DeTable<'_>, at: usize) -> RawClient {
    let mut file = RawFile::default();
    let mut named = None;
    // Under the names of the one table that it is like, key by key.
    for (name, value) in table.iter() {
        let (line, _) = position(text, name.span().start);
        if name.get_ref() == "name" {
            let value = RawValue::from_toml(value.get_ref());
            named = Some(Written { value, line });
            continue;
        }
        let full = format!("{OAUTH}.{}", name.get_ref());
        one(text, full, value.get_ref(), line, &mut file);
    }
    RawClient {
        line: position(text, at).0,
        name: named,
        file,
    }
}

fn unknown(full: &str, line: usize) -> Problem {
    let (rule, hint) = if keys::is_table(full) {
        (
            "this is a table, not a value".to_owned(),
            format!("write [{full}] and its keys below it"),
        )
    } else {
        let hint = match keys::nearest(full) {
            Some(name) if keys::is_table(&name) => format!("did you mean [{name}]?"),
            Some(name) => format!("did you mean {name}?"),
            None => "genesys-gateway.toml(5) lists all keys".to_owned(),
        };
        ("there is no such key".to_owned(), hint)
    };
    Problem {
        key: full.escape_debug().to_string(),
        line: Some(line),
        // Never shown: an unknown key may well be a secret in the wrong place.
        value: None,
        rule,
        hint,
        forbidden: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unknown_key_is_reported_with_its_line_and_the_key_that_was_meant() {
        let file = parse(
            "[http]\nlisten = \"x\"\nmax_body = 1\n[htpp]\nlisten = 1\n[genesys.oauth]\nsecret-password = \"hush\"\n",
        )
        .unwrap();
        let seen: Vec<(String, Option<usize>, String)> = file
            .unknown
            .iter()
            .map(|p| (p.key.clone(), p.line, p.hint.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "http.max_body".into(),
                    Some(3),
                    "did you mean http.max-body?".into()
                ),
                ("htpp".into(), Some(4), "did you mean [http]?".into()),
                (
                    "genesys.oauth.secret-password".into(),
                    Some(7),
                    "genesys-gateway.toml(5) lists all keys".into()
                ),
            ]
        );
        assert!(!format!("{:?}", file.unknown).contains("hush"));
        assert_eq!(file.values["http.listen"].line, 2);
    }

    #[test]
    fn every_place_that_is_not_toml_is_reported_without_showing_it() {
        let errors = parse("[http]\nlisten = hush-hush\n[status\n").unwrap_err();
        assert!(errors.len() >= 2, "{errors:?}");
        assert_eq!((errors[0].line, errors[0].column), (2, 10), "{errors:?}");
        assert!(!format!("{errors:?}").contains("hush"), "{errors:?}");
    }

    #[test]
    fn a_table_given_as_a_value_is_told_apart_from_an_unknown_key() {
        let file = parse("http = 3\n").unwrap();
        assert!(file.unknown[0].rule.contains("table"));
    }
}
