//! A thin client of Hrana 2 over HTTP: one kept-alive connection, one request at a time, answers searched, not parsed, so
//! that the client is the same small load for either server. Each answer is waited for within a limit, as a server may stop
//! to answer; what failed is counted by its kind.

use std::time::Duration;

use actix_rt::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What can become of a request that was not executed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// `SQLITE_BUSY`, in whatever form.
    Busy,
    /// No answer in time.
    TimedOut,
    /// Any other error: of a statement, of HTTP, of the connection.
    Other,
}

pub(crate) struct Client {
    address: String,
    connection: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: None, request: Vec::new(), answer: Vec::new() }
    }

    /// Sends a pipeline of requests (JSON objects, separated by commas) and waits for their answers.
    /// After any trouble the connection is given up, and a stream on it with it.
    pub(crate) async fn pipeline(&mut self, baton: Option<&str>, requests: &str) -> Result<&[u8], Trouble> {
        let baton = baton.map_or_else(|| "null".to_owned(), |baton| format!("\"{baton}\""));
        let length = "{\"baton\":,\"requests\":[]}".len() + baton.len() + requests.len();
        self.request.clear();
        self.request.extend_from_slice(
            format!(
                "POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{{\"baton\":{baton},\"requests\":["
            )
            .as_bytes(),
        );
        self.request.extend_from_slice(requests.as_bytes());
        self.request.extend_from_slice(b"]}");
        let done = actix_rt::time::timeout(WITHIN, self.exchange()).await;
        let trouble = match done {
            Ok(Some(())) => troubled(&self.answer),
            Ok(None) => Some(Trouble::Other),
            Err(_) => Some(Trouble::TimedOut),
        };
        match trouble {
            None => Ok(&self.answer),
            Some(trouble) => {
                self.connection = None;
                Err(trouble)
            }
        }
    }

    /// `None` if the connection cannot be had or was closed.
    async fn exchange(&mut self) -> Option<()> {
        // Taken, and put back after the answer: a connection whose answer was not waited for is never used again.
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let connection = TcpStream::connect(&self.address).await.ok()?;
            connection.set_nodelay(true).ok()?;
            connection
        };
        connection.write_all(&self.request).await.ok()?;
        self.answer.clear();
        while !is_whole(&self.answer) {
            if connection.read_buf(&mut self.answer).await.ok()? == 0 {
                return None;
            }
        }
        self.connection = Some(connection);
        Some(())
    }
}

/// The baton in an answer.
pub(crate) fn baton(answer: &[u8]) -> Option<String> {
    let start = find(answer, b"\"baton\":\"")? + b"\"baton\":\"".len();
    let length = answer[start..].iter().position(|byte| *byte == b'"')?;
    String::from_utf8(answer[start..start + length].to_vec()).ok()
}

/// Every error has a message; no row that the benches ask for holds that word.
fn troubled(answer: &[u8]) -> Option<Trouble> {
    if find(answer, b"SQLITE_BUSY").is_some() || find(answer, b"database is locked").is_some() {
        return Some(Trouble::Busy);
    }
    let fine = answer.starts_with(b"HTTP/1.1 200") && find(answer, b"\"message\"").is_none();
    (!fine).then_some(Trouble::Other)
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = find(answer, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let body = &answer[end + 4..];
    match head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // By the first byte: the answers are short, or looked at once.
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(place) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + place..].starts_with(wanted) {
            return Some(from + place);
        }
        from += place + 1;
    }
    None
}
