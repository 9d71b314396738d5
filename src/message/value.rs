//! One SQLite value, and its JSON form: null, integer, real, string, and `{"base64": ".."}` for a blob.

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value of one of SQLite's five storage classes (<https://sqlite.org/datatype3.html>).
///
/// In JSON a blob is `{"base64": "AAEC"}`, a bool is read as 0 or 1, and an infinity, for which JSON has no number, is
/// `{"real": "inf"}` or `{"real": "-inf"}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// SQL NULL.
    #[default]
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit IEEE 754 number.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// Accepts padded and unpadded input: clients differ.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Value {
    /// What the value occupies, in bytes, for the limits on queues and results.
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Integer(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }

    /// The name of the storage class, as SQLite's `typeof()` says it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        }
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Integer(integer) = self { Some(*integer) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::Integer(i64::from(value))
            }
        }
    )*};
}
from_integer!(i8, i16, i32, i64, u8, u16, u32, bool);

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Integer(integer) => serializer.serialize_i64(*integer),
            // Not a number is NULL to SQLite, and null here.
            Self::Real(real) if real.is_infinite() => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("real", if *real > 0.0 { "inf" } else { "-inf" })?;
                map.end()
            }
            Self::Real(real) => serializer.serialize_f64(*real),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Blob(bytes) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(bytes))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(r#"null, an integer, a real, a string, a bool or {"base64": ".."}"#)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Integer)
            .map_err(|_| E::custom(format_args!("integer {value} is beyond the 64-bit signed range")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Real(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let expected =
            r#"an object as a value must be {"base64": ".."} (or {"real": "inf"}) and nothing else"#;
        let entry = map.next_entry::<String, String>()?;
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom(expected));
        }
        match entry.as_ref().map(|(key, text)| (key.as_str(), text.as_str())) {
            Some(("base64", encoded)) => LENIENT
                .decode(encoded)
                .map(Value::Blob)
                .map_err(|error| de::Error::custom(format_args!("invalid base64: {error}"))),
            Some(("real", "inf")) => Ok(Value::Real(f64::INFINITY)),
            Some(("real", "-inf")) => Ok(Value::Real(f64::NEG_INFINITY)),
            _ => Err(de::Error::custom(expected)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_json() {
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Real(0.1),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("naïve \u{1F980} \"quoted\"".into()),
            Value::Blob(vec![0, 255, 1]),
        ] {
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value, "{json}");
        }
    }

    #[test]
    fn every_finite_real_survives_json() {
        // A walk through the bits (xorshift), so that all exponents come.
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let real = f64::from_bits(bits);
            if real.is_finite() {
                let json = serde_json::to_string(&Value::Real(real)).unwrap();
                assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::Real(real), "{json}");
            }
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for json in [r#"{"base64":"/w=="}"#, r#"{"base64":"/w"}"#] {
            assert_eq!(serde_json::from_str::<Value>(json).unwrap(), Value::Blob(vec![255]));
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_a_reason() {
        for (json, reason) in [
            ("[1]", "expected null, an integer"),
            (r#"{"base64":"!"}"#, "invalid base64"),
            (r#"{"base64":"","x":1}"#, "nothing else"),
            (r#"{"hex":"ff"}"#, "nothing else"),
            (r#"{"real":"1"}"#, "nothing else"),
            ("{}", "nothing else"),
            ("9223372036854775808", "beyond the 64-bit signed range"),
        ] {
            let error = serde_json::from_str::<Value>(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
