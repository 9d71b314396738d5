//! The daemon: the database over HTTP and JSON, on a TCP address and, if set, a Unix socket.
//!
//! Each route stands once, in `routes`: that list is what is served and what the OpenAPI document at `/openapi.json`
//! (for people: `/docs`) is made of. `extract.rs` takes requests apart, `body.rs` waits for their
//! bodies, `terms.rs` says whether a write is waited for, `problem.rs` has all that is answered when something is wrong, `auth.rs` says who may come in, `daemon.rs`
//! starts and ends it. `hrana/` is the protocol of the libSQL clients, with errors in its own words.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use actix_sqlite::Settings;
//! use actix_sqlite::server::Server;
//!
//! actix_rt::System::new().block_on(async {
//!     let server = Server::bind(Settings::load(None)?).await?;
//!     eprintln!("listening on {}", server.addresses()[0]);
//!     let served = server.run().await?;
//!     eprintln!("{served}");
//!     Ok(())
//! })
//! # }
//! ```

mod accounts;
mod auth;
mod body;
mod daemon;
mod dead_letters;
mod extract;
mod health;
mod hrana;
mod listen;
mod message_logs;
mod openapi;
mod problem;
mod rows;
mod signals;
mod span;
mod sql;
mod terms;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{App, Error, guard, web};
use tracing_actix_web::TracingLogger;
use utoipa::OpenApi;
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

#[cfg(feature = "cli")]
pub(crate) use {
    dead_letters::{Letter, LetterPage, page},
    terms::Queued,
};

pub use daemon::{ServeError, Served, Server, StoppedBy, Stopper};
#[cfg(feature = "bench-internals")]
pub(crate) use hrana::internals as hrana_internals;
pub use listen::Address;
pub use problem::Problem;
pub use signals::Signal;
#[cfg(feature = "cli")]
pub(crate) use signals::Signals;

use crate::Database;
use crate::settings;
use auth::Auth;
use body::Patience;
use hrana::Hrana;

/// What the handlers of all threads share.
struct Daemon {
    database: Database,
    auth: Auth,
    max_body: usize,
    max_line: usize,
    patience: Patience,
    hrana: Hrana,
    requests: AtomicU64,
}

impl Daemon {
    fn new(database: Database) -> Self {
        let all = database.settings();
        let auth = Auth::new(&all.auth);
        let hrana = Hrana::new(&all.server.hrana);
        let (max_body, max_line) =
            (settings::bytes(all.server.max_body), settings::bytes(all.server.max_line));
        Self {
            database,
            auth,
            max_body,
            max_line,
            patience: Patience::DEFAULT,
            hrana,
            requests: AtomicU64::default(),
        }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

/// Every route. What is served and what is documented are this one list.
fn routes(list: &mut ServiceConfig<'_>) {
    list.service(sql::execute)
        .service(sql::transaction)
        .service(sql::query)
        .service(accounts::list)
        .service(accounts::add)
        .service(accounts::show)
        .service(accounts::change)
        .service(accounts::remove)
        .service(message_logs::list)
        .service(message_logs::add)
        .service(message_logs::import_lines)
        .service(message_logs::show)
        .service(dead_letters::list)
        .service(dead_letters::retry)
        .service(dead_letters::expire)
        .service(hrana::version_2)
        .service(hrana::version_3)
        .service(hrana::pipeline_2)
        .service(hrana::pipeline_3)
        .service(hrana::cursor_3)
        .service(hrana::batch_1)
        .service(health::status)
        .service(health::livez)
        .service(health::readyz)
        .service(openapi::openapi_json)
        .service(openapi::docs);
}

/// The application of one thread.
fn app(
    daemon: web::Data<Daemon>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let (app, api) =
        App::new().into_utoipa_app().openapi(openapi::Api::openapi()).configure(routes).split_for_parts();
    let websocket = web::resource("/").guard(guard::fn_guard(hrana::wants_upgrade)).to(hrana::connect);
    app.service(openapi::docs_file)
        .service(websocket)
        .default_service(web::to(openapi::fallback))
        .app_data(web::Data::new(openapi::Document::new(&api)))
        .app_data(daemon)
        .app_data(extract::path_config())
        .app_data(extract::query_config())
        .wrap(from_fn(auth::require))
        .wrap(from_fn(hrana::speak))
        .wrap(from_fn(take_head_for_get))
        .wrap(from_fn(count))
        .wrap(Compress::default())
        .wrap(TracingLogger::<span::RequestSpan>::new())
}

async fn count(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Some(daemon) = request.app_data::<web::Data<Daemon>>() {
        daemon.requests.fetch_add(1, Relaxed);
    }
    next.call(request).await
}

/// Load balancers ask by HEAD, and each route that takes GET takes it so. That the answer goes without its body is seen to
/// by the connection, which remembers what was asked.
async fn take_head_for_get(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    next.call(request).await
}
