//! Merging the members of an interaction: at the top level, and what the desks of several agents
//! have reported one level deeper.
//!
//! Works on the text: values, and the keys as they were spelled, come out byte
//! for byte as they went in (numbers of any size, order, escapes). No I/O.
//! Invariant: a key that was there keeps its place, a new one is appended.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Bytes of merged members at most: many times the default `max-body`, and far
/// below what a row can hold. Repetitions with ever new keys end here.
pub const MEMBERS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why members were not merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotMerged {
    /// The text is not a JSON object: ours to have seen before.
    NoObject,
    /// The merged object is over [`MEMBERS_BYTES_MAX`]: the caller's.
    TooLarge,
}

/// The members of an object in their order, as text.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Members<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    members.push(pair);
                }
                Ok(Members(members))
            }
        }
        d.deserialize_map(Object)
    }
}

/// What a key says, whichever way it is spelled; a spelling that says nothing
/// (half a surrogate pair) stands for itself.
fn meaning(key: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(key) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(key),
    }
}

/// The member whose own members are merged, too: each agent's page reports under a name of its
/// own in it, and none takes away what another has reported (design, sections 3 and 6).
const SHARED: &str = "agentDesktop";

/// `newer` merged over `present`: at the top level, and those of `agentDesktop` one level deeper.
/// Without a readable object in `present` the result is `newer` exactly as it is.
///
/// # Errors
/// [`NotMerged`] if `newer` is not a JSON object, or the result grows beyond
/// [`MEMBERS_BYTES_MAX`].
pub fn merge(present: Option<&str>, newer: &str) -> Result<String, NotMerged> {
    let over: Members<'_> = serde_json::from_str(newer).map_err(|_| NotMerged::NoObject)?;
    let Some(Ok(members)) = present.map(serde_json::from_str::<Members<'_>>) else {
        return Ok(newer.to_owned());
    };
    if over.0.is_empty() {
        return Ok(present.unwrap_or(newer).to_owned());
    }
    let text = merged(members, over, |key, old, new| {
        let (Ok(old), Ok(new)) = (serde_json::from_str(old), serde_json::from_str(new)) else {
            // One of them is no object: the newer one stands, as any other member.
            return None;
        };
        (key == SHARED).then(|| merged(old, new, |_, _, _| None))
    });
    match text.len() <= MEMBERS_BYTES_MAX {
        true => Ok(text),
        false => Err(NotMerged::TooLarge),
    }
}

/// The text of `members` with `over` put in their place or behind them. `both` may make a value
/// of the one that was there and the one that comes; else the one that comes stands.
fn merged(
    Members(members): Members<'_>,
    Members(over): Members<'_>,
    both: impl Fn(&str, &str, &str) -> Option<String>,
) -> String {
    let mut members: Vec<(&str, Cow<'_, str>)> = members
        .into_iter()
        .map(|(key, value)| (key.get(), Cow::Borrowed(value.get())))
        .collect();
    let mut places: BTreeMap<Cow<'_, str>, usize> = members
        .iter()
        .enumerate()
        .map(|(place, (key, _))| (meaning(key), place))
        .collect();
    for (key, value) in over {
        let next = members.len();
        let place = *places.entry(meaning(key.get())).or_insert(next);
        match members.get_mut(place) {
            Some((_, old)) => {
                *old = match both(&meaning(key.get()), old, value.get()) {
                    Some(made) => Cow::Owned(made),
                    None => Cow::Borrowed(value.get()),
                };
            }
            None => members.push((key.get(), Cow::Borrowed(value.get()))),
        }
    }
    let size: usize = members.iter().map(|(k, v)| k.len() + v.len() + 2).sum();
    let mut text = String::with_capacity(size + 2);
    text.push('{');
    for (i, (key, value)) in members.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(key);
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn present_members_keep_their_place_and_new_ones_are_appended() {
        let merged = merge(
            Some(r#"{"b": 1, "a":{"x":1},"c":3}"#),
            r#"{"d":4,"a":[2],"b":null}"#,
        );
        assert_eq!(merged.unwrap(), r#"{"b":null,"a":[2],"c":3,"d":4}"#);
    }

    #[test]
    fn what_two_agents_have_reported_lies_side_by_side() {
        let present =
            r#"{"topic":"x","agentDesktop":{"alice":{"n": 1.0,"k":"\u00e9"},"carol":[]}}"#;
        let newer = r#"{"\u0061gentDesktop":{"bob":{"n":2},"al\u0069ce":{"m":3}},"other":{"a":1}}"#;
        let both = merge(Some(present), newer).unwrap();
        assert_eq!(
            both,
            r#"{"topic":"x","agentDesktop":{"alice":{"m":3},"carol":[],"bob":{"n":2}},"other":{"a":1}}"#
        );
        let again = merge(Some(&both), r#"{"other":{"b":2},"agentDesktop":{}}"#).unwrap();
        assert_eq!(
            again,
            r#"{"topic":"x","agentDesktop":{"alice":{"m":3},"carol":[],"bob":{"n":2}},"other":{"b":2}}"#
        );
    }

    #[test]
    fn a_report_of_a_desk_that_is_no_object_stands_as_any_other_member() {
        for (old, new) in [
            (r#"{"a":1}"#, "null"),
            ("\"text\"", r#"{"a":1}"#),
            ("[1]", "[2]"),
            (r#"{"a":1}"#, "[2]"),
        ] {
            let of = |value: &str| format!("{{\"agentDesktop\":{value}}}");
            assert_eq!(merge(Some(&of(old)), &of(new)).unwrap(), of(new));
        }
    }

    #[test]
    fn values_come_out_byte_for_byte() {
        let present = r#"{"big":123456789012345678901234567890.000100,"e":1E+2,"s":"\u00e9\/\ud83d\ude00", "o": { "k" : 1 , "k":2 }}"#;
        let merged = merge(Some(present), r#"{"n":-0.0,"half":"\ud800"}"#).unwrap();
        assert_eq!(
            merged,
            r#"{"big":123456789012345678901234567890.000100,"e":1E+2,"s":"\u00e9\/\ud83d\ude00","o":{ "k" : 1 , "k":2 },"n":-0.0,"half":"\ud800"}"#
        );
    }

    #[test]
    fn one_key_in_two_spellings_is_one_key() {
        let merged = merge(Some(r#"{"\u00e9":1,"\ud800":2}"#), r#"{"é":3,"\ud800":4}"#).unwrap();
        assert_eq!(merged, r#"{"\u00e9":3,"\ud800":4}"#);
    }

    #[test]
    fn the_first_members_are_kept_as_they_came() {
        let text = "{ \"a\" : 1,\n \"b\":2 }";
        assert_eq!(merge(None, text).unwrap(), text);
        assert_eq!(merge(Some("not json"), text).unwrap(), text);
        assert_eq!(merge(Some(text), "{}").unwrap(), text);
    }

    #[test]
    fn what_is_not_an_object_is_refused_and_growth_has_an_end() {
        assert_eq!(merge(None, "[1]"), Err(NotMerged::NoObject));
        assert_eq!(merge(Some("{}"), "nonsense"), Err(NotMerged::NoObject));
        let half = "x".repeat(MEMBERS_BYTES_MAX / 2);
        let a = format!(r#"{{"a":"{half}"}}"#);
        let b = format!(r#"{{"b":"{half}"}}"#);
        assert_eq!(merge(Some(&a), &b), Err(NotMerged::TooLarge));
    }
}
