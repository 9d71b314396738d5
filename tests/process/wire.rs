//! One HTTP connection, on a bare socket: what a client library hides (when a connection broke, and whether an answer had
//! begun by then) is what these tests are about.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer that takes longer is none.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The daemon's address in what it says of itself.
pub(crate) fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

/// A connection that ended before the answer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Not one byte of it came.
    Unanswered,
    /// Some of it came.
    HalfAnswered,
}

impl Wire {
    /// `None` if nobody listens there.
    pub(crate) fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONGEST_WAIT)).unwrap();
        stream.set_write_timeout(Some(LONGEST_WAIT)).unwrap();
        Some(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, Broken> {
        self.ask("GET", path, "", "")
    }

    pub(crate) fn post(&mut self, path: &str, headers: &str, body: &str) -> Result<Answer, Broken> {
        self.ask("POST", path, headers, body)
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer, Broken> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.send((head + body).as_bytes());
        self.answer()
    }

    /// Whether it can be sent is seen by the answer: one may have come before the end of the request.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// The answer to what was sent.
    pub(crate) fn answer(&mut self) -> Result<Answer, Broken> {
        let status_line = match self.line() {
            Some(line) if line.ends_with("\r\n") => line,
            Some(line) if !line.is_empty() => return Err(Broken::HalfAnswered),
            _ => return Err(Broken::Unanswered),
        };
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer { status: status.expect(&status_line), headers: String::new(), body: vec![] };
        loop {
            let line = self.line().ok_or(Broken::HalfAnswered)?;
            match line.as_str() {
                "\r\n" => break,
                "" => return Err(Broken::HalfAnswered),
                line => answer.headers.push_str(line),
            }
        }
        answer.body = self.body(&answer).ok_or(Broken::HalfAnswered)?;
        Ok(answer)
    }

    fn body(&mut self, answer: &Answer) -> Option<Vec<u8>> {
        if answer.header("transfer-encoding") != "chunked" {
            return self.exactly(answer.header("content-length").parse().expect(&answer.headers));
        }
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(self.line()?.trim(), 16).ok()?;
            let chunk = self.exactly(length + 2)?;
            if length == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }

    fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        bounded(self.stream.read_exact(&mut bytes)).map(|()| bytes)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        bounded(self.stream.read_line(&mut line)).map(|_| line)
    }

    /// The next byte of whatever there is; `None` at the end.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.exactly(1).map(|byte| byte[0])
    }

    /// Fails if there is more than was asked for.
    pub(crate) fn assert_no_more(&mut self) {
        assert!(self.stream.buffer().is_empty(), "two answers to one request");
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).unwrap();
        // Nothing yet, or nothing any more.
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)), "two answers to one request");
        stream.set_nonblocking(false).unwrap();
    }
}

/// An end of the connection is an outcome; silence is a failure of the test.
fn bounded<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("nothing came for {LONGEST_WAIT:?}")
        }
        Err(_) => None,
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no problem: {self:?}")).to_owned()
    }
}
