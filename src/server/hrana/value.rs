//! Values as Hrana writes them: an object that names its type, so that 1 and 1.0 and '1' stay three things.
//!
//! An integer is a decimal string, because clients in JavaScript have no other way to keep its digits; a blob is base64,
//! written with padding and read with or without. JSON has no number for an infinity: it is written as null, and a number
//! beyond the range of a float is refused when it comes in.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use serde::de::{self, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Value;

/// Accepts padded and unpadded input: clients differ.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A value that came in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Fields")]
pub(super) struct Incoming(pub(super) Value);

/// A value that goes out.
pub(super) struct Outgoing<'a>(pub(super) &'a Value);

/// The fields of any value, in whatever order they come; each type needs one of them.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    value: Option<Scalar>,
    #[serde(default)]
    base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Null,
    Integer,
    Float,
    Text,
    Blob,
}

/// What stands in the field `value`.
enum Scalar {
    Text(String),
    Number(f64),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    // An integer literal is a float here: clients in JavaScript write 42.0 as 42.
    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }
}

impl TryFrom<Fields> for Incoming {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let value = match (fields.kind, fields.value, fields.base64) {
            (Kind::Null, ..) => Value::Null,
            (Kind::Integer, Some(Scalar::Text(digits)), _) => {
                Value::Integer(digits.parse().map_err(|_| format!("{digits:?} is no 64-bit integer"))?)
            }
            (Kind::Integer, ..) => return Err("an integer needs `value`, a decimal string".into()),
            (Kind::Float, Some(Scalar::Number(number)), _) => Value::Real(number),
            (Kind::Float, ..) => return Err("a float needs `value`, a number".into()),
            (Kind::Text, Some(Scalar::Text(text)), _) => Value::Text(text),
            (Kind::Text, ..) => return Err("a text needs `value`, a string".into()),
            (Kind::Blob, _, Some(encoded)) => {
                Value::Blob(LENIENT.decode(encoded).map_err(|error| format!("invalid base64: {error}"))?)
            }
            (Kind::Blob, ..) => return Err("a blob needs `base64`, a string".into()),
        };
        Ok(Self(value))
    }
}

impl Serialize for Outgoing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Value", 2)?;
        match self.0 {
            Value::Integer(integer) => {
                object.serialize_field("type", "integer")?;
                object.serialize_field("value", &AsText(integer))?;
            }
            Value::Real(real) if real.is_finite() => {
                object.serialize_field("type", "float")?;
                object.serialize_field("value", real)?;
            }
            Value::Null | Value::Real(_) => object.serialize_field("type", "null")?,
            Value::Text(text) => {
                object.serialize_field("type", "text")?;
                object.serialize_field("value", text)?;
            }
            Value::Blob(bytes) => {
                object.serialize_field("type", "blob")?;
                object.serialize_field("base64", &AsText(Base64Display::new(bytes, &STANDARD)))?;
            }
        }
        object.end()
    }
}

/// Written as a string, whatever it is.
pub(super) struct AsText<T>(pub(super) T);

impl<T: fmt::Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(value: &Value) -> String {
        serde_json::to_string(&Outgoing(value)).unwrap()
    }

    fn read(json: &str) -> Result<Value, String> {
        serde_json::from_str::<Incoming>(json).map(|value| value.0).map_err(|error| error.to_string())
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("JSON has none", |real| real.is_finite()).prop_map(Value::Real),
            any::<String>().prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Blob),
        ]
    }

    proptest! {
        #[test]
        fn any_value_survives_the_way_out_and_in(value in any_value()) {
            prop_assert_eq!(read(&write(&value)).unwrap(), value);
        }
    }

    #[test]
    fn values_have_the_form_that_clients_read() {
        for (value, json) in [
            (Value::Null, r#"{"type":"null"}"#),
            (Value::Integer(i64::MIN), r#"{"type":"integer","value":"-9223372036854775808"}"#),
            (Value::Real(1.0), r#"{"type":"float","value":1.0}"#),
            (Value::Text("a\0b".into()), r#"{"type":"text","value":"a\u0000b"}"#),
            (Value::Blob(vec![255]), r#"{"type":"blob","base64":"/w=="}"#),
            (Value::Blob(Vec::new()), r#"{"type":"blob","base64":""}"#),
        ] {
            assert_eq!(write(&value), json);
            assert_eq!(read(json).unwrap(), value);
        }
        assert_eq!(write(&Value::Real(f64::INFINITY)), r#"{"type":"null"}"#);
        assert_eq!(write(&Value::Real(f64::NAN)), r#"{"type":"null"}"#);
    }

    #[test]
    fn what_clients_write_otherwise_is_read_all_the_same() {
        for (json, value) in [
            (r#"{"type":"blob","base64":"/w"}"#, Value::Blob(vec![255])),
            (r#"{"value":"7","type":"integer"}"#, Value::Integer(7)),
            (r#"{"type":"float","value":42}"#, Value::Real(42.0)),
            (r#"{"type":"float","value":-18446744073709551615}"#, Value::Real(-18_446_744_073_709_551_615.0)),
            (r#"{"type":"float","value":5e-324}"#, Value::Real(5e-324)),
            (r#"{"type":"null","value":null,"new":[1]}"#, Value::Null),
        ] {
            assert_eq!(read(json).unwrap(), value, "{json}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_a_reason() {
        for (json, reason) in [
            ("null", "expected struct"),
            ("{}", "missing field `type`"),
            (r#"{"type":"bool","value":true}"#, "unknown variant"),
            (r#"{"type":"integer","value":7}"#, "decimal string"),
            (r#"{"type":"integer","value":"9223372036854775808"}"#, "no 64-bit integer"),
            (r#"{"type":"integer","value":""}"#, "no 64-bit integer"),
            (r#"{"type":"float","value":"1"}"#, "a number"),
            (r#"{"type":"float","value":null}"#, "a number"),
            (r#"{"type":"float","value":1e999}"#, "out of range"),
            (r#"{"type":"text"}"#, "a string"),
            (r#"{"type":"text","value":true}"#, "a string or a number"),
            (r#"{"type":"blob","value":"AA=="}"#, "base64"),
            (r#"{"type":"blob","base64":"!"}"#, "invalid base64"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
