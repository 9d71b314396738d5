//! How the daemon is: `/livez` and `/readyz` for those who start and watch it, `/v1/status` for those who run it.

use actix_web::{get, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Daemon;
use super::openapi::{AccessProblems, HealthProblems};
use super::problem::{Fault, Problem};
use crate::error::Refusal;
use crate::{RefusedBecause, State, Status};

/// How the database is, in a word.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    state: State,
}

/// Whether the process is of use. If not, start it again.
#[utoipa::path(
    operation_id = "livez",
    tag = "daemon",
    security(()),
    responses((status = OK, description = "It is, or will be soon.", body = Health), HealthProblems)
)]
#[get("/livez")]
pub(super) async fn livez(daemon: web::Data<Daemon>) -> Result<web::Json<Health>, Problem> {
    match daemon.database.status().state {
        State::Failed => Err(Refusal::new(RefusedBecause::Failed).into()),
        state => Ok(web::Json(Health { state })),
    }
}

/// Whether requests are served right now. If not, send them elsewhere.
#[utoipa::path(
    operation_id = "readyz",
    tag = "daemon",
    security(()),
    responses((status = OK, description = "They are.", body = Health), HealthProblems)
)]
#[get("/readyz")]
pub(super) async fn readyz(daemon: web::Data<Daemon>) -> Result<web::Json<Health>, Problem> {
    // The reasons stay inside: this route is open to everybody.
    match daemon.database.status().state {
        state @ State::Running => Ok(web::Json(Health { state })),
        State::Starting => Err(Fault::NotReady("starting").into()),
        State::Recovering => Err(Fault::NotReady("recovering").into()),
        State::Failed => Err(Refusal::new(RefusedBecause::Failed).into()),
        State::ShuttingDown | State::Stopped => Err(Refusal::new(RefusedBecause::ShuttingDown).into()),
    }
}

/// State, queues and counts.
#[utoipa::path(
    operation_id = "status",
    tag = "daemon",
    responses((status = OK, description = "The database at a glance.", body = Status), AccessProblems)
)]
#[get("/v1/status")]
pub(super) async fn status(daemon: web::Data<Daemon>) -> web::Json<Status> {
    web::Json(daemon.database.status())
}
