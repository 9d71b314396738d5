//! A guestbook as an actix-web application: the database in `web::Data`, a schema of one's own, typed rows, and errors
//! that become the right statuses.
//!
//! `cargo run --example web -- [--demo] [ADDRESS [FILE]]`: serves on 127.0.0.1:8080 from `guestbook.db`
//! unless told otherwise; port 0 takes a free one. Ctrl-C ends it, after what was accepted is committed.
//!
//! ```text
//! curl -d '{"author":"ada","text":"hello"}' -H 'content-type: application/json' http://127.0.0.1:8080/notes
//! curl http://127.0.0.1:8080/notes
//! curl http://127.0.0.1:8080/notes/1
//! ```
//!
//! With `--demo` it works on a temporary file and a free port, sends itself these requests, and ends.

use std::error::Error;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use actix_sqlite::rusqlite::Connection;
use actix_sqlite::{
    Database, MigrationError, Outcome, ReadError, Settings, StatementErrorKind, WriteError, params,
};
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use serde::{Deserialize, Serialize};

/// Run each time the database is opened, so it must change nothing if the tables are there.
fn migrate(conn: &mut Connection) -> Result<(), MigrationError> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS notes (
            id INTEGER PRIMARY KEY,
            author TEXT NOT NULL CHECK (length(author) BETWEEN 1 AND 40),
            text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 2000),
            created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        ) STRICT",
    )
    .map_err(|error| MigrationError::Failed(error.to_string()))
}

/// A row, and its JSON.
#[derive(Serialize, Deserialize)]
struct Note {
    id: i64,
    author: String,
    text: String,
    created_at: String,
}

#[derive(Deserialize)]
struct NewNote {
    author: String,
    text: String,
}

#[derive(Deserialize)]
struct Page {
    limit: Option<u32>,
    before_id: Option<i64>,
}

async fn add_note(database: web::Data<Database>, note: web::Json<NewNote>) -> Result<HttpResponse, Failure> {
    let NewNote { author, text } = note.into_inner();
    let insert = "INSERT INTO notes (author, text) VALUES (?1, ?2) RETURNING id, author, text, created_at";
    // The answer comes after the COMMIT; meanwhile this thread serves others.
    let receipt = database.execute((insert, params![author, text])).await?;
    let notes: Vec<Note> = receipt.into_rows().deserialize()?;
    let note = notes.into_iter().next().ok_or(Failure::NotFound)?;
    Ok(HttpResponse::Created().insert_header((header::LOCATION, format!("/notes/{}", note.id))).json(note))
}

async fn notes(
    database: web::Data<Database>,
    page: web::Query<Page>,
) -> Result<web::Json<Vec<Note>>, Failure> {
    let before_id = page.before_id.unwrap_or(i64::MAX);
    let limit = page.limit.unwrap_or(50).min(500);
    let select = "SELECT id, author, text, created_at FROM notes WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    Ok(web::Json(database.query_as((select, params![before_id, limit])).await?))
}

async fn note(database: web::Data<Database>, id: web::Path<i64>) -> Result<web::Json<Note>, Failure> {
    let select = "SELECT id, author, text, created_at FROM notes WHERE id = ?1";
    let found: Vec<Note> = database.query_as((select, [id.into_inner()])).await?;
    found.into_iter().next().map(web::Json).ok_or(Failure::NotFound)
}

/// Why a request has no answer.
#[derive(Debug)]
enum Failure {
    Write(WriteError),
    Read(ReadError),
    NotFound,
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(error) => error.fmt(formatter),
            Self::Read(error) => error.fmt(formatter),
            Self::NotFound => formatter.write_str("there is no such note"),
        }
    }
}

impl Failure {
    fn code(&self) -> &'static str {
        match self {
            Self::Write(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::NotFound => "not_found",
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Write(error) => error.is_retryable(),
            Self::Read(error) => error.is_retryable(),
            Self::NotFound => false,
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            // What a CHECK refuses is the visitor's mistake.
            Self::Write(WriteError::Statement(error))
                if error.kind == StatementErrorKind::ConstraintViolation =>
            {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Write(error) if error.outcome() == Outcome::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            _ if self.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        let refusal = match self {
            Self::Write(WriteError::Refused(refusal)) | Self::Read(ReadError::Refused(refusal)) => {
                Some(refusal)
            }
            _ => None,
        };
        if let Some(after) = refusal.and_then(|refusal| refusal.retry_after) {
            response.insert_header((header::RETRY_AFTER, after.as_secs()));
        }
        response.json(serde_json::json!({
            "code": self.code(),
            "detail": self.to_string(),
            "retryable": self.is_retryable(),
        }))
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/notes")
            .route("", web::post().to(add_note))
            .route("", web::get().to(notes))
            .route("/{id}", web::get().to(note)),
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let (demo, mut arguments): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|text| text == "--demo");
    let scratch = tempfile::tempdir()?;
    let (address, file) = if demo.is_empty() {
        arguments.resize(2, String::new());
        let or =
            |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        (or(&arguments[0], "127.0.0.1:8080"), PathBuf::from(or(&arguments[1], "guestbook.db")))
    } else {
        ("127.0.0.1:0".to_owned(), scratch.path().join("guestbook.db"))
    };
    actix_web::rt::System::new().block_on(serve(&address, file, !demo.is_empty()))
}

async fn serve(address: &str, file: PathBuf, demo: bool) -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::for_file(file);
    // This application has tables of its own, and no use for those of the built-in domain.
    settings.relay.migrate = false;
    let database = Database::builder(settings).migration(migrate).open().await?;
    let data = web::Data::new(database.clone());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).configure(routes))
        .workers(2)
        .shutdown_timeout(5)
        // Its own signal handling stops the whole actix System, and the database's supervisor with it, before the
        // database could be shut down.
        .disable_signals()
        .bind(address)?;
    let address = server.addrs().first().copied().ok_or("no address to listen on")?;
    println!("listening on http://{address}");
    let server = server.run();
    let handle = server.handle();
    let server = actix_web::rt::spawn(server);
    let ended: Result<(), Box<dyn Error>> = if demo {
        let visit = move || visit(address).map_err(|error| error.to_string());
        match actix_web::rt::task::spawn_blocking(visit).await {
            Ok(visited) => visited.map_err(Into::into),
            Err(panicked) => Err(panicked.into()),
        }
    } else {
        actix_web::rt::signal::ctrl_c().await.map_err(Into::into)
    };
    // First the requests under way are answered, then the database is closed.
    handle.stop(true).await;
    server.await??;
    println!("{}", database.shutdown().await);
    ended
}

/// A visitor with the simplest client there is.
fn visit(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let hello = r#"{"author":"ada","text":"hello from the demo"}"#;
    let empty = r#"{"author":"ada","text":""}"#;
    for (method, path, body, expected) in [
        ("POST", "/notes", hello, "201"),
        ("POST", "/notes", empty, "422"),
        ("GET", "/notes", "", "200"),
        ("GET", "/notes/1", "", "200"),
        ("GET", "/notes/2", "", "404"),
    ] {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        println!("{method} {path} {status} {body}");
        if status != expected {
            return Err(format!("{method} {path} was answered with {status} instead of {expected}").into());
        }
    }
    Ok(())
}
