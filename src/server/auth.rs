//! Who may talk to the daemon.
//!
//! With a token, whoever presents it may do everything, and everybody else nothing but ask for the daemon's health.
//! Without one, the machine's own users may do everything (the settings see to it that the daemon listens on loopback
//! then), but not the pages their browsers show: those are recognised by the headers that no page can forge.

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Daemon;
use super::hrana;
use super::problem::{Fault, Problem};
use crate::settings::AuthSettings;

/// Asked by those who start and watch the daemon, who need not know its token.
const OPEN_PATHS: [&str; 2] = ["/livez", "/readyz"];

/// What the daemon was told about its callers.
pub(super) struct Auth {
    /// Digests have one length, so that comparing them does not even tell how long the token is.
    token: Option<[u8; 32]>,
}

impl Auth {
    pub(super) fn new(settings: &AuthSettings) -> Self {
        let token = settings.admin_token();
        Self { token: token.map(|token| digest(token.expose_secret().as_bytes())) }
    }

    /// Secrets need a caller who proved to be the admin; every request that got this far did, if there is a token.
    pub(super) fn may_show_secrets(&self) -> Result<(), Fault> {
        if self.token.is_some() { Ok(()) } else { Err(Fault::SecretsForbidden) }
    }

    /// Whether this is the token; any will do if there is none.
    pub(super) fn knows(&self, token: Option<&str>) -> bool {
        self.token.is_none_or(|known| {
            token.is_some_and(|given| digest(given.trim().as_bytes()).ct_eq(&known).into())
        })
    }

    /// Of one who will be asked for the token later, only what keeps pages out.
    fn check_later(&self, headers: &HeaderMap, transport: Transport) -> Result<(), Fault> {
        if self.token.is_some() { Ok(()) } else { self.check(headers, transport) }
    }

    fn check(&self, headers: &HeaderMap, transport: Transport) -> Result<(), Fault> {
        let Some(token) = self.token else {
            return if transport == Transport::Tcp { refuse_pages(headers) } else { Ok(()) };
        };
        let is_right = bearer(headers).is_some_and(|given| digest(given).ct_eq(&token).into());
        if is_right { Ok(()) } else { Err(Fault::Unauthorized) }
    }
}

/// What a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    /// No browser gets there, and any `Host` will do.
    UnixSocket,
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The one token of the request.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION);
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// A page of another site sends its `Origin`; one that had its own name resolved to this machine, its name as `Host`.
fn refuse_pages(headers: &HeaderMap) -> Result<(), Fault> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let is_own = origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host));
    if is_own && names_this_machine(host) { Ok(()) } else { Err(Fault::ForeignOrigin) }
}

fn names_this_machine(host: &str) -> bool {
    let authority = format!("http://{host}/").parse::<Uri>();
    let name = authority.as_ref().ok().and_then(Uri::host).unwrap_or_default();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Lets a request through, or answers it with 401 or 403.
pub(super) async fn require(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if let Some(daemon) = request.app_data::<web::Data<Daemon>>()
        && !OPEN_PATHS.contains(&request.path())
    {
        let transport = if request.peer_addr().is_some() { Transport::Tcp } else { Transport::UnixSocket };
        // Over a WebSocket the token comes with the first message.
        let asks_later = request.path() == "/" && hrana::is_upgrade(request.head());
        let check = if asks_later { Auth::check_later } else { Auth::check };
        check(&daemon.auth, request.headers(), transport).map_err(Problem::from)?;
    }
    next.call(request).await
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn check(token: &str, headers: &[(&'static str, &str)]) -> Result<(), Fault> {
        let auth = Auth::new(&AuthSettings { admin_token: token.to_owned().into() });
        let request =
            headers.iter().fold(TestRequest::default(), |request, header| request.append_header(*header));
        auth.check(request.to_http_request().headers(), Transport::Tcp)
    }

    #[test]
    fn only_the_token_itself_opens_the_door() {
        for (header, is_right) in [
            ("Bearer sesame", true),
            ("bearer sesame ", true),
            ("Bearer sesam", false),
            ("Bearer sesame2", false),
            ("Bearer ", false),
            ("Basic sesame", false),
            ("sesame", false),
        ] {
            assert_eq!(check("sesame", &[("authorization", header)]).is_ok(), is_right, "{header}");
        }
        assert!(check("sesame", &[]).is_err());
        assert!(
            check("sesame", &[("authorization", "Bearer sesame"), ("authorization", "Bearer x")]).is_err()
        );
    }

    #[test]
    fn without_a_token_no_foreign_page_gets_in() {
        let host = ("host", "127.0.0.1:4280");
        assert!(check("", &[host]).is_ok());
        assert!(check("", &[("host", "localhost")]).is_ok());
        assert!(check("", &[("host", "[::1]:4280")]).is_ok());
        assert!(check("", &[host, ("origin", "http://127.0.0.1:4280")]).is_ok());
        assert!(check("", &[host, ("origin", "http://127.0.0.1:8080")]).is_err());
        assert!(check("", &[host, ("origin", "https://evil.example")]).is_err());
        assert!(check("", &[host, ("origin", "null")]).is_err());
        assert!(check("", &[("host", "rebound.example:4280")]).is_err());
        assert!(
            check("sesame", &[("authorization", "Bearer sesame"), ("origin", "https://app.example")]).is_ok()
        );
    }
}
