//! `/v1/accounts`: who the relay logs in as.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Daemon;
use super::extract::{Id, JsonBody};
use super::openapi::{BodyProblems, QueryProblems, RowProblems, WriteProblems};
use super::problem::{Fault, Problem};
use super::terms::{Queued, Taken, Terms, TermsHeaders};
use crate::relay::{
    Account, AddAccount, Added, DeleteAccount, Deleted, GetAccount, GetAccounts, UpdateAccountStatus, Updated,
};

/// Accounts, in order of their ids.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountList {
    /// The accounts.
    accounts: Vec<Account>,
}

/// Which accounts, and how much of them.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListFilter {
    /// Only those with this status.
    status: Option<String>,
    /// With their secrets; only from a daemon that has a token.
    secrets: bool,
}

/// How much of the account.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Detail {
    /// With its secrets; only from a daemon that has a token.
    secrets: bool,
}

/// What to change of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusBody {
    /// 1 to 64 characters, such as `offline` or `online`.
    status: String,
}

fn unknown(id: i64) -> Fault {
    Fault::NotFound { what: "account", id }
}

/// 201 if there is a new row, 200 if it was there before.
pub(super) fn created(added: Added) -> HttpResponse {
    let status = if added.inserted { StatusCode::CREATED } else { StatusCode::OK };
    HttpResponse::build(status).json(added)
}

/// Lists the accounts.
#[utoipa::path(
    operation_id = "list_accounts",
    tag = "relay",
    params(ListFilter),
    responses(
        (status = OK, description = "The accounts.", body = AccountList),
        QueryProblems
    )
)]
#[get("/v1/accounts")]
pub(super) async fn list(
    daemon: web::Data<Daemon>,
    filter: web::Query<ListFilter>,
) -> Result<web::Json<AccountList>, Problem> {
    let ListFilter { status, secrets } = filter.into_inner();
    if secrets {
        daemon.auth.may_show_secrets()?;
    }
    let accounts = daemon.database.get_accounts(GetAccounts { status, secrets }).await?;
    Ok(web::Json(AccountList { accounts }))
}

/// Adds an account, unless its e-mail address is there already.
#[utoipa::path(
    operation_id = "add_account",
    tag = "relay",
    params(TermsHeaders),
    request_body = AddAccount,
    responses(
        (status = CREATED, description = "Added.", body = Added),
        (status = OK, description = "It was there before; nothing is changed.", body = Added),
        Queued,
        BodyProblems,
        WriteProblems
    )
)]
#[post("/v1/accounts")]
pub(super) async fn add(
    daemon: web::Data<Daemon>,
    terms: Terms,
    JsonBody(account): JsonBody<AddAccount>,
) -> Result<Taken<HttpResponse>, Problem> {
    Ok(daemon.write(account, terms).await?.answer(created))
}

/// Shows an account.
#[utoipa::path(
    operation_id = "show_account",
    tag = "relay",
    params(("id" = i64, Path), Detail),
    responses(
        (status = OK, description = "The account.", body = Account),
        RowProblems,
        QueryProblems
    )
)]
#[get("/v1/accounts/{id}")]
pub(super) async fn show(
    daemon: web::Data<Daemon>,
    id: Id,
    detail: web::Query<Detail>,
) -> Result<web::Json<Account>, Problem> {
    let (id, secrets) = (id.into_inner(), detail.secrets);
    if secrets {
        daemon.auth.may_show_secrets()?;
    }
    let account = daemon.database.get_account(GetAccount { id, secrets }).await?;
    Ok(web::Json(account.ok_or_else(|| unknown(id))?))
}

/// Changes an account's status and notes the time.
#[utoipa::path(
    operation_id = "change_account",
    tag = "relay",
    params(("id" = i64, Path), TermsHeaders),
    request_body = StatusBody,
    responses(
        (status = OK, description = "Changed.", body = Updated),
        Queued,
        BodyProblems,
        RowProblems,
        WriteProblems
    )
)]
#[patch("/v1/accounts/{id}")]
pub(super) async fn change(
    daemon: web::Data<Daemon>,
    id: Id,
    terms: Terms,
    JsonBody(StatusBody { status }): JsonBody<StatusBody>,
) -> Result<Taken<web::Json<Updated>>, Problem> {
    let id = id.into_inner();
    let taken = daemon.write(UpdateAccountStatus { id, status }, terms).await?;
    Ok(taken.try_answer(|reply| reply.updated.then_some(web::Json(reply)).ok_or_else(|| unknown(id)))?)
}

/// Deletes an account.
#[utoipa::path(
    operation_id = "delete_account",
    tag = "relay",
    params(("id" = i64, Path), TermsHeaders),
    responses((status = OK, description = "Deleted.", body = Deleted), Queued, RowProblems, WriteProblems)
)]
#[delete("/v1/accounts/{id}")]
pub(super) async fn remove(
    daemon: web::Data<Daemon>,
    id: Id,
    terms: Terms,
) -> Result<Taken<web::Json<Deleted>>, Problem> {
    let id = id.into_inner();
    let taken = daemon.write(DeleteAccount { id }, terms).await?;
    Ok(taken.try_answer(|reply| reply.deleted.then_some(web::Json(reply)).ok_or_else(|| unknown(id)))?)
}
