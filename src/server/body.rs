//! Bodies, as they come: a sender may pause, but not for good.
//!
//! The connection's own time limit ends with the headers, so a sender that falls silent in its body would keep its
//! connection, and what its handler holds, for as long as it likes.

use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::problem::Fault;

/// How long senders may pause before they are taken for gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Of a body that is one JSON document: its sender has all of it before it begins, so only the network can make it
    /// wait. Ample for packets that are lost and sent again.
    pub(super) document: Duration,
    /// Of an import: its sender may make the lines while it sends them, or be held up by a reader of its own.
    pub(super) import: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Self =
        Self { document: Duration::from_secs(15), import: Duration::from_mins(1) };
}

/// How long a body that stalled is kept: longer than it takes to write its answer, whereupon the connection is closed.
/// Was the body let go before, the connection would wait for the end of it, to be used again.
const KEPT: Duration = Duration::from_secs(2);

/// A body that is being read.
pub(super) struct Body<B> {
    rest: Option<B>,
    pause: Duration,
}

impl<B> Body<B>
where
    B: Stream<Item = Result<Bytes, PayloadError>> + Unpin + 'static,
{
    pub(super) fn new(body: B, pause: Duration) -> Self {
        Self { rest: Some(body), pause }
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(rest) = &mut self.rest else { return Ok(None) };
        if let Ok(next) = actix_rt::time::timeout(self.pause, rest.next()).await {
            return next.transpose().map_err(|error| Fault::IncompleteBody(error.to_string()));
        }
        let stalled = self.rest.take();
        actix_rt::spawn(async move {
            actix_rt::time::sleep(KEPT).await;
            drop(stalled);
        });
        Err(Fault::BodyTimeout(self.pause))
    }

    /// All of it, if it is at most `limit` bytes.
    pub(super) async fn whole(mut self, limit: usize) -> Result<BytesMut, Fault> {
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if whole.len() + bytes.len() > limit {
                return Err(Fault::BodyTooLarge(limit));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use actix_web::{HttpServer, web};
    use serde_json::Value;

    use super::super::{Daemon, app};
    use super::*;
    use crate::{Database, Settings};

    const SHORT: Patience =
        Patience { document: Duration::from_millis(20), import: Duration::from_millis(500) };

    /// What a daemon of little patience answers until it closes the connection, to a request whose sender leaves it open.
    fn answers(requests: &[String]) -> Vec<(String, Value)> {
        let directory = tempfile::tempdir().unwrap();
        actix_rt::System::new().block_on(async {
            let database =
                Database::open(Settings::for_file(directory.path().join("test.db"))).await.unwrap();
            let daemon = web::Data::new(Daemon { patience: SHORT, ..Daemon::new(database.clone()) });
            let server = HttpServer::new(move || app(daemon.clone())).workers(1).disable_signals();
            let server = server.bind(("127.0.0.1", 0)).unwrap();
            let address = server.addrs()[0];
            let server = server.run();
            let handle = server.handle();
            actix_rt::spawn(server);
            let mut answers = Vec::new();
            for request in requests {
                let request = request.clone();
                let asked = actix_rt::task::spawn_blocking(move || ask(address, &request));
                answers.push(asked.await.unwrap());
            }
            handle.stop(true).await;
            database.shutdown().await;
            answers
        })
    }

    fn ask(address: SocketAddr, request: &str) -> (String, Value) {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the daemon closes the connection");
        let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
        (headers.to_owned(), serde_json::from_str(body).unwrap())
    }

    fn sized(path: &str, sent: &str) -> String {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{sent}")
    }

    fn chunked(path: &str, sent: &str) -> String {
        let length = sent.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{sent}\r\n"
        )
    }

    #[test]
    fn a_document_that_stalls_is_answered_and_its_connection_closed() {
        for (headers, problem) in answers(&[
            sized("/v1/execute", "{"),
            sized("/v1/query", ""),
            chunked("/v1/transaction", "{"),
            chunked("/v1/accounts", "{\"email\""),
        ]) {
            assert!(headers.starts_with("HTTP/1.1 408 "), "{headers}");
            assert!(headers.contains("connection: close"), "{headers}");
            assert_eq!(
                (&problem["code"], &problem["outcome"], &problem["retryable"]),
                (&"body_timeout".into(), &"not_executed".into(), &true.into())
            );
        }
    }

    #[test]
    fn a_client_of_hrana_is_told_in_its_own_words() {
        for (headers, error) in answers(&[sized("/v2/pipeline", "{"), chunked("/v3/cursor", "{\"batch\"")]) {
            assert!(headers.starts_with("HTTP/1.1 408 "), "{headers}");
            assert!(headers.contains("connection: close"), "{headers}");
            assert!(headers.contains("content-type: application/json\r\n"), "{headers}");
            assert_eq!(error["code"], "BODY_TIMEOUT");
            assert!(error["message"].is_string());
        }
    }

    #[test]
    fn an_import_that_stalls_says_how_far_it_got() {
        let line = |message: &str| {
            serde_json::json!({
                "kook_message_id": message, "kook_channel_id": "general", "content": "hello",
                "sender_name": "ann", "target_platform": "discord", "target_channel": "d-general", "status": "success",
            })
        };
        let sent = format!("{}\n{}\n{{\"kook_mess", line("a"), line("b"));
        let path = "/v1/message-logs/import";
        let answers = answers(&[sized(path, &sent), chunked(path, &sent)]);
        for ((headers, problem), count) in answers.iter().zip(["inserted", "duplicates"]) {
            assert!(headers.starts_with("HTTP/1.1 408 "), "{headers}");
            assert!(headers.contains("connection: close"), "{headers}");
            assert_eq!(
                (&problem["code"], &problem["outcome"], &problem["retryable"], &problem["import"][count]),
                (&"body_timeout".into(), &"unknown".into(), &true.into(), &2.into())
            );
        }
    }

    #[actix_rt::test]
    async fn a_pause_between_pieces_is_no_end() {
        let pieces = futures_util::stream::iter(["{\"a\"", ": 1}"]);
        let slow = pieces.then(|piece| async move {
            actix_rt::task::yield_now().await;
            Ok(Bytes::from_static(piece.as_bytes()))
        });
        let body = Body::new(Box::pin(slow), Patience::DEFAULT.document).whole(8).await.unwrap();
        assert_eq!(body, "{\"a\": 1}");
        let silent = futures_util::stream::pending();
        assert!(matches!(Body::new(silent, Duration::ZERO).whole(8).await, Err(Fault::BodyTimeout(_))));
        let long =
            futures_util::stream::iter([Ok(Bytes::from_static(b"12345")), Ok(Bytes::from_static(b"6789"))]);
        assert!(matches!(
            Body::new(long, Patience::DEFAULT.document).whole(8).await,
            Err(Fault::BodyTooLarge(8))
        ));
    }
}
