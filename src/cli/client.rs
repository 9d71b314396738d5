//! A daemon over HTTP: blocking, with errors as the daemon words them (`application/problem+json`).

use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::failure::Failure;
use crate::relay::ImportReport;

/// A machine that answers at all does so within this time; how long an answer takes is the daemon's to bound.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a streamed answer is held in memory.
const PIECE: usize = 16 * 1024;

/// What to do when the connection breaks under a request that writes nothing.
pub(super) const READ_AGAIN: &str = "try again";

/// Where a daemon is: `http://host:port`, perhaps with a path before its routes.
#[derive(Debug, Clone)]
pub(super) struct DaemonUrl {
    url: String,
    /// Host and port, as the system's resolver takes them.
    host: String,
}

impl FromStr for DaemonUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri =
            text.parse().map_err(|error| format!("{error}; write it like http://127.0.0.1:4280"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(
                "must begin with http:// or https:// and name a host, like http://127.0.0.1:4280".into()
            );
        }
        if uri.query().is_some() {
            return Err("must not have a query; write it like http://127.0.0.1:4280".into());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not hold a password; put the token into ACTIX_SQLITE_TOKEN".into());
        }
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let host = format!("{}:{port}", uri.host().unwrap_or_default());
        Ok(Self { url: text.trim_end_matches('/').to_owned(), host })
    }
}

/// What a daemon answers when it says no (RFC 9457).
#[derive(Debug, Default, Deserialize, thiserror::Error)]
#[serde(default)]
#[error("{} (code {code})", self.words())]
pub struct Problem {
    code: String,
    title: String,
    detail: String,
    /// What an import that ended half-way did before.
    import: Option<ImportReport>,
}

impl Problem {
    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What an import that ended half-way did before.
    pub(super) fn take_import(&mut self) -> Option<ImportReport> {
        self.import.take()
    }

    fn words(&self) -> &str {
        if self.detail.is_empty() { &self.title } else { &self.detail }
    }
}

/// Talks to one daemon.
pub(super) struct Client {
    agent: Agent,
    url: String,
    token: Option<SecretString>,
}

/// One request, before its body.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// What to do if the connection breaks before the answer is there.
    pub(super) if_lost: &'static str,
}

impl Client {
    /// # Errors
    /// [`Failure::Unreachable`] if nobody knows the host. Looked up here because of a look-up that fails later the
    /// library says no more than of a connection that broke.
    pub(super) fn new(url: &DaemonUrl) -> Result<Self, Failure> {
        url.host.to_socket_addrs().map_err(|error| unreachable(&url.url, &error))?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A daemon is near; a proxy of the environment is for the wide world.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("actix-sqlite/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let token = std::env::var("ACTIX_SQLITE_TOKEN").ok().filter(|token| !token.is_empty());
        Ok(Self { agent, url: url.url.clone(), token: token.map(SecretString::from) })
    }

    pub(super) fn get(&self, path: &str) -> Result<Response<Body>, Failure> {
        let call = Call { method: Method::GET, path, headers: &[], if_lost: READ_AGAIN };
        self.send(&call, SendBody::none())
    }

    pub(super) fn post_json(
        &self,
        call: &Call<'_>,
        body: &impl Serialize,
    ) -> Result<Response<Body>, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.answer(&error))?;
        let mut headers = call.headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.send(&Call { headers: &headers, method: call.method.clone(), ..*call }, body)
    }

    /// Sends a body of any length as it is read.
    pub(super) fn post_stream(
        &self,
        call: &Call<'_>,
        mut body: impl Read,
    ) -> Result<Response<Body>, Failure> {
        self.send(call, SendBody::from_reader(&mut body))
    }

    /// An answer that is one JSON document, however large. `if_lost` is what to do if it breaks off.
    pub(super) fn read_json<T: DeserializeOwned>(
        &self,
        answer: Response<Body>,
        if_lost: &'static str,
    ) -> Result<T, Failure> {
        let text = self.read_text(answer, if_lost)?;
        serde_json::from_str(&text).map_err(|error| self.answer(&error))
    }

    /// An answer of any length, passed on as it comes.
    pub(super) fn copy(&self, answer: Response<Body>, out: &mut impl Write) -> Result<(), Failure> {
        let mut body = answer.into_body().into_reader();
        let mut piece = [0; PIECE];
        loop {
            match body.read(&mut piece) {
                Ok(0) => return out.flush().map_err(Failure::stdout),
                Ok(length) => {
                    out.write_all(&piece[..length]).and_then(|()| out.flush()).map_err(Failure::stdout)?;
                }
                Err(error) => return Err(self.lost(&error, READ_AGAIN)),
            }
        }
    }

    fn read_text(&self, answer: Response<Body>, if_lost: &'static str) -> Result<String, Failure> {
        let mut text = String::new();
        let read = answer.into_body().into_reader().read_to_string(&mut text);
        read.map_err(|error| self.lost(&error, if_lost))?;
        Ok(text)
    }

    fn send(&self, call: &Call<'_>, body: impl AsSendBody) -> Result<Response<Body>, Failure> {
        let mut request =
            Request::builder().method(call.method.clone()).uri(format!("{}{}", self.url, call.path));
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose_secret()));
        }
        let request = request.body(body).map_err(|error| self.answer(&error))?;
        let answer = self.agent.run(request).map_err(|error| self.explain(error, call.if_lost))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.problem(answer)) }
    }

    fn problem(&self, answer: Response<Body>) -> Failure {
        let status = answer.status();
        let problem = self
            .read_text(answer, READ_AGAIN)
            .ok()
            .and_then(|text| serde_json::from_str::<Problem>(&text).ok());
        match problem {
            Some(problem) if !problem.code.is_empty() => problem.into(),
            // Something between here and the daemon, or no daemon at all.
            _ => self.answer(&format_args!("it answered {status}")),
        }
    }

    fn explain(&self, error: ureq::Error, if_lost: &'static str) -> Failure {
        let is_before_the_request = match &error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_) => true,
            ureq::Error::Timeout(when) => matches!(when, ureq::Timeout::Resolve | ureq::Timeout::Connect),
            ureq::Error::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            ),
            _ => false,
        };
        match error {
            ureq::Error::Io(error) if is_before_the_request => unreachable(&self.url, &error),
            error if is_before_the_request => unreachable(&self.url, &error),
            ureq::Error::Io(error) => self.lost(&error, if_lost),
            ureq::Error::Timeout(when) => self.lost(&format_args!("{when} timed out"), if_lost),
            error => self.answer(&error),
        }
    }

    pub(super) fn lost(&self, reason: &dyn std::fmt::Display, advice: &'static str) -> Failure {
        Failure::ConnectionLost { url: self.url.clone(), reason: reason.to_string(), advice }
    }

    pub(super) fn answer(&self, reason: &dyn std::fmt::Display) -> Failure {
        Failure::Answer { url: self.url.clone(), reason: reason.to_string() }
    }
}

fn unreachable(url: &str, reason: &dyn std::fmt::Display) -> Failure {
    Failure::Unreachable { url: url.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_daemon_names_scheme_and_host_and_no_password() {
        for url in ["http://127.0.0.1:4280", "https://db.example/", "http://[::1]:4280/path/"] {
            assert!(!url.parse::<DaemonUrl>().unwrap().url.ends_with('/'), "{url}");
        }
        for (url, reason) in [
            ("127.0.0.1:4280", "http://"),
            ("ftp://x", "http://"),
            ("http://u:p@x", "ACTIX_SQLITE_TOKEN"),
            ("http://x/?a=1", "query"),
            ("", "http://127.0.0.1:4280"),
        ] {
            let error = url.parse::<DaemonUrl>().expect_err(url);
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
