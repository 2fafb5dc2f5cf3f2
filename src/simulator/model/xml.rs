//! A small bounded XML reader, and exclusive canonical XML of what it read.
//!
//! Reads what a SAML document needs: elements, attributes, namespaces, text,
//! CDATA, character references. Refuses document types, processing
//! instructions and entities, so that nothing can expand. Comments are left
//! out, as canonical XML without comments does.
//!
//! Invariant: bounded depth and number of elements; the reader never reads
//! past the text.

use std::collections::BTreeMap;

/// Longest document, in bytes.
const DOCUMENT_MAX: usize = 256 * 1024;
const DEPTH_MAX: usize = 32;
const ELEMENTS_MAX: usize = 5000;
const ATTRIBUTES_MAX: usize = 64;

/// An attribute that is not a namespace declaration.
#[derive(Debug)]
pub(super) struct Attribute {
    prefix: String,
    name: String,
    value: String,
}

/// A child of an element.
#[derive(Debug)]
pub(super) enum Node {
    Element(Element),
    Text(String),
}

/// An element with the namespaces in scope on it.
#[derive(Debug)]
pub(super) struct Element {
    prefix: String,
    pub(super) name: String,
    pub(super) namespace: String,
    attributes: Vec<Attribute>,
    scope: BTreeMap<String, String>,
    pub(super) children: Vec<Node>,
}

impl Element {
    /// The value of an attribute without a namespace.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.prefix.is_empty() && a.name == name)
            .map(|a| a.value.as_str())
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|n| match n {
            Node::Element(e) => Some(e),
            Node::Text(_) => None,
        })
    }

    /// The child elements of a name and namespace.
    pub(super) fn all<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Element> {
        self.elements().filter(move |e| e.is(namespace, name))
    }

    /// The only child element of a name; `None` if there are none or several.
    pub(super) fn only(&self, namespace: &str, name: &str) -> Option<&Element> {
        let mut found = self.elements().filter(|e| e.is(namespace, name));
        match (found.next(), found.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// The text directly inside.
    pub(super) fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|n| match n {
                Node::Text(t) => Some(t.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Calls `f` on this element and all below.
    pub(super) fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Element)) {
        f(self);
        for child in self.elements() {
            child.walk(f);
        }
    }

    /// Exclusive canonical XML of this element, without the descendant `omit`,
    /// with these prefixes treated inclusively.
    pub(super) fn canonical(&self, omit: Option<&Element>, inclusive: &[&str]) -> String {
        let mut out = String::new();
        self.write(omit, inclusive, &BTreeMap::new(), &mut out);
        out
    }

    fn write(
        &self,
        omit: Option<&Element>,
        inclusive: &[&str],
        rendered: &BTreeMap<&str, &str>,
        out: &mut String,
    ) {
        let mut rendered = rendered.clone();
        let mut used: Vec<&str> = vec![&self.prefix];
        used.extend(
            self.attributes
                .iter()
                .map(|a| a.prefix.as_str())
                .filter(|p| !p.is_empty()),
        );
        used.extend(inclusive.iter().filter(|p| self.scope.contains_key(**p)));
        used.sort_unstable();
        used.dedup();
        let name = qualified(&self.prefix, &self.name);
        out.push('<');
        out.push_str(&name);
        for prefix in used {
            if prefix == "xml" {
                continue;
            }
            let uri = self.scope.get(prefix).map_or("", String::as_str);
            if rendered.get(prefix).copied().unwrap_or("") == uri {
                continue;
            }
            rendered.insert(prefix, uri);
            if prefix.is_empty() {
                out.push_str(" xmlns=\"");
            } else {
                out.push_str(" xmlns:");
                out.push_str(prefix);
                out.push_str("=\"");
            }
            escape(uri, true, out);
            out.push('"');
        }
        let mut sorted: Vec<(&str, &Attribute)> = self
            .attributes
            .iter()
            .map(|a| {
                let uri = match a.prefix.as_str() {
                    "" => "",
                    "xml" => "http://www.w3.org/XML/1998/namespace",
                    prefix => self.scope.get(prefix).map_or("", String::as_str),
                };
                (uri, a)
            })
            .collect();
        sorted.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        for (_, a) in sorted {
            out.push(' ');
            out.push_str(&qualified(&a.prefix, &a.name));
            out.push_str("=\"");
            escape(&a.value, true, out);
            out.push('"');
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Text(text) => escape(text, false, out),
                Node::Element(e) if omit.is_some_and(|o| std::ptr::eq(o, e)) => {}
                Node::Element(e) => e.write(omit, inclusive, &rendered, out),
            }
        }
        out.push_str("</");
        out.push_str(&name);
        out.push('>');
    }
}

fn qualified(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}:{name}")
    }
}

fn escape(text: &str, attribute: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' if !attribute => out.push_str("&gt;"),
            '"' if attribute => out.push_str("&quot;"),
            '\t' if attribute => out.push_str("&#x9;"),
            '\n' if attribute => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            c => out.push(c),
        }
    }
}

/// The text is not XML of the kind that is read here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotXml(pub(super) &'static str);

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Element, NotXml> {
    if text.len() > DOCUMENT_MAX {
        return Err(NotXml("the document is too long"));
    }
    let mut reader = Reader {
        rest: text,
        elements: 0,
    };
    if let Some(rest) = reader.rest.strip_prefix("<?xml ") {
        let end = rest
            .find("?>")
            .ok_or(NotXml("the declaration has no end"))?;
        reader.rest = &rest[end + 2..];
    }
    reader.skip_outside()?;
    let root = reader.element(&BTreeMap::new(), 0)?;
    reader.skip_outside()?;
    if reader.rest.is_empty() {
        Ok(root)
    } else {
        Err(NotXml("there is something after the root element"))
    }
}

struct Reader<'a> {
    rest: &'a str,
    elements: usize,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Reader<'a> {
    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_space(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches(SPACE);
        self.rest.len() < before
    }

    fn until(&mut self, end: &str, why: &'static str) -> Result<&'a str, NotXml> {
        let at = self.rest.find(end).ok_or(NotXml(why))?;
        let found = &self.rest[..at];
        self.rest = &self.rest[at + end.len()..];
        Ok(found)
    }

    fn skip_outside(&mut self) -> Result<(), NotXml> {
        loop {
            self.skip_space();
            if !self.take("<!--") {
                return Ok(());
            }
            self.until("-->", "a comment has no end")?;
        }
    }

    fn name(&mut self) -> Result<(String, String), NotXml> {
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let begins = |s: &str| s.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !begins(local) || local.contains(':') || (name.contains(':') && !begins(prefix)) {
            return Err(NotXml("a name is not one"));
        }
        Ok((prefix.to_owned(), local.to_owned()))
    }

    fn element(
        &mut self,
        outer: &BTreeMap<String, String>,
        depth: usize,
    ) -> Result<Element, NotXml> {
        self.elements += 1;
        if depth > DEPTH_MAX || self.elements > ELEMENTS_MAX {
            return Err(NotXml("the document is too deep or has too many elements"));
        }
        if !self.take("<") {
            return Err(NotXml("an element was expected"));
        }
        let (prefix, name) = self.name()?;
        let mut scope = outer.clone();
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut declared: Vec<String> = Vec::new();
        let empty = loop {
            let spaced = self.skip_space();
            if self.take("/>") {
                break true;
            }
            if self.take(">") {
                break false;
            }
            if !spaced || attributes.len() + declared.len() >= ATTRIBUTES_MAX {
                return Err(NotXml("attributes are not understood"));
            }
            let (attribute_prefix, attribute_name) = self.name()?;
            self.skip_space();
            if !self.take("=") {
                return Err(NotXml("an attribute has no value"));
            }
            self.skip_space();
            let quote = if self.take("\"") {
                "\""
            } else if self.take("'") {
                "'"
            } else {
                return Err(NotXml("an attribute value has no quotes"));
            };
            let raw = self.until(quote, "an attribute value has no end")?;
            if raw.contains('<') {
                return Err(NotXml("an attribute value holds a <"));
            }
            let value = decode(raw, true)?;
            let declares = match (attribute_prefix.as_str(), attribute_name.as_str()) {
                ("", "xmlns") => Some(String::new()),
                ("xmlns", declared) => Some(declared.to_owned()),
                _ => None,
            };
            match declares {
                Some(p) if declared.contains(&p) => {
                    return Err(NotXml("a namespace is declared twice"));
                }
                Some(p) => {
                    if value.is_empty() && !p.is_empty() {
                        return Err(NotXml("a prefix is undeclared"));
                    }
                    declared.push(p.clone());
                    scope.insert(p, value);
                }
                None => attributes.push(Attribute {
                    prefix: attribute_prefix,
                    name: attribute_name,
                    value,
                }),
            }
        };
        let resolve = |p: &str| -> Result<String, NotXml> {
            match (p, scope.get(p)) {
                ("xml", _) => Ok("http://www.w3.org/XML/1998/namespace".to_owned()),
                (_, Some(uri)) => Ok(uri.clone()),
                ("", None) => Ok(String::new()),
                _ => Err(NotXml("a prefix is not declared")),
            }
        };
        let namespace = resolve(&prefix)?;
        for (n, a) in attributes.iter().enumerate() {
            let uri = if a.prefix.is_empty() {
                String::new()
            } else {
                resolve(&a.prefix)?
            };
            for b in &attributes[..n] {
                let other = if b.prefix.is_empty() {
                    String::new()
                } else {
                    resolve(&b.prefix)?
                };
                if a.name == b.name && uri == other {
                    return Err(NotXml("an attribute is there twice"));
                }
            }
        }
        let mut children = Vec::new();
        if !empty {
            self.content(&mut children, &scope, depth)?;
            let end = self.name()?;
            self.skip_space();
            if end != (prefix.clone(), name.clone()) || !self.take(">") {
                return Err(NotXml("an end tag does not match"));
            }
        }
        Ok(Element {
            prefix,
            name,
            namespace,
            attributes,
            scope,
            children,
        })
    }

    /// The content up to and with the `</` of the end tag.
    fn content(
        &mut self,
        children: &mut Vec<Node>,
        scope: &BTreeMap<String, String>,
        depth: usize,
    ) -> Result<(), NotXml> {
        loop {
            let at = self.rest.find('<').ok_or(NotXml("an element has no end"))?;
            let (text, rest) = self.rest.split_at(at);
            self.rest = rest;
            if !text.is_empty() {
                if text.contains("]]>") {
                    return Err(NotXml("]]> stands in text"));
                }
                push_text(children, &decode(text, false)?);
            }
            if self.take("</") {
                return Ok(());
            } else if self.take("<!--") {
                self.until("-->", "a comment has no end")?;
            } else if self.take("<![CDATA[") {
                let raw = self.until("]]>", "a CDATA section has no end")?;
                push_text(children, &lines(raw));
            } else {
                children.push(Node::Element(self.element(scope, depth + 1)?));
            }
        }
    }
}

fn push_text(children: &mut Vec<Node>, text: &str) {
    match children.last_mut() {
        Some(Node::Text(last)) => last.push_str(text),
        _ => children.push(Node::Text(text.to_owned())),
    }
}

fn lines(raw: &str) -> String {
    raw.replace("\r\n", "\n").replace('\r', "\n")
}

/// Line ends and references resolved; in attributes white space becomes spaces.
fn decode(raw: &str, attribute: bool) -> Result<String, NotXml> {
    let mut text = lines(raw);
    if attribute {
        text = text.replace(['\n', '\t'], " ");
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest
            .find(';')
            .filter(|e| *e <= 8)
            .ok_or(NotXml("a reference has no end"))?;
        let name = &rest[..end];
        rest = &rest[end + 1..];
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = match name.strip_prefix("#x") {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => name.strip_prefix('#').and_then(|d| d.parse().ok()),
                };
                number
                    .and_then(char::from_u32)
                    .filter(|c| xml_char(*c))
                    .ok_or(NotXml("a reference is not known"))?
            }
        });
    }
    out.push_str(rest);
    if out.chars().all(xml_char) {
        Ok(out)
    } else {
        Err(NotXml("a character is not allowed in XML"))
    }
}

fn xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_sorts_attributes_and_writes_namespaces_where_they_are_used() {
        let doc = read(
            "<?xml version=\"1.0\"?>\n<!-- c --><a:r xmlns:b='u:b' xmlns:a='u:a' z='1' b:y=\"2\" a='&#9;&quot;'><b:e/><a:f xmlns:c='u:c'>x &gt; y<!-- c --><![CDATA[<&]]>&#13;</a:f></a:r>",
        )
        .unwrap();
        assert_eq!(
            doc.canonical(None, &[]),
            "<a:r xmlns:a=\"u:a\" xmlns:b=\"u:b\" a=\"&#x9;&quot;\" z=\"1\" b:y=\"2\"><b:e></b:e><a:f>x &gt; y&lt;&amp;&#xD;</a:f></a:r>"
        );
    }

    #[test]
    fn a_part_in_canonical_form_carries_the_namespaces_of_its_surroundings() {
        let doc = read("<r xmlns='u:d' xmlns:p='u:p'><p:x><y p:a='1'/></p:x></r>").unwrap();
        let x = doc.only("u:p", "x").unwrap();
        assert_eq!(
            x.canonical(None, &[]),
            "<p:x xmlns:p=\"u:p\"><y xmlns=\"u:d\" p:a=\"1\"></y></p:x>"
        );
        let y = x.only("u:d", "y").unwrap();
        assert_eq!(x.canonical(Some(y), &[]), "<p:x xmlns:p=\"u:p\"></p:x>");
        assert_eq!(
            doc.canonical(Some(x), &["p"]),
            "<r xmlns=\"u:d\" xmlns:p=\"u:p\"></r>"
        );
    }

    #[test]
    fn what_is_not_plain_xml_is_refused() {
        let deep = "<a>".repeat(100);
        for bad in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a b></a>",
            "<a b=c></a>",
            "<a b='1' b='2'/>",
            "<a/><b/>",
            "<p:a/>",
            "<!DOCTYPE a><a/>",
            "<a>&e;</a>",
            "<a>&#0;</a>",
            "<a><?pi?></a>",
            "<a b='<'/>",
            "<a>]]></a>",
            "<a xmlns:p=''/>",
            deep.as_str(),
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
