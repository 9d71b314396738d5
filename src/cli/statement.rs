//! The arguments that `execute` and `query` share: a statement, its parameters, its time.

use std::io::Read as _;
use std::time::Duration;

use clap::Args;

use super::failure::Failure;
use crate::message::{Params, Statement, Value};

/// One statement with its parameters.
#[derive(Debug, Args)]
pub(super) struct StatementArgs {
    /// One SQL statement; `-` reads it from stdin
    sql: String,
    /// The value of the next `?`; may be given several times
    ///
    /// null, true, false, 42, 4.2, "text" and {"base64": "AAEC"} (a blob) are read as JSON; everything else is taken as
    /// text as it stands. A text that looks like a number: '"42"'. An integer beyond 64 bits is an error.
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true, value_parser = parse_param)]
    values: Vec<Value>,
    /// All parameters at once: a JSON array for `?`, or a JSON object for `:name`
    #[arg(long, value_name = "JSON", conflicts_with = "values", value_parser = parse_params)]
    params: Option<Params>,
}

impl StatementArgs {
    pub(super) fn into_statement(self) -> Result<Statement, Failure> {
        let sql = if self.sql == "-" { from_stdin()? } else { self.sql };
        Ok(Statement::new(sql).params(self.params.unwrap_or(Params::Positional(self.values))))
    }
}

fn from_stdin() -> Result<String, Failure> {
    let mut sql = String::new();
    let read = std::io::stdin().read_to_string(&mut sql);
    read.map_err(|error| Failure::Io { what: "stdin".into(), error })?;
    Ok(sql)
}

fn parse_params(json: &str) -> Result<Params, String> {
    Params::from_json(json).map_err(|error| error.to_string())
}

/// JSON scalars, blobs and infinities are what they say, everything else is text.
fn parse_param(text: &str) -> Result<Value, String> {
    let is_value = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Array(_)) | Err(_) => false,
        Ok(serde_json::Value::Object(fields)) => {
            fields.len() == 1 && (fields.contains_key("base64") || fields.contains_key("real"))
        }
        Ok(_) => text.trim() == text,
    };
    if !is_value {
        return Ok(Value::Text(text.to_owned()));
    }
    // The list reads each digit, where a plain JSON number would become a rounded real.
    match Params::from_json(&format!("[{text}]")) {
        Ok(Params::Positional(values)) => Ok(values.into_iter().next().unwrap_or_default()),
        Ok(Params::Named(_)) => Ok(Value::Text(text.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

/// A duration with its unit, above zero.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("must be more than 0, such as 500ms, 5s or 1m".into());
    }
    Ok(duration)
}

/// In whole milliseconds, as the daemon takes it; never 0.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_typed_as_json_scalars_else_text() {
        for (text, expected) in [
            ("null", Value::Null),
            ("42", 42.into()),
            ("-7", (-7).into()),
            ("9223372036854775807", i64::MAX.into()),
            ("4.0", 4.0.into()),
            ("1e3", 1000.0.into()),
            ("true", 1.into()),
            ("\"42\"", "42".into()),
            ("hello", "hello".into()),
            ("007", "007".into()),
            ("1,2", "1,2".into()),
            (" 42", " 42".into()),
            ("", "".into()),
            ("[1]", "[1]".into()),
            ("{\"a\":1}", "{\"a\":1}".into()),
            ("{\"base64\":\"AAE=\"}", Value::Blob(vec![0, 1])),
        ] {
            assert_eq!(parse_param(text).unwrap(), expected, "{text}");
        }
        assert!(parse_param("9223372036854775808").unwrap_err().contains("beyond the 64-bit"));
        assert!(parse_param("{\"base64\":\"!\"}").unwrap_err().contains("invalid base64"));
    }

    #[test]
    fn durations_have_units_and_are_not_zero() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert!(parse_duration("0s").is_err() && parse_duration("5").is_err());
        assert_eq!(millis(Duration::from_micros(10)), 1);
    }
}
