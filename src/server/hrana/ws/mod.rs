//! Hrana over a WebSocket on `/`: the handshake. Who connects is asked for a token not here but by `hello`, as the protocol
//! has it; pages of other sites are turned away before, as everywhere.

mod conn;
mod stream;

use actix_web::dev::RequestHead;
use actix_web::guard::GuardContext;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{Error, HttpRequest, HttpResponse, web};

use super::error::ProtocolError;
use super::proto::Version;
use crate::server::Daemon;
use crate::server::problem::Problem;
use conn::Conn;

/// Whether a request for `/` wants to speak over a WebSocket.
pub(in crate::server) fn is_upgrade(head: &RequestHead) -> bool {
    let upgrade = head.headers().get(header::UPGRADE).and_then(|upgrade| upgrade.to_str().ok());
    head.method == Method::GET && upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// The same, as a guard of a route.
pub(in crate::server) fn wants_upgrade(context: &GuardContext<'_>) -> bool {
    is_upgrade(context.head())
}

/// The best version that is offered, and its name as it was offered; none named is the first version.
fn choose(headers: &HeaderMap) -> Result<(Version, Option<&'static str>), ProtocolError> {
    const KNOWN: [(&str, Version); 3] =
        [("hrana3", Version::Three), ("hrana2", Version::Two), ("hrana1", Version::One)];
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|list| list.to_str().ok());
    let offered: Vec<&str> = offers.flat_map(|list| list.split(',')).map(str::trim).collect();
    if offered.is_empty() {
        return Ok((Version::One, None));
    }
    let best = KNOWN.into_iter().find(|(name, _)| offered.contains(name));
    best.map(|(name, version)| (version, Some(name))).ok_or(ProtocolError::UnknownSubprotocol)
}

/// Answers the handshake; the connection goes on by itself.
pub(in crate::server) async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    daemon: web::Data<Daemon>,
) -> Result<HttpResponse, Error> {
    let (version, name) = choose(request.headers()).map_err(Problem::from)?;
    let (mut response, session, messages) = actix_ws::handle(&request, payload)?;
    if let Some(name) = name {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    let limit = daemon.max_body;
    let messages = messages.max_frame_size(limit).aggregate_continuations().max_continuation_size(limit);
    actix_rt::spawn(Conn::new(daemon, version, session).serve(messages));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_best_version_that_is_offered_is_spoken() {
        for (offers, expected) in [
            (&[][..], Ok((Version::One, None))),
            (&["hrana1"], Ok((Version::One, Some("hrana1")))),
            (&["hrana2, hrana1"], Ok((Version::Two, Some("hrana2")))),
            (&["hrana1,hrana2 ,hrana3"], Ok((Version::Three, Some("hrana3")))),
            (&["hrana3-protobuf, hrana3", "hrana2"], Ok((Version::Three, Some("hrana3")))),
            (&["hrana3-protobuf"], Err(ProtocolError::UnknownSubprotocol)),
            (&["graphql-ws"], Err(ProtocolError::UnknownSubprotocol)),
            (&[""], Err(ProtocolError::UnknownSubprotocol)),
        ] {
            let request = offers.iter().fold(TestRequest::default(), |request, offer| {
                request.append_header((header::SEC_WEBSOCKET_PROTOCOL, *offer))
            });
            assert_eq!(choose(request.to_http_request().headers()), expected, "{offers:?}");
        }
    }
}
