//! Over a WebSocket: the versions, streams beside each other, cursors, and how connections end.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::*;
use crate::client::wait_until;

/// A connection of a client.
struct Socket {
    socket: WebSocket<TcpStream>,
    next_id: i32,
}

/// The handshake's answer and the socket, or the status it was refused with.
fn connect(
    daemon: &Daemon,
    subprotocols: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, String), u16> {
    let mut request = format!("ws://{}/", daemon.address()).into_client_request().unwrap();
    if !subprotocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(subprotocols).unwrap());
    }
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let connection = TcpStream::connect(daemon.address()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let config = WebSocketConfig::default();
    match tungstenite::client::client_with_config(request, connection, Some(config)) {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            let chosen = chosen.map_or("", |name| name.to_str().unwrap()).to_owned();
            Ok((Socket { socket, next_id: 0 }, chosen))
        }
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(other) => panic!("{other}"),
    }
}

impl Socket {
    /// Connected and greeted.
    fn open(daemon: &Daemon, version: u8) -> Self {
        let (mut socket, chosen) = connect(daemon, &format!("hrana{version}"), &[]).unwrap();
        assert_eq!(chosen, format!("hrana{version}"));
        socket.say(&json!({"type": "hello", "jwt": null}));
        assert_eq!(socket.hear(), json!({"type": "hello_ok"}));
        socket
    }

    fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    /// The next message; pings are answered on the way.
    #[track_caller]
    fn hear(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// How the daemon ends the connection.
    #[track_caller]
    fn hear_end(&mut self) -> (CloseCode, String) {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => return (frame.code, frame.reason.to_string()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends a request and returns its number.
    fn send(&mut self, request: &Value) -> i32 {
        self.next_id += 1;
        self.say(&json!({"type": "request", "request_id": self.next_id, "request": request}));
        self.next_id
    }

    /// The answer to a request that is the only one under way.
    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        let id = self.send(request);
        let mut answer = self.hear();
        assert_eq!(
            (answer["type"].as_str(), answer["request_id"].as_i64()),
            (Some("response_ok"), Some(id.into())),
            "{request}: {answer}"
        );
        assert_eq!(answer["response"]["type"], request["type"]);
        answer["response"].take()
    }

    /// The code of the error that is the answer.
    #[track_caller]
    fn fail(&mut self, request: &Value) -> String {
        let id = self.send(request);
        let answer = self.hear();
        assert_eq!(
            (answer["type"].as_str(), answer["request_id"].as_i64()),
            (Some("response_error"), Some(id.into())),
            "{request}: {answer}"
        );
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn open_stream(&mut self, stream: i32) {
        self.ask(&json!({"type": "open_stream", "stream_id": stream}));
    }

    #[track_caller]
    fn execute(&mut self, stream: i32, sql: &str) -> Value {
        self.ask(&on(stream, sql))["result"].take()
    }
}

fn on(stream: i32, sql: &str) -> Value {
    json!({"type": "execute", "stream_id": stream, "stmt": {"sql": sql}})
}

#[test]
fn each_version_is_greeted_and_runs_statements() {
    let daemon = Daemon::start();
    for version in [1, 2, 3] {
        let mut socket = Socket::open(&daemon, version);
        socket.open_stream(-1);
        socket.execute(-1, &format!("CREATE TABLE t{version} (a INT)"));
        let inserted = socket.execute(-1, &format!("INSERT INTO t{version} VALUES (42) RETURNING a"));
        assert_eq!(
            (&inserted["affected_row_count"], &inserted["last_insert_rowid"]),
            (&json!(1), &json!("1"))
        );
        assert_eq!(inserted["rows"], json!([[integer(42)]]));
        assert_eq!(inserted["cols"][0].get("decltype").is_some(), version > 1);
        assert_eq!(socket.fail(&on(-1, "SELECT * FROM missing")), "SQLITE_ERROR");
        let batch = json!({"steps": [{"stmt": {"sql": "SELECT 1"}}, {"condition": {"type": "error", "step": 0}, "stmt": {"sql": "SELECT 2"}}]});
        let batch = socket.ask(&json!({"type": "batch", "stream_id": -1, "batch": batch}));
        assert_eq!(batch["result"]["step_errors"], json!([null, null]));
        assert_eq!(batch["result"]["step_results"][1], Value::Null);
        socket.ask(&json!({"type": "close_stream", "stream_id": -1}));
    }
}

#[test]
fn no_subprotocol_is_version_1_and_unknown_ones_are_refused() {
    let daemon = Daemon::start();
    let (mut socket, chosen) = connect(&daemon, "", &[]).unwrap();
    assert_eq!(chosen, "");
    socket.say(&json!({"type": "hello", "jwt": null}));
    assert_eq!(socket.hear()["type"], "hello_ok");
    socket.send(&json!({"type": "store_sql", "sql_id": 1, "sql": "SELECT 1"}));
    assert_eq!(socket.hear_end().0, CloseCode::Policy);
    assert_eq!(connect(&daemon, "hrana2, hrana3-protobuf, hrana3", &[]).unwrap().1, "hrana3");
    assert_eq!(connect(&daemon, "hrana3-protobuf", &[]).err(), Some(400));
    assert_eq!(daemon.client.get("/").problem(404), "unknown_route");
}

#[test]
fn what_came_in_a_later_version_ends_the_connection_of_an_earlier_one() {
    let daemon = Daemon::start();
    let later: [(u8, Value); 8] = [
        (1, json!({"type": "store_sql", "sql_id": 1, "sql": "SELECT 1"})),
        (1, json!({"type": "close_sql", "sql_id": 1})),
        (1, json!({"type": "sequence", "stream_id": 1, "sql": "SELECT 1"})),
        (1, json!({"type": "describe", "stream_id": 1, "sql": "SELECT 1"})),
        (1, json!({"type": "execute", "stream_id": 1, "stmt": {"sql_id": 1}})),
        (2, json!({"type": "get_autocommit", "stream_id": 1})),
        (2, json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": {"steps": []}})),
        (
            2,
            json!({"type": "batch", "stream_id": 1, "batch": {"steps": [
                {"condition": {"type": "is_autocommit"}, "stmt": {"sql": "SELECT 1"}}
            ]}}),
        ),
    ];
    for (version, request) in later {
        let mut socket = Socket::open(&daemon, version);
        socket.open_stream(1);
        socket.send(&request);
        let (code, reason) = socket.hear_end();
        assert_eq!(code, CloseCode::Policy, "{request}");
        assert!(reason.contains(&format!("version {}", version + 1)), "{request}: {reason}");
    }
}

#[test]
fn a_message_that_breaks_the_protocol_ends_the_connection_with_the_reason() {
    let daemon = Daemon::start();
    let broken = [
        ("not json", CloseCode::Invalid),
        ("[]", CloseCode::Invalid),
        ("{}", CloseCode::Invalid),
        (r#"{"type": "goodbye"}"#, CloseCode::Invalid),
        (r#"{"type": "request", "request_id": 1}"#, CloseCode::Invalid),
        (r#"{"type": "request", "request": {"type": "open_stream", "stream_id": 1}}"#, CloseCode::Invalid),
        (r#"{"type": "request", "request_id": 1, "request": {"type": "jump"}}"#, CloseCode::Invalid),
        (r#"{"type": "request", "request_id": 1, "request": {"type": "open_stream"}}"#, CloseCode::Invalid),
        (r#"{"type": "request", "request_id": 1, "request": {"type": "close"}}"#, CloseCode::Invalid),
        (
            r#"{"type": "request", "request_id": 4294967296, "request": {"type": "close_sql", "sql_id": 1}}"#,
            CloseCode::Invalid,
        ),
        (
            r#"{"type": "request", "request_id": 1, "request": {"type": "close_stream", "stream_id": 5}}"#,
            CloseCode::Policy,
        ),
        (
            r#"{"type": "request", "request_id": 1, "request": {"type": "open_stream", "stream_id": 1}}"#,
            CloseCode::Policy,
        ),
        (
            r#"{"type": "request", "request_id": 1, "request": {"type": "fetch_cursor", "cursor_id": 5, "max_count": 1}}"#,
            CloseCode::Policy,
        ),
        (
            r#"{"type": "request", "request_id": 1, "request": {"type": "execute", "stream_id": 1, "stmt": {"sql_id": 9}}}"#,
            CloseCode::Policy,
        ),
        (
            r#"{"type": "request", "request_id": 1, "request": {"type": "execute", "stream_id": 1, "stmt": {}}}"#,
            CloseCode::Policy,
        ),
    ];
    for (message, expected) in broken {
        let mut socket = Socket::open(&daemon, 3);
        socket.open_stream(1);
        socket.socket.send(Message::text(message)).unwrap();
        let (code, reason) = socket.hear_end();
        assert_eq!(code, expected, "{message}: {reason}");
        assert!(!reason.is_empty(), "{message}");
    }
    let mut socket = Socket::open(&daemon, 3);
    socket.socket.send(Message::binary(vec![1, 2, 3])).unwrap();
    assert_eq!(socket.hear_end().0, CloseCode::Unsupported);
    let (mut early, _) = connect(&daemon, "hrana3", &[]).unwrap();
    early.send(&json!({"type": "open_stream", "stream_id": 1}));
    assert_eq!(early.hear_end().0, CloseCode::Policy);
}

#[test]
fn a_frame_beyond_the_limit_is_refused() {
    let daemon = Daemon::with(|settings| settings.server.max_body = bytesize(4096));
    let mut socket = Socket::open(&daemon, 3);
    socket.open_stream(1);
    let fits = format!("SELECT length('{}')", "x".repeat(3000));
    assert_eq!(socket.execute(1, &fits)["rows"][0][0], integer(3000));
    socket.send(&on(1, &format!("SELECT '{}'", "x".repeat(5000))));
    assert_eq!(socket.hear_end().0, CloseCode::Size);
}

#[test]
fn hello_brings_the_token_and_a_wrong_one_is_told_so() {
    let daemon = Daemon::with(|settings| settings.auth.admin_token = "sesame".to_owned().into());
    for wrong in [json!("sesam"), json!(""), Value::Null] {
        let (mut socket, _) = connect(&daemon, "hrana2", &[]).unwrap();
        socket.say(&json!({"type": "hello", "jwt": wrong}));
        // Not waited for, and not done.
        socket.say(
            &json!({"type": "request", "request_id": 1, "request": {"type": "open_stream", "stream_id": 1}}),
        );
        let answer = socket.hear();
        assert_eq!(
            (&answer["type"], &answer["error"]["code"]),
            (&json!("hello_error"), &json!("UNAUTHORIZED"))
        );
        assert_eq!(socket.hear_end().0, CloseCode::Policy);
    }
    let (mut socket, _) = connect(&daemon, "hrana2", &[]).unwrap();
    socket.say(&json!({"type": "hello", "jwt": "sesame"}));
    assert_eq!(socket.hear()["type"], "hello_ok");
    socket.open_stream(1);
    socket.execute(1, "SELECT 1");
    socket.say(&json!({"type": "hello", "jwt": "sesame"}));
    assert_eq!(socket.hear()["type"], "hello_ok");
}

#[test]
fn a_page_of_another_site_is_not_connected() {
    let daemon = Daemon::start();
    assert_eq!(connect(&daemon, "hrana2", &[("origin", "https://evil.example")]).err(), Some(403));
    let own = format!("http://{}", daemon.address());
    assert!(connect(&daemon, "hrana2", &[("origin", &own)]).is_ok());
    let guarded = Daemon::with(|settings| settings.auth.admin_token = "sesame".to_owned().into());
    assert!(connect(&guarded, "hrana2", &[("origin", "https://app.example")]).is_ok());
}

#[test]
fn requests_of_one_stream_run_in_order_and_are_not_waited_for() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon, 2);
    let mut sent = vec![
        socket.send(&json!({"type": "open_stream", "stream_id": 1})),
        socket.send(&on(1, "CREATE TABLE t (a INT)")),
        socket.send(&on(1, "INSERT INTO t VALUES (0)")),
    ];
    for _ in 0..100 {
        sent.push(socket.send(&on(1, "UPDATE t SET a = a + 1 RETURNING a")));
    }
    for (place, id) in sent.into_iter().enumerate() {
        let answer = socket.hear();
        assert_eq!(
            (answer["type"].as_str(), answer["request_id"].as_i64()),
            (Some("response_ok"), Some(id.into()))
        );
        if let Some(count) = place.checked_sub(2).filter(|count| *count > 0) {
            assert_eq!(answer["response"]["result"]["rows"][0][0]["value"], count.to_string());
        }
    }
}

#[test]
fn a_stream_does_not_wait_for_another_ones_transaction_to_read() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon, 3);
    socket.open_stream(1);
    socket.open_stream(2);
    socket.execute(1, "CREATE TABLE t (a INT)");
    socket.execute(1, "BEGIN");
    socket.execute(1, "INSERT INTO t VALUES (1)");
    let autocommit = |socket: &mut Socket, stream: i32| {
        socket.ask(&json!({"type": "get_autocommit", "stream_id": stream}))["is_autocommit"].take()
    };
    assert_eq!((autocommit(&mut socket, 1), autocommit(&mut socket, 2)), (json!(false), json!(true)));
    assert_eq!(socket.execute(2, "SELECT count(*) FROM t")["rows"][0][0], integer(0));
    // The other one's write waits; this one is answered meanwhile, and then that too.
    let waiting = socket.send(&on(2, "INSERT INTO t VALUES (2)"));
    assert_eq!(socket.execute(1, "SELECT count(*) FROM t")["rows"][0][0], integer(1));
    let commit = socket.send(&on(1, "COMMIT"));
    let mut answered = [socket.hear(), socket.hear()].map(|answer| {
        assert_eq!(answer["type"], "response_ok", "{answer}");
        answer["request_id"].as_i64().unwrap()
    });
    answered.sort_unstable();
    assert_eq!(answered, [i64::from(waiting), i64::from(commit)]);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 2);
}

#[test]
fn stored_sql_belongs_to_the_connection() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon, 2);
    socket.ask(&json!({"type": "store_sql", "sql_id": 7, "sql": "SELECT 40 + ?"}));
    for stream in [1, 2] {
        socket.open_stream(stream);
        let stmt = json!({"sql_id": 7, "args": [integer(2)]});
        let answer = socket.ask(&json!({"type": "execute", "stream_id": stream, "stmt": stmt}));
        assert_eq!(answer["result"]["rows"][0][0], integer(42));
    }
    let described = socket.ask(&json!({"type": "describe", "stream_id": 1, "sql_id": 7}));
    assert_eq!(described["result"]["params"], json!([{"name": null}]));
    socket.ask(
        &json!({"type": "sequence", "stream_id": 1, "sql": "CREATE TABLE t (a); INSERT INTO t VALUES (1);"}),
    );
    socket.ask(&json!({"type": "close_sql", "sql_id": 7}));
    socket.ask(&json!({"type": "close_sql", "sql_id": 7}));
    socket.ask(&json!({"type": "store_sql", "sql_id": 7, "sql": "SELECT 1"}));
    socket.send(&json!({"type": "store_sql", "sql_id": 7, "sql": "SELECT 1"}));
    assert_eq!(socket.hear_end().0, CloseCode::Policy);
}

#[test]
fn a_connection_that_is_lost_takes_its_transactions_with_it() {
    // Long leases: nothing but the end of the connection can end them within this test.
    let daemon = Daemon::with(|settings| settings.writer.lease_timeout = Duration::from_mins(10));
    daemon.execute("CREATE TABLE t (a)");
    for politely in [true, false] {
        let mut socket = Socket::open(&daemon, 3);
        socket.open_stream(1);
        socket.execute(1, "BEGIN IMMEDIATE");
        socket.execute(1, "INSERT INTO t VALUES (1)");
        if politely {
            socket.socket.close(None).unwrap();
        }
        drop(socket);
        assert_eq!(daemon.execute("INSERT INTO t VALUES (2)")["rows_affected"], 1);
        assert_eq!(daemon.scalar("SELECT count(*) FROM t WHERE a = 1"), 0);
    }
}

#[test]
fn a_cursor_is_fetched_piece_by_piece() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon, 3);
    socket.open_stream(1);
    let batch = json!({"steps": [
        {"stmt": {"sql": "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT i FROM n"}},
        {"stmt": {"sql": "SELECT * FROM missing"}},
        {"condition": {"type": "ok", "step": 1}, "stmt": {"sql": "SELECT 3"}},
    ]});
    socket.ask(&json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 9, "batch": batch}));
    assert_eq!(socket.fail(&on(1, "SELECT 1")), "CURSOR_OPEN");
    let mut entries = Vec::new();
    loop {
        let fetched = socket.ask(&json!({"type": "fetch_cursor", "cursor_id": 9, "max_count": 700}));
        let some = fetched["entries"].as_array().unwrap();
        assert!(some.len() <= 700);
        entries.extend(some.iter().cloned());
        if fetched["done"] == true {
            break;
        }
    }
    let again = socket.ask(&json!({"type": "fetch_cursor", "cursor_id": 9, "max_count": 10}));
    assert_eq!((&again["entries"], &again["done"]), (&json!([]), &json!(true)));
    assert_eq!((&entries[0]["type"], &entries[0]["step"]), (&json!("step_begin"), &json!(0)));
    let rows = entries.iter().filter(|entry| entry["type"] == "row");
    assert!(rows.map(|row| row["row"][0]["value"].as_str().unwrap().parse::<i32>().unwrap()).eq(1..=5000));
    assert_eq!(
        (&entries[5001]["type"], &entries[5001]["last_insert_rowid"]),
        (&json!("step_end"), &Value::Null)
    );
    let last = entries.last().unwrap();
    assert_eq!((&last["type"], &last["step"]), (&json!("step_error"), &json!(1)));
    socket.ask(&json!({"type": "close_cursor", "cursor_id": 9}));
    assert_eq!(socket.execute(1, "SELECT 2")["rows"][0][0], integer(2));
    // Not read to its end, and closed with its stream.
    daemon.execute("CREATE TABLE n AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n");
    let endless = json!({"steps": [{"stmt": {"sql": "SELECT a.i FROM n a, n b, n c"}}]});
    socket.ask(&json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 9, "batch": endless}));
    let fetched = socket.ask(&json!({"type": "fetch_cursor", "cursor_id": 9, "max_count": 10}));
    assert_eq!((fetched["entries"].as_array().unwrap().len(), &fetched["done"]), (10, &json!(false)));
    socket.ask(&json!({"type": "close_stream", "stream_id": 1}));
    socket.open_stream(1);
    assert_eq!(socket.execute(1, "SELECT 3")["rows"][0][0], integer(3));
}

#[test]
fn a_stream_too_many_fails_to_open_and_does_no_harm() {
    let daemon = Daemon::with(|settings| settings.server.hrana.max_streams = 2.try_into().unwrap());
    let mut socket = Socket::open(&daemon, 3);
    socket.open_stream(1);
    socket.open_stream(2);
    assert_eq!(socket.fail(&json!({"type": "open_stream", "stream_id": 3})), "STREAMS_TOO_MANY");
    assert_eq!(socket.fail(&on(3, "SELECT 1")), "STREAM_NOT_OPEN");
    socket.ask(&json!({"type": "close_stream", "stream_id": 3}));
    socket.ask(&json!({"type": "close_stream", "stream_id": 2}));
    socket.open_stream(3);
    socket.execute(3, "SELECT 1");
    drop(socket);
    wait_until("the streams of a lost connection make room", || {
        let mut socket = Socket::open(&daemon, 3);
        socket.send(&json!({"type": "open_stream", "stream_id": 1}));
        socket.hear()["type"] == "response_ok"
    });
}

#[test]
fn a_client_that_takes_no_answers_is_not_read_from_without_end() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon, 3);
    socket.open_stream(1);
    let connection = socket.socket.get_ref();
    connection.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Each answer is a hundred times as long as its question.
    let long = on(1, "SELECT hex(zeroblob(20000))");
    let mut sent = 0;
    while sent < 100_000 {
        let message = json!({"type": "request", "request_id": sent, "request": long}).to_string();
        if socket.socket.send(Message::text(message)).is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 100_000, "all was taken, and the answers are kept somewhere");
    // Others are served meanwhile.
    let mut other = Socket::open(&daemon, 3);
    other.open_stream(1);
    other.execute(1, "SELECT 1");
}

#[test]
fn connections_are_told_of_the_end_of_the_daemon() {
    let daemon = Daemon::with(|settings| settings.writer.lease_timeout = Duration::from_mins(10));
    daemon.execute("CREATE TABLE t (a)");
    let mut socket = Socket::open(&daemon, 3);
    socket.open_stream(1);
    socket.execute(1, "BEGIN IMMEDIATE");
    socket.execute(1, "INSERT INTO t VALUES (1)");
    let begun = std::time::Instant::now();
    let stopping = std::thread::spawn(move || daemon.stop());
    assert_eq!(socket.hear_end().0, CloseCode::Away);
    drop(socket);
    assert!(stopping.join().unwrap().shutdown.closed);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn long_messages_are_for_who_has_said_hello_and_many_of_them_are_taken_in_turns() {
    let daemon = Daemon::with(|settings| settings.server.max_body = bytesize(1 << 20));
    let long = "x".repeat(900 << 10);
    let (mut stranger, _) = connect(&daemon, "hrana3", &[]).unwrap();
    stranger.say(&json!({"type": "hello", "jwt": long}));
    assert_eq!(stranger.hear_end().0, CloseCode::Size);

    let mut socket = Socket::open(&daemon, 3);
    socket.ask(&json!({"type": "open_stream", "stream_id": 1}));
    let stmt = json!({"sql": "SELECT length(?1)", "args": [{"type": "text", "value": long}]});
    let execute = json!({"type": "execute", "stream_id": 1, "stmt": stmt});
    // More than may be under way; with one number twice.
    let mut sent: Vec<i32> = (0..20).map(|_| socket.send(&execute)).collect();
    socket.say(&json!({"type": "request", "request_id": sent[0], "request": execute}));
    sent.push(sent[0]);
    for id in sent {
        let answer = socket.hear();
        assert_eq!((&answer["type"], &answer["request_id"]), (&json!("response_ok"), &json!(id)));
        assert_eq!(answer["response"]["result"]["rows"][0][0]["value"], (900 << 10).to_string());
    }
}
