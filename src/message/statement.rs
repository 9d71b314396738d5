//! One SQL statement with its parameters, and the key that makes a write happen once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Value;

/// The parameters of a statement: by position or by name, never both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Params {
    /// For `?`, `?1`, `?2` and so on.
    Positional(Vec<Value>),
    /// For `:name`, `@name` and `$name`; the sigil may be left out.
    Named(BTreeMap<String, Value>),
}

/// A JSON text that is no list of parameters.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParamsError(String);

impl Params {
    /// No parameters.
    pub const fn none() -> Self {
        Self::Positional(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Positional(values) => values.len(),
            Self::Named(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a JSON array (by position) or object (by name). Unlike a `serde` implementation it sees the
    /// digits, so an integer beyond `i64` is an error and not a rounded real.
    ///
    /// # Errors
    /// [`ParamsError`] names the parameter and what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self, ParamsError> {
        let malformed = |error: serde_json::Error| ParamsError(format!("params: {error}"));
        match json.trim_start().as_bytes().first() {
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(json)
                .map_err(malformed)?
                .into_iter()
                .enumerate()
                .map(|(index, raw)| value_from_json(raw, &(index + 1)))
                .collect::<Result<_, _>>()
                .map(Self::Positional),
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(json)
                .map_err(malformed)?
                .into_iter()
                .map(|(name, raw)| value_from_json(raw, &name).map(|value| (name, value)))
                .collect::<Result<_, _>>()
                .map(Self::Named),
            Some(b'n') if json.trim() == "null" => Ok(Self::none()),
            _ => Err(ParamsError("params must be an array or an object of named values".into())),
        }
    }

    /// Each value in turn; every write is sized with it, so it allocates nothing.
    fn values(&self) -> impl Iterator<Item = &Value> {
        let (positional, named) = match self {
            Self::Positional(values) => (Some(values.iter()), None),
            Self::Named(values) => (None, Some(values.values())),
        };
        positional.into_iter().flatten().chain(named.into_iter().flatten())
    }
}

fn value_from_json(raw: &RawValue, which: &dyn std::fmt::Display) -> Result<Value, ParamsError> {
    let text = raw.get();
    let numeric = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if numeric && !text.contains(['.', 'e', 'E']) {
        return text.parse().map(Value::Integer).map_err(|_| {
            ParamsError(format!(
                "parameter {which}: integer {text} is beyond the 64-bit signed range; send it as a string"
            ))
        });
    }
    serde_json::from_str(text).map_err(|error| ParamsError(format!("parameter {which}: {error}")))
}

impl Default for Params {
    fn default() -> Self {
        Self::none()
    }
}

impl From<Vec<Value>> for Params {
    fn from(values: Vec<Value>) -> Self {
        Self::Positional(values)
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Params {
    fn from(values: [T; N]) -> Self {
        Self::Positional(values.into_iter().map(Into::into).collect())
    }
}

/// Parameters of different types in one list: `params![1, "two", None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        $crate::Params::Positional(vec![$($crate::Value::from($value)),*])
    };
}

/// One SQL statement and its parameters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// The text; exactly one statement.
    pub sql: Cow<'static, str>,
    /// Its parameters.
    pub params: Params,
}

impl Statement {
    /// A statement without parameters.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), params: Params::none() }
    }

    /// The same statement with these parameters.
    #[must_use]
    pub fn params(mut self, params: impl Into<Params>) -> Self {
        self.params = params.into();
        self
    }

    /// What the statement occupies in a queue, in bytes; never zero, so that a bound in bytes bounds everything.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 64;
        OVERHEAD + self.sql.len() + self.params.values().map(|value| value.size() + 8).sum::<usize>()
    }
}

impl From<&'static str> for Statement {
    fn from(sql: &'static str) -> Self {
        Self::new(sql)
    }
}

impl From<String> for Statement {
    fn from(sql: String) -> Self {
        Self::new(sql)
    }
}

impl<P: Into<Params>> From<(&'static str, P)> for Statement {
    fn from((sql, params): (&'static str, P)) -> Self {
        Self::new(sql).params(params)
    }
}

impl<P: Into<Params>> From<(String, P)> for Statement {
    fn from((sql, params): (String, P)) -> Self {
        Self::new(sql).params(params)
    }
}

/// A caller's name for a write. However often the write is sent under this key, it is committed once, and each
/// answer is the first one's receipt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The longest key accepted, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks and takes a key.
    ///
    /// # Errors
    /// A sentence, if the key is empty, longer than [`Self::MAX_LEN`] or not printable ASCII.
    pub fn new(key: impl Into<String>) -> Result<Self, String> {
        let key = key.into();
        if key.is_empty() || key.len() > Self::MAX_LEN {
            return Err(format!(
                "an idempotency key has 1 to {} bytes, this one has {}",
                Self::MAX_LEN,
                key.len()
            ));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err("an idempotency key is printable ASCII".into());
        }
        Ok(Self(key))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells one write from another under the same key: the SHA-256 of its statements and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(statements: &[Statement]) -> Self {
        let mut hash = Sha256::new();
        let mut part = |tag: u8, bytes: &[u8]| {
            hash.update([tag]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for statement in statements {
            part(b'S', statement.sql.as_bytes());
            if let Params::Named(values) = &statement.params {
                for name in values.keys() {
                    part(b'N', name.as_bytes());
                }
            }
            for value in statement.params.values() {
                match value {
                    Value::Null => part(b'0', &[]),
                    Value::Integer(integer) => part(b'i', &integer.to_le_bytes()),
                    Value::Real(real) => part(b'r', &real.to_le_bytes()),
                    Value::Text(text) => part(b't', text.as_bytes()),
                    Value::Blob(bytes) => part(b'b', bytes),
                }
            }
        }
        Self(hash.finalize().into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_parameters_keep_every_digit_of_an_integer() {
        let params =
            Params::from_json("[9223372036854775807, -9223372036854775808, 1.5, 1e3, true]").unwrap();
        let expected: Vec<Value> =
            vec![i64::MAX.into(), i64::MIN.into(), 1.5.into(), 1000.0.into(), Value::Integer(1)];
        assert_eq!(params, Params::Positional(expected));
    }

    #[test]
    fn json_that_is_no_list_of_parameters_is_refused_with_the_place() {
        for (json, reason) in [
            ("[1, 9223372036854775808]", "parameter 2: integer 9223372036854775808 is beyond"),
            ("[-99999999999999999999]", "parameter 1"),
            (r#"{"a": 1, "b": [2]}"#, "parameter b"),
            ("[1", "EOF"),
            ("7", "array or an object"),
        ] {
            let error = Params::from_json(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn a_fingerprint_tells_writes_apart() {
        let of = |statement: Statement| Fingerprint::of(&[statement]);
        let base = Statement::from(("INSERT INTO t VALUES (?1, ?2)", ["a", "bc"]));
        assert_eq!(of(base.clone()), of(base.clone()));
        for other in [
            Statement::from(("INSERT INTO t VALUES (?1, ?2)", ["ab", "c"])),
            Statement::from(("INSERT INTO t VALUES (?2, ?1)", ["a", "bc"])),
            Statement::from(("INSERT INTO t VALUES (?1, ?2)", params!["a", b"bc".as_slice()])),
        ] {
            assert_ne!(of(base.clone()), of(other));
        }
        assert_ne!(of(base.clone()), Fingerprint::of(&[base.clone(), base]));
    }
}
