//! A writer whose output is already in exclusive-canonical form (Exclusive XML
//! Canonicalization 1.0), so that it can be digested as it stands.
//!
//! The rules it keeps by itself: no self-closing tags, no white space of its
//! own, double quotes, canonical escapes. The rules it checks: namespace
//! declarations first, then attributes in the order of their names. The one
//! rule that the caller keeps: a prefix is declared on the first element that
//! uses it, and not again below.

/// Canonical XML as it grows.
pub(super) struct Canonical {
    out: String,
}

impl Canonical {
    pub(super) fn new() -> Canonical {
        Canonical { out: String::new() }
    }

    /// A start tag. Attributes without a prefix, in the order of their names;
    /// declarations of namespaces before them, in the order of their prefixes.
    pub(super) fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        debug_assert!(
            attributes.is_sorted_by_key(|(name, _)| (!name.starts_with("xmlns"), name.to_owned())),
            "attributes of {name} are out of canonical order"
        );
        self.out.push('<');
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            self.escaped(value, |c| match c {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '"' => Some("&quot;"),
                '\t' => Some("&#x9;"),
                '\n' => Some("&#xA;"),
                '\r' => Some("&#xD;"),
                _ => None,
            });
            self.out.push('"');
        }
        self.out.push('>');
    }

    /// An end tag.
    pub(super) fn end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element with text, possibly empty, and no children.
    pub(super) fn leaf(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.start(name, attributes);
        self.escaped(text, |c| match c {
            '&' => Some("&amp;"),
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            '\r' => Some("&#xD;"),
            _ => None,
        });
        self.end(name);
    }

    /// Elements that another writer has written.
    pub(super) fn written(&mut self, elements: &str) {
        self.out.push_str(elements);
    }

    /// What has been written since the last call.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    fn escaped(&mut self, text: &str, escape: fn(char) -> Option<&'static str>) {
        for c in text.chars() {
            match escape(c) {
                Some(entity) => self.out.push_str(entity),
                None => self.out.push(c),
            }
        }
    }
}

/// The first character that is outside of `Char` of XML 1.0 (section 2.2) and
/// that no escape can carry either. Surrogates do not occur in a `str`.
pub(super) fn forbidden(text: &str) -> Option<char> {
    text.chars().find(
        |c| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}'),
    )
}
