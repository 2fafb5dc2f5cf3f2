//! A second opinion for tests: reads a response back and verifies it.
//!
//! It accepts nothing but canonical XML (one space between attributes, no
//! self-closing tags, only the canonical escapes), so that reading a document
//! is a test of its form. It shares no code with the writer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

/// An element and the bytes that it takes in the document.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The root element of a document that is nothing else.
pub(crate) fn parse(document: &str) -> Result<Element, String> {
    let mut reader = Reader { document, at: 0 };
    let root = reader.element()?;
    if reader.at == document.len() {
        Ok(root)
    } else {
        Err(format!("something follows the root at {}", reader.at))
    }
}

struct Reader<'a> {
    document: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.document[self.at..]
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if !self.rest().starts_with(text) {
            return Err(format!("expected {text:?} at {}", self.at));
        }
        self.at += text.len();
        Ok(())
    }

    fn name(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != ':')
            .ok_or("a name without an end")?;
        if end == 0 {
            return Err(format!("no name at {}", self.at));
        }
        let name = rest[..end].to_owned();
        self.at += end;
        Ok(name)
    }

    fn element(&mut self) -> Result<Element, String> {
        let start = self.at;
        self.expect("<")?;
        let name = self.name()?;
        let mut attributes = Vec::new();
        while self.expect(">").is_err() {
            self.expect(" ")?;
            let key = self.name()?;
            self.expect("=\"")?;
            let value = self.until(
                '"',
                &["&amp;", "&lt;", "&quot;", "&#x9;", "&#xA;", "&#xD;"],
                "<\t\n\r",
            )?;
            self.expect("\"")?;
            attributes.push((key, value));
        }
        let mut children = Vec::new();
        let mut text = String::new();
        loop {
            text += &self.until('<', &["&amp;", "&lt;", "&gt;", "&#xD;"], ">\r")?;
            if self.expect("</").is_ok() {
                break;
            }
            children.push(self.element()?);
        }
        self.expect(&name)?;
        self.expect(">")?;
        Ok(Element {
            name,
            attributes,
            children,
            text,
            start,
            end: self.at,
        })
    }

    /// Text up to `end`, in which `escapes` are the only ampersands and `raw` does not occur.
    fn until(&mut self, end: char, escapes: &[&str], raw: &str) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let c = self
                .rest()
                .chars()
                .next()
                .ok_or("the document breaks off")?;
            if c == end {
                return Ok(text);
            }
            if raw.contains(c) {
                return Err(format!("{c:?} at {} is not escaped", self.at));
            }
            if c != '&' {
                text.push(c);
                self.at += c.len_utf8();
                continue;
            }
            let escape = escapes
                .iter()
                .find(|e| self.rest().starts_with(**e))
                .ok_or_else(|| format!("not a canonical escape at {}", self.at))?;
            text.push(match *escape {
                "&amp;" => '&',
                "&lt;" => '<',
                "&gt;" => '>',
                "&quot;" => '"',
                "&#x9;" => '\t',
                "&#xA;" => '\n',
                _ => '\r',
            });
            self.at += escape.len();
        }
    }
}

impl Element {
    /// The child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The descendant at a path of names.
    pub(crate) fn at(&self, path: &[&str]) -> &Element {
        path.iter().fold(self, |element, name| {
            element
                .child(name)
                .unwrap_or_else(|| panic!("no {name} in {}", element.name))
        })
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(n, _)| n == name);
        &found
            .unwrap_or_else(|| panic!("no {name} on {}", self.name))
            .1
    }

    /// Verifies the enveloped signature of this element with an `RSAPublicKey` in DER.
    pub(crate) fn verify(&self, document: &str, public_key: &[u8]) -> Result<(), String> {
        let signature = match &self.children[..] {
            [issuer, signature, ..]
                if issuer.name == "saml:Issuer" && signature.name == "ds:Signature" =>
            {
                signature
            }
            _ => return Err("no signature directly after the issuer".into()),
        };
        let info = signature.at(&["ds:SignedInfo"]);
        let reference = info.at(&["ds:Reference"]);
        if reference.attribute("URI") != format!("#{}", self.attribute("ID")) {
            return Err("the signature is for another element".into());
        }
        let mut bytes = document[self.start..signature.start].to_owned();
        bytes += &document[signature.end..self.end];
        let digest = digest::digest(&digest::SHA256, bytes.as_bytes());
        if reference.at(&["ds:DigestValue"]).text != STANDARD.encode(digest) {
            return Err("the digest differs".into());
        }
        let info = document[info.start..info.end].replacen(
            "<ds:SignedInfo>",
            "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">",
            1,
        );
        let value = STANDARD
            .decode(&signature.at(&["ds:SignatureValue"]).text)
            .map_err(|e| e.to_string())?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key)
            .verify(info.as_bytes(), &value)
            .map_err(|_| "the signature does not verify".into())
    }
}
