//! JSON text as a template value: looked into on demand, printed as it is.
//!
//! Invariant: a [`Raw`] holds valid JSON; printing it gives its very text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, State, Value};
use serde_json::value::RawValue;

use base::foreign;

/// An object, an array, or a number that no machine type holds.
#[derive(Clone)]
pub(super) struct Raw(Arc<str>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON of {} bytes", self.0.len())
    }
}

impl Raw {
    /// The template value of a JSON text; what is not JSON is undefined.
    pub(super) fn value(json: &str) -> Value {
        let json = json.trim();
        match json.as_bytes().first() {
            Some(b'"') => {
                // "Cannot be read" is not "is not there": as far as it can be told.
                foreign::string(json).map_or(Value::UNDEFINED, Value::from)
            }
            Some(b't') => Value::from(true),
            Some(b'f') => Value::from(false),
            Some(b'n') => Value::from(()),
            Some(b'{' | b'[') => Value::from_object(Raw(json.into())),
            Some(_) => number(json),
            None => Value::UNDEFINED,
        }
    }

    /// The JSON itself.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    fn members(&self) -> Option<BTreeMap<Cow<'_, str>, &RawValue>> {
        serde_json::from_str(&self.0).ok()
    }

    fn items(&self) -> Option<Vec<&RawValue>> {
        serde_json::from_str(&self.0).ok()
    }
}

/// A machine number where it prints back to the same text, else the text itself.
fn number(json: &str) -> Value {
    if let Ok(n) = json.parse::<i64>()
        && n.to_string() == json
    {
        return Value::from(n);
    }
    if let Ok(n) = json.parse::<f64>()
        && serde_json::to_string(&n).is_ok_and(|t| t == json)
    {
        return Value::from(n);
    }
    Value::from_object(Raw(json.into()))
}

impl Object for Raw {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.0.as_bytes().first() {
            Some(b'{') => ObjectRepr::Map,
            Some(b'[') => ObjectRepr::Seq,
            _ => ObjectRepr::Plain,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.repr() {
            ObjectRepr::Map => {
                let members = self.members()?;
                Some(Raw::value(members.get(key.as_str()?)?.get()))
            }
            ObjectRepr::Seq => {
                let items = self.items()?;
                Some(Raw::value(items.get(key.as_usize()?)?.get()))
            }
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.repr() {
            ObjectRepr::Map => Enumerator::Values(
                self.members()
                    .map(|m| m.keys().map(|k| Value::from(k.as_ref())).collect())
                    .unwrap_or_default(),
            ),
            ObjectRepr::Seq => Enumerator::Seq(self.items().map_or(0, |i| i.len())),
            _ => Enumerator::NonEnumerable,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !matches!(self.enumerator_len(), Some(0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The filter `tojson`: raw values as they are, others as MiniJinja does.
pub(super) fn to_json(state: &State, value: &Value) -> Result<Value, Error> {
    let _ = state;
    if let Some(raw) = value.downcast_object_ref::<Raw>() {
        return Ok(Value::from_safe_string(raw.text().to_owned()));
    }
    serde_json::to_string(value)
        .map(Value::from_safe_string)
        .map_err(|_| Error::new(minijinja::ErrorKind::BadSerialization, "not JSON"))
}
