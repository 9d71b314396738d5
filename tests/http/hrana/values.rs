//! Values and arguments, there and back.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::*;

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "null"})),
        any::<i64>().prop_map(integer),
        any::<f64>()
            .prop_filter("JSON has none", |real| real.is_finite())
            .prop_map(|real| json!({"type": "float", "value": real})),
        any::<String>().prop_map(|string| text(&string)),
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| {
            json!({"type": "blob", "base64": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)})
        }),
    ]
}

#[test]
fn any_value_survives_the_way_into_a_table_and_back() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let stream = std::cell::RefCell::new(Stream::open(&daemon, 3));
    let rows = proptest::collection::vec(any_value(), 1..8);
    runner
        .run(&rows, |values| {
            let inserts = values
                .iter()
                .map(|value| with_args("INSERT INTO t (a) VALUES (?)", std::slice::from_ref(value)));
            let read = execute("SELECT a FROM t ORDER BY id");
            let requests: Vec<_> = inserts.chain([read, execute("DELETE FROM t")]).collect();
            let results = stream.borrow_mut().pipeline(&requests);
            let rows = &ok(&results[values.len()])["result"]["rows"];
            let back: Vec<_> = rows.as_array().unwrap().iter().map(|row| row[0].clone()).collect();
            prop_assert_eq!(back, values);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_edges_of_values_are_kept() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    for value in [
        integer(i64::MIN),
        integer(i64::MAX),
        integer((1 << 53) + 1),
        json!({"type": "float", "value": f64::MAX}),
        json!({"type": "float", "value": 5e-324}),
        json!({"type": "float", "value": 1.0}),
        text(""),
        text("\0a\0"),
        text("123"),
        text("\u{1F980}\u{FFFF}\r\n\t\"\\"),
        json!({"type": "blob", "base64": ""}),
    ] {
        let back = stream.ask(with_args("SELECT ?, typeof(?1)", std::slice::from_ref(&value)));
        assert_eq!(back["result"]["rows"][0][0], value);
    }
    let integer_literal = stream.ask(with_args("SELECT typeof(?)", &[json!({"type": "float", "value": 42})]));
    assert_eq!(integer_literal["result"]["rows"][0][0], text("real"));
    let unpadded = stream.ask(with_args("SELECT ?", &[json!({"type": "blob", "base64": "YQ"})]));
    assert_eq!(unpadded["result"]["rows"][0][0], json!({"type": "blob", "base64": "YQ=="}));
    assert_eq!(
        stream.execute("SELECT 9e999, -9e999")["rows"][0],
        json!([{"type": "null"}, {"type": "null"}])
    );
}

#[test]
fn arguments_are_bound_by_position_or_by_name() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 3);
    let named = |sql: &str, args: &[(&str, i64)]| {
        let args: Vec<_> =
            args.iter().map(|(name, value)| json!({"name": name, "value": integer(*value)})).collect();
        json!({"type": "execute", "stmt": {"sql": sql, "named_args": args}})
    };
    let mut row = |request: Value| {
        let row = stream.ask(request)["result"]["rows"][0].take();
        row.as_array()
            .unwrap()
            .iter()
            .map(|value| value["value"].as_str().unwrap_or("null").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(row(with_args("SELECT ?, ?", &[integer(1), integer(2)])), ["1", "2"]);
    assert_eq!(row(with_args("SELECT ?2, ?1", &[integer(1), integer(2)])), ["2", "1"]);
    assert_eq!(row(with_args("SELECT ?3, ?1", &[integer(1), integer(2), integer(3)])), ["3", "1"]);
    assert_eq!(row(named("SELECT :a, @b, $c", &[("a", 1), ("b", 2), ("c", 3)])), ["1", "2", "3"]);
    assert_eq!(row(named("SELECT :a, @b, $c, :a", &[(":a", 1), ("@b", 2), ("$c", 3)])), ["1", "2", "3", "1"]);
    assert_eq!(row(named("SELECT :b, :a, ?1", &[("a", 1), ("b", 2)])), ["2", "1", "2"]);
    assert_eq!(stream.fail(with_args("SELECT ?", &[integer(1), integer(2)])), "ARGS_INVALID");
    assert_eq!(stream.fail(named("SELECT :a", &[("a", 1), ("x", 2)])), "ARGS_INVALID");
    let both = json!({"type": "execute", "stmt": {
        "sql": "SELECT ?, :a", "args": [integer(1)], "named_args": [{"name": "a", "value": integer(2)}]
    }});
    assert_eq!(stream.fail(both), "ARGS_BOTH_POSITIONAL_AND_NAMED");
}

#[test]
fn rows_are_left_out_if_they_are_not_wanted_and_columns_are_not() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    stream.execute("CREATE TABLE t (a INT, b FURRY BUNNY)");
    for (sql, names) in [
        ("INSERT INTO t VALUES (1, 2) RETURNING a", vec!["a"]),
        ("SELECT a, b, 1 AS one FROM t", vec!["a", "b", "one"]),
    ] {
        let answer = stream.ask(json!({"type": "execute", "stmt": {"sql": sql, "want_rows": false}}));
        assert_eq!(answer["result"]["rows"], json!([]));
        let cols: Vec<_> =
            answer["result"]["cols"].as_array().unwrap().iter().map(|col| col["name"].clone()).collect();
        assert_eq!(cols, names, "{sql}");
    }
    let read = stream.execute("SELECT a, b, 1 AS one FROM t");
    let types: Vec<_> = read["cols"].as_array().unwrap().iter().map(|col| col["decltype"].clone()).collect();
    assert_eq!(types, [json!("INT"), json!("FURRY BUNNY"), Value::Null]);
    assert_eq!(read["affected_row_count"], 0);
}
