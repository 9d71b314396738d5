//! The OpenAPI document, made of the routes themselves, and what follows from it: `/openapi.json`, `/docs`, and the
//! answers to requests that no route takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::http::header::{self, ContentType};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, get, web};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema, ToSchema};
use utoipa_swagger_ui::Config;

use super::problem::{Fault, HranaError, PROBLEM_JSON, Problem};
use crate::Value;

/// What the routes do not say of themselves.
#[derive(OpenApi)]
#[openapi(
    info(title = "actix-sqlite", description = "SQLite over HTTP: group commit, a reader pool, a relay's log."),
    components(schemas(Problem, HranaError)),
    tags(
        (name = "sql", description = "Statements of one's own."),
        (name = "relay", description = "The built-in domain: accounts and message logs."),
        (name = "dead letters", description = "Writes that were only queued (`Prefer: respond-async`) and failed."),
        (name = "hrana", description = "The protocol of the libSQL clients, for which they are the way to use it. Over WebSockets it is spoken on `/`."),
        (name = "daemon", description = "The daemon itself."),
    ),
    modifiers(&Bearer),
    security((), ("token" = []))
)]
pub(super) struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Needed only if the daemon was given a token (`auth.admin_token`)."));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// What each status of a problem is for.
const MEANINGS: [(u16, &str); 11] = [
    (400, "The request or its SQL is wrong; `detail` says what to mend."),
    (401, "The daemon has a token, and this request did not present it."),
    (403, "Not for this caller: SQL that is kept for the engine, secrets without a token, a foreign page."),
    (404, "There is no such row."),
    (408, "It ran out of its time, or its body did not come."),
    (409, "A constraint is violated, or the idempotency key belongs to another write."),
    (413, "A body, value or statement is too large."),
    (415, "The body is encoded; send it as it is."),
    (422, "The result cannot be given: it is too large, or is text that is not UTF-8."),
    (500, "The daemon is at fault; `outcome` says what became of a write."),
    (
        503,
        "Not now: the queue is full, the daemon is stopping, the storage failed. `Retry-After` says when to try again.",
    ),
];

/// The problems a route may answer with, by their statuses.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($status:literal)*;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                describe(&[$($status),*])
            }
        }
    )*};
}

problems! {
    /// Of every route but those for health.
    AccessProblems: 401 403;
    /// Of those for health.
    HealthProblems: 503;
    /// Of routes that take a body.
    BodyProblems: 400 408 413 415;
    /// Of routes that name a row.
    RowProblems: 400 404;
    /// Of routes that read.
    QueryProblems: 400 401 403 408 413 422 500 503;
    /// Of routes that write.
    WriteProblems: 400 401 403 408 409 413 422 500 503;
}

fn describe(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let wanted = MEANINGS.iter().filter(|(status, _)| statuses.contains(status));
    let answer = |meaning: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new().description(meaning).content(PROBLEM_JSON, content).build()
    };
    wanted.map(|(status, meaning)| (status.to_string(), RefOr::T(answer(meaning)))).collect()
}

/// Of routes that speak Hrana: errors in its form. What is wrong with a statement is part of its result, with 200.
pub(super) struct HranaProblems;

impl IntoResponses for HranaProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let wanted = MEANINGS.iter().filter(|(status, _)| HRANA_STATUSES.contains(status));
        let answer = |meaning: &str| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("HranaError"))).build();
            ResponseBuilder::new().description(meaning).content("application/json", content).build()
        };
        wanted.map(|(status, meaning)| (status.to_string(), RefOr::T(answer(meaning)))).collect()
    }
}

const HRANA_STATUSES: [u16; 7] = [400, 401, 403, 408, 413, 415, 503];

fn of_type(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

impl PartialSchema for Value {
    fn schema() -> RefOr<Schema> {
        let integer = of_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        let blob = of_type(Type::Object)
            .property("base64", of_type(Type::String))
            .required("base64")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(Some("A blob."));
        let infinity = of_type(Type::Object)
            .property("real", of_type(Type::String).enum_values(Some(["inf", "-inf"])))
            .required("real")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(Some("An infinity, for which JSON has no number."));
        let one_of = OneOfBuilder::new()
            .item(of_type(Type::Null))
            .item(integer)
            .item(of_type(Type::Number))
            .item(of_type(Type::String))
            .item(of_type(Type::Boolean).description(Some("Taken as 0 or 1; never an answer.")))
            .item(blob)
            .item(infinity)
            .description(Some("A value of SQLite."));
        Schema::OneOf(one_of.build()).into()
    }
}

impl ToSchema for Value {
    fn name() -> std::borrow::Cow<'static, str> {
        "Value".into()
    }
}

/// The schema of [`crate::Params`].
pub(super) struct AnyParams;

impl PartialSchema for AnyParams {
    fn schema() -> RefOr<Schema> {
        let value = || Ref::from_schema_name(Value::name());
        let named =
            of_type(Type::Object).additional_properties(Some(AdditionalProperties::RefOr(value().into())));
        let one_of = OneOfBuilder::new()
            .item(ArrayBuilder::new().items(value()))
            .item(named)
            .description(Some("An array for `?`, an object for `:name`. Each parameter exactly once."));
        Schema::OneOf(one_of.build()).into()
    }
}

impl ToSchema for AnyParams {
    fn name() -> std::borrow::Cow<'static, str> {
        "Params".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Value::name().into_owned(), Value::schema()));
    }
}

/// The finished document.
pub(super) struct Document {
    json: Bytes,
    routes: Vec<(ResourceDef, Vec<Method>)>,
    ui: Arc<Config<'static>>,
}

impl Document {
    pub(super) fn new(api: &utoipa::openapi::OpenApi) -> Self {
        let routes = api.paths.paths.iter().map(|(path, item)| {
            let operations = [
                (HttpMethod::Get, &item.get),
                (HttpMethod::Post, &item.post),
                (HttpMethod::Put, &item.put),
                (HttpMethod::Patch, &item.patch),
                (HttpMethod::Delete, &item.delete),
            ];
            let methods = operations.into_iter().filter(|(_, operation)| operation.is_some());
            (ResourceDef::new(path.as_str()), methods.map(|(method, _)| to_method(&method)).collect())
        });
        // Relative, for daemons behind a path of a proxy; the validator would be asked over the network.
        let ui = Config::from("../openapi.json").validator_url("none");
        Self { json: api.to_json().unwrap_or_default().into(), routes: routes.collect(), ui: Arc::new(ui) }
    }

    /// The methods that the routes of this path take.
    fn methods(&self, path: &str) -> Vec<Method> {
        let matching = self.routes.iter().filter(|(route, _)| route.is_match(path));
        let mut methods: Vec<Method> = matching.flat_map(|(_, methods)| methods.iter().cloned()).collect();
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        methods.dedup();
        methods
    }
}

fn to_method(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

/// This document.
#[utoipa::path(
    operation_id = "openapi",
    tag = "daemon",
    responses((status = OK, description = "OpenAPI 3.1.", body = Object, content_type = "application/json"), AccessProblems)
)]
#[get("/openapi.json")]
pub(super) async fn openapi_json(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(document.json.clone())
}

/// The way to the document for people.
#[utoipa::path(
    operation_id = "docs",
    tag = "daemon",
    responses((status = PERMANENT_REDIRECT, description = "To `/docs/`, the Swagger UI."), AccessProblems)
)]
#[get("/docs")]
pub(super) async fn docs() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "docs/")).finish()
}

/// The files of the Swagger UI. They are part of the program, and the browser is told to ask nobody else.
#[get("/docs/{file:.*}")]
pub(super) async fn docs_file(
    file: web::Path<String>,
    document: web::Data<Document>,
) -> Result<HttpResponse, Problem> {
    const OWN_FILES_ONLY: &str =
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
    let unknown = || Fault::UnknownRoute(format!("/docs/{file}"));
    let found =
        utoipa_swagger_ui::serve(&file, Arc::clone(&document.ui)).ok().flatten().ok_or_else(unknown)?;
    let mut response = HttpResponse::Ok();
    if found.gzpipped {
        response.insert_header(header::ContentEncoding::Gzip);
    }
    response
        .content_type(found.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, OWN_FILES_ONLY));
    Ok(response.body(found.bytes.into_owned()))
}

/// Answers what no route takes: 405 if it would take another method, else 404.
pub(super) async fn fallback(
    request: HttpRequest,
    document: web::Data<Document>,
) -> Result<HttpResponse, Problem> {
    let methods = document.methods(request.path());
    if methods.is_empty() {
        return Err(Fault::UnknownRoute(request.path().to_owned()).into());
    }
    Err(Fault::MethodNotAllowed(methods).into())
}
