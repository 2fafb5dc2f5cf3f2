//! Files of a page: those that are part of the program, and those that are made
//! from the configuration at start.
//!
//! Invariants: every file of a page is sent with the page's policy, and under a strong tag that
//! changes with whatever of it changes.

use std::borrow::Cow;

use super::auth::sha256;
use super::exchange::{Exchange, Reply};

pub use crate::asset::Asset;

/// One file that is made at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// The whole path under which it is served.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub body: String,
}

/// A page with all its files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pages {
    files: Vec<File>,
    policy: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    /// `ETag`, quotes included.
    tag: String,
}

impl Pages {
    /// Files of the program and files made at start, sent with that `Content-Security-Policy`;
    /// an empty one means none.
    #[must_use]
    pub fn new(assets: &'static [Asset], made: Vec<Made>, policy: String) -> Pages {
        let assets = assets
            .iter()
            .map(|a| (a.path, a.content_type, Cow::Borrowed(a.body)));
        let made = made.into_iter().map(|m| {
            let body: Cow<'static, [u8]> = Cow::Owned(m.body.into_bytes());
            (m.path, m.content_type, body)
        });
        let files = assets.chain(made).map(|(path, content_type, body)| {
            // The policy goes along, so that a file kept by a browser never keeps an old one.
            let all = [policy.as_bytes(), content_type.as_bytes(), &body].join(&0);
            let digest = sha256(&all);
            let half: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
            File {
                path,
                content_type,
                body,
                tag: format!("\"{half}\""),
            }
        });
        Pages {
            files: files.collect(),
            policy,
        }
    }

    /// Whether there is a file with exactly this path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.files.iter().any(|f| f.path == path)
    }

    /// The file with exactly this path, to be asked for again each time, so that an
    /// update shows; only its tag where the browser has it already.
    #[must_use]
    pub fn reply(&self, path: &str, x: &Exchange) -> Option<Reply> {
        let file = self.files.iter().find(|f| f.path == path)?;
        let known = x
            .header("If-None-Match")
            .is_some_and(|tags| names(tags, &file.tag));
        let mut reply = match known {
            true => Reply::empty(304),
            false => Reply {
                status: 200,
                headers: vec![("Content-Type", file.content_type.to_owned())],
                body: file.body.clone(),
            },
        };
        reply = reply
            .with("ETag", file.tag.clone())
            .with("Cache-Control", "no-cache")
            .with("X-Content-Type-Options", "nosniff")
            .with("Referrer-Policy", "no-referrer");
        if !self.policy.is_empty() {
            reply = reply.with("Content-Security-Policy", self.policy.clone());
        }
        Some(reply)
    }
}

/// Whether an `If-None-Match` names this tag, by the weak comparison that it is made with
/// (RFC 9110, section 13.1.2). Our tags hold no comma.
fn names(tags: &str, tag: &str) -> bool {
    tags.trim() == "*"
        || tags
            .split(',')
            .map(|one| one.trim())
            .any(|one| one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    static ONE: [Asset; 1] = [Asset {
        path: "/p/a.js",
        content_type: "text/javascript",
        body: b"a",
    }];

    fn asked(tags: Option<&str>) -> Exchange {
        Exchange {
            headers: tags
                .map(|t| (String::from("If-None-Match"), t.to_owned()))
                .into_iter()
                .collect(),
            ..Exchange::default()
        }
    }

    fn tag(of: &Reply) -> String {
        let found = of.headers.iter().find(|(name, _)| *name == "ETag");
        found.unwrap().1.clone()
    }

    #[test]
    fn who_has_a_file_is_told_so_and_gets_it_again_once_anything_of_it_changes() {
        let pages = Pages::new(&ONE, Vec::new(), String::from("default-src 'none'"));
        let first = pages.reply("/p/a.js", &asked(None)).unwrap();
        let tag = tag(&first);
        assert_eq!((first.status, &*first.body), (200, &b"a"[..]));
        assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
        for same in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            String::from("*"),
            format!(" {tag} "),
        ] {
            let again = pages.reply("/p/a.js", &asked(Some(&same))).unwrap();
            assert_eq!((again.status, again.body.len()), (304, 0), "{same}");
            let policy = |r: &Reply| {
                let of = r.headers.iter();
                of.filter(|(n, _)| n.starts_with("Content-Sec")).count()
            };
            assert_eq!(policy(&again), 1, "a kept file keeps no old policy");
        }
        for other in ["\"x\"", "", tag.trim_matches('"'), "\"*\"", "w/*"] {
            let got = pages.reply("/p/a.js", &asked(Some(other))).unwrap();
            assert_eq!(got.status, 200, "{other}");
        }
        let stricter = Pages::new(&ONE, Vec::new(), String::from("default-src 'self'"));
        let got = stricter.reply("/p/a.js", &asked(Some(&tag))).unwrap();
        assert_eq!(got.status, 200, "another policy");
        assert!(pages.reply("/p/b.js", &asked(None)).is_none());
    }
}
