//! From the first to the last request: health, addresses, clients that leave, the drained end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use actix_sqlite::server::{Address, ServeError, Server, StoppedBy};
use serde_json::json;

use crate::client::{Daemon, one_at_a_time, settings_in, wait_until};

#[test]
fn health_and_status_tell_how_it_is() {
    let daemon = Daemon::start();
    for path in ["/livez", "/readyz"] {
        let answer = daemon.client.get(path);
        assert_eq!((answer.status, answer.json()), (200, json!({"state": "running"})));
    }
    let status = daemon.client.get("/v1/status").json();
    assert_eq!((&status["state"], &status["queue"]["length"]), (&json!("running"), &json!(0)));
    assert_eq!(status["database"]["path"], daemon.file().display().to_string());
}

#[test]
fn head_is_get_without_the_body() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    for path in ["/livez", "/readyz", "/v1/status", "/v1/accounts", "/openapi.json", "/docs/"] {
        let (head, get) = (client.send("HEAD", path, ()), client.get(path));
        assert_eq!((head.status, head.header("content-type")), (200, get.header("content-type")), "{path}");
    }
    // Read to the end of the connection: a client leaves out what follows the headers.
    for (path, status) in [("/livez", "200 OK"), ("/v1/execute", "405 Method Not Allowed")] {
        let mut connection = TcpStream::connect(daemon.address()).unwrap();
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(headers.starts_with(&format!("HTTP/1.1 {status}")), "{headers}");
        assert_eq!(body, "", "{headers}");
    }
    assert_eq!(client.send("HEAD", "/v1/execute", ()).header("allow"), "POST");
    assert_eq!(client.send("HEAD", "/v1/nothing", ()).status, 404);
}

#[test]
fn stopping_commits_what_is_queued_answers_it_and_refuses_the_rest() {
    let mut daemon = Daemon::with(one_at_a_time);
    daemon.execute("CREATE TABLE t (a)");
    // After its first commit the writer tidies up, which needs the file. Once another is acknowledged, that is over.
    daemon.execute("CREATE INDEX t_by_a ON t (a)");
    let held = daemon.hold_the_file();
    let writes: Vec<_> = (0..21)
        .map(|value| {
            let client = daemon.client.another();
            let insert = json!({"sql": "INSERT INTO t VALUES (?)", "params": [value]});
            std::thread::spawn(move || client.post("/v1/execute", &insert))
        })
        .collect();
    // One is in the writer's hand.
    wait_until("all are under way", || {
        let status = daemon.database.status();
        (status.writer.in_hand, status.queue.length) == (1, 20)
    });
    daemon.stopper.stop();
    wait_until("it is not ready any more", || daemon.client.get("/readyz").status == 503);
    assert_eq!(daemon.client.get("/readyz").problem(503), "shutting_down");
    assert_eq!(daemon.client.get("/livez").status, 200);
    let late = daemon.client.post("/v1/execute", &json!({"sql": "INSERT INTO t VALUES ('late')"}));
    assert_eq!(late.problem(503), "shutting_down");
    assert_eq!((&late.json()["retryable"], &late.json()["outcome"]), (&json!(true), &json!("not_executed")));
    assert_eq!(daemon.client.post("/v1/query", &json!({"sql": "SELECT 1"})).problem(503), "shutting_down");
    drop(held);
    for write in writes {
        let answer = write.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let served = daemon.ended().unwrap();
    assert_eq!(
        (served.stopped_by, served.shutdown.committed, served.shutdown.refused),
        (StoppedBy::Program, 21, 0)
    );
    assert!(served.shutdown.closed && served.requests >= 25, "{served}");
    assert!(served.to_string().contains("21 queued writes committed"));
    let conn = actix_sqlite::rusqlite::Connection::open(daemon.file()).unwrap();
    let rows: i64 = conn.query_row("SELECT count(*) FROM t WHERE a <> 'late'", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 21);
}

#[test]
fn connections_that_are_kept_open_do_not_keep_the_daemon() {
    let daemon = Daemon::start();
    let clients: Vec<_> = (0..10).map(|_| daemon.client.another()).collect();
    for client in &clients {
        assert_eq!(client.get("/livez").status, 200);
    }
    let silent = TcpStream::connect(daemon.address()).unwrap();
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_millis(3500), "{:?}", begun.elapsed());
    drop((clients, silent));
}

#[test]
fn a_write_whose_client_left_before_its_turn_is_not_executed() {
    let daemon = Daemon::with(one_at_a_time);
    let held = daemon.hold_the_file();
    let write = |sql: &str| {
        let body = json!({ "sql": sql }).to_string();
        let mut connection = TcpStream::connect(daemon.address()).unwrap();
        let headers =
            format!("POST /v1/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.write_all((headers + &body).as_bytes()).unwrap();
        connection
    };
    let staying = [write("CREATE TABLE kept (a)"), write("CREATE TABLE kept_too (a)")];
    wait_until("one is in hand and one behind it", || {
        let status = daemon.database.status();
        (status.writer.in_hand, status.queue.length) == (1, 1)
    });
    let mut leaving = write("CREATE TABLE left_behind (a)");
    wait_until("it is queued", || daemon.database.status().queue.length == 2);
    leaving.shutdown(Shutdown::Write).unwrap();
    // The daemon closes its side when it has seen that the client is gone.
    assert_eq!(leaving.read(&mut [0; 64]).unwrap(), 0);
    drop(held);
    for mut connection in staying {
        let mut answer = [0; 15];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    // Its turn comes after the others are answered.
    wait_until("it was passed over", || daemon.database.status().writer.abandoned == 1);
    assert_eq!(
        daemon.scalar(
            "SELECT group_concat(name ORDER BY name) FROM sqlite_schema WHERE name LIKE 'kept%' OR name LIKE 'left%'"
        ),
        "kept,kept_too"
    );
}

#[test]
fn an_address_in_use_is_named_and_the_file_is_let_go() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings_in(directory.path());
    settings.server.listen = daemon.address();
    let error = actix_rt::System::new().block_on(async {
        let error = Server::bind(settings.clone()).await.unwrap_err();
        settings.server.listen.set_port(0);
        let server = Server::bind(settings).await.expect("the file is free again");
        server.database().shutdown().await;
        error
    });
    assert_eq!(error, ServeError::AddressInUse { address: Address::Http(daemon.address()) });
    assert!(error.to_string().contains(&daemon.address().to_string()) && error.exit_code() == 1);
}

#[test]
fn it_listens_on_a_unix_socket_too_and_takes_one_that_was_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // A listener that is gone leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let daemon = Daemon::with(|settings| settings.server.unix_socket.clone_from(&path));
    assert_eq!(daemon.addresses[1], Address::Unix(path.clone()));
    let mut connection = UnixStream::connect(&path).unwrap();
    connection.write_all(b"GET /v1/status HTTP/1.1\r\nHost: any-name\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let other = tempfile::tempdir().unwrap();
    let mut settings = settings_in(other.path());
    settings.server.unix_socket.clone_from(&path);
    let error = actix_rt::System::new().block_on(Server::bind(settings)).unwrap_err();
    assert_eq!(error, ServeError::AddressInUse { address: Address::Unix(path.clone()) });
    assert!(path.exists(), "the socket is another daemon's");
    daemon.stop();
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_left_where_the_socket_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let [file, folder, link] = ["data", "folder", "link"].map(|name| directory.path().join(name));
    std::fs::write(&file, "precious").unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("data", &link).unwrap();
    for path in [&file, &folder, &link] {
        let mut settings = settings_in(directory.path());
        settings.server.unix_socket.clone_from(path);
        let error = actix_rt::System::new().block_on(Server::bind(settings)).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("there is a file that is no socket; name another server.unix_socket"),
            "{told}"
        );
        assert_eq!(error.exit_code(), 1);
    }
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "precious");
    assert!(link.is_symlink() && folder.is_dir());
}
