//! Takes values out of the raw file one by one and keeps the list of problems.
//!
//! Invariant: a method that returns `None` has recorded why.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::SHA256;

use super::environment::Environment;
use super::files::{self, SecretFile, Trouble};
use super::keys::{self, Absent, Shown};
use super::problem::{ConfigError, Problem, SyntaxError, Warning};
use super::raw::{self, RawClient, RawFile, RawValue};
use super::values::{self, Rule, show_duration};
use super::{Effective, Origin, written};

/// Larger is not a configuration.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Reads the file; warns if others may change it.
pub(super) fn open(path: &Path) -> Result<(RawFile, Vec<Warning>), ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable {
        path: path.to_owned(),
        why,
    };
    match std::fs::metadata(path) {
        Ok(seen) if seen.is_file() => {}
        Ok(_) => return Err(unreadable("is not a regular file".into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(ConfigError::Missing {
                path: path.to_owned(),
            });
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(ConfigError::Forbidden {
                path: path.to_owned(),
            });
        }
        Err(e) => return Err(unreadable(format!("cannot be read: {e}"))),
    }
    let (content, seen) = files::read(path, FILE_LIMIT).map_err(|trouble| {
        if trouble.forbidden {
            ConfigError::Forbidden {
                path: path.to_owned(),
            }
        } else {
            unreadable(format!("is of no use: {}", trouble.rule.rule))
        }
    })?;
    let valid = std::str::from_utf8(&content).map_or_else(|e| e.valid_up_to(), str::len);
    let text = written::text(content.clone()).map_err(|trouble| {
        let (line, column) = raw::position(&String::from_utf8_lossy(&content[..valid]), valid);
        ConfigError::NotToml {
            path: path.to_owned(),
            errors: vec![SyntaxError {
                line,
                column,
                message: format!("{}; {}", trouble.rule.rule, trouble.rule.hint),
            }],
        }
    })?;
    let odd = written::odd_in_toml(&text);
    let unseen = |odd: &written::Odd| format!("{}, which cannot be seen; take it out", odd.name());
    let mut file = raw::parse(&text).map_err(|mut errors| {
        // What the parser stumbles over may be what nobody sees.
        errors.extend(odd.iter().map(|odd| SyntaxError {
            line: odd.line,
            column: odd.column,
            message: unseen(odd),
        }));
        errors.sort_by_key(|e| (e.line, e.column));
        ConfigError::NotToml {
            path: path.to_owned(),
            errors,
        }
    })?;
    file.unknown.extend(odd.iter().map(|odd| Problem {
        key: format!("line {}, column {}", odd.line, odd.column),
        line: None,
        value: None,
        rule: format!("holds {}, which cannot be seen", odd.name()),
        hint: "take it out".into(),
        forbidden: false,
    }));
    let warnings = files::writable_by_others(&seen)
        .map(|text| Warning {
            key: path.display().to_string(),
            text,
        })
        .into_iter()
        .collect();
    Ok((file, warnings))
}

/// The file under examination.
pub(super) struct Reader<'a> {
    file: RawFile,
    base: PathBuf,
    path: PathBuf,
    pub(super) environment: &'a Environment,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
    clients: Option<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        path: &Path,
        environment: &'a Environment,
        mut file: RawFile,
        warnings: Vec<Warning>,
    ) -> Reader<'a> {
        let beside = path.parent().unwrap_or(Path::new(""));
        Reader {
            problems: std::mem::take(&mut file.unknown),
            file,
            base: environment.working_directory.join(beside),
            path: path.to_owned(),
            environment,
            warnings,
            clients: None,
        }
    }

    /// The tables of more clients, to be read by [`Reader::inside`].
    pub(super) fn additional(&mut self) -> Vec<RawClient> {
        std::mem::take(&mut self.file.additional)
    }

    /// Reads one of them as if it were the table that it is like; problems and warnings name it.
    pub(super) fn inside<T>(
        &mut self,
        client: RawClient,
        called: &str,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        let line = client.line;
        let environment = self.environment;
        let mut inner = Reader::new(&self.path, environment, client.file, Vec::new());
        let value = read(&mut inner);
        let named = |key: &str| match key.strip_prefix(raw::OAUTH) {
            Some(rest) => format!("{}[{called}]{rest}", raw::ADDITIONAL),
            None => key.to_owned(),
        };
        self.problems
            .extend(inner.problems.into_iter().map(|p| Problem {
                key: named(&p.key),
                line: p.line.or(Some(line)),
                ..p
            }));
        self.warnings
            .extend(inner.warnings.into_iter().map(|w| Warning {
                key: named(&w.key),
                ..w
            }));
        value
    }

    /// Records a problem with one of the tables of more clients.
    pub(super) fn client_problem(&mut self, called: &str, line: usize, rule: &str, hint: &str) {
        self.problems.push(Problem {
            key: format!("{}[{called}]", raw::ADDITIONAL),
            line: Some(line),
            value: None,
            rule: rule.to_owned(),
            hint: hint.to_owned(),
            forbidden: false,
        });
    }

    /// Remembers what stands in the tables of more clients, for who compares two files.
    pub(super) fn clients_written(&mut self, names: Vec<String>, clients: &[RawClient]) {
        if clients.is_empty() {
            return;
        }
        let written: Vec<_> = clients
            .iter()
            .map(|c| {
                let values = c.file.values.iter().map(|(key, w)| (key, &w.value));
                (
                    c.name.as_ref().map(|w| &w.value),
                    values.collect::<Vec<_>>(),
                )
            })
            .collect();
        self.clients = Some(Effective {
            key: raw::ADDITIONAL,
            value: format!("[{}]", names.join(", ")),
            origin: Origin::File,
            digest: digest(&format!("{written:?}")),
        });
    }

    /// Whether the file itself names the key.
    pub(super) fn names(&self, key: &str) -> bool {
        self.file.values.contains_key(key)
    }

    /// Whether the file has that optional table.
    pub(super) fn has_table(&self, table: &str) -> bool {
        self.file.tables.contains(table)
    }

    /// The text that the file gives a key, whatever it is worth.
    pub(super) fn written(&self, key: &str) -> Option<String> {
        match &self.file.values.get(key)?.value {
            RawValue::Text(text) => Some(text.clone()),
            _ => Some(String::new()),
        }
    }

    /// Records a problem with a key.
    pub(super) fn problem(&mut self, key: &str, rule: Rule) {
        self.trouble(
            key,
            Trouble {
                rule,
                forbidden: false,
            },
        );
    }

    pub(super) fn trouble(&mut self, key: &str, trouble: Trouble) {
        let written = self.file.values.get(key);
        self.problems.push(Problem {
            key: key.to_owned(),
            line: written.map(|w| w.line),
            value: written.map(|w| shown(key, &w.value)),
            rule: trouble.rule.rule,
            hint: match trouble.rule.hint {
                hint if hint.is_empty() => format!("see {key} in genesys-gateway.toml(5)"),
                hint => hint,
            },
            forbidden: trouble.forbidden,
        });
    }

    /// Records something odd.
    pub(super) fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning {
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// What holds for a key: the file's value, else the default. Records a
    /// missing required key.
    fn value(&mut self, key: &str) -> Option<RawValue> {
        if let Some(written) = self.file.values.get(key) {
            return Some(written.value.clone());
        }
        match keys::find(key).map(|k| k.absent) {
            Some(Absent::Default(literal)) => RawValue::literal(literal),
            Some(Absent::Required) => {
                self.problem(key, Rule::new("is required and missing", ""));
                None
            }
            Some(Absent::Unset) | None => None,
        }
    }

    /// Records that an unset key is needed after all.
    pub(super) fn required(&mut self, key: &str, why: &str, hint: &str) {
        self.problem(key, Rule::new(format!("is required {why}"), hint));
    }

    /// The text of a key that has a default or is required; `None` with a problem.
    /// For a key that may be unset ask [`Reader::names`] first.
    pub(super) fn text<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Option<T> {
        match self.value(key)? {
            RawValue::Text(text) => self.keep(key, parse(&text)),
            RawValue::Whole(n) => {
                let unit = match keys::find(key).map(|k| k.absent) {
                    Some(Absent::Default(literal)) if literal.ends_with("iB\"") => Some("KiB"),
                    Some(Absent::Default(literal)) => {
                        let default = values::duration(literal.trim_matches('"'));
                        default.is_ok().then_some("s")
                    }
                    _ => None,
                };
                let hint = match unit {
                    Some(unit) => format!("in quotes and with its unit, as in \"{n}{unit}\""),
                    None => "put it in quotes".to_owned(),
                };
                self.problem(key, Rule::new("must be a string", hint));
                None
            }
            _ => {
                self.problem(key, Rule::new("must be a string", "put it in quotes"));
                None
            }
        }
    }

    /// As [`Reader::text`] for a key that may be absent: `Some(None)` then.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Option<Option<T>> {
        if self.names(key) {
            self.text(key, parse).map(Some)
        } else {
            Some(None)
        }
    }

    fn keep<T>(&mut self, key: &str, result: Result<T, Rule>) -> Option<T> {
        result.map_err(|rule| self.problem(key, rule)).ok()
    }

    /// A whole number within bounds.
    pub(super) fn count(
        &mut self,
        key: &str,
        bounds: RangeInclusive<usize>,
        why: &str,
    ) -> Option<usize> {
        let rule = Rule::new(
            format!(
                "must be a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            ),
            why,
        );
        match self.value(key)? {
            RawValue::Whole(n) => match usize::try_from(n) {
                Ok(n) if bounds.contains(&n) => Some(n),
                _ => self.keep(key, Err(rule)),
            },
            _ => self.keep(key, Err(rule)),
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, key: &str) -> Option<bool> {
        match self.value(key)? {
            RawValue::Truth(yes) => Some(yes),
            _ => {
                let rule = Rule::new("must be true or false", "without quotes");
                self.keep(key, Err(rule))
            }
        }
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        key: &str,
        bounds: RangeInclusive<Duration>,
        why: &str,
    ) -> Option<Duration> {
        self.text(key, |text| {
            let d = values::duration(text)?;
            if bounds.contains(&d) {
                Ok(d)
            } else {
                Err(Rule::new(
                    format!(
                        "must be from {} to {}",
                        show_duration(*bounds.start()),
                        show_duration(*bounds.end())
                    ),
                    why,
                ))
            }
        })
    }

    /// An array of strings, each of them checked.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        most: usize,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Option<Vec<T>> {
        let RawValue::List(items) = self.value(key)? else {
            let rule = Rule::new("must be an array of strings", "as in [\"one\", \"two\"]");
            return self.keep(key, Err(rule));
        };
        if items.len() > most {
            let rule = Rule::new(format!("must have at most {most} elements"), "");
            return self.keep(key, Err(rule));
        }
        let mut whole = true;
        let mut list = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let result = match item {
                RawValue::Text(text) => parse(text),
                _ => Err(Rule::new("must be a string", "put it in quotes")),
            };
            match result {
                Ok(value) => list.push(value),
                Err(rule) => {
                    whole = false;
                    let rule = Rule::new(format!("element {}: {}", at + 1, rule.rule), rule.hint);
                    self.problem(key, rule);
                }
            }
        }
        whole.then_some(list)
    }

    /// A table of strings; empty if it is not there.
    pub(super) fn table(&mut self, key: &str, most: usize) -> Option<Vec<(String, String)>> {
        let table = match self.value(key) {
            None => return Some(Vec::new()),
            Some(RawValue::Table(table)) if table.len() <= most => table,
            Some(RawValue::Table(_)) => {
                let rule = Rule::new(format!("must have at most {most} names"), "");
                return self.keep(key, Err(rule));
            }
            Some(_) => {
                let rule = Rule::new(
                    "must be a table of strings",
                    "as in { X-Source = \"genesys\" }",
                );
                return self.keep(key, Err(rule));
            }
        };
        let mut whole = true;
        let mut pairs = Vec::new();
        for (name, value) in table {
            if let RawValue::Text(text) = value {
                pairs.push((name, text));
            } else {
                whole = false;
                let rule = Rule::new(
                    format!("the value of {} must be a string", raw::quoted(&name)),
                    "put it in quotes",
                );
                self.problem(key, rule);
            }
        }
        whole.then_some(pairs)
    }

    /// A file that a key names, read by `read`; `Some(None)` if the key is absent.
    pub(super) fn file<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(PathBuf) -> Result<T, Trouble>,
    ) -> Option<Option<T>> {
        let base = self.base.clone();
        let path = self.optional(key, |text| {
            if text.is_empty() || text.contains('\0') {
                Err(Rule::new("must be a path", ""))
            } else {
                Ok(values::below(&base, text))
            }
        })?;
        match path.map(read) {
            None => Some(None),
            Some(Ok(value)) => Some(Some(value)),
            Some(Err(trouble)) => {
                self.trouble(key, trouble.in_directory(&base));
                None
            }
        }
    }

    /// A secret's file that a key names, read by `read`, which may warn; `Some(None)` if the key is absent.
    pub(super) fn secret<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(SecretFile) -> Result<(T, Option<String>), Trouble>,
    ) -> Option<Option<T>> {
        let (base, environment) = (self.base.clone(), self.environment);
        let file = self.optional(key, |text| SecretFile::resolve(text, &base, environment))?;
        match file.map(read) {
            None => Some(None),
            Some(Ok((value, warning))) => {
                if let Some(text) = warning {
                    self.warn(key, text);
                }
                Some(Some(value))
            }
            Some(Err(trouble)) => {
                self.trouble(key, trouble.in_directory(&base));
                None
            }
        }
    }

    /// Every key that has a value, fit for a log line.
    pub(super) fn effective(&self) -> Vec<Effective> {
        keys::KEYS
            .iter()
            .filter(|key| keys::optional_table(key.name).is_none_or(|table| self.has_table(table)))
            .filter_map(|key| {
                let (value, origin, raw) = match (self.file.values.get(key.name), key.absent) {
                    (Some(written), _) => {
                        let shown = shown(key.name, &written.value);
                        (shown, Origin::File, Some(written.value.clone()))
                    }
                    (None, Absent::Default(literal)) => {
                        let raw = RawValue::literal(literal);
                        (literal.to_owned(), Origin::Default, raw)
                    }
                    (None, _) => return None,
                };
                Some(Effective {
                    key: key.name,
                    value,
                    origin,
                    digest: digest(&format!("{raw:?}")),
                })
            })
            .chain(self.clients.clone())
            .collect()
    }
}

fn digest(written: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&SHA256, written.as_bytes()).as_ref());
    digest
}

/// A value as far as it may be shown.
fn shown(key: &str, value: &RawValue) -> String {
    const HIDDEN: &str = "[hidden]";
    match (keys::find(key).map(|k| k.shown), value) {
        (Some(Shown::Whole), _) => value.show(),
        (Some(Shown::SecretPath), RawValue::Text(text)) => {
            // What does not look like a path may be the secret itself, put in the wrong place.
            let path = ["/", "./", "../", "credential:"]
                .iter()
                .any(|start| text.starts_with(start));
            if path && text.len() < 256 {
                value.show()
            } else {
                HIDDEN.to_owned()
            }
        }
        (Some(Shown::Url), RawValue::Text(text)) => raw::quoted(&without_secrets(text)),
        (Some(Shown::Count), RawValue::List(list)) => match list.first() {
            Some(RawValue::Text(first)) if list.len() == 1 => format!("[{}]", raw::quoted(first)),
            Some(RawValue::Text(first)) => {
                format!("[{}, and {} more]", raw::quoted(first), list.len() - 1)
            }
            _ => value.show(),
        },
        (Some(Shown::Count), RawValue::Table(table)) => {
            let names: Vec<String> = table
                .iter()
                .map(|(name, _)| format!("{} = {HIDDEN}", name.escape_debug()))
                .collect();
            format!("{{ {} }}", names.join(", "))
        }
        (Some(Shown::SecretPath | Shown::Url | Shown::Count) | None, _) => HIDDEN.to_owned(),
    }
}

/// A URL without user name, password and query.
fn without_secrets(url: &str) -> String {
    let (url, query) = match url.split_once('?') {
        Some((url, _)) => (url, "?[hidden]"),
        None => (url, ""),
    };
    // Up to the last @ of anything, because what is not a URL may hold a password too.
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[hidden]@{host}{query}"),
        (None, Some((_, host))) => format!("[hidden]@{host}{query}"),
        _ => format!("{url}{query}"),
    }
}
